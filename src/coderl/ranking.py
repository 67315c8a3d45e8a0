"""A Q model ranks programs: the return that it thinks a program had (B-Coder eq. 19), and what ranking is worth.

`read_returns` reads programs of any actor in batches, one pass for all candidates of a problem. `ranked_passes` says whether one of the k
best is right, for any scores: log-probabilities and critics are ranked by the same function. Not here: drawing and judging programs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from scipy.stats import mannwhitneyu
from transformers import T5ForConditionalGeneration

from .formulas.bcoder import (
    action_advantages,
    conservative_targets,
    recovered_rewards,
    td_losses,
    telescoped_return,
    terminal_rewards,
)
from .formulas.masks import token_log_probs
from .formulas.returns import outcome_returns
from .models.bcoder import FrozenEncoder, QModel, read_logits, read_policy, read_values, spread
from .records import OUTCOMES, Outcome, Program, Record, Verdict
from .tokens import Batch, Example, collate, epoch_batches


@dataclass(frozen=True)
class ProgramScore(Record):
    """What a Q model holds of one program.

    Fields:
        score: R̃(W), the sum of recovered rewards: what programs are ranked by.
        advantage: its part Σ_t A(s_t, w_t), at most 0. value: its part V(s_0) + (1 - γ) Σ_{t>=1} V(s_t). They add up to `score`
            unless it was computed with a checkpoint's greedy tokens.
        logprob: Σ_t log π(w_t), nats, under the Q model's own policy. tokens: T.
    """

    problem: str
    index: int
    score: float
    advantage: float
    value: float
    logprob: float
    tokens: int
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("problem", "index")
    _types: ClassVar[Mapping[str, tuple[tuple[type, ...], str]]] = {
        "problem": ((str,), "a string"),
        "index": ((int,), "a whole number"),
        **dict.fromkeys(("score", "advantage", "value", "logprob"), ((int, float), "a number")),
        "tokens": ((int,), "a whole number"),
    }


class Read(NamedTuple):
    """Of one program: the fields of `ProgramScore`, and its TD loss (B-Coder eq. 15) if its example's label is what the tests said."""

    score: float
    advantage: float
    value: float
    logprob: float
    td_loss: float


@torch.inference_mode()
def read_returns(
    model: QModel,
    encoder: FrozenEncoder,
    examples: Sequence[Example],
    pad_id: int,
    checkpoint: T5ForConditionalGeneration | None = None,
    budget: int = 16_384,
) -> list[Read]:
    """A reading of every example, in equal order.

    Args:
        checkpoint: whose greedy tokens â are meant in Q(s', â); None = the approximation V(s') (B-Coder appendix F).
        budget: tokens in a batch.
    """
    model.eval()
    found: dict[int, Read] = {}
    for part in epoch_batches(examples, budget, seed=0, group=8):
        batch = Batch(*(tensor.to(model.actor.device) for tensor in collate(part, pad_id)))
        for example, reading in zip(part, _read(model, encoder, batch, checkpoint), strict=True):
            found[id(example)] = reading
    return [found[id(example)] for example in examples]


def _read(model: QModel, encoder: FrozenEncoder, batch: Batch, checkpoint: T5ForConditionalGeneration | None) -> list[Read]:
    memory, mask, constants = encoder.memory(batch), batch.mask, model.constants
    policy = read_policy(model, batch, memory)
    values = model.values(spread(read_values(model, batch, memory) + policy.residuals, mask))
    taken = spread(action_advantages(policy.logits, batch.labels[mask], constants.alpha), mask)
    greedy_values = values
    if checkpoint is not None:
        greedy = read_logits(checkpoint, batch, memory).argmax(-1)
        greedy_values = values + spread(action_advantages(policy.logits, greedy, constants.alpha), mask)
    score = recovered_rewards(taken + values, greedy_values, mask, constants.discount).sum(1)
    parts = telescoped_return(taken, values, mask, constants.discount)
    targets = conservative_targets(terminal_rewards(outcome_returns(batch.outcomes), mask), greedy_values, mask, constants.discount)
    log_probs = spread(token_log_probs(policy.logits[None], batch.labels[mask][None])[0], mask).sum(1)
    columns = (score, parts.advantage, parts.value, log_probs, td_losses(taken + values, targets, mask))
    return [Read(*row) for row in torch.stack(columns, dim=1).tolist()]


def program_score(program: Program, example: Example, read: Read) -> ProgramScore:
    """The record of one reading, numbers to five digits."""
    score, advantage, value, logprob = (round(number, 5) for number in read[:4])
    return ProgramScore(program.problem, program.index, score, advantage, value, logprob, len(example.program))


def passing_auc(scores: Sequence[float], labels: Sequence[int]) -> float:
    """Chance that a program that passes (label 3) has a higher score than one that does not; NaN when there is only one kind."""
    passing = [s for s, label in zip(scores, labels, strict=True) if label == 3]
    others = [s for s, label in zip(scores, labels, strict=True) if label != 3]
    if not passing or not others:
        return float("nan")
    return float(mannwhitneyu(passing, others).statistic) / (len(passing) * len(others))


class OutcomeMean(NamedTuple):
    """The mean score of an outcome's programs, and how many there are."""

    mean: float
    programs: int


def mean_by_outcome(scores: Iterable[ProgramScore], verdicts: Iterable[Verdict]) -> dict[Outcome, OutcomeMean]:
    """Mean score of each outcome that occurs, from the best to the worst outcome (B-Coder figure 3). Harness errors have none."""
    outcomes = {(v.problem, v.index): v.outcome for v in verdicts}
    found: dict[Outcome, list[float]] = {}
    for one in scores:
        outcome = outcomes.get((one.problem, one.index))
        if outcome is not None:
            found.setdefault(outcome, []).append(one.score)
    return {o: OutcomeMean(sum(found[o]) / len(found[o]), len(found[o])) for o in reversed(OUTCOMES) if o in found}


class Candidate(NamedTuple):
    """A judged program of a problem: its text, its score, whether it passes the hidden tests, and whether it passes the example tests."""

    text: str
    score: float
    right: bool
    survives: bool


class RankedPass(NamedTuple):
    """Whether one of the k best candidates of a problem is right, 0 or 1.

    Fields:
        plain: of all candidates.
        filtered: of those that pass the example tests; 0 when none does, since then nothing is handed in.
        fallback: the same, but of all candidates when none passes the example tests. The paper does not say which it means.
    """

    plain: float
    filtered: float
    fallback: float


def ranked_pass(candidates: Sequence[Candidate], k: int) -> RankedPass:
    """B-Coder's ranked pass@k (section 4.4, the protocol of CodeT) of one problem, for scores of any kind.

    A text that was drawn several times is one candidate, at the best of its places: k copies of one program are one try. The paper does not
    say. Equal scores stay in the order in which they were drawn.
    """
    survivors = [c for c in candidates if c.survives]
    plain, filtered = _top_right(candidates, k), _top_right(survivors, k)
    return RankedPass(plain, filtered, filtered if survivors else plain)


def _top_right(candidates: Sequence[Candidate], k: int) -> float:
    best: dict[str, bool] = {}
    for one in sorted(candidates, key=lambda c: -c.score):
        best.setdefault(one.text, one.right)
        if len(best) == k:
            break
    return float(any(best.values()))
