"""Stage `finetune reinforce`: REINFORCE on judged programs, with the greedy program or the problem's other samples as baseline.

    weight(w_t) = r(W^s) - r(W^b)                          with --baseline (self-critical: Rennie et al. 2017)
    weight(w_t) = r(W^s) - mean of the other samples' r    without (RLOO: Ahmadian et al. 2024)

Every token has the weight of its program. With --baseline it is row A of CodeRL's Table 2, here without tempered negative returns.
Reads programs with verdicts; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/reinforce.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes

from .finetuning import DEFAULT, OFTEN_SAVED, Tuning
from .training import Training


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor with REINFORCE: greedy baseline, or leave-one-out."""

    model: Path
    """actor to start from: the one that wrote the programs"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    baseline: Path | None = None
    """verdicts of the actor's greedy programs (.jsonl); without them the problem's other samples are the baseline"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from .. import signals
    from ..records import Verdict
    from ..store import read_records
    from .finetuning import learn, material, weighted_log_probs

    advantages = signals.over_greedy(read_records(config.baseline, Verdict), 1.0) if config.baseline else signals.over_others
    found = material(config)
    if found is None:
        return
    tuning = config.tuning
    signal = signals.weighted(found.actor.tokenizer, found.problems, found.judged, advantages, signals.evenly, tuning.limits, tuning.scaled)
    learn(config, found, signal, weighted_log_probs(tuning), "finetune-reinforce", (config.baseline,))
