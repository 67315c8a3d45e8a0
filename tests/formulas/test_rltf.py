import pytest
import torch

from coderl.formulas.masks import length_mask
from coderl.formulas.returns import outcome_returns
from coderl.formulas.rltf import adaptive_returns, fine_grained_weights


def test_adaptive_returns_by_hand():
    # -0.3 + 1.3 * 0 / 4, 1 / 4, 4 / 4
    assert adaptive_returns(torch.tensor([0, 1, 4]), torch.tensor([4, 4, 4])).tolist() == pytest.approx([-0.3, 0.025, 1.0])


def test_adaptive_returns_join_coderls_at_both_ends_and_rise_between():
    found = adaptive_returns(torch.arange(11), torch.full((11,), 10))
    assert [found[0].item(), found[-1].item()] == pytest.approx(outcome_returns(torch.tensor([2, 3])).tolist())
    assert bool((found.diff() > 0).all())


@pytest.mark.parametrize(("passed", "total"), [(3, 2), (-1, 2), (0, 0)])
def test_numbers_of_tests_that_cannot_be_are_turned_away(passed, total):
    with pytest.raises(AssertionError):
        adaptive_returns(torch.tensor([passed]), torch.tensor([total]))


def test_fine_grained_weights_by_hand():
    # 6 tokens, the error's line holds tokens 2 and 3: -0.3 * 6 / 2 = -0.9 each; 3 tokens, all of them: -0.3 each; nothing: 0
    mask = length_mask(torch.tensor([6, 3, 4]), 6)
    found = fine_grained_weights(torch.tensor([2, 0, 1]), torch.tensor([4, 3, 1]), mask)
    assert found[0].tolist() == pytest.approx([0.0, 0.0, -0.9, -0.9, 0.0, 0.0])
    assert found[1].tolist() == pytest.approx([-0.3, -0.3, -0.3, 0.0, 0.0, 0.0])
    assert found[2].tolist() == [0.0] * 6


def test_a_line_of_any_length_weighs_the_same():
    mask = length_mask(torch.tensor([7, 7, 7]), 9)
    found = fine_grained_weights(torch.tensor([0, 2, 6]), torch.tensor([1, 6, 7]), mask)
    assert found.sum(1).tolist() == pytest.approx([-0.3 * 7] * 3)


def test_fine_grained_weights_are_a_loop():
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (20,), generator=draw)
    start = (torch.rand(20, generator=draw) * lengths).long()
    end = torch.minimum(start + torch.randint(0, 4, (20,), generator=draw), lengths)
    found = fine_grained_weights(start, end, length_mask(lengths, 9))
    for b in range(20):
        for t in range(9):
            inside = start[b] <= t < end[b]
            assert found[b, t].item() == pytest.approx(-0.3 * lengths[b].item() / (end[b] - start[b]).item() if inside else 0.0)


def test_a_line_that_ends_before_it_begins_is_turned_away():
    with pytest.raises(AssertionError):
        fine_grained_weights(torch.tensor([2]), torch.tensor([1]), torch.ones(1, 3, dtype=torch.bool))
