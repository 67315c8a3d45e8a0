import itertools
import math

import pytest
import torch

from coderl.formulas.distributions import token_divergences, token_entropies
from coderl.formulas.ppo import divergence_estimates


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_entropy_by_hand():
    # p = (1/2, 1/4, 1/4): H = 1/2 log 2 + 2 * 1/4 log 4 = 1.5 log 2; one certain token: 0; four alike: log 4
    logits = torch.tensor([0.5, 0.25, 0.25]).log()
    assert token_entropies(logits).item() == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert token_entropies(torch.tensor([[100.0, 0.0, 0.0, 0.0], [7.0, 7.0, 7.0, 7.0]])).tolist() == pytest.approx([0.0, math.log(4)], abs=1e-6)


def test_divergence_by_hand():
    # p = (1/2, 1/2), q = (1/4, 3/4): KL(p || q) = 1/2 log 2 + 1/2 log 2/3; and not KL(q || p) = 1/4 log 1/2 + 3/4 log 3/2
    p, q = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.25, 0.75]).log()
    assert token_divergences(p, q).item() == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(2 / 3), abs=1e-6)
    assert token_divergences(q, p).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-6)


def test_adding_a_constant_to_the_logits_changes_neither():
    p, q = drawn(5, 7), drawn(5, 7, seed=1)
    assert torch.allclose(token_entropies(p), token_entropies(p + 30), atol=1e-5)
    assert torch.allclose(token_divergences(p, q), token_divergences(p + 30, q - 8), atol=1e-5)
    assert torch.allclose(token_divergences(p, p), torch.zeros(5), atol=1e-7) and bool((token_divergences(p, q) > 0).all())


def test_both_are_loops_over_the_vocabulary():
    p, q = drawn(2, 3, 5), drawn(2, 3, 5, seed=1)
    for i, j in itertools.product(range(2), range(3)):
        a, b = p[i, j].softmax(0).tolist(), q[i, j].softmax(0).tolist()
        assert token_entropies(p)[i, j].item() == pytest.approx(-sum(x * math.log(x) for x in a), abs=1e-5)
        assert token_divergences(p, q)[i, j].item() == pytest.approx(sum(x * math.log(x / y) for x, y in zip(a, b)), abs=1e-5)


def test_the_divergence_of_programs_is_the_mean_sum_over_tokens_they_drew():
    """The chain rule, by enumeration: programs of two tokens from three, the second token's distribution hangs on the first."""
    first_p, first_q, then_p, then_q = drawn(3), drawn(3, seed=1), drawn(3, 3, seed=2), drawn(3, 3, seed=3)
    whole = expected = 0.0
    for a, b in itertools.product(range(3), repeat=2):
        p = first_p.softmax(0)[a] * then_p[a].softmax(0)[b]
        q = first_q.softmax(0)[a] * then_q[a].softmax(0)[b]
        whole += float(p * (p / q).log())
        expected += float(p * (token_divergences(first_p, first_q) + token_divergences(then_p[a], then_q[a])))
    assert expected == pytest.approx(whole, abs=1e-5)


def test_the_estimate_from_drawn_tokens_is_this_on_average():
    p, q = drawn(4), drawn(4, seed=1)
    each = divergence_estimates(p.log_softmax(0)[None], q.log_softmax(0)[None], torch.ones(1, 4, dtype=torch.bool))[0]
    assert (p.softmax(0) * each).sum().item() == pytest.approx(token_divergences(p, q).item(), abs=1e-5)
