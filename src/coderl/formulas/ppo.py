"""PPO (Schulman et al. 2017, arXiv 1707.06347) on the tokens of programs: clipped policy loss, advantages by GAE, value loss, the
penalty for leaving the reference model. GRPO uses the clipped loss and the estimate of the divergence with its own advantages.

An episode is one program: w_t is the action, (D, w_{1:t-1}) the state, the return of the tests comes with the last token.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .masks import masked_mean


def clipped_loss(log_probs: Tensor, old_log_probs: Tensor, advantages: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
    """L = - mean_{b,t} min(ρ A, clip(ρ, 1 - low, 1 + high) A),  ρ[b, t] = exp(log p(w_t) - log p_old(w_t)). PPO eq. (7).

    Differs from the paper of GRPO, eq. (3), in the mean: there over the tokens of each program first, here over all tokens of the batch
    (as DAPO, Yu et al. 2025, eq. 8); `low` and `high` may differ ("clip higher", there eq. 10), PPO and GRPO have low = high.
    At p = p_old its gradient is that of `policy_gradient_loss_token_mean`.

    Args:
        log_probs: (B, T) log p of the sampled tokens, nats.
        old_log_probs: (B, T) of the model that drew them; a constant.
        advantages: (B, T); a constant.
        mask: (B, T) bool, True at tokens of the program.
        low, high: the ratio counts within [1 - low, 1 + high]; 0 < low <= 1, high > 0.

    Returns:
        scalar.
    """
    assert log_probs.ndim == 2 and log_probs.shape == old_log_probs.shape == advantages.shape == mask.shape, "four (B, T)"
    assert 0 < low <= 1 and high > 0, f"low must be in (0, 1] and high above 0, found {low} and {high}"
    difference = torch.where(mask, log_probs - old_log_probs.detach(), 0.0)
    weights = torch.where(mask, advantages.detach(), 0.0)
    ratio = difference.exp()
    return -masked_mean(torch.minimum(ratio * weights, ratio.clamp(1 - low, 1 + high) * weights), mask)


def clipped_share(log_probs: Tensor, old_log_probs: Tensor, mask: Tensor, low: float, high: float) -> Tensor:
    """Share of tokens whose ratio p / p_old lies outside [1 - low, 1 + high]: how far the actor has gone from its samples. In [0, 1]."""
    ratio = torch.where(mask, log_probs - old_log_probs, 0.0).exp()
    return masked_mean(((ratio < 1 - low) | (ratio > 1 + high)).float(), mask)


def divergence_estimates(log_probs: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """k[b, t] = exp(x) - x - 1 with x = log p_ref(w_t) - log p(w_t): never negative, and KL(p || p_ref) on average over tokens drawn from p.

    Schulman 2020 ("Approximating KL divergence", k3); DeepSeekMath eq. (4). The gradient goes through `log_probs`.

    Args:
        log_probs: (B, T) of the actor, nats.
        reference: (B, T) of the reference model (the warm start); a constant.
        mask: (B, T) bool.

    Returns:
        (B, T), 0 where the mask is False.
    """
    assert log_probs.ndim == 2 and log_probs.shape == reference.shape == mask.shape, "three (B, T)"
    x = torch.where(mask, reference.detach() - log_probs, 0.0)
    return x.exp() - x - 1


def penalised_rewards(returns: Tensor, log_probs: Tensor, reference: Tensor, mask: Tensor, beta: float) -> Tensor:
    """reward[b, t] = - β (log p(w_t) - log p_ref(w_t)) + [t = T_b] r[b]. Ziegler et al. 2019, eq. (2), by token; PPOCoder, eq. (9).

    PPOCoder adds matches of syntax trees and data flow to r; here r is CodeRL's return (as B-Coder's Table 6 has it for APPS).

    Args:
        returns: (B,) of whole programs.
        log_probs, reference: (B, T) of the drawing actor and of the reference model, nats; constants.
        mask: (B, T) bool, True from the first token to the last, at least one.
        beta: >= 0.

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert returns.ndim == 1 and log_probs.shape == reference.shape == mask.shape and beta >= 0, "returns (B,), three (B, T), beta >= 0"
    penalty = torch.where(mask, beta * (log_probs - reference), 0.0).detach()
    last = mask & (mask.sum(dim=1, keepdim=True) == mask.cumsum(dim=1))
    return torch.where(last, returns.detach()[:, None] - penalty, -penalty)


