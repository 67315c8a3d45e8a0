"""PPO's stage: the value head learns what programs are worth, advantages come from it, actor and head learn together and are kept."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coderl.errors import CoderlError, ModelError
from coderl.examples import Judged, Limits
from coderl.machine import this_machine
from coderl.models.actor import Actor, load_actor, program_log_probs, small_t5, with_old_log_probs
from coderl.models.value_head import FILE, fresh_value_head, load_value_head, save_value_head
from coderl.recipes.finetune_ppo import Config, fitted_head, head_values, policy
from coderl.recipes.finetuning import DEFAULT, Material, Tuning, objective, train, weighted_log_probs
from coderl.records import Outcome, Problem, Program, Verdict
from coderl.rollouts import as_signal, explained, rollouts, with_advantages
from coderl.run_directory import RunDirectory
from coderl.tokens import collate, decode, train_tokenizer

TOKENIZER = train_tokenizer(["print(a + b)", "Print the sum."] * 3, 270)
LIMITS = Limits(64, 32)
PROBLEMS = {name: Problem(name, "Print the sum.", "stdin") for name in "pq"}


def judged(problem, index, ids, outcome):
    return Judged(Program(problem, decode(TOKENIZER, ids), index, extra={"token_ids": ids}), Verdict(problem, index, outcome))


SAMPLES = [
    judged("p", 0, [10, 11, 2], Outcome.PASSED_TEST),
    judged("p", 1, [12, 13, 14, 2], Outcome.FAILED_TEST),
    judged("p", 2, [10, 11, 2], Outcome.PASSED_TEST),
    judged("q", 0, [15, 16, 2], Outcome.COMPILE_ERROR),
]


def actor(seed=0):
    return Actor(small_t5(len(TOKENIZER), seed, width=16, heads=2, feed_forward=32), TOKENIZER)


def config(folder, **changes):
    folder = Path(folder)
    tuning = replace(DEFAULT, **{name: changes.pop(name) for name in ("epochs", "learning_rate") if name in changes})
    return Config(folder, folder, folder, folder, folder / "out", tuning=tuning, **changes)


def material(one, folder):
    return Material(one, {}, [], RunDirectory(folder), this_machine())


def drawn(one):
    found = rollouts(TOKENIZER, PROBLEMS, SAMPLES, LIMITS)
    return found._replace(examples=with_old_log_probs(one.model, found.examples, 0))


def test_equal_programs_of_a_problem_are_one_that_counts_twice():
    found = rollouts(TOKENIZER, PROBLEMS, SAMPLES, LIMITS)
    assert [(e.key, e.program, e.repeats) for e in found.examples] == [("p", (10, 11, 2), 2), ("p", (12, 13, 14, 2), 1), ("q", (15, 16, 2), 1)]
    assert found.returns.tolist() == pytest.approx([1.0, -0.3, -1.0]) and found.programs == 4


def test_advantages_by_hand():
    # gamma 1, lambda 0.5, values 0.5, 0.6, 0.8 and return 1: deltas 0.1, 0.2, 0.2; A_3 0.2, A_2 0.2 + 0.1, A_1 0.1 + 0.15
    found = rollouts(TOKENIZER, PROBLEMS, SAMPLES[:1], LIMITS)
    examples = [found.examples[0]._replace(old_values=(0.5, 0.6, 0.8), old_log_probs=(-1.0, -1.0, -1.0))]
    (made,) = with_advantages(examples, found.returns, 0.0, 1.0, 0.5)
    assert made.weights == pytest.approx((0.25, 0.3, 0.2)) and made.value_targets == pytest.approx((0.75, 0.9, 1.0))
    # the reference finds the second token likelier by 0.5 nats: it gains 0.1 x 0.5, which the first token sees too
    held = [examples[0]._replace(reference_log_probs=(-1.0, -0.5, -1.0), old_values=None)]
    (made,) = with_advantages(held, found.returns, 0.1, 1.0, 1.0)
    assert made.weights == made.value_targets == pytest.approx((1.05, 1.05, 1.0))


def test_weights_count_programs_as_they_were_drawn():
    found = rollouts(TOKENIZER, PROBLEMS, SAMPLES, LIMITS)
    made = [e._replace(weights=w) for e, w in zip(found.examples, [(0.5, 0.5, 0.5), (0.0,) * 4, (-1.0, 0.0, 0.0)], strict=True)]
    signal = as_signal(found, made, scaled=True)
    # sizes: 2 x 1.5 + 0 + 1 = 4 over 6 + 4 + 3 = 13 tokens drawn
    assert signal.scale == pytest.approx(4 / 13) and signal.merged == 3 and signal.programs == 4
    assert signal.examples[0].weights == pytest.approx((2 * 0.5 * 13 / 4,) * 3)
    assert signal.zero == pytest.approx(1 / 4) and signal.positive == pytest.approx(2 / 4)
    assert signal.value == pytest.approx(4 / (6 * 1.0 + 4 * 0.3 + 3 * 1.0))
    assert as_signal(found, made, scaled=False).examples[0].weights == pytest.approx((1.0, 1.0, 1.0))


def test_the_head_learns_the_returns_and_leaves_the_actor_alone(tmp_path):
    one = actor()
    before = {name: value.clone() for name, value in one.model.state_dict().items()}
    found, settings = drawn(one), config(tmp_path, value_epochs=150.0, value_learning_rate=0.01)
    examples = with_advantages(found.examples, found.returns, 0.0, 1.0, 1.0)
    place = material(one, tmp_path)
    head = fitted_head(settings, place, examples)
    values = head_values(head, place, collate(examples, 0))
    assert explained([e._replace(old_values=(0.0,) * len(e.program)) for e in examples]) < 0
    valued = [e._replace(old_values=tuple(row[: len(e.program)].tolist())) for e, row in zip(examples, values, strict=True)]
    assert explained(valued) > 0.5
    # both statements are the same, so all share the state before the first token: V there is the mean over programs as drawn, 0.7 / 4
    assert values[:, 0].tolist() == pytest.approx([0.7 / 4] * 3, abs=0.1)
    assert all(torch.equal(before[name], value) for name, value in one.model.state_dict().items())
    again = fitted_head(settings, place, examples)
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), again.parameters(), strict=True))
    assert (tmp_path / "out" / "value" / "COMPLETE").exists()
    with pytest.raises(CoderlError, match="value_epochs was 150"):
        fitted_head(replace(settings, value_epochs=2.0), place, examples)


def test_a_head_beside_the_actor_is_gone_on_with(tmp_path):
    head = fresh_value_head(16, 5)
    torch.nn.init.constant_(head.outer.bias, 0.7)
    save_value_head(head, tmp_path)
    place = material(actor(), tmp_path)
    found = fitted_head(config(tmp_path, value_epochs=0.0), place, with_advantages(drawn(place.actor).examples, torch.zeros(3), 0.0, 1.0, 1.0))
    assert all(torch.equal(a, b) for a, b in zip(head.parameters(), found.parameters(), strict=True))


def test_a_head_of_another_width_or_a_torn_one_is_told(tmp_path):
    assert load_value_head(tmp_path, 16) is None
    save_value_head(fresh_value_head(8, 0), tmp_path)
    with pytest.raises(ModelError, match="is no value head for states of 16 numbers"):
        load_value_head(tmp_path, 16)
    (tmp_path / FILE).write_bytes(b"\x00")
    with pytest.raises(ModelError, match="is no value head"):
        load_value_head(tmp_path, 8)


@pytest.mark.parametrize("kl_in", ["reward", "loss"])
def test_actor_and_head_learn_together_and_the_clip_holds(tmp_path, kl_in):
    one = actor()
    found, settings = drawn(one), config(tmp_path, epochs=60.0, learning_rate=3e-3, kl_in=kl_in, kl_weight=0.01)
    head = fresh_value_head(16, 0)
    examples = [e._replace(old_values=(0.0,) * len(e.program), reference_log_probs=e.old_log_probs) for e in found.examples]
    signal = as_signal(found, with_advantages(examples, found.returns, 0.0, 1.0, 1.0), True)
    before = program_log_probs(one.model, collate(signal.examples, 0)).sum(1)
    train(settings, material(one, tmp_path), signal.examples, [], [], policy(settings, head), "t")
    moved = program_log_probs(one.model, collate(signal.examples, 0)).sum(1) - before
    assert moved[0] > 0 and moved[1] < 0 and moved[2] < 0
    free = actor()
    train(settings, material(free, tmp_path / "free"), signal.examples, [], [], weighted_log_probs(Tuning()), "t")
    beyond = program_log_probs(free.model, collate(signal.examples, 0)).sum(1) - before
    assert bool((moved[1:] > beyond[1:] + 2).all())  # plain weights push a bad program down without end
    lines = [line for line in RunDirectory(tmp_path).metrics() if "loss_value" in line]
    assert lines[-1]["loss_value"] < lines[0]["loss_value"] and lines[-1]["kl"] > 0 and lines[-1]["clipped"] > lines[0]["clipped"]
    assert any(bool(p.any()) for p in (head.outer.weight, head.outer.bias))


def test_the_value_loss_is_a_mean_over_programs_as_they_were_drawn(tmp_path):
    one = actor()
    head = fresh_value_head(16, 0)
    torch.nn.init.constant_(head.outer.bias, 0.25)
    found = drawn(one)
    examples = [e._replace(old_values=(0.25,) * len(e.program)) for e in found.examples]
    examples = [e._replace(value_targets=(r,) * len(e.program)) for e, r in zip(examples, found.returns.tolist(), strict=True)]
    made = objective(one, policy(config(tmp_path), head), "token-mean")
    loss = made.sums(collate(examples, 0))["loss_value"] / made.counts(examples)["loss_value"]
    # 6, 4 and 3 tokens whose values, 0.25, miss 1, -0.3 and -1
    assert loss.item() == pytest.approx(0.5 * (6 * 0.75**2 + 4 * 0.55**2 + 3 * 1.25**2) / 13)


def test_a_divergence_that_nothing_weighs_has_no_gradient(tmp_path):
    head = fresh_value_head(16, 0)
    assert "kl" not in policy(config(tmp_path), head).weights
    assert policy(config(tmp_path, kl_in="loss"), head).weights["kl"] == pytest.approx(0.05)
    assert not math.isnan(sum(policy(config(tmp_path), head).weights.values()))


def test_a_folder_with_a_head_loads_as_an_actor(tmp_path):
    one = actor()
    policy(config(tmp_path), fresh_value_head(16, 0)).save(one, tmp_path / "actor")
    assert load_actor(tmp_path / "actor").model.config.d_model == 16 and (tmp_path / "actor" / FILE).exists()
