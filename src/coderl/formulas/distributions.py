"""How sure a model is of its next token, and how far its choice lies from another model's: exact, over the whole vocabulary.

They are watched, not minimised. Averaged over the tokens of programs that p itself drew (temperature 1, whole vocabulary) both are
unbiased for whole programs, by the chain rule: H(W) = E Σ_t H_t, KL(p || q) = E Σ_t KL_t.
"""

from __future__ import annotations

from torch import Tensor


def token_entropies(logits: Tensor) -> Tensor:
    """H[n] = - Σ_v p[n, v] log p[n, v],  p = softmax(logits). Shannon 1948; what DAPO (Yu et al. 2025, figure 2b) watches.

    0: one token is certain; log V: all are alike.

    Args:
        logits: (..., V), computed in float32 whatever they are.

    Returns:
        (...) float32, nats.
    """
    assert logits.ndim >= 1, "logits must be (..., V)"
    log_p = logits.float().log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def token_divergences(logits: Tensor, reference: Tensor) -> Tensor:
    """KL[n] = Σ_v p[n, v] (log p[n, v] - log q[n, v]),  p of `logits`, q of `reference`. Ziegler et al. 2019, eq. (2), in its expectation.

    Differs from `formulas.ppo.divergence_estimates`, which estimates the same from the one token that was drawn: this has no noise and
    needs both distributions. Never negative but for rounding.

    Args:
        logits: (..., V) of the actor.
        reference: (..., V) of the model that it began as.

    Returns:
        (...) float32, nats.
    """
    assert logits.shape == reference.shape and logits.ndim >= 1, f"two (..., V), found {tuple(logits.shape)} and {tuple(reference.shape)}"
    log_p, log_q = logits.float().log_softmax(-1), reference.float().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
