import math

import pytest
import torch

from coderl.formulas.importance import token_ratios
from coderl.formulas.masks import length_mask

MASK = torch.tensor([[True, True], [True, False]])


def test_token_ratios_by_hand():
    # 0.6 / 0.3 = 2, held to 1.5; 0.2 / 0.4 = 0.5; 0.4 / 0.4 = 1; padding 0
    now = torch.tensor([[0.6, 0.2], [0.4, 0.9]]).log()
    old = torch.tensor([[0.3, 0.4], [0.4, 0.1]]).log()
    assert token_ratios(now, old, MASK, 1.5).tolist() == [pytest.approx([1.5, 0.5]), pytest.approx([1.0, 0.0])]


def test_ratios_are_loops():
    draw = torch.Generator().manual_seed(0)
    now, old, mask = -torch.rand(4, 6, generator=draw), -torch.rand(4, 6, generator=draw), length_mask(torch.tensor([6, 3, 1, 4]), 6)
    tokens = token_ratios(now, old, mask, 1.3)
    for b in range(4):
        each = [math.exp(now[b, t] - old[b, t]) for t in range(6) if mask[b, t]]
        assert tokens[b].tolist() == pytest.approx([*(min(1.3, r) for r in each), *[0.0] * (6 - len(each))])


def test_untruncated_ratios_turn_old_tokens_into_fresh_ones():
    # E over w ~ p_old of ρ(w) f(w) is E over w ~ p of f(w)
    p, old, f = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.6, 0.1]), torch.tensor([1.0, -2.0, 5.0])
    ratios = token_ratios(p.log()[None], old.log()[None], torch.ones(1, 3, dtype=torch.bool), 1e9)[0]
    assert (old * ratios * f).sum().item() == pytest.approx((p * f).sum().item())


def test_the_same_actor_counts_once_and_padding_is_not_read():
    now = torch.tensor([[-0.5, -0.25], [-1.0, math.nan]])
    assert token_ratios(now, now, MASK, 1.0).tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert not token_ratios(now.clone().requires_grad_(), now, MASK, 1.0).requires_grad


def test_a_limit_of_zero_is_turned_away():
    with pytest.raises(AssertionError):
        token_ratios(torch.zeros(2, 2), torch.zeros(2, 2), MASK, 0.0)
