"""The training loop: schedule by hand, resume equals no interruption, updates weigh tokens rightly, bad losses are refused."""

import itertools

import pytest
import torch

from coderl.errors import CoderlError
from coderl.fitting import Batches, Objective, Plan, Watch, fit, learning_rate, program_tokens
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.actor import program_log_probs, small_t5
from coderl.run_directory import RunDirectory
from coderl.tokens import Example, collate, epoch_batches

EXAMPLES = [Example(str(i % 7), tuple(range(5, 9 + i % 7)), (5 + i % 11, 6 + i % 3, 2)) for i in range(40)]
BATCHES = Batches(lambda epoch: epoch_batches(EXAMPLES, 100, epoch), 0, 0)


def small(seed=0, dropout=0.0):
    return small_t5(32, seed, width=16, heads=2, feed_forward=32, dropout=dropout)


def token_mean(model, factor=1.0):
    """Cross-entropy, as the warm start has it."""

    def sums(batch):
        return {"loss": factor * cross_entropy(program_log_probs(model, batch), batch.mask) * batch.mask.sum()}

    return Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0})


def test_learning_rate_by_hand():
    plan = Plan(updates=100, learning_rate=1.0, warmup=0.1, final=0.1)
    assert learning_rate(plan, 0.05) == pytest.approx(0.5)  # half-way up
    assert learning_rate(plan, 0.1) == pytest.approx(1.0)
    assert learning_rate(plan, 0.55) == pytest.approx(0.55)  # half-way down from 1 to 0.1
    assert learning_rate(plan, 1.0) == pytest.approx(0.1)
    assert learning_rate(plan, 2.0) == pytest.approx(0.1)


def test_the_polynomial_course_of_the_papers_warm_start_by_hand():
    """2e-5 in the first 500 of 16,800 updates, then 1e-5 + 1e-5 (1 - x)^0.5: at x = 0.75 that is 1.5e-5, where a straight line has 1.25e-5."""
    plan = Plan(updates=16_800, learning_rate=2e-5, warmup=500 / 16_800, final=0.5, power=0.5)
    at = [learning_rate(plan, share / 16_800) for share in (250, 500, 500 + 0.75 * 16_300, 16_800)]
    assert at == pytest.approx([1e-5, 2e-5, 1.5e-5, 1e-5])


class Killed(Exception):
    pass


def train(folder, updates, total, checkpoint=5, seed=0, muon=False, dropout=0.0, accumulate=1):
    """`updates` < total simulates a kill: the loop is stopped from outside after so many batches."""
    model, losses = small(seed, dropout), []
    objective = token_mean(model)

    def sums(batch):
        if len(losses) == updates:
            raise Killed
        found = objective.sums(batch)
        losses.append(found["loss"].item())
        return found

    plan = Plan(total, 1e-2, muon=muon, accumulate=accumulate)
    watch = Watch("t", log_every=4, checkpoint_every=checkpoint)
    try:
        fit(model, BATCHES, objective._replace(sums=sums), plan, RunDirectory(folder), watch, this_machine())
    except Killed:
        pass
    return model, losses


@pytest.mark.parametrize("muon, dropout, accumulate", [(False, 0.0, 1), (True, 0.0, 1), (False, 0.3, 1), (False, 0.3, 2)])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, muon, dropout, accumulate):
    how = {"muon": muon, "dropout": dropout, "accumulate": accumulate}
    whole, losses = train(tmp_path / "whole", 99, 23, **how)
    _, first = train(tmp_path / "torn", 13 * accumulate, 23, **how)
    torch.manual_seed(12345)  # whatever has been drawn before does not matter
    resumed, second = train(tmp_path / "torn", 99, 23, seed=1, **how)  # other weights: the checkpoint's must win
    assert first[: 10 * accumulate] + second == losses
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(a, b)
    lines, expected = (RunDirectory(tmp_path / name).metrics() for name in ("torn", "whole"))
    assert [line["step"] for line in lines] == [4, 8, 12, 16, 20]
    assert [line["loss"] for line in lines] == [line["loss"] for line in expected]  # also the one that began before the kill


def test_dropout_is_drawn_anew_in_every_update(tmp_path):
    torch.manual_seed(0)
    one = Batches(lambda epoch: iter([EXAMPLES[:4]]), 0, 0)
    model, losses = small(dropout=0.5), []
    objective = token_mean(model)

    def sums(batch):
        found = objective.sums(batch)
        losses.append(found["loss"].item())
        return found

    fit(model, one, objective._replace(sums=sums), Plan(4, 1e-12), RunDirectory(tmp_path), Watch("t"), this_machine())
    assert len(set(losses)) == 4


def test_a_resumed_run_passes_epochs_of_known_length_by():
    made = []

    def epoch(number):
        made.append(number)
        return iter([[EXAMPLES[number], EXAMPLES[i]] for i in range(3)])

    slow, fast = (Batches(epoch, 0, 0, length) for length in (None, 3))
    for skip in (0, 2, 3, 10, 12):
        made.clear()
        expected = next(slow.groups(skip, 4))
        before, made[:] = list(made), []
        assert next(fast.groups(skip, 4)) == expected
        assert before[0] == 0 and made[0] == skip // 3


