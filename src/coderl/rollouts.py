"""Judged programs as PPO takes them: distinct programs with their returns, what actor and reference thought of each token, advantages.

    rollouts        programs and verdicts to examples, equal programs of a problem once, with how often they were drawn
    with_advantages rewards by token (formulas/ppo.py), GAE on the values that the examples carry, targets of the value head
    as_signal       advantages to token weights, scaled as those of the other algorithms (signals.py)

Not here: models and their fitting (recipes/finetune_ppo.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .examples import Judged, Limits, judged_examples
from .formulas.masks import length_mask
from .formulas.ppo import explained_variance, generalised_advantages, penalised_rewards
from .formulas.returns import outcome_returns
from .records import Problem
from .signals import Signal
from .tokens import Example, Truncation, rows_by_token

CHUNK = 2048  # programs whose advantages are computed side by side


class Rollouts(NamedTuple):
    """Distinct programs of each problem, `repeats` in each saying how often it was drawn.

    Fields:
        examples: distinct programs. returns: (N,) float32, r of each. programs: how many were drawn. truncation: of those.
    """

    examples: list[Example]
    returns: Tensor
    programs: int
    truncation: Truncation


def rollouts(tokenizer: PreTrainedTokenizerBase, problems: Mapping[str, Problem], judged: Sequence[Judged], limits: Limits) -> Rollouts:
    """Equal programs of a problem as one; their return is the mean of theirs (equal texts have equal verdicts, but for time limits).

    Raises:
        DataError: a program answers a problem that is not there.
    """
    examples, truncation = judged_examples(tokenizer, problems, judged, limits)
    returns = outcome_returns(torch.tensor([example.label for example in examples]))
    members: dict[tuple[str, tuple[int, ...]], list[int]] = {}
    for i, example in enumerate(examples):
        members.setdefault((example.key, example.program), []).append(i)
    distinct = [examples[rows[0]]._replace(repeats=len(rows)) for rows in members.values()]
    means = torch.stack([returns[rows].mean() for rows in members.values()])
    return Rollouts(distinct, means, len(judged), truncation)


def with_advantages(examples: Sequence[Example], returns: Tensor, beta: float, gamma: float, lam: float) -> list[Example]:
    """The examples with `weights`, the advantages A_t by GAE, and `value_targets`, A_t + V(s_t).

    V is `old_values`, 0 where there are none: with lam = 1 the targets are then the returns to come, whatever V will be.

    Args:
        examples: with old_log_probs, and with reference_log_probs where beta is above 0.
        returns: (N,) of whole programs.
        beta: of `penalised_rewards`, return a nat. gamma, lam: of `generalised_advantages`.
    """
    result = []
    for start in range(0, len(examples), CHUNK):
        part = examples[start : start + CHUNK]
        old, mask = _padded([e.old_log_probs for e in part], part)
        reference = _padded([e.reference_log_probs for e in part], part)[0] if beta else old
        values = _padded([e.old_values for e in part], part)[0]
        rewards = penalised_rewards(returns[start : start + len(part)], old, reference, mask, beta)
        advantages = generalised_advantages(rewards, values, mask, gamma, lam)
        for row, example in enumerate(part):
            size = len(example.program)
            weights, targets = advantages[row, :size], advantages[row, :size] + values[row, :size]
            result.append(example._replace(weights=tuple(weights.tolist()), value_targets=tuple(targets.tolist())))
    return result


def explained(examples: Sequence[Example]) -> float:
    """Share of the variance of `value_targets` that `old_values` explain, over programs as they were drawn."""
    values, mask = _padded([e.old_values for e in examples], examples)
    targets = _padded([e.value_targets for e in examples], examples)[0]
    return float(explained_variance(values, targets, mask, torch.tensor([e.repeats for e in examples])))


def as_signal(found: Rollouts, examples: Sequence[Example], scaled: bool) -> Signal:
    """Examples whose weights are their advantages times how often they were drawn, divided by the mean size over the tokens drawn.

    In the signal `zero` is the share of programs none of whose tokens has an advantage, `positive` of those whose mean advantage is above
    0, `value` the mean size of an advantage over the mean size of a return.
    """
    size = tokens = returned = zero = positive = 0.0
    for example, r in zip(examples, found.returns.tolist(), strict=True):
        assert example.weights is not None
        size += example.repeats * sum(map(abs, example.weights))
        tokens += example.repeats * len(example.weights)
        returned += example.repeats * len(example.weights) * abs(r)
        zero += example.repeats * (not any(example.weights))
        positive += example.repeats * (sum(example.weights) > 0)
    scale = size / tokens if scaled and size else 1.0
    weighted = [e._replace(weights=tuple(w * e.repeats / scale for w in e.weights or ())) for e in examples]
    cut = found.truncation
    value = size / returned if returned else 0.0
    return Signal(weighted, found.programs, zero / found.programs, positive / found.programs, len(weighted), value, scale, cut.prompts, cut.programs)


def _padded(rows: Sequence[tuple[float, ...] | None], examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Numbers by token to (B, T), 0 where there are none, and the mask of the examples' tokens."""
    mask = length_mask(torch.tensor([len(e.program) for e in examples]), max(len(e.program) for e in examples))
    return rows_by_token(rows, mask.shape), mask
