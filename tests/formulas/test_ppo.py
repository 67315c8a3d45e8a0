import math

import pytest
import torch

from coderl.formulas.masks import length_mask
from coderl.formulas.policy_gradient import policy_gradient_loss_token_mean
from coderl.formulas.ppo import (
    clipped_loss,
    clipped_share,
    clipped_value_loss,
    divergence_estimates,
    explained_variance,
    generalised_advantages,
    penalised_rewards,
)

MASK = length_mask(torch.tensor([5, 2, 3]), 5)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_clipped_loss_by_hand():
    # ratios 1.5 and 0.5 with advantage 1: min(1.5, 1.2) + min(0.5, 0.8) = 1.7; with advantage -1: min(-1.5, -1.2) + min(-0.5, -0.8) = -2.3
    log_probs = torch.tensor([[math.log(0.6), math.log(0.2)], [math.log(0.6), math.log(0.2)]])
    old = torch.full((2, 2), math.log(0.4))
    advantages = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])
    mask = torch.ones(2, 2, dtype=torch.bool)
    assert clipped_loss(log_probs, old, advantages, mask, 0.2, 0.2).item() == pytest.approx(-(1.7 - 2.3) / 4)
    assert clipped_loss(log_probs, old, advantages, mask, 0.2, 0.28).item() == pytest.approx(-(1.78 - 2.3) / 4)
    assert clipped_share(log_probs, old, mask, 0.2, 0.2).item() == 1.0
    assert clipped_share(log_probs, old, mask, 0.2, 0.6).item() == 0.5


def test_clipped_loss_is_a_loop():
    log_probs, old, advantages = -noise(0).abs(), -noise(1).abs(), noise(2)
    total = 0.0
    for b in range(3):
        for t in range(5):
            if MASK[b, t]:
                ratio, a = math.exp(log_probs[b, t] - old[b, t]), advantages[b, t].item()
                total += min(ratio * a, min(max(ratio, 0.9), 1.3) * a)
    assert clipped_loss(log_probs, old, advantages, MASK, 0.1, 0.3).item() == pytest.approx(-total / 10)


def test_on_fresh_samples_the_gradient_is_the_policy_gradient():
    log_probs, advantages = (-noise(0).abs()).requires_grad_(), noise(2)
    clipped = torch.autograd.grad(clipped_loss(log_probs, log_probs.detach(), advantages, MASK, 0.2, 0.2), log_probs)[0]
    plain = torch.autograd.grad(policy_gradient_loss_token_mean(log_probs, advantages, MASK), log_probs)[0]
    torch.testing.assert_close(clipped, plain)


def test_beyond_the_clip_there_is_no_gradient_outwards_and_there_is_one_back():
    log_probs = torch.tensor([[math.log(2.0), math.log(2.0)]]).requires_grad_()  # ratio 2
    loss = clipped_loss(log_probs, torch.zeros(1, 2), torch.tensor([[1.0, -1.0]]), torch.ones(1, 2, dtype=torch.bool), 0.2, 0.2)
    (gradient,) = torch.autograd.grad(loss, log_probs)
    assert gradient[0, 0] == 0 and gradient[0, 1].item() == pytest.approx(2.0 / 2)


