"""RLTF (Liu et al., TMLR 2023, arXiv 2307.04349): feedback that is finer than four outcomes: where the error is, and how many tests passed."""

from __future__ import annotations

import torch
from torch import Tensor

FINE_PENALTY = -0.3
"""R_fine, the return of the tokens that an error points at (section 3.4.2)."""


def adaptive_returns(passed: Tensor, total: Tensor) -> Tensor:
    """r = -0.3 + 1.3 · N_pass / (N_pass + N_fail): between CodeRL's "failed test" and "passed". RLTF section 3.4.3.

    For programs that ran; programs that did not compile or raised keep CodeRL's return.

    Args:
        passed: (B,) int, tests passed.
        total: (B,) int >= 1, tests run; all of them, not only those up to the first failure.

    Returns:
        (B,) float32 in [-0.3, 1].
    """
    assert passed.ndim == 1 and passed.shape == total.shape, "passed and total must be (B,)"
    assert bool((total >= 1).all()) and bool(((passed >= 0) & (passed <= total)).all()), "0 <= passed <= total, total >= 1"
    return -0.3 + 1.3 * passed.float() / total.float()


def fine_grained_weights(start: Tensor, end: Tensor, mask: Tensor) -> Tensor:
    """weight[b, t] = R_fine · T_b / (E_b - S_b) for S_b <= t < E_b, else 0. RLTF section 3.4.2.

    S and E bound the tokens of the line that the error names (U_line); the whole program for errors without a place (U_global); S = E for
    errors that say nothing (U_ignore). The factor makes the weight of a program the same however long the line is.
    Differs from the released code, whose factor is always 1 (`len(mask == 1)` is the length of the mask) and which adds the
    penalty to the reward that CodeRL's critic scales.

    Args:
        start, end: (B,) int, 0 <= S <= E <= T_b.
        mask: (B, T) bool, True at tokens of the program.

    Returns:
        (B, T); a constant.
    """
    assert start.ndim == 1 and start.shape == end.shape == mask.shape[:1] and bool((start <= end).all()), "start <= end (B,), mask (B, T)"
    t = torch.arange(mask.shape[1], device=mask.device)
    inside = mask & (t >= start[:, None]) & (t < end[:, None])
    size = inside.sum(dim=1, keepdim=True).clamp(min=1)
    return FINE_PENALTY * mask.sum(dim=1, keepdim=True) / size * inside
