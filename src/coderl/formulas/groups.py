"""Baselines from the other samples of the same problem: leave-one-out (RLOO) and GRPO's normalised group. No critic, no greedy program.

Both turn returns into one advantage for each program; `coderl.constant_weights` spreads it over the tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def leave_one_out_advantages(returns: Tensor, groups: Tensor) -> Tensor:
    """A_i = r_i - (1 / (G - 1)) Σ_{j ≠ i} r_j over the G programs of a problem. RLOO: Kool et al. 2019, eq. (8); Ahmadian et al. 2024.

    The others are drawn independently of program i, so the baseline leaves the expected gradient as it is. A program that is alone in its
    group has nothing to be compared with: 0.

    Args:
        returns: (B,) returns.
        groups: (B,) int >= 0: which problem a program answers.

    Returns:
        (B,); the advantages of a group add up to 0.
    """
    sums, counts = _group_sums(returns, groups)
    others = (counts - 1).clamp(min=1)
    return torch.where(_spread(returns, groups) > 0, returns - (sums - returns) / others, 0.0)


def normalised_group_advantages(returns: Tensor, groups: Tensor, epsilon: float = 1e-6) -> Tensor:
    """A_i = (r_i - mean(r)) / (std(r) + ε) over the programs of a problem. GRPO: Shao et al. 2024 (DeepSeekMath), section 4.1.2.

    std divides by G (some implementations by G - 1). A group whose returns are all equal gives 0: no gradient.
    Differs from `leave_one_out_advantages`: the mean takes in program i itself, a factor (G - 1) / G, and the division by std makes
    problems that are nearly always or nearly never solved count as much as the others.

    Args:
        returns: (B,) returns.
        groups: (B,) int >= 0: which problem a program answers.
        epsilon: > 0, keeps groups without spread finite.

    Returns:
        (B,).
    """
    assert epsilon > 0, f"epsilon must be above 0, found {epsilon}"
    sums, counts = _group_sums(returns, groups)
    centred = torch.where(_spread(returns, groups) > 0, returns - sums / counts, 0.0)
    squares, _ = _group_sums(centred.square(), groups)
    return centred / ((squares / counts).sqrt() + epsilon)


def _spread(values: Tensor, groups: Tensor) -> Tensor:
    """For each program: the largest value of its group minus the smallest. Exactly 0 where all are equal, which rounded sums are not."""
    size = int(groups.max()) + 1 if len(groups) else 0
    highest = values.new_zeros(size).scatter_reduce(0, groups, values, "amax", include_self=False)
    lowest = values.new_zeros(size).scatter_reduce(0, groups, values, "amin", include_self=False)
    return (highest - lowest)[groups]


def _group_sums(values: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """For each program: the sum of the values in its group, and the size of its group."""
    assert values.ndim == 1 and groups.shape == values.shape and bool((groups >= 0).all()), "values (B,), groups (B,) int >= 0"
    size = int(groups.max()) + 1 if len(groups) else 0
    sums = values.new_zeros(size).index_add(0, groups, values)
    counts = torch.bincount(groups, minlength=size).to(values.dtype)
    return sums[groups], counts[groups]