def test_divergence_by_hand_and_on_average():
    # x = ln 2: 2 - ln 2 - 1 = 0.306853; x = 0: 0
    found = divergence_estimates(torch.tensor([[0.0, -1.0]]), torch.tensor([[math.log(2), -1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert found[0].tolist() == pytest.approx([1 - math.log(2), 0.0], abs=1e-6)
    # over all words of a vocabulary of three, weighed with p, it is KL(p || q) exactly
    p, q = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64), torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
    estimates = divergence_estimates(p.log()[None], q.log()[None], torch.ones(1, 3, dtype=torch.bool))[0]
    assert (p * estimates).sum().item() == pytest.approx((p * (p / q).log()).sum().item())


def test_penalised_rewards_by_hand():
    # beta 0.5: penalties 0.5 * (-1 + 2) = 0.5 and 0.5 * (-2 + 1) = -0.5; the return comes with the last token of each program
    log_probs, reference = torch.tensor([[-1.0, -2.0], [-1.0, 9.0]]), torch.tensor([[-2.0, -1.0], [-2.0, -9.0]])
    mask = torch.tensor([[True, True], [True, False]])
    found = penalised_rewards(torch.tensor([1.0, -0.3]), log_probs, reference, mask, 0.5)
    assert found.tolist() == [pytest.approx([-0.5, 1.5]), pytest.approx([-0.8, 0.0])]


def test_rewards_add_up_to_the_return_less_the_penalty():
    log_probs, reference, returns = noise(0), noise(1), torch.tensor([1.0, -0.6, 0.2], dtype=torch.float64)
    found = penalised_rewards(returns, log_probs, reference, MASK, 0.1)
    torch.testing.assert_close(found.sum(1), returns - 0.1 * ((log_probs - reference) * MASK).sum(1))


def test_generalised_advantages_by_hand():
    # gamma 0.5, lambda 0.5, rewards 0 0 1, values 0.2 0.4 0.6: deltas 0.2 - 0.2 = 0, 0.3 - 0.4 = -0.1, 1 - 0.6 = 0.4
    # A_3 = 0.4, A_2 = -0.1 + 0.25 * 0.4 = 0, A_1 = 0 + 0.25 * 0 = 0
    rewards, values = torch.tensor([[0.0, 0.0, 1.0, 7.0]]), torch.tensor([[0.2, 0.4, 0.6, 9.0]])
    found = generalised_advantages(rewards, values, length_mask(torch.tensor([3]), 4), 0.5, 0.5)
    assert found[0].tolist() == pytest.approx([0.0, 0.0, 0.4, 0.0], abs=1e-6)


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0)])
def test_generalised_advantages_are_the_sum_of_equation_16(gamma, lam):
    rewards, values = noise(3), noise(4)
    found = generalised_advantages(rewards, values, MASK, gamma, lam)
    for b in range(3):
        size = int(MASK[b].sum())
        value = [*values[b, :size].tolist(), 0.0]
        for t in range(size):
            terms = [(gamma * lam) ** k * (rewards[b, t + k].item() + gamma * value[t + k + 1] - value[t + k]) for k in range(size - t)]
            assert found[b, t].item() == pytest.approx(sum(terms))
    assert found[~MASK].abs().sum() == 0


def test_with_lambda_1_it_is_the_return_to_come_minus_the_value():
    rewards, values = noise(3), noise(4)
    found = generalised_advantages(rewards, values, MASK, 1.0, 1.0)
    to_come = (rewards * MASK).flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(found, (to_come - values) * MASK)


def test_exact_values_leave_no_advantage():
    values = torch.tensor([[0.81, 0.9, 1.0]])
    found = generalised_advantages(torch.tensor([[0.0, 0.0, 1.0]]), values, torch.ones(1, 3, dtype=torch.bool), 0.9, 0.7)
    assert found.abs().max() < 1e-6


def test_value_loss_by_hand():
    # old 0, clip 0.2. V 0.5, R 1: near 0.2, max(0.25, 0.64) = 0.64; V 0.1, R 1: near 0.1, 0.81; V 0.5, R 0: max(0.25, 0.04) = 0.25
    values, targets = torch.tensor([[0.5, 0.1, 0.5, 3.0]]), torch.tensor([[1.0, 1.0, 0.0, -3.0]])
    mask = length_mask(torch.tensor([3]), 4)
    assert clipped_value_loss(values, torch.zeros(1, 4), targets, mask, 0.2, torch.ones(1)).item() == pytest.approx(0.5 * (0.64 + 0.81 + 0.25) / 3)


