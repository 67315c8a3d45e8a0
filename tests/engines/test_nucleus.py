"""Choosing tokens: the nucleus by hand, against a loop, and the same on both paths."""

import math

import numpy as np
import pytest
import torch

from coderl.engines import nucleus
from coderl.engines.nucleus import choose


def full(rows, value):
    return np.full(rows, float(value))


def slowly(logits, uniform, temperature, top_p):
    """Token and log-probability of one row, by a sort and a loop."""
    p = [math.exp(x / temperature) for x in logits]
    whole = sum(p)
    p = [x / whole for x in p]
    kept, mass = [], 0.0
    for token in sorted(range(len(p)), key=lambda i: (-p[i], i)):
        kept.append(token)
        mass += p[token]
        if mass >= top_p:
            break
    total = 0.0
    for token in kept:
        total += p[token]
        if uniform * mass < total:
            break
    return token, math.log(p[token] / mass)


def test_nucleus_keeps_the_smallest_set_that_reaches_the_mass():
    # p = 0.5, 0.3, 0.15, 0.05; top_p 0.7 keeps the first two (0.5 < 0.7 <= 0.8), renormalised to 0.625 and 0.375
    logits = torch.tensor([[0.15, 0.5, 0.05, 0.3]]).log().repeat(5, 1)
    choice = choose(logits, np.array([0.0, 0.6, 0.63, 0.9, 0.999999]), full(5, 1), full(5, 0.7))
    assert choice.tokens.tolist() == [1, 1, 3, 3, 3]
    assert np.allclose(np.exp(choice.sampling_logprobs), [0.625, 0.625, 0.375, 0.375, 0.375])
    assert np.allclose(np.exp(choice.logprobs), [0.5, 0.5, 0.3, 0.3, 0.3])


@pytest.mark.parametrize("sharpness, top_p", [(0.1, 0.95), (1.0, 0.95), (4.0, 0.95), (4.0, 1.0), (30.0, 0.5)])
def test_choices_are_those_of_a_slow_loop(sharpness, top_p):
    """Flat rows are sorted, sharp ones are not: both give what the definition gives. 3,000 tokens, so that flat rows have no likely ones."""
    torch.manual_seed(0)
    logits, uniform = torch.randn(40, 3000) * sharpness, np.random.default_rng(1).random(40)
    temperature = np.where(np.arange(40) % 2, 0.7, 1.3)
    choice = choose(logits.clone(), uniform, temperature, full(40, top_p))
    expected = [slowly(row, u, t, top_p) for row, u, t in zip(logits.double().tolist(), uniform, temperature)]
    same = np.array([token for token, _ in expected]) == choice.tokens
    assert same.mean() > 0.95  # a float32 sum may fall on the other side of an edge
    assert np.allclose(np.array([score for _, score in expected])[same], choice.sampling_logprobs[same], atol=2e-3)
    model = logits.log_softmax(-1).gather(1, torch.from_numpy(choice.tokens)[:, None])[:, 0]
    assert np.allclose(model, choice.logprobs, atol=1e-4)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 6.0])
def test_the_path_of_accelerators_gives_the_same_tokens(sharpness):
    torch.manual_seed(0)
    probabilities = torch.softmax(torch.randn(100, 500) * sharpness, -1)
    uniform, top_p = np.random.default_rng(0).random(100), full(100, 0.95)
    here, there = nucleus._on_cpu(probabilities, uniform, top_p), nucleus._on_device(probabilities, uniform, top_p)
    assert (here[0] == there[0]).mean() > 0.98
    assert np.allclose(here[1], there[1], atol=1e-3)


def test_equal_tokens_are_all_drawn():
    """Eight tokens of one probability: each is drawn an eighth of the time, on the path with and the path without a sort."""
    for width in (8, 5000):
        logits = torch.zeros(800, width)
        logits[:, 8:] = -50.0
        choice = choose(logits, (np.arange(800) + 0.5) / 800, full(800, 1), full(800, 1.0))
        assert np.bincount(choice.tokens, minlength=8).tolist() == [100] * 8


def test_greedy_and_sampled_rows_share_a_batch():
    logits = torch.tensor([[0.0, 3.0, 2.9], [0.0, 3.0, 2.9]])
    choice = choose(logits, np.array([0.9, 0.9]), np.array([0.0, 1.0]), full(2, 1.0))
    assert choice.tokens.tolist() == [1, 2]
    assert choice.sampling_logprobs[0] == 0 and choice.sampling_logprobs[1] < 0


def test_rows_in_parts_are_rows_at_once(monkeypatch):
    torch.manual_seed(0)
    logits, uniform = torch.randn(50, 64) * 3, np.random.default_rng(0).random(50)
    whole = choose(logits.clone(), uniform, full(50, 0.8), full(50, 0.9))
    monkeypatch.setattr(nucleus, "_CHUNK", 3 * 64)
    parts = choose(logits.clone(), uniform, full(50, 0.8), full(50, 0.9))
    assert all(np.array_equal(a, b) for a, b in zip(whole, parts))
