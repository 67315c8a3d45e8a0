"""Stage `finetune rltf`: feedback that is finer than four outcomes (Liu et al., TMLR 2023), on the samples at hand.

    weight(w_t) = r(W^s) - r(W^b)  +  R_fine T / (E - S) for S <= t < E
    r: -0.3 + 1.3 x share of tests passed for programs that ran, CodeRL's return for the others; S, E: the tokens of the error's line

Programs must have been judged on all their tests (`grade` without --stop-at-first-failure). Differs from the paper, which samples all the
time and takes the best return so far as baseline: here the programs are given, and the baseline is the greedy program.
Reads programs with verdicts; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/rltf.md.
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
    """Fine-tune an actor with RLTF's feedback: share of tests passed, and the line of the error."""

    model: Path
    """actor to start from: the one that wrote the programs"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts, on all tests (.jsonl)"""
    baseline: Path
    """verdicts of the actor's greedy programs, on all tests (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    negative_weight: float = 0.1
    """weight of negative relative returns; 1 = as in the paper"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from .. import signals
    from ..records import Verdict
    from ..store import read_records
    from .finetuning import learn, material, weighted_log_probs

    advantages = signals.over_greedy(read_records(config.baseline, Verdict), config.negative_weight, signals.pass_ratios)
    found = material(config)
    if found is None:
        return
    tuning, tokenizer = config.tuning, found.actor.tokenizer
    spread = signals.on_error_line(tokenizer, found.problems)
    signal = signals.weighted(tokenizer, found.problems, found.judged, advantages, spread, tuning.limits, tuning.scaled)
    learn(config, found, signal, weighted_log_probs(tuning), "finetune-rltf", (config.baseline,))