def generalised_advantages(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = δ_t + γ λ A_{t+1},  δ_t = reward_t + γ V(s_{t+1}) - V(s_t),  V and A behind the last token 0. GAE: Schulman et al. 2016, eq. (16).

    λ = 1: return to come minus V(s_t); λ = 0: the one-step difference. A_t + V(s_t) is what the value head is fitted to.

    Args:
        rewards: (B, T) `penalised_rewards`.
        values: (B, T) V(s_t), s_t = (D, w_{1:t-1}): what the value head says before w_t is read.
        mask: (B, T) bool, True from the first token to the last.
        gamma, lam: in [0, 1].

    Returns:
        (B, T), 0 where the mask is False; a constant.
    """
    assert rewards.ndim == 2 and rewards.shape == values.shape == mask.shape, "three (B, T)"
    assert 0 <= gamma <= 1 and 0 <= lam <= 1, f"gamma and lam must be in [0, 1], found {gamma} and {lam}"
    rewards, values = torch.where(mask, rewards, 0.0).detach(), torch.where(mask, values, 0.0).detach()
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    deltas = rewards + gamma * following - values
    advantages, running = torch.zeros_like(values), values.new_zeros(len(values))
    for t in reversed(range(values.shape[1])):
        running = torch.where(mask[:, t], deltas[:, t] + gamma * lam * running, 0.0)
        advantages[:, t] = running
    return advantages


def clipped_value_loss(values: Tensor, old_values: Tensor, targets: Tensor, mask: Tensor, clip: float, counts: Tensor) -> Tensor:
    """L_V = ½ mean_{b,t} max((V - R)², (V_old + clip(V - V_old, -c, c) - R)²). As in OpenAI's baselines and PPOCoder (c = 0.2).

    The mean is over programs as they were drawn, though equal ones are one row: V is an expectation, and what is drawn often counts often.

    Args:
        values: (B, T) of the value head.
        old_values: (B, T) when the programs were drawn; a constant.
        targets: (B, T) R = A + V_old; a constant.
        mask: (B, T) bool.
        clip: c > 0; infinite: plain squares.
        counts: (B,) int >= 1, how often each program was drawn.

    Returns:
        scalar.
    """
    assert values.ndim == 2 and values.shape == old_values.shape == targets.shape == mask.shape and clip > 0, "four (B, T), clip > 0"
    assert counts.shape == values.shape[:1], f"counts must be (B,), found {tuple(counts.shape)}"
    old = torch.where(mask, old_values.detach(), 0.0)
    wanted, values = torch.where(mask, targets.detach(), 0.0), torch.where(mask, values, 0.0)
    near = old + (values - old).clamp(-clip, clip)
    each = counts[:, None] * mask
    return 0.5 * (each * torch.maximum((values - wanted).square(), (near - wanted).square())).sum() / each.sum().clamp(min=1)


def explained_variance(values: Tensor, targets: Tensor, mask: Tensor, counts: Tensor) -> Tensor:
    """1 - Σ n (V - R)² / Σ n (R - mean R)²: 1 where the values are the targets, 0 where a constant would do as well; below 0 it is worse.

    Args:
        values, targets: (B, T). mask: (B, T) bool, True somewhere. counts: (B,) int >= 1, n, how often each program was drawn.

    Returns:
        scalar; 0 where all targets are equal.
    """
    assert values.ndim == 2 and values.shape == targets.shape == mask.shape and counts.shape == values.shape[:1], "three (B, T), counts (B,)"
    each, wanted = counts[:, None] * mask, torch.where(mask, targets, 0.0)
    mean = (each * wanted).sum() / each.sum().clamp(min=1)
    spread = (each * (wanted - mean).square()).sum()
    left = (each * (torch.where(mask, values, 0.0) - wanted).square()).sum()
    return torch.where(spread > 0, 1 - left / spread.clamp(min=torch.finfo(spread.dtype).tiny), 0.0)
