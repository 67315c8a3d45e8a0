"""Stage `finetune coderl`: the actor learns from its own judged programs, L_ce + L_rl (CodeRL section 3.2, eq. 10 and 14).

    weight(w_t) = (r(W^s) - r(W^b)) * q(w_t)        r: return of the tests' outcome; W^b: the actor's greedy program; q: the critic's
                                                    value of the token; negative differences times `--negative-weight`
    loss        = rl_weight * L_rl(weights of sampled programs) + L_ce(reference solutions), both in every step, token means

`--variant` takes the rows of the paper's Table 2: A no critic, B no baseline, C linear decay, D all of it; and `changes`, ours, which
weighs a token by what it did to the critic's p(passed). The paper's own step is `--negative-weight 1 --no-scaled
--reduction program-sum`, but for a factor: the mean is over distinct programs with a gradient, not over all that were drawn.
The released code's schedule is `--alternate`. Every difference: docs/algorithms/coderl.md.

As in the paper the programs are sampled once, before; `coderl rounds` does it again and again. Reads programs with verdicts, the greedy
programs' verdicts and token scores; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .finetuning import DEFAULT, OFTEN_SAVED, Tuning
from .training import Training

if TYPE_CHECKING:
    from ..records import TokenScores
    from ..signals import Advantages, Spread


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor with CodeRL: cross-entropy plus the critic-weighted policy gradient."""

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
    """verdicts of the actor's greedy programs, the baseline W^b (.jsonl); all variants but B need it"""
    scores: Path | None = None
    """token scores of a critic (.jsonl); variants B, D and `changes` need them"""
    variant: Literal["A", "B", "C", "D", "changes"] | None = None
    """row of the paper's Table 2: A no critic, B no baseline, C linear decay, D full; default D with --scores, else A"""
    negative_weight: float = 0.1
    """weight of negative relative returns; 1 = as in the paper, which on frozen samples can make the actor worse"""
    solutions: float = 0.0
    """above 0: learn only from programs that pass, as from references; this is added to each weight, which says how much better than the
    greedy program. Not in the paper"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from ..evidence import of_critic
    from ..signals import weighted
    from .finetuning import learn, material, weighted_log_probs

    advantages, spread = method(config)
    found = material(config)
    if found is None:
        return
    tuning = config.tuning
    signal = weighted(found.actor.tokenizer, found.problems, found.judged, advantages, spread, tuning.limits, tuning.scaled, config.solutions)
    noted = of_critic(_scores(config.scores).values()) if config.scores else {}
    learn(config, found, signal, weighted_log_probs(tuning), "finetune-coderl", (config.baseline, config.scores), noted)


def method(config: Config) -> tuple[Advantages, Spread]:
    """Advantages and spread of the variant.

    Raises:
        UsageError: the variant needs a file that is not given.
    """
    from .. import signals
    from ..errors import UsageError
    from ..records import Verdict
    from ..store import read_records

    variant = config.variant or ("D" if config.scores else "A")
    if config.baseline is None and variant != "B":
        raise UsageError(f"variant {variant} needs --baseline, the verdicts of the actor's greedy programs; without one there is variant B")
    baseline = read_records(config.baseline, Verdict) if config.baseline and variant != "B" else []
    advantages = signals.absolute if variant == "B" else signals.over_greedy(baseline, config.negative_weight)
    if variant in ("A", "C"):
        return advantages, signals.evenly if variant == "A" else signals.decaying
    if variant == "changes" and config.solutions:
        raise UsageError(
            f"--solutions is {config.solutions:g} with variant changes: changes may be negative, solutions are not; leave one of them out"
        )
    if config.scores is None:
        raise UsageError(f"variant {variant} needs --scores, the token scores of a critic (`coderl score`); without them there are variants A and C")
    known = _scores(config.scores)
    return advantages, signals.by_changes(known) if variant == "changes" else signals.by_critic(known)


def _scores(path: Path) -> Mapping[tuple[str, int], TokenScores]:
    from ..records import TokenScores
    from ..store import iterate_records

    return {(s.problem, s.index): s for s in iterate_records(path, TokenScores)}
