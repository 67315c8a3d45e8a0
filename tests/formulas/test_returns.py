import pytest
import torch

from coderl.formulas.returns import OUTCOME_RETURNS, outcome_returns, passing_returns, relative_returns, tempered_returns
from coderl.records import OUTCOMES, Outcome


def test_returns_by_hand():
    # CodeRL eq. (4) to (7), in the order of the labels
    assert outcome_returns(torch.tensor([3, 0, 2, 1])).tolist() == pytest.approx([1.0, -1.0, -0.3, -0.6])


def test_returns_belong_to_the_outcomes_by_name():
    wanted = {Outcome.COMPILE_ERROR: -1.0, Outcome.RUNTIME_ERROR: -0.6, Outcome.FAILED_TEST: -0.3, Outcome.PASSED_TEST: 1.0}
    for outcome, value in wanted.items():
        assert outcome_returns(torch.tensor([outcome.label])).item() == pytest.approx(value)
    assert len(wanted) == len(OUTCOMES) == len(OUTCOME_RETURNS)


def test_a_better_outcome_has_a_larger_return():
    returns = outcome_returns(torch.arange(4)).tolist()
    assert returns == sorted(returns) and len(set(returns)) == 4


def test_relative_returns_by_hand():
    # a pass against a failed greedy program: 1 - (-0.3) = 1.3; equal outcomes: 0; compile error against a pass: -1 - 1 = -2
    sample = outcome_returns(torch.tensor([3, 1, 0]))
    baseline = outcome_returns(torch.tensor([2, 1, 3]))
    assert relative_returns(sample, baseline).tolist() == pytest.approx([1.3, 0.0, -2.0])


def test_all_relative_returns_are_the_thirteen_known_ones():
    found = {
        round(relative_returns(outcome_returns(torch.tensor([a])), outcome_returns(torch.tensor([b]))).item(), 4) for a in range(4) for b in range(4)
    }
    assert found == {0.0, 0.3, -0.3, 0.4, -0.4, 0.7, -0.7, 1.3, -1.3, 1.6, -1.6, 2.0, -2.0}


def test_relative_returns_are_a_loop_and_change_sign_with_their_arguments():
    a = torch.randn(9, generator=torch.Generator().manual_seed(0))
    b = torch.randn(9, generator=torch.Generator().manual_seed(1))
    assert relative_returns(a, b).tolist() == [(x - y).item() for x, y in zip(a, b)]
    assert torch.equal(relative_returns(a, b), -relative_returns(b, a))


@pytest.mark.parametrize("labels", [[4], [-1], [[0, 1]]])
def test_labels_that_are_no_outcome_are_turned_away(labels):
    with pytest.raises(AssertionError):
        outcome_returns(torch.tensor(labels))


def test_a_baseline_of_another_shape_is_turned_away():
    with pytest.raises(AssertionError):
        relative_returns(torch.ones(3), torch.ones(1))


def test_tempered_returns_by_hand_and_as_a_loop():
    relative = torch.tensor([1.3, 0.0, -2.0, -0.4])
    assert tempered_returns(relative, 0.1).tolist() == pytest.approx([1.3, 0.0, -0.2, -0.04])
    assert torch.equal(tempered_returns(relative, 1.0), relative)  # the paper's
    values = torch.randn(50, generator=torch.Generator().manual_seed(0))
    assert tempered_returns(values, 0.3).tolist() == pytest.approx([v if v > 0 else 0.3 * v for v in values.tolist()])


def test_tempered_returns_refuse_a_negative_weight():
    with pytest.raises(AssertionError):
        tempered_returns(torch.zeros(2), -0.1)


def test_passing_returns_by_hand():
    assert passing_returns(torch.tensor([0, 3, 2, 1, 3])).tolist() == [0.0, 1.0, 0.0, 0.0, 1.0]
    assert passing_returns(torch.arange(4)).tolist() == (outcome_returns(torch.arange(4)) > 0).float().tolist()
    with pytest.raises(AssertionError):
        passing_returns(torch.tensor([4]))