def test_a_program_drawn_twice_is_two_programs_to_the_value_loss():
    values, old, targets = noise(0), noise(1), noise(2)
    twice = [torch.cat([x, x[:1]]) for x in (values, old, targets, MASK)]
    counts = torch.tensor([2, 1, 1])
    assert clipped_value_loss(values, old, targets, MASK, 0.2, counts).item() == pytest.approx(
        clipped_value_loss(*twice, 0.2, torch.ones(4, dtype=torch.long)).item()
    )
    assert explained_variance(values, targets, MASK, counts).item() == pytest.approx(
        explained_variance(twice[0], twice[2], twice[3], torch.ones(4, dtype=torch.long)).item()
    )
    assert clipped_value_loss(values, old, targets, MASK, math.inf, counts).item() == pytest.approx(
        clipped_value_loss(values, values, targets, MASK, 0.2, counts).item()
    )


def test_explained_variance_by_hand():
    # targets 0, 1, 1 (the last drawn twice: 0, 1, 1, 1), mean 0.75, spread 0.75; values miss by 0.5, 0, 0.5: 0.25 + 0 + 2 x 0.25
    targets, values = torch.tensor([[0.0, 1.0], [1.0, 9.0]]), torch.tensor([[0.5, 1.0], [0.5, math.nan]])
    mask = torch.tensor([[True, True], [True, False]])
    assert explained_variance(values, targets, mask, torch.tensor([1, 2])).item() == pytest.approx(1 - 0.75 / 0.75)
    assert explained_variance(targets, targets, mask, torch.tensor([1, 2])).item() == pytest.approx(1)
    assert explained_variance(values, torch.ones(2, 2), mask, torch.tensor([1, 2])).item() == 0


def test_padding_changes_nothing_even_if_it_is_not_a_number():
    def wide(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.masked_fill(~MASK, math.nan), torch.full((3, 2), math.nan, dtype=torch.float64)], dim=1)

    a, b, c, long = noise(0), noise(1), noise(2), torch.cat([MASK, torch.zeros(3, 2, dtype=torch.bool)], dim=1)
    returns, counts = torch.ones(3, dtype=torch.float64), torch.tensor([1, 2, 3])
    for function in (lambda x, y, z, m: clipped_loss(x, y, z, m, 0.2, 0.2), lambda x, y, z, m: clipped_value_loss(x, y, z, m, 0.2, counts)):
        assert function(a, b, c, MASK).item() == pytest.approx(function(wide(a), wide(b), wide(c), long).item())
    for stream in (
        lambda x, y, m: divergence_estimates(x, y, m),
        lambda x, y, m: penalised_rewards(returns, x, y, m, 0.1),
        lambda x, y, m: generalised_advantages(x, y, m, 0.9, 0.8),
    ):
        torch.testing.assert_close(stream(a, b, MASK) * MASK, stream(wide(a), wide(b), long)[:, :5])


def test_what_is_constant_gets_no_gradient():
    log_probs, old, advantages = noise(0).requires_grad_(), noise(1).requires_grad_(), noise(2).requires_grad_()
    loss = clipped_loss(log_probs, old, advantages, MASK, 0.2, 0.2) + divergence_estimates(log_probs, old, MASK).sum()
    loss.backward()
    assert old.grad is None and advantages.grad is None and log_probs.grad.abs().sum() > 0
    rewards, values = noise(3).requires_grad_(), noise(4).requires_grad_()
    assert not generalised_advantages(rewards, values, MASK, 0.9, 0.9).requires_grad


def test_wrong_arguments_are_turned_away():
    a = noise(0)
    with pytest.raises(AssertionError):
        clipped_loss(a, a[:, :2], a, MASK, 0.2, 0.2)
    with pytest.raises(AssertionError):
        clipped_loss(a, a, a, MASK, 1.2, 0.2)
    with pytest.raises(AssertionError):
        generalised_advantages(a, a, MASK, 1.1, 0.5)
    with pytest.raises(AssertionError):
        penalised_rewards(torch.ones(2), a, a[:2], MASK, 0.1)
