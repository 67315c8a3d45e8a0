"""Masks, and what every loss needs before its own equation: masked reductions, the shift of the labels, log-probabilities of tokens.

A mask is bool and True where a position counts. Nothing here knows about returns, critics or algorithms.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -100
"""The label of a position that does not count (the convention of PyTorch and of the released code)."""


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """mask[b, t] = t < lengths[b].

    Args:
        lengths: (B,) int, tokens that count; more than `size` means all of them.
        size: T.

    Returns:
        (B, T) bool.
    """
    assert lengths.ndim == 1, f"lengths must be (B,), found {tuple(lengths.shape)}"
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Σ x[b, t] mask[b, t] / Σ mask[b, t]: the mean over all positions of the batch that count.

    A token mean: a long program weighs more than a short one. 0 if nothing counts. What lies outside the mask is never read, so a
    NaN there does no harm.

    Args:
        x: (B, T) float (or any shape).
        mask: bool, the shape of x.

    Returns:
        scalar.
    """
    assert x.shape == mask.shape and mask.dtype == torch.bool, f"x {tuple(x.shape)} and a bool mask {tuple(mask.shape)} must agree"
    return torch.where(mask, x, 0.0).sum() / mask.sum().clamp(min=1)


def masked_max(x: Tensor, mask: Tensor) -> Tensor:
    """h_pool[b, d] = max over t with mask[b, t] of x[b, t, d] (CodeRL section 3.3.2, MaxPool over time).

    Differs from the released code, which takes the maximum over all positions, padding included (`models.critic.ReleasedHead`).
    A row in which nothing counts gives zeros.

    Args:
        x: (B, T, D) float.
        mask: (B, T) bool.

    Returns:
        (B, D).
    """
    assert x.ndim == 3 and x.shape[:2] == mask.shape and mask.dtype == torch.bool, f"x (B, T, D) {tuple(x.shape)}, bool mask {tuple(mask.shape)}"
    highest = x.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)
    return highest.masked_fill(~mask.any(dim=1)[:, None], 0.0)


def shift_right(labels: Tensor, start_id: int, pad_id: int, ignore: int = IGNORE) -> Tensor:
    """Decoder inputs for teacher forcing: input[0] = start, input[t] = label[t - 1], with ignored labels replaced by padding.

    A decoder fed with this has, at position t, read every label before label[t] and not label[t] itself.

    Args:
        labels: (B, T) int, `ignore` where nothing is to be predicted.

    Returns:
        (B, T) int.
    """
    assert labels.ndim == 2, f"labels must be (B, T), found {tuple(labels.shape)}"
    shifted = torch.cat([labels.new_full((len(labels), 1), start_id), labels[:, :-1]], dim=1)
    return shifted.masked_fill(shifted == ignore, pad_id)


def token_log_probs(logits: Tensor, labels: Tensor) -> Tensor:
    """log p(w_t | w_{1:t-1}, D) = logits[t, w_t] - log Σ_v exp logits[t, v]; 0 where the label is -100.

    Computed in float32 whatever the logits are.

    Args:
        logits: (B, T, V); position t predicts label t.
        labels: (B, T) int, -100 where nothing counts.

    Returns:
        (B, T) float32, in nats.
    """
    assert logits.ndim == 3 and logits.shape[:2] == labels.shape, f"logits (B, T, V) {tuple(logits.shape)}, labels {tuple(labels.shape)}"
    losses = functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return -losses.view_as(labels)
