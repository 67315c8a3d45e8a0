"""How an actor writes, against the slow way: one program at a time through the model's own forward."""

import math

import pytest
import torch

from coderl.drift import DRAWN, PROBLEMS, copied, distinct_share, drift, token_means
from coderl.engines.requests import Decoding
from coderl.models.actor import Actor, small_t5
from coderl.records import Problem, Program, Test
from coderl.sampling import Settings, sample
from coderl.tokens import Example, train_tokenizer

TOKENIZER = train_tokenizer(["print(a + b)", "Print the sum of a and b."] * 3, 270)
EXAMPLES = [Example("a", (5, 6, 7), (10, 11, 2)), Example("a", (5, 6, 7), (12, 2)), Example("b", (8,), (13, 14, 15, 2))]
SETTINGS = Settings(Decoding(temperature=0, max_tokens=12), 0, 64)


def actor(seed=0):
    model = small_t5(len(TOKENIZER), seed, width=16, heads=2, feed_forward=32)
    with torch.no_grad():
        model.lm_head.weight.mul_(20)  # sure of something, so that entropy and divergence are no small numbers
    return Actor(model, TOKENIZER)


def distributions(one, example):
    """log p over the vocabulary before each token, by Hugging Face's own forward."""
    labels = torch.tensor([example.program])
    with torch.inference_mode():
        return one.model.eval()(input_ids=torch.tensor([example.prompt]), labels=labels).logits[0].log_softmax(-1)


def test_means_are_those_of_a_loop_over_programs_tokens_and_vocabulary():
    one, start = actor(), actor(1)
    entropies, divergences = [], []
    for example in EXAMPLES:
        for p, q in zip(distributions(one, example).tolist(), distributions(start, example).tolist()):
            entropies.append(-sum(math.exp(a) * a for a in p))
            divergences.append(sum(math.exp(a) * (a - b) for a, b in zip(p, q)))
    found = token_means(one, start, EXAMPLES)
    assert found["actor/entropy"] == pytest.approx(sum(entropies) / 9, rel=1e-4)
    assert found["actor/kl"] == pytest.approx(sum(divergences) / 9, rel=1e-4) and found["actor/kl"] > 0.1
    assert token_means(one, None, EXAMPLES) == {"actor/entropy": found["actor/entropy"]}


def test_batches_do_not_change_the_means(monkeypatch):
    one, start = actor(), actor(1)
    whole = token_means(one, start, EXAMPLES)
    monkeypatch.setattr("coderl.drift._LOGITS", 1)  # one program at a time
    assert token_means(one, start, EXAMPLES) == pytest.approx(whole, rel=1e-3)


def test_a_copy_stays_where_it_was():
    one = actor()
    start = copied(one)
    assert token_means(one, start, EXAMPLES)["actor/kl"] == pytest.approx(0, abs=1e-6)
    with torch.no_grad():
        one.model.shared.weight.mul_(1.5)
    assert token_means(one, start, EXAMPLES)["actor/kl"] > 1e-4
    assert not any(p.requires_grad for p in start.model.parameters())


def test_distinct_share_by_hand():
    # a: 2 of 4 differ, b: 3 of 3; the mean of the two
    codes = {"a": ["x", "x", "x", "y"], "b": ["x", "y", "z"]}
    programs = [Program(problem, code, i) for problem, group in codes.items() for i, code in enumerate(group)]
    assert distinct_share(programs) == pytest.approx((2 / 4 + 3 / 3) / 2)


def test_few_problems_are_drawn_for_and_the_same_programs_each_time(monkeypatch):
    problems = [Problem(f"p{i}", "Print the sum of a and b.", "stdin", (Test("1", "2"),)) for i in range(2 * PROBLEMS + 10)]
    one, asked = actor(), []

    def spy(who, tasks, settings):
        asked.append((len(tasks), settings.decoding.temperature, settings.decoding.top_p))
        return sample(who, tasks, settings)

    monkeypatch.setattr("coderl.drift.sample", spy)
    first = drift(one, None, problems, SETTINGS)
    assert set(first) == {"actor/distinct", "actor/entropy"} and 1 / DRAWN <= first["actor/distinct"] <= 1
    assert drift(one, None, problems, SETTINGS) == first
    assert asked == [(37, 1.0, 1.0)] * 2  # every third of 110: at most 50
