import itertools
import math

import pytest
import torch

from coderl.formulas.coderl import (
    constant_weights,
    critic_loss,
    critic_weights,
    decaying_weights,
    passed_probabilities,
    prefix_loss,
    released_token_rewards,
    token_values,
    value_changes,
)
from coderl.formulas.masks import length_mask


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def softmax(row: list[float]) -> list[float]:
    """The slow reference."""
    total = sum(math.exp(v) for v in row)
    return [math.exp(v) / total for v in row]


# ---- critic_loss, eq. (9)


def test_critic_loss_by_hand():
    # logits 0, 0, 0, ln 3: probabilities 1/6, 1/6, 1/6, 1/2. Labels 3 and 0: (ln 2 + ln 6) / 2 = ln 12 / 2
    logits = torch.tensor([[0.0, 0.0, 0.0, math.log(3)]] * 2)
    assert critic_loss(logits, torch.tensor([3, 0])).item() == pytest.approx(math.log(12) / 2, abs=1e-6)


def test_critic_loss_is_a_loop_for_two_and_for_four_outcomes():
    for outcomes in (2, 4):
        logits = 3 * torch.randn(5, outcomes, generator=generator())
        labels = torch.randint(outcomes, (5,), generator=generator(1))
        expected = -sum(math.log(softmax(row.tolist())[u]) for row, u in zip(logits, labels)) / 5
        assert critic_loss(logits, labels).item() == pytest.approx(expected, abs=1e-5)


def test_critic_that_knows_nothing_has_the_loss_of_a_fair_die():
    assert critic_loss(torch.zeros(7, 4), torch.arange(7) % 4).item() == pytest.approx(math.log(4), abs=1e-6)


# ---- prefix_loss, ours


def test_prefix_loss_by_hand():
    # program 0, u = 1: positions 1/2 and 3/4, mean of ln 2 and ln 4/3; program 1, u = 0: one position, 1/4; the mean of the two programs
    logits = torch.tensor([[[0.0, 0.0], [0.0, math.log(3)]], [[0.0, math.log(3)], [math.nan, math.nan]]])
    found = prefix_loss(logits, torch.tensor([1, 0]), length_mask(torch.tensor([2, 1]), 2))
    assert found.item() == pytest.approx(((math.log(2) + math.log(4 / 3)) / 2 + math.log(4)) / 2, abs=1e-6)


def test_prefix_loss_is_a_loop_of_the_critic_loss_over_prefixes():
    logits, labels, lengths = torch.randn(3, 5, 4, generator=generator()), torch.tensor([3, 0, 2]), [5, 1, 3]
    expected = [sum(critic_loss(logits[b, t][None], labels[b : b + 1]).item() for t in range(n)) / n for b, n in enumerate(lengths)]
    assert prefix_loss(logits, labels, length_mask(torch.tensor(lengths), 5)).item() == pytest.approx(sum(expected) / 3, abs=1e-5)


def test_prefix_loss_is_least_at_the_true_chances_of_each_prefix():
    # after token a 3 of 4 programs pass, after token b 1 of 4; no other logits do better than these, and the gradient there is 0
    labels, tokens = torch.tensor([1, 1, 1, 0, 0, 0, 0, 1]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    table = torch.tensor([[0.25, 0.75], [0.75, 0.25]]).log().requires_grad_()
    prefix_loss(table[tokens][:, None], labels, torch.ones(8, 1, dtype=torch.bool)).backward()
    assert table.grad is not None and table.grad.abs().max() < 1e-7


def test_padding_does_not_change_the_prefix_loss_nor_reach_its_gradient():
    logits, labels, mask = torch.randn(2, 3, 4, generator=generator()), torch.tensor([1, 3]), length_mask(torch.tensor([3, 2]), 3)
    longer = torch.cat([logits, torch.full((2, 2, 4), 9.0)], dim=1).requires_grad_()
    loss = prefix_loss(longer, labels, length_mask(torch.tensor([3, 2]), 5))
    loss.backward()
    assert loss.item() == pytest.approx(prefix_loss(logits, labels, mask).item(), abs=1e-6)
    assert longer.grad is not None and longer.grad[:, 3:].abs().sum() == 0 and longer.grad[1, 2].abs().sum() == 0


# ---- token_values, q̂ of eq. (10)


def test_token_values_by_hand():
    # position 0: uniform, so 1/4 whatever u; position 1: ln 5 for class 2 against 0: 5/8 for u = 2, 1/8 for u = 0
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, math.log(5), 0.0]]])
    assert token_values(logits, torch.tensor([2]))[0].tolist() == pytest.approx([1 / 4, 5 / 8])
    assert token_values(logits, torch.tensor([0]))[0].tolist() == pytest.approx([1 / 4, 1 / 8])


