"""Token weights of CodeRL from records: by hand, merged or not, with and without a critic; both losses in every step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coderl.errors import DataError
from coderl.examples import Judged, Limits
from coderl.formulas.policy_gradient import policy_gradient_loss_token_mean
from coderl.machine import this_machine
from coderl.models.actor import Actor, program_log_probs, small_t5
from coderl.recipes.finetune_coderl import Config, finetune, mixed_epochs, weigh
from coderl.records import Outcome, Problem, Program, Verdict
from coderl.store import RunDirectory
from coderl.tokens import Example, collate, decode, train_tokenizer

PROBLEM = Problem("p", "Print the sum.", "stdin")
OTHER = Problem("q", "Print the product.", "stdin")
TOKENIZER = train_tokenizer(["print(a + b)", "Print the sum."] * 3, 270)
LIMITS = Limits(64, 32)


def actor(seed=0):
    return Actor(small_t5(len(TOKENIZER), seed, width=16, heads=2, feed_forward=32), TOKENIZER)


def judged(problem, index, ids, outcome):
    return Judged(Program(problem, decode(TOKENIZER, ids), index, extra={"token_ids": ids}), Verdict(problem, index, outcome))


def greedy(problem, outcome):
    return Verdict(problem, 0, outcome)


PROBLEMS = {"p": PROBLEM, "q": OTHER}
SAMPLES = [
    judged("p", 0, [10, 11, 2], Outcome.PASSED_TEST),
    judged("p", 1, [12, 2], Outcome.FAILED_TEST),
    judged("p", 2, [10, 11, 2], Outcome.PASSED_TEST),
    judged("q", 0, [13, 2], Outcome.COMPILE_ERROR),
]
BASELINE = [greedy("p", Outcome.FAILED_TEST), greedy("q", Outcome.PASSED_TEST)]


def test_weights_by_hand():
    # p: greedy failed (-0.3): a pass weighs 1.3, a fail 0 (dropped); q: greedy passed (1): a compile error weighs -2.
    # mean size over tokens with a gradient: (1.3*3 + 1.3*3 + 2*2) / 8 = 1.475; the two equal passes are merged: 2.6 / 1.475.
    found = weigh(actor(), PROBLEMS, SAMPLES, BASELINE, None, LIMITS, 1.0)
    assert found.scale == pytest.approx(1.475) and found.value == 1 and found.merged == 2
    assert found.zero == pytest.approx(0.25) and found.positive == pytest.approx(0.5)
    by_key = {e.key: e for e in found.examples}
    assert by_key["p"].weights == pytest.approx([2.6 / 1.475] * 3) and by_key["q"].weights == pytest.approx([-2 / 1.475] * 2)


def test_the_critic_scales_tokens():
    values = {("p", 0): (0.5, 0.25, 1.0), ("p", 1): (1.0, 1.0), ("p", 2): (0.5, 0.25, 1.0), ("q", 0): (0.1, 0.2)}
    found = weigh(actor(), PROBLEMS, SAMPLES, BASELINE, values, LIMITS, 1.0)
    assert found.value == pytest.approx((1.75 * 2 + 0.3) / 8)
    by_key = {e.key: e for e in found.examples}
    scale = (1.3 * 1.75 * 2 + 2 * 0.3) / 8
    assert by_key["p"].weights == pytest.approx([2.6 * 0.5 / scale, 2.6 * 0.25 / scale, 2.6 / scale])
    assert by_key["q"].weights == pytest.approx([-0.2 / scale, -0.4 / scale])


def test_negative_returns_can_be_tempered():
    # the compile error of q weighs -0.2 instead of -2; mean size (1.3*3 + 1.3*3 + 0.2*2) / 8 = 1.025
    found = weigh(actor(), PROBLEMS, SAMPLES, BASELINE, None, LIMITS, 0.1)
    assert found.scale == pytest.approx(1.025)
    assert {e.key: e.weights for e in found.examples}["q"] == pytest.approx([-0.2 / 1.025] * 2)


def test_merging_equal_programs_leaves_the_gradient_as_it_is():
    model = actor().model
    ids, weight = (10, 11, 2), 1.3
    twice = [Example("p", (5, 6), ids, (weight,) * 3, supervised=False)] * 2
    once = [Example("p", (5, 6), ids, (2 * weight,) * 3, supervised=False)]

    def gradient(examples, tokens):
        model.zero_grad()
        batch = collate(examples, 0)
        (policy_gradient_loss_token_mean(program_log_probs(model, batch), batch.weights, batch.mask) * batch.mask.sum() / tokens).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    assert torch.allclose(gradient(twice, 6), gradient(once, 6), atol=1e-6)


def test_missing_baseline_and_scores_are_named():
    with pytest.raises(DataError, match=r"'q' has sampled programs but no greedy verdict"):
        weigh(actor(), PROBLEMS, SAMPLES, BASELINE[:1], None, LIMITS, 1.0)
    with pytest.raises(DataError, match=r"program 0 of problem 'p' has 3 tokens but 1 scored"):
        weigh(actor(), PROBLEMS, SAMPLES, BASELINE, {("p", 0): (0.5,)}, LIMITS, 1.0)


def test_a_baseline_with_several_programs_of_a_problem_is_refused():
    with pytest.raises(DataError, match="several verdicts of problem 'p'"):
        weigh(actor(), PROBLEMS, SAMPLES, [*BASELINE, BASELINE[0]], None, LIMITS, 1.0)


def config(folder):
    here = Path(folder)
    return Config(model=here, problems=here, programs=here, verdicts=here, baseline=here, out=here)


def test_both_losses_are_in_every_step(tmp_path):
    sampled = [Example(str(i), (5, 6), (10, 11, 2), (1.0,) * 3, supervised=False) for i in range(40)]
    references = [Example(f"r{i}", (7, 8), (12, 2)) for i in range(5)]
    batches = list(mixed_epochs(replace(config(tmp_path), batch_tokens=60), sampled, references, 0))
    assert sum(e.key in {s.key for s in sampled} for b in batches for e in b) == 40
    assert all({e.supervised for e in b} == {True, False} for b in batches)


def test_training_raises_what_passes_and_lowers_what_fails(tmp_path):
    one = actor()
    good = Example("a", (5, 6), (10, 11, 2), (1.0,) * 3, label=3, supervised=False)
    bad = Example("a", (5, 6), (12, 13, 2), (-1.0,) * 3, label=2, supervised=False)
    before = program_log_probs(one.model, collate([good, bad], 0)).sum(1).tolist()
    finetune(replace(config(tmp_path), learning_rate=1e-3, epochs=20), one, [good, bad], [], [], RunDirectory(tmp_path), this_machine())
    after = program_log_probs(one.model, collate([good, bad], 0)).sum(1).tolist()
    assert after[0] > before[0] and after[1] < before[1]
