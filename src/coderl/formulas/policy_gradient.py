"""The losses of the actor. CodeRL, REINFORCE, expert iteration and their kin differ only in the (B, T) array of token weights.

    loss = -  Σ_t weight_t · log p(w_t | w_{1:t-1}, D)        with weight 1 everywhere: supervised cross-entropy

Weights are constants: no gradient goes through them, whatever they were computed from.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .masks import masked_mean


def policy_gradient_loss(log_probs: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """L_rl = -(1/B) Σ_b Σ_t weight[b, t] log p(w_t), the sum over tokens as the paper writes it. CodeRL eq. (2), (3), (10), (14).

    With weight = (r(W^s) - r(W^b)) q̂(w_t) its gradient is the one-sample estimate of eq. (14), averaged over the batch.
    Differs from the released code, which takes the mean over all tokens of the batch: `policy_gradient_loss_token_mean`. The sum grows
    with the length of the program, so the two want different learning rates.

    Args:
        log_probs: (B, T) log p of the sampled tokens, nats.
        weights: (B, T) constants (detached here).
        mask: (B, T) bool, True at tokens of the program.

    Returns:
        scalar, nats a program.
    """
    assert log_probs.ndim == 2 and log_probs.shape == weights.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    return -_weighted(log_probs, weights, mask).sum() / len(log_probs)


def policy_gradient_loss_token_mean(log_probs: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """L_rl = - Σ_{b,t} weight[b, t] log p(w_t) / Σ_{b,t} mask[b, t], as in the released code (T5 `rl` mode).

    Differs from the paper's sum: long programs weigh more within a batch, and the gradient of one program shrinks with the length of
    the others. Tokens of weight 0 count in the mean.

    Args:
        log_probs: (B, T) log p of the sampled tokens, nats.
        weights: (B, T) constants (detached here).
        mask: (B, T) bool, True at tokens of the program.

    Returns:
        scalar, nats a token.
    """
    assert log_probs.ndim == 2 and log_probs.shape == weights.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    return -masked_mean(_weighted(log_probs, weights, mask), mask)


def cross_entropy(log_probs: Tensor, mask: Tensor) -> Tensor:
    """L_ce = - Σ_{b,t} log p(w_t | w_{1:t-1}, D) / Σ_{b,t} mask[b, t]. CodeRL eq. (1), as a token mean.

    Differs from the paper, which writes the sum over the tokens of one program; the mean over the tokens of the batch is what the
    released code (and Hugging Face) computes. The paper's sum, averaged over programs, is `policy_gradient_loss` with weights of 1.

    Args:
        log_probs: (B, T) log p of the reference's tokens, nats.
        mask: (B, T) bool.

    Returns:
        scalar, nats a token.
    """
    assert log_probs.ndim == 2 and log_probs.shape == mask.shape and mask.dtype == torch.bool, "two (B, T), mask bool"
    return -masked_mean(log_probs, mask)


def _weighted(log_probs: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
    """weight · log p, 0 outside the mask; both factors are masked, so that a NaN in padding reaches neither value nor gradient."""
    return torch.where(mask, weights.detach(), 0.0) * torch.where(mask, log_probs, 0.0)
