import pytest
import torch

from coderl.formulas.groups import leave_one_out_advantages, normalised_group_advantages

RETURNS = torch.tensor([1.0, -0.3, -0.3, -1.0, 1.0, 0.4])
GROUPS = torch.tensor([0, 0, 0, 2, 2, 1])


def test_leave_one_out_by_hand():
    # group 0: 1 - (-0.3 - 0.3) / 2 = 1.3; -0.3 - (1 - 0.3) / 2 = -0.65, twice; group 2: -1 - 1 = -2 and 1 + 1 = 2; alone: 0
    assert leave_one_out_advantages(RETURNS, GROUPS).tolist() == pytest.approx([1.3, -0.65, -0.65, -2.0, 2.0, 0.0])


def test_normalised_groups_by_hand():
    # group 0: mean 0.4 / 3, deviations 13/15, -6.5/15, -6.5/15, variance (169 + 42.25 + 42.25) / (3 * 225) = 0.375556, std 0.612826
    # -> 1.414214, -0.707107, -0.707107; group 2: mean 0, std 1 -> -1, 1; alone: no spread -> 0
    found = normalised_group_advantages(RETURNS, GROUPS)
    assert found.tolist() == pytest.approx([1.414214, -0.707107, -0.707107, -1.0, 1.0, 0.0], abs=1e-5)


def slow(returns: torch.Tensor, groups: torch.Tensor) -> tuple[list[float], list[float]]:
    """Both advantages by loops over programs."""
    left, normal = [], []
    for i in range(len(returns)):
        group = [returns[j].item() for j in range(len(returns)) if groups[j] == groups[i]]
        others = [returns[j].item() for j in range(len(returns)) if groups[j] == groups[i] and j != i]
        left.append(returns[i].item() - sum(others) / len(others) if others else 0.0)
        mean = sum(group) / len(group)
        std = (sum((r - mean) ** 2 for r in group) / len(group)) ** 0.5
        normal.append((returns[i].item() - mean) / (std + 1e-6))
    return left, normal


def test_both_are_loops_whatever_the_order():
    draw = torch.Generator().manual_seed(0)
    returns, groups = torch.randn(40, generator=draw, dtype=torch.float64), torch.randint(9, (40,), generator=draw)
    left, normal = slow(returns, groups)
    assert leave_one_out_advantages(returns, groups).tolist() == pytest.approx(left)
    assert normalised_group_advantages(returns, groups).tolist() == pytest.approx(normal)
    order = torch.randperm(40, generator=draw)
    torch.testing.assert_close(leave_one_out_advantages(returns[order], groups[order]), leave_one_out_advantages(returns, groups)[order])


def test_a_group_adds_up_to_nothing_and_shifts_change_nothing():
    for advantages in (leave_one_out_advantages, normalised_group_advantages):
        found = advantages(RETURNS.double(), GROUPS)
        assert [found[g == GROUPS].sum().item() for g in range(3)] == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
        torch.testing.assert_close(advantages(RETURNS.double() + 5, GROUPS), found)


def test_normalising_takes_the_scale_away_and_leave_one_out_keeps_it():
    torch.testing.assert_close(normalised_group_advantages(10 * RETURNS, GROUPS), normalised_group_advantages(RETURNS, GROUPS), atol=1e-5, rtol=0)
    torch.testing.assert_close(leave_one_out_advantages(10 * RETURNS, GROUPS), 10 * leave_one_out_advantages(RETURNS, GROUPS))


def test_leave_one_out_is_the_centred_return_times_g_over_g_minus_1():
    r = torch.tensor([0.5, -1.0, 0.25, 1.0])
    torch.testing.assert_close(leave_one_out_advantages(r, torch.zeros(4, dtype=torch.long)), (r - r.mean()) * 4 / 3)


@pytest.mark.parametrize("advantages", [leave_one_out_advantages, normalised_group_advantages])
def test_wrong_groups_are_turned_away(advantages):
    for groups in (torch.tensor([0, -1]), torch.tensor([0])):
        with pytest.raises(AssertionError):
            advantages(torch.zeros(2), groups)
    assert advantages(torch.zeros(0), torch.zeros(0, dtype=torch.long)).tolist() == []


@pytest.mark.parametrize("size", [2, 6, 7, 8, 10, 20])
@pytest.mark.parametrize("value", [-0.6, -0.3, 0.1])
def test_a_group_of_equal_returns_is_exactly_nothing_beside_others(size, value):
    # sums of -0.6 round: a mean that is off by 1e-8, over ε, was an advantage of 0.06
    returns, groups = torch.tensor([value] * size + [1.0, -1.0]), torch.tensor([0] * size + [1, 1])
    for advantages in (leave_one_out_advantages, normalised_group_advantages):
        assert advantages(returns, groups)[:size].tolist() == [0.0] * size