def test_token_values_take_the_actual_outcome_of_each_program_in_a_loop():
    logits, outcomes = torch.randn(3, 4, 4, generator=generator()), torch.tensor([3, 0, 2])
    expected = [[softmax(logits[b, t].tolist())[u] for t in range(4)] for b, u in enumerate(outcomes.tolist())]
    torch.testing.assert_close(token_values(logits, outcomes), torch.tensor(expected))


def test_token_values_over_all_outcomes_sum_to_one():
    logits = torch.randn(2, 5, 4, generator=generator())
    total = sum(token_values(logits, torch.full((2,), u)) for u in range(4))
    torch.testing.assert_close(total, torch.ones(2, 5))


def test_token_values_are_constants_for_the_actor():
    logits = torch.randn(2, 3, 4, generator=generator(), requires_grad=True)
    assert not token_values(logits, torch.tensor([0, 1])).requires_grad
    assert not passed_probabilities(logits).requires_grad


# ---- passed_probabilities, eq. (11) and (12)


def test_passed_probabilities_by_hand():
    # two outcomes (failed, passed) with logits 0 and ln 3: passed 3/4; four outcomes 0, 0, 0, ln 2: passed 2/5
    assert passed_probabilities(torch.tensor([[[0.0, math.log(3)]]])).item() == pytest.approx(3 / 4)
    assert passed_probabilities(torch.tensor([[0.0, 0.0, 0.0, math.log(2)]])).item() == pytest.approx(2 / 5)


def test_passed_probabilities_are_the_token_values_of_a_pass():
    logits = torch.randn(3, 5, 4, generator=generator())
    assert torch.equal(passed_probabilities(logits), token_values(logits, torch.full((3,), 3)))


def test_passed_probabilities_are_a_loop_over_prefixes():
    logits = torch.randn(2, 3, 2, generator=generator())
    expected = [[softmax(logits[b, t].tolist())[1] for t in range(3)] for b in range(2)]
    torch.testing.assert_close(passed_probabilities(logits), torch.tensor(expected))


# ---- token weights, Table 2


def test_constant_weights_by_hand():
    mask = length_mask(torch.tensor([2, 1]), 3)
    assert constant_weights(torch.tensor([1.5, -0.5]), mask).tolist() == [[1.5, 1.5, 0.0], [-0.5, 0.0, 0.0]]


def test_decaying_weights_by_hand():
    # four tokens and r = 2: factors 4/4, 3/4, 2/4, 1/4; one token: factor 1
    mask = length_mask(torch.tensor([4, 1]), 5)
    found = decaying_weights(torch.tensor([2.0, -1.0]), mask)
    assert found.tolist() == [[2.0, 1.5, 1.0, 0.5, 0.0], [-1.0, 0.0, 0.0, 0.0, 0.0]]


def test_decaying_weights_are_a_loop_and_count_only_masked_tokens():
    mask = torch.rand(5, 9, generator=generator()) < 0.6
    mask[4] = False  # a program of no tokens has no weights and no division by zero
    returns = torch.randn(5, generator=generator(1))
    expected = torch.zeros(5, 9)
    for b in range(5):
        positions = [t for t in range(9) if mask[b, t]]
        for number, t in enumerate(positions):
            expected[b, t] = returns[b] * (len(positions) - number) / len(positions)
    torch.testing.assert_close(decaying_weights(returns, mask), expected)


