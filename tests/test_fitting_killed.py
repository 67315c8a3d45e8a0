"""Runs that are killed with SIGKILL, at random moments and while a checkpoint is written, repeat an uninterrupted run to the last bit."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from coderl.fitting import Batches, Objective, Plan, Watch, fit, program_tokens
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.actor import program_log_probs, small_t5
from coderl.run_directory import RunDirectory
from coderl.tokens import Example, epoch_batches

UPDATES = 40
EXAMPLES = [Example(str(i % 7), tuple(range(5, 9 + i % 7)), (5 + i % 11, 6 + i % 3, 2)) for i in range(40)]


def train(folder: str, slow: float, die_while_saving: int) -> None:
    """A run with dropout and accumulation, every step of it logged; what is in the folder already is gone on with.

    Args:
        slow: seconds of sleep in a batch, so that a kill can hit. die_while_saving: the checkpoint of this step kills the process
            when half of it is written; 0 = none does.
    """
    torch.set_num_threads(1)
    model = small_t5(32, 0, width=16, heads=2, feed_forward=32, dropout=0.2)
    run = RunDirectory(folder)

    def sums(batch):
        time.sleep(slow)
        return {"loss": cross_entropy(program_log_probs(model, batch), batch.mask) * batch.mask.sum()}

    def save(half: Path) -> None:
        (half / "model").write_bytes(os.urandom(1000))
        if half.name == f"checkpoint-{die_while_saving:06d}":
            os.kill(os.getpid(), signal.SIGKILL)

    fit(
        model,
        Batches(lambda epoch: epoch_batches(EXAMPLES, 100, epoch), 0, 3),
        Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0}),
        Plan(UPDATES, 1e-2, accumulate=2),
        run,
        Watch("t", log_every=1, checkpoint_every=3, save=save),
        this_machine(),
    )
    torch.save(model.state_dict(), run / "weights.pt")


@pytest.fixture(scope="module")
def server():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["coderl.fitting", "coderl.models.actor"])
    return context


def steps(folder: Path) -> dict[int, tuple[float, float]]:
    """Loss and gradient norm of every step in the log."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: (line["loss"], line["gradient_norm"]) for line in lines if line["stage"] == "t"}


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    process = server.Process(target=train, args=(str(folder), 0.0, 0))
    process.start()
    process.join()
    assert process.exitcode == 0 and len(steps(folder)) == UPDATES
    return folder


def same(a: Path, b: Path) -> None:
    assert steps(a) == steps(b)
    one, other = (torch.load(folder / "weights.pt", weights_only=True) for folder in (a, b))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_at_random_moments(server, whole, tmp_path):
    draw, kills = random.Random(7), 0
    for _ in range(100):
        process = server.Process(target=train, args=(str(tmp_path), 0.005, 0))
        process.start()
        process.join(draw.uniform(0.05, 0.8) if kills < 6 else None)
        if process.exitcode == 0:
            break
        process.kill()
        process.join()
        kills += 1
    assert kills == 6
    same(tmp_path, whole)


@pytest.mark.parametrize("step", [3, 21])  # the first checkpoint of all, and one with a whole one before it
def test_killed_while_a_checkpoint_is_written(server, whole, tmp_path, step):
    for die, code in ((step, -signal.SIGKILL), (0, 0)):
        process = server.Process(target=train, args=(str(tmp_path), 0.0, die))
        process.start()
        process.join()
        assert process.exitcode == code
        if die:
            newest = RunDirectory(tmp_path).newest_checkpoint()
            assert (newest.name if newest else None) == (None if step == 3 else f"checkpoint-{step - 3:06d}")
            assert (tmp_path / f"checkpoint-{step:06d}").exists()  # half of it
    same(tmp_path, whole)
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == [f"checkpoint-{UPDATES - UPDATES % 3:06d}"]
