"""Stage `finetune expert`: expert iteration, cross-entropy on the programs that pass (Anthony et al. 2017; STaR, Zelikman et al. 2022).

    weight(w_t) = 1 for every token of a program that passes, else 0

Reads programs with verdicts; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/expert.md.
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
    """Fine-tune an actor on its own programs that pass."""

    model: Path
    """actor to start from"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from .. import signals
    from .finetuning import learn, material, weighted_log_probs

    found = material(config)
    if found is None:
        return
    tuning = config.tuning
    signal = signals.weighted(found.actor.tokenizer, found.problems, found.judged, signals.passing, signals.evenly, tuning.limits, tuning.scaled)
    learn(config, found, signal, weighted_log_probs(tuning), "finetune-expert")
