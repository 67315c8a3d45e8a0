"""The training loop: schedule by hand, resume equals no interruption, bad losses are refused."""

import itertools

import pytest
import torch

from coderl.errors import CoderlError
from coderl.fitting import Plan, Watch, fit, learning_rate
from coderl.formulas.policy_gradient import cross_entropy
from coderl.models.actor import program_log_probs, small_t5
from coderl.store import RunDirectory
from coderl.tokens import Example, epoch_batches

EXAMPLES = [Example(str(i % 7), tuple(range(5, 9 + i % 7)), (5 + i % 11, 6 + i % 3, 2)) for i in range(40)]


def test_learning_rate_by_hand():
    plan = Plan(updates=100, learning_rate=1.0, warmup=0.1, final=0.1)
    assert learning_rate(plan, 0.05) == pytest.approx(0.5)  # half-way up
    assert learning_rate(plan, 0.1) == pytest.approx(1.0)
    assert learning_rate(plan, 0.55) == pytest.approx(0.55)  # half-way down from 1 to 0.1
    assert learning_rate(plan, 1.0) == pytest.approx(0.1)
    assert learning_rate(plan, 2.0) == pytest.approx(0.1)


def train(folder, updates, total, checkpoint=5, seed=0, muon=False):
    """`updates` < total simulates a kill: the loop is stopped from outside after so many steps."""
    model = small_t5(32, seed, width=16, heads=2, feed_forward=32)
    losses = []

    class Killed(Exception):
        pass

    def loss(batch):
        if len(losses) == updates:
            raise Killed
        value = cross_entropy(program_log_probs(model, batch), batch.mask)
        losses.append(value.item())
        return {"loss": value}

    try:
        fit(
            model,
            lambda epoch: epoch_batches(EXAMPLES, 100, epoch),
            loss,
            Plan(total, 1e-2, muon=muon),
            RunDirectory(folder),
            Watch("t", log_every=5, checkpoint_every=checkpoint),
            0,
        )
    except Killed:
        pass
    return model, losses


@pytest.mark.parametrize("muon", [False, True])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, muon):
    whole, losses = train(tmp_path / "whole", 99, 23, muon=muon)
    _, first = train(tmp_path / "torn", 13, 23, muon=muon)
    resumed, second = train(tmp_path / "torn", 99, 23, seed=1, muon=muon)  # other weights: the checkpoint's must win
    assert first[:10] + second == losses
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(a, b)
    steps = [line["step"] for line in RunDirectory(tmp_path / "torn").metrics()]
    assert steps == [5, 10, 15, 20]


def test_training_lowers_the_loss_and_logs_it(tmp_path):
    _, losses = train(tmp_path, 200, 60)
    assert len(losses) == 60 and sum(losses[-5:]) < 0.6 * sum(losses[:5])
    lines = RunDirectory(tmp_path).metrics()
    assert lines[0]["loss"] == pytest.approx(sum(losses[:5]) / 5, abs=1e-5)
    assert all({"stage", "step", "cpu_seconds", "learning_rate", "gradient_norm"} <= set(line) for line in lines)


def test_a_plan_in_cpu_seconds_ends_after_them(tmp_path):
    model = small_t5(32, 0, width=16, heads=2, feed_forward=32)
    at = fit(
        model,
        lambda epoch: epoch_batches(EXAMPLES, 100, epoch),
        lambda batch: {"loss": cross_entropy(program_log_probs(model, batch), batch.mask)},
        Plan(1, 1e-3, cpu_seconds=0.5),
        RunDirectory(tmp_path),
        Watch("t"),
        0,
    )
    assert at.updates > 1 and 0.5 <= at.cpu_seconds < 1.5


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    model = small_t5(32, 0, width=16, heads=2, feed_forward=32)
    nan = lambda batch: {"loss": program_log_probs(model, batch).sum() * float("nan")}  # noqa: E731
    with pytest.raises(CoderlError, match="lower the learning rate"):
        fit(model, lambda e: epoch_batches(EXAMPLES, 100, e), nan, Plan(5, 1e-3), RunDirectory(tmp_path), Watch("t"), 0)
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_nothing_to_train_on_is_said(tmp_path):
    model = small_t5(32, 0, width=16, heads=2, feed_forward=32)
    with pytest.raises(CoderlError, match="nothing to train on"):
        fit(model, lambda epoch: itertools.repeat([], 0), lambda b: {}, Plan(5, 1e-3), RunDirectory(tmp_path), Watch("t"), 0)
