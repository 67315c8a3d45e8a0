"""Programs that another actor drew: how much each counts for the actor as it is now, without letting a few count for everything."""

from __future__ import annotations

import torch
from torch import Tensor


def token_ratios(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, limit: float) -> Tensor:
    """ρ[b, t] = min(limit, p(w_t) / p_old(w_t)): one ratio for each token, truncated. V-trace: Espeholt et al. 2018, c̄ and ρ̄.

    A token weight: multiplied with the others, constant for the actor. Exact for the token given its prefix, not for the program.

    Args:
        log_probs, old_log_probs: (B, T) of the actor now and when it drew, nats.
        mask: (B, T) bool.
        limit: > 0; 1 never lets an old program count more than a fresh one.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert log_probs.ndim == 2 and log_probs.shape == old_log_probs.shape == mask.shape and limit > 0, "three (B, T), limit > 0"
    return torch.where(mask, torch.where(mask, log_probs - old_log_probs, 0.0).exp().clamp(max=limit), 0.0).detach()