def test_critic_weights_by_hand():
    # relative return -1.3, values 0.5 and 0.2: -0.65 and -0.26; padding has none, whatever its value
    found = critic_weights(torch.tensor([-1.3]), torch.tensor([[0.5, 0.2, math.nan]]), torch.tensor([[True, True, False]]))
    assert found[0].tolist() == pytest.approx([-0.65, -0.26, 0.0])


def test_critic_weights_are_a_loop():
    returns, values = torch.randn(3, generator=generator()), torch.rand(3, 5, generator=generator(1))
    mask = length_mask(torch.tensor([5, 2, 0]), 5)
    found = critic_weights(returns, values, mask)
    for b in range(3):
        for t in range(5):
            assert found[b, t].item() == pytest.approx((returns[b] * values[b, t]).item() if mask[b, t] else 0.0)


def weight_streams(padding: int):
    """Weights of three programs under the three rules, with so many positions of padding."""
    size = 4 + padding
    returns = torch.tensor([1.3, -0.4, 0.0])
    mask = length_mask(torch.tensor([4, 2, 3]), size)
    values = torch.rand(3, size, generator=generator())
    values[:, :4] = torch.rand(3, 4, generator=generator(7))
    return returns, mask, [constant_weights(returns, mask), decaying_weights(returns, mask), critic_weights(returns, values, mask)]


def test_padding_does_not_change_the_weights():
    for short, long in zip(weight_streams(0)[2], weight_streams(5)[2]):
        assert torch.equal(short, long[:, :4])
        assert long[:, 4:].abs().sum() == 0


def test_the_sign_comes_from_the_return_alone():
    # q̂ lies in (0, 1): it scales, and cannot turn a failure into something to imitate
    returns, mask, streams = weight_streams(2)
    for weights in streams:
        assert torch.equal(weights[mask].sign(), returns[:, None].expand_as(mask)[mask].sign())
        assert (weights.abs() <= returns.abs()[:, None]).all()


def test_a_sample_like_its_baseline_weighs_nothing():
    for weights in weight_streams(1)[2]:
        assert weights[2].abs().sum() == 0


def test_weights_are_constants():
    returns = torch.tensor([1.0], requires_grad=True)
    values = torch.tensor([[0.5, 0.5]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    for weights in (constant_weights(returns, mask), decaying_weights(returns, mask), critic_weights(returns, values, mask)):
        assert not weights.requires_grad


# ---- released_token_rewards


def test_released_rewards_by_hand():
    # u = 3, r = 2: uniform logits give 1/4 * 2; a first logit of -inf gives 0 and drops the label; -inf elsewhere is an ordinary logit
    infinity = math.inf
    logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [-infinity, 0.0, 0.0, 0.0], [0.0, -infinity, 0.0, 0.0], [-infinity] * 4]])
    result = released_token_rewards(logits, torch.tensor([3]), torch.tensor([2.0]))
    assert result.rewards[0].tolist() == pytest.approx([0.5, 0.0, 2 / 3, 0.0])
    assert result.kept[0].tolist() == [True, False, True, False]


def test_released_rewards_are_a_loop():
    logits, outcomes = torch.randn(3, 6, 4, generator=generator()), torch.tensor([0, 3, 2])
    returns = torch.tensor([-1.6, 1.3, 0.3])
    found = released_token_rewards(logits, outcomes, returns)
    for b in range(3):
        for t in range(6):
            assert found.rewards[b, t].item() == pytest.approx(softmax(logits[b, t].tolist())[outcomes[b]] * returns[b].item(), abs=1e-6)
    assert found.kept.all()


