import itertools
import math

import pytest
import torch

from coderl.formulas.masks import IGNORE, length_mask, token_log_probs
from coderl.formulas.policy_gradient import cross_entropy, policy_gradient_loss, policy_gradient_loss_token_mean

LOSSES = [policy_gradient_loss, policy_gradient_loss_token_mean]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def streams(size: int = 4, length: int = 6):
    log_probs = -torch.rand(size, length, generator=generator())
    weights = torch.randn(size, length, generator=generator(1))
    return log_probs, weights, length_mask(torch.tensor([6, 3, 1, 4])[:size], length)


def test_sum_over_tokens_by_hand():
    # program 1: 1.0 * -0.5 + 2.0 * -0.25 = -1.0; program 2: -3.0 * -1.0 = 3.0; loss = -(-1 + 3) / 2 programs = -1
    log_probs = torch.tensor([[-0.5, -0.25], [-1.0, -9.0]])
    weights = torch.tensor([[1.0, 2.0], [-3.0, 7.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert policy_gradient_loss(log_probs, weights, mask).item() == -1.0


def test_token_mean_by_hand():
    # the same numbers: -(-0.5 - 0.5 + 3.0) / 3 tokens = -2/3
    log_probs = torch.tensor([[-0.5, -0.25], [-1.0, -9.0]])
    weights = torch.tensor([[1.0, 2.0], [-3.0, 7.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert policy_gradient_loss_token_mean(log_probs, weights, mask).item() == pytest.approx(-2 / 3)


def test_cross_entropy_by_hand():
    # tokens of probability 1/2, 1/4 and 1/8: (ln 2 + 2 ln 2 + 3 ln 2) / 3 = 2 ln 2
    log_probs = torch.tensor([[math.log(1 / 2), math.log(1 / 4)], [math.log(1 / 8), 5.0]])
    mask = torch.tensor([[True, True], [True, False]])
    assert cross_entropy(log_probs, mask).item() == pytest.approx(2 * math.log(2))


def test_losses_are_loops():
    log_probs, weights, mask = streams()
    total = sum(-(weights[b, t] * log_probs[b, t]).item() for b in range(4) for t in range(6) if mask[b, t])
    assert policy_gradient_loss(log_probs, weights, mask).item() == pytest.approx(total / 4, abs=1e-6)
    assert policy_gradient_loss_token_mean(log_probs, weights, mask).item() == pytest.approx(total / 14, abs=1e-6)  # 6 + 3 + 1 + 4 tokens


def test_cross_entropy_is_the_policy_gradient_with_weights_of_one():
    log_probs, _, mask = streams()
    assert torch.equal(cross_entropy(log_probs, mask), policy_gradient_loss_token_mean(log_probs, torch.ones(4, 6), mask))


def test_cross_entropy_is_that_of_pytorch():
    logits, labels = torch.randn(3, 5, 7, generator=generator()), torch.randint(7, (3, 5), generator=generator(1))
    labels = labels.masked_fill(~length_mask(torch.tensor([5, 2, 3]), 5), IGNORE)
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE)
    torch.testing.assert_close(cross_entropy(token_log_probs(logits, labels), labels != IGNORE), expected)


@pytest.mark.parametrize("loss", LOSSES)
def test_padding_changes_neither_value_nor_gradient(loss):
    log_probs, weights, mask = streams()
    wide = torch.cat([log_probs, torch.full((4, 9), math.nan)], dim=1)
    wide_weights = torch.cat([weights, torch.full((4, 9), math.nan)], dim=1)
    wide_mask = torch.cat([mask, torch.zeros(4, 9, dtype=torch.bool)], dim=1)
    short, long = log_probs.requires_grad_(), wide.requires_grad_()
    value, wide_value = loss(short, weights, mask), loss(long, wide_weights, wide_mask)
    (gradient,), (wide_gradient,) = torch.autograd.grad(value, short), torch.autograd.grad(wide_value, long)
    assert value.item() == pytest.approx(wide_value.item(), abs=1e-6)
    torch.testing.assert_close(gradient, wide_gradient[:, :6])
    assert wide_gradient[:, 6:].nan_to_num(1.0).abs().sum() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_weights_are_constants(loss):
    log_probs, weights, mask = streams()
    weights.requires_grad_()
    loss(log_probs.requires_grad_(), weights, mask).backward()
    assert weights.grad is None and log_probs.grad.abs().sum() > 0


def test_token_mean_is_the_sum_times_programs_over_tokens():
    log_probs, weights, mask = streams()
    expected = policy_gradient_loss(log_probs, weights, mask) * 4 / mask.sum()
    torch.testing.assert_close(policy_gradient_loss_token_mean(log_probs, weights, mask), expected)


VOCABULARY, LENGTH = 3, 3


def policy(seed: int) -> torch.Tensor:
    """A policy over all programs of three tokens from a vocabulary of three: one row of logits for each prefix, (1 + 3 + 9, 3)."""
    return torch.randn(13, VOCABULARY, generator=generator(seed), dtype=torch.float64).requires_grad_()


def every_program() -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(VOCABULARY), repeat=LENGTH)))  # (27, 3)


def log_probs_of(table: torch.Tensor, programs: torch.Tensor) -> torch.Tensor:
    """(B, 3): log p(w_t | w_1..w_{t-1}), the row of a prefix found by counting in base 3."""
    rows = torch.stack([torch.zeros(len(programs), dtype=torch.long), 1 + programs[:, 0], 4 + 3 * programs[:, 0] + programs[:, 1]], dim=1)
    return table[rows].log_softmax(-1).gather(-1, programs[..., None]).squeeze(-1)


def expected_gradient(table: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """E over W ~ p of the gradient of `policy_gradient_loss` on W alone, by enumeration of all 27 programs."""
    programs = every_program()
    probabilities = log_probs_of(table, programs).sum(1).exp().detach()
    total = torch.zeros_like(table)
    for i in range(len(programs)):
        loss = policy_gradient_loss(log_probs_of(table, programs[i : i + 1]), weights[i : i + 1], torch.ones(1, LENGTH, dtype=torch.bool))
        total += probabilities[i] * torch.autograd.grad(loss, table)[0]
    return total


def gradient_of_expected_return(table: torch.Tensor, returns: torch.Tensor) -> torch.Tensor:
    """∇ -Σ_W p(W) r(W), eq. (2) itself, by autograd through all 27 probabilities."""
    return torch.autograd.grad(-(log_probs_of(table, every_program()).sum(1).exp() * returns).sum(), table)[0]


def test_expected_gradient_is_the_gradient_of_the_expected_return():
    # eq. (2) and (3): what a sample gives on average is exactly the slope of the expected return
    table, returns = policy(0), torch.randn(27, generator=generator(5), dtype=torch.float64)
    found = expected_gradient(table, returns[:, None].expand(-1, LENGTH))
    wanted = gradient_of_expected_return(table, returns)
    assert wanted.abs().max() > 0.01
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=0)


def test_shifting_the_baseline_leaves_the_expected_gradient():
    # E[Σ_t ∇ log p(w_t)] = ∇ Σ_W p(W) = 0, so r - b and r have the same expected gradient (eq. 8)
    table, returns = policy(1), torch.randn(27, generator=generator(6), dtype=torch.float64)
    found = expected_gradient(table, (returns - 0.7)[:, None].expand(-1, LENGTH))
    torch.testing.assert_close(found, gradient_of_expected_return(table, returns), atol=1e-12, rtol=0)


def test_a_token_weight_that_looks_ahead_does_bend_the_expected_gradient():
    # why eq. (10) is an approximation: a factor that depends on w_t, as q̂(w_t) after reading w_t does, changes the direction
    table, returns = policy(2), torch.ones(27, dtype=torch.float64)
    constant = expected_gradient(table, returns[:, None].expand(-1, LENGTH))
    torch.testing.assert_close(constant, torch.zeros_like(constant), atol=1e-12, rtol=0)  # constant return: no slope
    values = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64)[every_program()]
    assert expected_gradient(table, values).abs().max() > 0.01


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_shapes_are_turned_away_at_the_door(loss):
    log_probs, weights, mask = streams()
    for bad in [(log_probs[0], weights[0], mask[0]), (log_probs, weights[:, :1], mask), (log_probs, weights, mask.float())]:
        with pytest.raises(AssertionError):
            loss(*bad)
    with pytest.raises(AssertionError):
        cross_entropy(log_probs, mask.float())
