"""Two processes on loopback (gloo) take the same steps as one that accumulates the same batches, in `fit` and from the command line."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from coderl.cli import main
from coderl.errors import CoderlError
from coderl.fitting import Batches, Objective, Plan, Watch, fit, program_tokens
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.actor import program_log_probs, small_t5
from coderl.run_directory import RunDirectory
from coderl.tokens import Example, epoch_batches
from two_processes import run_two

EXAMPLES = [Example(str(i % 7), tuple(range(5, 9 + i % 7)), (*range(5, 6 + i % 11), 2), supervised=i % 3 > 0) for i in range(40)]


def train(folder: str, accumulate: int, updates: int = 7, dropout: float = 0.0, bad_rank: int = -1) -> None:
    """A run with two terms of different counts; process 0 leaves the weights. `bad_rank`: whose loss becomes infinite in the third update."""
    torch.set_num_threads(1)
    model, machine, calls = small_t5(32, 0, width=16, heads=2, feed_forward=32, dropout=dropout), this_machine(), [0]

    def sums(batch):
        calls[0] += 1
        log_probs = program_log_probs(model, batch)
        drawn, supervised = batch.mask & ~batch.supervised[:, None], batch.mask & batch.supervised[:, None]
        factor = float("inf") if machine.rank == bad_rank and calls[0] == 3 else 1.0
        return {name: factor * cross_entropy(log_probs, mask) * mask.sum() for name, mask in (("a", drawn), ("b", supervised))}

    def counts(part):
        return {"a": program_tokens([e for e in part if not e.supervised]), "b": program_tokens([e for e in part if e.supervised])}

    plan = Plan(updates, 1e-3, accumulate=accumulate)
    batches = Batches(lambda epoch: epoch_batches(EXAMPLES, 100, epoch), 0, 0)
    run = RunDirectory(folder)
    try:
        fit(model, batches, Objective(sums, counts, {"a": 0.5, "b": 1.0}), plan, run, Watch("t", log_every=1, checkpoint_every=3), machine)
    except CoderlError as error:
        (Path(folder) / f"error-{machine.rank}").write_text(str(error))
    torch.save(model.state_dict(), run / f"weights-{machine.rank}.pt")


def weights(folder, rank=0):
    return torch.load(Path(folder) / f"weights-{rank}.pt", weights_only=True)


def logged(folder):
    return [(line["step"], line["a"], line["b"], line["loss"], line["gradient_norm"]) for line in RunDirectory(folder).metrics()]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_two_processes_are_one_that_accumulates_their_batches(tmp_path, accumulate):
    assert run_two(train, str(tmp_path / "two"), accumulate) == [0, 0]
    train(str(tmp_path / "one"), 2 * accumulate)
    one, first, second = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(tmp_path / "two", 1)
    start = small_t5(32, 0, width=16, heads=2, feed_forward=32).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.allclose(one[name], first[name], atol=1e-6) for name in one)
    assert max(float((one[name] - start[name]).abs().max()) for name in one) > 1e-3
    for a, b in zip(logged(tmp_path / "one"), logged(tmp_path / "two"), strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_two_processes_go_on_from_a_checkpoint(tmp_path):
    assert run_two(train, str(tmp_path / "whole"), 1, 8, 0.2) == [0, 0]
    assert run_two(train, str(tmp_path / "torn"), 1, 8, 0.2) == [0, 0]
    run = RunDirectory(tmp_path / "torn")
    assert run.newest_checkpoint().name == "checkpoint-000006"
    run.keep_metrics(lambda line: line["step"] <= 7)  # as if killed in the eighth step
    (tmp_path / "torn" / "weights-0.pt").unlink()
    assert run_two(train, str(tmp_path / "torn"), 1, 8, 0.2) == [0, 0]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert logged(tmp_path / "whole") == logged(tmp_path / "torn")


def test_a_bad_loss_in_one_process_stops_both(tmp_path):
    assert run_two(train, str(tmp_path), 1, 7, 0.0, 1) == [0, 0]
    assert "lower the learning rate" in (tmp_path / "error-0").read_text() and (tmp_path / "error-1").exists()


def test_the_warm_start_is_the_same_command(tmp_path):
    assert main(["problems", "mini", "--out", str(tmp_path / "p"), "--train", "20", "--tests-only", "4", "--validation", "4", "--heldout", "4"]) == 0
    words = ["warm-start", "--problems", str(tmp_path / "p" / "train.jsonl"), "--validation", str(tmp_path / "p" / "validation.jsonl")]
    flags = {"updates": 6, "width": 16, "layers": 1, "vocabulary": 300, "batch-tokens": 512, "evaluate-every": 3, "checkpoint-every": 2}
    words += [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    assert run_two(stage_twice, words, str(tmp_path / "two")) == [0, 0]
    assert main([*words, "--out", str(tmp_path / "one"), "--accumulate", "2"]) == 0
    one, both = (load_file(tmp_path / name / "actor" / "model.safetensors") for name in ("one", "two"))
    assert all(torch.allclose(one[name], both[name], atol=1e-5) for name in one)
    looks = [json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines() if "validation/greedy" in line]
    assert looks == [3, 6]


def stage_twice(words, out):
    """The stage, and again: the second call finds the run complete."""
    for _ in range(2):
        assert main([*words, "--out", out]) == 0
        torch.distributed.barrier()
