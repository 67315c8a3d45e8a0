"""CodeRL (Le et al., NeurIPS 2022, arXiv 2207.01780): the critic's loss, its reading of single tokens, and the token weights.

The actor's gradient is eq. (14):  - (r(W^s) - r(W^b)) Σ_t q̂(w_t) ∇ log p(w_t | w_{1:t-1}, D). This page has q̂ and the weights
(r(W^s) - r(W^b)) q̂(w_t); `policy_gradient` has the sum; `returns` has r. The four rows of the paper's Table 2 are four calls:

    A  baseline, no critic       constant_weights(relative_returns(r, b), mask)
    B  critic, no baseline       critic_weights(r, values, mask)
    C  baseline, "dist." rule    decaying_weights(relative_returns(r, b), mask)
    D  CodeRL                    critic_weights(relative_returns(r, b), values, mask)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional


def critic_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_critic = - log p_φ(u | W^s, D), mean over programs. CodeRL eq. (9).

    Args:
        logits: (B, C) of whole programs, C = 4 outcomes, or 2 (failed, passed) for the critic of critic sampling.
        labels: (B,) int in 0..C-1, what the tests said.

    Returns:
        scalar, nats a program.
    """
    assert logits.ndim == 2 and labels.shape == logits.shape[:1], f"logits (B, C) {tuple(logits.shape)}, labels (B,) {tuple(labels.shape)}"
    return functional.cross_entropy(logits.float(), labels)


