"""B-Coder (Yu et al., ICLR 2024, arXiv 2310.03173): value-based reinforcement learning of programs, equation by equation.

A token is an action: s_t = (w_{<t}, D), a_t = w_t, s_{t+1} = s_t and w_t, deterministic. The reward is 0 but at the last token, where it is
CodeRL's return of the outcome (`returns.outcome_returns`). A language model's logits l become a Q function, and back:

    Q(s, a) = A(s, a) + V(s),  A = α (l - max_a l) <= 0        π(a|s) = softmax(Q / α) = softmax(l), whatever V is

    value stage       A of the frozen checkpoint, V learns           (12)   td_losses(action_advantages + V, conservative_targets)
    fine-tuning       l and V learn, beginning as the same Q         (15)   L_Q + β_adv L_adv + β_ce L_ce  (17)
    ranking           what Q says the reward was                     (19)   recovered_rewards, telescoped_return

Arrays are (B, T): position t belongs to token w_t, whose decoder state has read w_{<t}: exactly s_t. A mask is True from the first
token of a program to its last, without holes. L_ce, eq. (1), is `policy_gradient.cross_entropy`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from .masks import masked_mean


def advantages(logits: Tensor, alpha: float) -> Tensor:
    """A(s, a) = α (l(s, a) - max_a l(s, a)), at most 0. B-Coder eq. (7), (9), (16).

    Args:
        logits: (..., V). alpha: temperature of the link between Q and policy, above 0.

    Returns:
        (..., V).
    """
    return alpha * (logits - logits.amax(dim=-1, keepdim=True))


def action_advantages(logits: Tensor, actions: Tensor, alpha: float) -> Tensor:
    """A(s, a) of one action in each state, without the (..., V) array of `advantages`.

    Args:
        logits: (..., V). actions: (...,) int in 0..V-1. alpha: above 0.

    Returns:
        (...,).
    """
    assert actions.shape == logits.shape[:-1], f"one action a state: logits {tuple(logits.shape)}, actions {tuple(actions.shape)}"
    return alpha * (logits.gather(-1, actions[..., None].long()).squeeze(-1) - logits.amax(dim=-1))


def dueling_values(logits: Tensor, values: Tensor, alpha: float) -> Tensor:
    """Q(s, a) = A(s, a) + V(s), so that max_a Q(s, a) = V(s). B-Coder eq. (7), (16); softmax(Q / α) = softmax(l) is eq. (11).

    Args:
        logits: (..., V). values: (...,), V(s). alpha: above 0.

    Returns:
        (..., V).
    """
    assert values.shape == logits.shape[:-1], f"one value a state: logits {tuple(logits.shape)}, values {tuple(values.shape)}"
    return advantages(logits, alpha) + values[..., None]


def softabs(x: Tensor, printed: bool = False) -> Tensor:
    """softabs(x) = [softplus(x) + softplus(-x)] / 2 - ln 2 = ln cosh(x / 2): 0 at 0, |x| / 2 - ln 2 far from it. B-Coder appendix G.1.

    Differs from the paper, which prints + ln 2: its least value is then 2 ln 2, no state could be worth more than R_max - 1.39, and the
    value of a program that passes, R_max, could not be said. `printed` has it as it is printed.

    Args:
        x: any shape.
    """
    return (functional.softplus(x) + functional.softplus(-x)) / 2 + (math.log(2) if printed else -math.log(2))


def capped_values(raw: Tensor, highest: float, printed: bool = False) -> Tensor:
    """V(s) = R_max - softabs(raw): no value above the best return. B-Coder appendix G.1.

    The slope at raw = 0 is 0, so a head must not begin there. In fine-tuning raw is the sum of both parts, raw_φ + V^r: the paper does not
    say whether the cap is on the sum; on the sum, and with V^r = 0, Q_θ is Q_φ.

    Args:
        raw: any shape, what the heads say. highest: R_max. printed: `softabs` with the sign of the paper.
    """
    return highest - softabs(raw, printed)


def terminal_rewards(returns: Tensor, mask: Tensor) -> Tensor:
    """r_t = 0 for t < T, r_T = the return of the program. B-Coder section 2.

    Args:
        returns: (B,). mask: (B, T) bool.

    Returns:
        (B, T); a program without tokens has no reward.
    """
    assert returns.ndim == 1 and mask.shape[:1] == returns.shape, f"returns (B,) {tuple(returns.shape)}, mask (B, T) {tuple(mask.shape)}"
    return returns[:, None] * (mask & ~_shifted(mask, False))


def conservative_targets(rewards: Tensor, greedy_values: Tensor, mask: Tensor, discount: float) -> Tensor:
    """(B^q Q)(s_t, a_t) = r_t + γ Q(s_{t+1}, â_{t+1}), â = argmax_a p_ckpt(a|s): B-Coder eq. (14), the target of (12) and (15).

    The last token's state has no successor: its target is r_T. A constant (SG of the equations: no gradient goes through it, and there is
    no other target network). With the checkpoint's own A, Q(s, â) = V(s). With max_a Q(s, a) = V(s) for Q(s, â) it is eq. (13),
    plain Q-learning.

    Args:
        rewards: (B, T) of `terminal_rewards`. greedy_values: (B, T), Q(s_t, â_t) of each state. mask: (B, T) bool. discount: γ.

    Returns:
        (B, T), 0 where the mask is False.
    """
    assert rewards.shape == greedy_values.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    return torch.where(mask, rewards + discount * _successors(greedy_values, mask), 0.0).detach()


def td_losses(action_values: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """(1/T) Σ_t [target_t - Q(s_t, a_t)]² of each program. B-Coder eq. (12), (15); their expectation is the caller's mean.

    Args:
        action_values: (B, T), Q(s_t, a_t). targets: (B, T) constants. mask: (B, T) bool.

    Returns:
        (B,), 0 for a program without tokens.
    """
    assert action_values.shape == targets.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    errors = torch.where(mask, targets.detach(), 0.0) - torch.where(mask, action_values, 0.0)
    return errors.square().sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def advantage_loss(taken: Tensor, mask: Tensor) -> Tensor:
    """L_adv = Σ_t |A(s_t, w*_t)| / Σ_t 1: the tokens of ground truth should be greedy ones. B-Coder eq. (8).

    Differs from the paper, which writes the sum: the mean over the tokens of the batch, as for L_ce.

    Args:
        taken: (B, T), A of the tokens that are there. mask: (B, T) bool, True at tokens of ground truth.
    """
    assert taken.shape == mask.shape, f"taken {tuple(taken.shape)} and mask {tuple(mask.shape)} must agree"
    return masked_mean(taken.abs(), mask)


def recovered_rewards(action_values: Tensor, greedy_values: Tensor, mask: Tensor, discount: float, end_values: Tensor | None = None) -> Tensor:
    """r̃_t = Q(s_t, a_t) - γ Q(s_{t+1}, â_{t+1}). B-Coder eq. (19); with V(s) for Q(s, â) the approximation of appendix F.

    The inverse of `conservative_targets`: of a Q that satisfies (14), r̃ is the reward.

    Args:
        action_values: (B, T), Q(s_t, a_t). greedy_values: (B, T), Q(s_t, â_t), or V(s_t). mask: (B, T) bool. discount: γ.
        end_values: (B,) of the state behind the last token. The paper does not say whether it counts; None = 0, since training never
            gave it a target.

    Returns:
        (B, T), 0 where the mask is False.
    """
    assert action_values.shape == greedy_values.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    following = _successors(greedy_values, mask)
    if end_values is not None:
        following = following + terminal_rewards(end_values, mask)
    return torch.where(mask, action_values - discount * following, 0.0)


class RecoveredReturn(NamedTuple):
    """R̃(W), (B,) each: `advantage` + `value`."""

    advantage: Tensor
    value: Tensor


def telescoped_return(taken: Tensor, values: Tensor, mask: Tensor, discount: float) -> RecoveredReturn:
    """R̃(W) = Σ_t r̃_t with V(s) for Q(s, â) = [Σ_t A(s_t, a_t)] + [V(s_0) + (1 - γ) Σ_{t>=1} V(s_t)]. Derived from B-Coder eq. (19).

    All programs of a problem have the same V(s_0), and γ is near 1: the ranking is by the sum of advantages, α times how far each
    token's logit is from the greedy token's, and by a thousandth of the values on the way.

    Args:
        taken: (B, T), A(s_t, a_t). values: (B, T), V(s_t). mask: (B, T) bool. discount: γ.
    """
    assert taken.shape == values.shape == mask.shape and mask.dtype == torch.bool, "three (B, T), mask bool"
    first = mask & (mask.cumsum(dim=1) == 1)
    share = torch.where(first, 1.0, 1 - discount)
    return RecoveredReturn(torch.where(mask, taken, 0.0).sum(dim=1), torch.where(mask, share * values, 0.0).sum(dim=1))


def _successors(x: Tensor, mask: Tensor) -> Tensor:
    """x[b, t + 1] where the program goes on, else 0."""
    return torch.where(_shifted(mask, False), _shifted(x, 0.0), 0.0)


def _shifted(x: Tensor, last: float | bool) -> Tensor:
    return torch.cat([x[:, 1:], x.new_full((len(x), 1), last)], dim=1)