def test_accumulated_batches_are_one_batch(tmp_path):
    # ragged on purpose: the mean of the three batches' means is another number
    draw = torch.Generator().manual_seed(0)
    parts = [
        [Example(f"{k}{i}", (5, 6, 7), (*torch.randint(5, 32, (length,), generator=draw).tolist(), 2)) for i in range(count)]
        for k, (count, length) in enumerate(((1, 14), (7, 2), (3, 5)))
    ]
    with torch.no_grad():
        losses = [float(cross_entropy(program_log_probs(small(), b), b.mask)) for b in (collate(part, 0) for part in parts)]
    tokens = [program_tokens(part) for part in parts]
    mean = sum(x * n for x, n in zip(losses, tokens)) / sum(tokens)
    assert abs(mean - sum(losses) / 3) > 0.003

    def weights(name, batches, accumulate):
        model = small()
        plan = Plan(3, 1e-3, accumulate=accumulate)
        fit(model, Batches(lambda epoch: iter(batches), 0, 0), token_mean(model), plan, RunDirectory(tmp_path / name), Watch("t", 1), this_machine())
        return torch.cat([p.detach().flatten() for p in model.parameters()]), RunDirectory(tmp_path / name).metrics()

    apart, lines = weights("apart", parts, 3)
    together, expected = weights("together", [[e for part in parts for e in part]], 1)
    assert torch.allclose(apart, together, atol=5e-6)
    assert [line["gradient_norm"] for line in lines] == pytest.approx([line["gradient_norm"] for line in expected], abs=1e-5)
    assert lines[0]["loss"] == pytest.approx(mean, abs=1e-5)


def test_each_term_has_its_own_count(tmp_path):
    # a: sum 3 x w over 2; b: sum 5 x w over 10; w starts at 1: loss = 2 * 3/2 + 5/10 = 3.5; c is logged and not minimised
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(model.weight)
    w = model.weight

    def sums(batch):
        return {"a": 3 * w.sum() / 2, "b": 5 * w.sum() / 2, "c": 100 * w.detach().sum()}

    objective = Objective(sums, lambda part: {"a": 1, "b": 5, "c": 0}, {"a": 2.0, "b": 1.0})
    fit(model, BATCHES, objective, Plan(1, 1e-3, accumulate=2), RunDirectory(tmp_path), Watch("t", 1), this_machine())
    (line,) = RunDirectory(tmp_path).metrics()
    assert (line["a"], line["b"], line["loss"], line["gradient_norm"]) == (1.5, 0.5, 3.5, 3.5)


def test_training_lowers_the_loss_and_logs_it(tmp_path):
    _, losses = train(tmp_path, 200, 60)
    assert len(losses) == 60 and sum(losses[-5:]) < 0.6 * sum(losses[:5])
    lines = RunDirectory(tmp_path).metrics()
    tokens = [program_tokens(batch) for batch in itertools.islice(BATCHES.epoch(0), 4)]
    assert lines[0]["loss"] == pytest.approx(sum(x / n for x, n in zip(losses, tokens)) / 4, abs=1e-5)
    assert all({"stage", "step", "cpu_seconds", "learning_rate", "gradient_norm"} <= set(line) for line in lines)


def test_a_plan_in_cpu_seconds_ends_after_them(tmp_path):
    model = small()
    at = fit(model, BATCHES, token_mean(model), Plan(1, 1e-3, cpu_seconds=0.5), RunDirectory(tmp_path), Watch("t"), this_machine())
    assert at.updates > 1 and 0.5 <= at.cpu_seconds < 1.5


def test_a_loss_that_is_not_finite_stops_with_a_sentence(tmp_path):
    model = small()
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(CoderlError, match="lower the learning rate"):
        fit(model, BATCHES, token_mean(model, float("nan")), Plan(5, 1e-3), RunDirectory(tmp_path), Watch("t"), this_machine())
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters()))


def test_nothing_to_train_on_is_said(tmp_path):
    model = small()
    with pytest.raises(CoderlError, match="nothing to train on"):
        fit(model, Batches(lambda epoch: iter([]), 0, 0), token_mean(model), Plan(5, 1e-3), RunDirectory(tmp_path), Watch("t"), this_machine())


def test_bfloat16_comes_near_float32_and_keeps_weights_in_float32(tmp_path):
    found = {}
    for precision in ("float32", "bfloat16"):
        model = small()
        fit(model, BATCHES, token_mean(model), Plan(10, 1e-2), RunDirectory(tmp_path / precision), Watch("t", 10), this_machine(precision))
        assert all(p.dtype == torch.float32 for p in model.parameters())
        found[precision] = RunDirectory(tmp_path / precision).metrics()[0]["loss"]
    assert found["bfloat16"] == pytest.approx(found["float32"], rel=0.02) and found["bfloat16"] != found["float32"]


def test_a_checkpoint_of_other_trained_weights_is_refused(tmp_path):
    train(tmp_path, 7, 20)
    model = small()
    model.shared.weight.requires_grad_(False)
    with pytest.raises(CoderlError, match=r"trains other weights \(one has shared.weight"):
        fit(model, BATCHES, token_mean(model), Plan(20, 1e-2), RunDirectory(tmp_path), Watch("t"), this_machine())