def prefix_loss(logits: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """L_prefix = - (1/T) Σ_t log p_φ(u | w_{1:t}, D), mean over programs: the outcome is predicted from every prefix.

    Not in the paper, whose head learns from pooled states alone (eq. 9) and is then asked about single ones (eq. 10 and 11), which it has
    never seen. At its minimum v̂_t is the true chance of each outcome of a program that begins like this. Every program weighs the same.

    Args:
        logits: (B, T, C) of every position.
        labels: (B,) int in 0..C-1, what the tests said.
        mask: (B, T) bool, at least one position in each row.

    Returns:
        scalar, nats a program.
    """
    assert logits.ndim == 3 and labels.shape == logits.shape[:1] and mask.shape == logits.shape[:2], "logits (B, T, C), labels (B,), mask (B, T)"
    every = labels[:, None].expand_as(mask)
    losses = functional.cross_entropy(logits.float().flatten(0, 1), every.flatten(), reduction="none").view_as(mask)
    return (torch.where(mask, losses, 0.0).sum(dim=1) / mask.sum(dim=1)).mean()


def token_values(logits: Tensor, outcomes: Tensor) -> Tensor:
    """q̂(w_t) = softmax(logits_t)[u], u the outcome that the tests gave. CodeRL section 3.3.2, used in eq. (10).

    In (0, 1): it scales a token's weight and never turns its sign. A constant for the actor (detached). What `logits_t` has read is the
    critic's affair: w_1..w_t for `models.critic`, only w_1..w_{t-1} in the released code.

    Args:
        logits: (B, T, C) of every position.
        outcomes: (B,) int in 0..C-1, the actual outcome (not the predicted one).

    Returns:
        (B, T) float32 probabilities.
    """
    assert logits.ndim == 3 and outcomes.shape == logits.shape[:1], f"logits (B, T, C) {tuple(logits.shape)}, outcomes {tuple(outcomes.shape)}"
    index = outcomes[:, None, None].expand(-1, logits.shape[1], 1)
    return logits.detach().float().softmax(dim=-1).gather(-1, index).squeeze(-1)


def passed_probabilities(logits: Tensor) -> Tensor:
    """p_φ(PassedTest | w_{1:t}, D) for every prefix: q̂ of critic sampling. CodeRL eq. (11); of whole programs eq. (12).

    Passed is the last class, of four outcomes as of two. Detached.

    Args:
        logits: (B, T, C) of every position, or (B, C) of whole programs.

    Returns:
        (B, T), or (B,), float32 probabilities.
    """
    assert logits.ndim in (2, 3) and logits.shape[-1] in (2, 4), f"logits must be (B, T, C) or (B, C), C 2 or 4; found {tuple(logits.shape)}"
    return logits.detach().float().softmax(dim=-1)[..., -1]


def constant_weights(returns: Tensor, mask: Tensor) -> Tensor:
    """weight[b, t] = r[b]: every token has the return of its program. CodeRL eq. (3) and (8), Table 2 row A.

    Args:
        returns: (B,) absolute or relative returns.
        mask: (B, T) bool.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert returns.ndim == 1 and mask.shape[:1] == returns.shape, f"returns (B,) {tuple(returns.shape)}, mask (B, T) {tuple(mask.shape)}"
    return returns.detach()[:, None] * mask


def decaying_weights(returns: Tensor, mask: Tensor) -> Tensor:
    """weight[b, t] = r[b] · (T_b - t + 1) / T_b, t = 1..T_b: linear decay from r to r / T_b. CodeRL Table 2 row C ("dist.").

    The paper says only that the weight decays linearly from t = 1 to t = T. Our reading: it starts at 1, every step is the same, and the
    last token keeps 1/T_b, so that no token is dropped. t counts the positions in the mask, T_b how many there are.

    Args:
        returns: (B,) absolute or relative returns.
        mask: (B, T) bool.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert returns.ndim == 1 and mask.shape[:1] == returns.shape, f"returns (B,) {tuple(returns.shape)}, mask (B, T) {tuple(mask.shape)}"
    t = mask.cumsum(dim=1)  # (B, T), 1 at the first token that counts
    size = mask.sum(dim=1, keepdim=True)  # (B, 1)
    return returns.detach()[:, None] * (size - t + 1) / size.clamp(min=1) * mask


def critic_weights(returns: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """weight[b, t] = r[b] · q̂[b, t]. CodeRL eq. (10) and (14), Table 2 rows B (absolute r) and D (relative r).

    Args:
        returns: (B,) absolute or relative returns.
        values: (B, T) q̂ of `token_values`.
        mask: (B, T) bool.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert returns.ndim == 1 and values.shape == mask.shape and mask.shape[:1] == returns.shape, "returns (B,), values and mask (B, T)"
    return torch.where(mask, returns.detach()[:, None] * values.detach(), 0.0)


def value_changes(passed: Tensor, before: Tensor, final: Tensor, mask: Tensor) -> Tensor:
    """weight[b, t] = p_t - p_{t-1}, p_0 = `before`, p at the last token replaced by `final`: what each token did to the chance of passing.

    Not in the paper, which multiplies (eq. 10). The changes of a program add up to final - before: to the critic's own verdict with
    final = p_T, to the truth with final = 1 for a pass and 0 otherwise. With the true p they are the advantages of the token MDP for
    the return "passed", so, unlike q̂ in eq. (10), they may turn the sign of single tokens.

    Args:
        passed: (B, T) `passed_probabilities` of prefixes, after w_t was read.
        before: (B,) the same before the first token.
        final: (B,) what the last token is held to.
        mask: (B, T) bool, True from the first token to the last, at least one.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert passed.shape == mask.shape and before.shape == final.shape == mask.shape[:1], "passed and mask (B, T), before and final (B,)"
    last = mask & (mask.sum(dim=1, keepdim=True) == mask.cumsum(dim=1))
    now = torch.where(last, final[:, None], passed)
    return torch.where(mask, now - torch.cat([before[:, None], passed[:, :-1]], dim=1), 0.0).detach()


class ReleasedRewards(NamedTuple):
    """What `released_token_rewards` gives: `rewards` (B, T) float32, and `kept` (B, T) bool, False where the label becomes -100."""

    rewards: Tensor
    kept: Tensor


def released_token_rewards(logits: Tensor, outcomes: Tensor, returns: Tensor) -> ReleasedRewards:
    """reward[b, t] = softmax(logits[b, t])[u_b] · r[b], as the released code computes it from stored critic scores.

    Rows whose first logit is -inf get reward 0 and lose their label: the mark of padding, decided by column 0 alone, that the published
    scores never carry. So their rewards at padding are not 0, and only labels of -100 take them out of the loss.
    Differs from `critic_weights`: no mask, and the stored logits of position t have read w_1..w_{t-1} only.

    Args:
        logits: (B, T, 4) stored states of the error head.
        outcomes: (B,) int in 0..3.
        returns: (B,) absolute or relative returns.
    """
    assert logits.ndim == 3 and outcomes.shape == returns.shape == logits.shape[:1], "logits (B, T, 4), outcomes and returns (B,)"
    kept = logits[..., 0] != -torch.inf
    values = token_values(torch.where(kept[..., None], logits, 0.0), outcomes)
    return ReleasedRewards(critic_weights(returns, values, kept), kept)