def test_released_rewards_without_marks_are_critic_weights_everywhere():
    logits, outcomes, returns = torch.randn(2, 4, 4, generator=generator()), torch.tensor([1, 3]), torch.tensor([-0.6, 1.0])
    everywhere = torch.ones(2, 4, dtype=torch.bool)
    expected = critic_weights(returns, token_values(logits, outcomes), everywhere)
    assert torch.equal(released_token_rewards(logits, outcomes, returns).rewards, expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda: critic_loss(torch.ones(2, 3, 4), torch.zeros(2, dtype=torch.long)),
        lambda: prefix_loss(torch.ones(2, 3, 4), torch.zeros(2, dtype=torch.long), torch.ones(2, 4, dtype=torch.bool)),
        lambda: token_values(torch.ones(2, 4), torch.zeros(2, dtype=torch.long)),
        lambda: token_values(torch.ones(2, 3, 4), torch.zeros(3, dtype=torch.long)),
        lambda: passed_probabilities(torch.ones(2, 3)),
        lambda: constant_weights(torch.ones(2, 1), torch.ones(2, 3, dtype=torch.bool)),
        lambda: decaying_weights(torch.ones(3), torch.ones(2, 3, dtype=torch.bool)),
        lambda: critic_weights(torch.ones(2), torch.ones(2, 4), torch.ones(2, 3, dtype=torch.bool)),
        lambda: released_token_rewards(torch.ones(2, 3, 4), torch.zeros(2, dtype=torch.long), torch.ones(3)),
    ],
)
def test_wrong_shapes_are_turned_away_at_the_door(call):
    with pytest.raises(AssertionError):
        call()


# ---- value_changes, ours


def test_value_changes_by_hand():
    # p before 0.5, then 0.6, 0.2, 0.9, and the program fails (0): +0.1, -0.4, 0 - 0.2; one token, passes: 1 - 0.25
    passed = torch.tensor([[0.6, 0.2, 0.9, 7.0], [0.4, 7.0, 7.0, 7.0]])
    mask = length_mask(torch.tensor([3, 1]), 4)
    found = value_changes(passed, torch.tensor([0.5, 0.25]), torch.tensor([0.0, 1.0]), mask)
    assert found.tolist() == [pytest.approx([0.1, -0.4, -0.2, 0.0]), pytest.approx([0.75, 0.0, 0.0, 0.0])]


def test_value_changes_add_up_to_final_minus_before():
    passed, before, final = torch.rand(4, 6, generator=generator()), torch.rand(4, generator=generator(1)), torch.rand(4, generator=generator(2))
    mask = length_mask(torch.tensor([6, 1, 3, 5]), 6)
    torch.testing.assert_close(value_changes(passed, before, final, mask).sum(1), final - before)


def test_value_changes_are_a_loop():
    passed, before, final = torch.rand(4, 6, generator=generator()), torch.rand(4, generator=generator(1)), torch.rand(4, generator=generator(2))
    lengths = [6, 1, 3, 5]
    found = value_changes(passed, before, final, length_mask(torch.tensor(lengths), 6))
    for b, size in enumerate(lengths):
        chain = [before[b].item(), *passed[b, : size - 1].tolist(), final[b].item()]
        assert found[b, :size].tolist() == pytest.approx([new - old for old, new in itertools.pairwise(chain)], abs=1e-6)
        assert found[b, size:].tolist() == [0.0] * (6 - size)


def test_true_values_change_by_the_advantage_on_average_nothing():
    # a program of two coin tosses passes on heads-heads: p = 1/4, then 1/2 or 0; the mean change over the next token is 0
    heads = value_changes(torch.tensor([[0.5, 1.0]]), torch.tensor([0.25]), torch.tensor([1.0]), torch.ones(1, 2, dtype=torch.bool))
    tails = value_changes(torch.tensor([[0.0, 0.0]]), torch.tensor([0.25]), torch.tensor([0.0]), torch.ones(1, 2, dtype=torch.bool))
    assert (heads[0, 0] + tails[0, 0]).item() == 0.0
