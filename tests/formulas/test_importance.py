import itertools
import math

import pytest
import torch

from coderl.formulas.importance import program_ratios, token_ratios
from coderl.formulas.masks import length_mask

MASK = torch.tensor([[True, True], [True, False]])


def test_token_ratios_by_hand():
    # 0.6 / 0.3 = 2, held to 1.5; 0.2 / 0.4 = 0.5; 0.4 / 0.4 = 1; padding 0
    now = torch.tensor([[0.6, 0.2], [0.4, 0.9]]).log()
    old = torch.tensor([[0.3, 0.4], [0.4, 0.1]]).log()
    assert token_ratios(now, old, MASK, 1.5).tolist() == [pytest.approx([1.5, 0.5]), pytest.approx([1.0, 0.0])]
    assert program_ratios(now, old, MASK, 1.5).tolist() == pytest.approx([1.0, 1.0])  # 2 * 0.5 and 1
    assert program_ratios(now, old, MASK, 0.7).tolist() == pytest.approx([0.7, 0.7])


def test_ratios_are_loops():
    draw = torch.Generator().manual_seed(0)
    now, old, mask = -torch.rand(4, 6, generator=draw), -torch.rand(4, 6, generator=draw), length_mask(torch.tensor([6, 3, 1, 4]), 6)
    tokens, programs = token_ratios(now, old, mask, 1.3), program_ratios(now, old, mask, 1.3)
    for b in range(4):
        each = [math.exp(now[b, t] - old[b, t]) for t in range(6) if mask[b, t]]
        assert tokens[b, : len(each)].tolist() == pytest.approx([min(1.3, r) for r in each])
        assert programs[b].item() == pytest.approx(min(1.3, math.prod(each)))


def test_untruncated_program_ratios_turn_old_samples_into_fresh_ones():
    # E over W ~ p_old of ρ(W) f(W) is E over W ~ p of f(W): all 8 programs of three coin tosses
    p, old = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([0.4, 0.6], dtype=torch.float64)
    programs = torch.tensor(list(itertools.product(range(2), repeat=3)))
    f = torch.arange(8, dtype=torch.float64).square()
    mask = torch.ones(8, 3, dtype=torch.bool)
    ratios = program_ratios(p.log()[programs], old.log()[programs], mask, 1e9)
    assert (old[programs].prod(1) * ratios * f).sum().item() == pytest.approx((p[programs].prod(1) * f).sum().item())


def test_the_same_actor_counts_once_and_padding_is_not_read():
    now = torch.tensor([[-0.5, -0.25], [-1.0, math.nan]])
    assert token_ratios(now, now, MASK, 1.0).tolist() == [[1.0, 1.0], [1.0, 0.0]]
    assert program_ratios(now, now, MASK, 1.0).tolist() == [1.0, 1.0]
    assert not token_ratios(now.clone().requires_grad_(), now, MASK, 1.0).requires_grad


@pytest.mark.parametrize("ratios", [token_ratios, program_ratios])
def test_a_limit_of_zero_is_turned_away(ratios):
    with pytest.raises(AssertionError):
        ratios(torch.zeros(2, 2), torch.zeros(2, 2), MASK, 0.0)
