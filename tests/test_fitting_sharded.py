"""Two processes with sharded weights (FSDP2 over gloo) take the steps of one process, write what it writes, and go on after a kill."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor

from coderl.cli import main
from coderl.errors import UsageError
from coderl.fitting import Batches, Objective, Plan, Watch, fit, program_tokens
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.adapters import add_adapters
from coderl.models.actor import program_log_probs, small_t5
from coderl.models.t5_passes import recompute
from coderl.store import RunDirectory
from coderl.tokens import epoch_batches
from test_fitting_processes import EXAMPLES, logged, stage_twice, weights
from two_processes import run_two


def train(folder: str, accumulate: int, dropout: float = 0.0, lora: int = 0, again: bool = False, die: int = 0) -> None:
    """Ten updates with a checkpoint and a look every third; `die`: the step in which the second process kills itself."""
    torch.set_num_threads(1)
    model, machine = small_t5(32, 0, width=16, heads=2, feed_forward=32, dropout=dropout), this_machine()
    if lora:
        add_adapters(model, lora, 0)
    recompute(model, again)
    run, shares, looks = RunDirectory(folder), [], []

    def sums(batch):
        shares.append(sum(_held(p) for p in model.parameters()))
        return {"loss": cross_entropy(program_log_probs(model, batch), batch.mask) * batch.mask.sum()}

    def counts(part):
        if die and machine.rank == 1 and len(shares) == die * accumulate:
            os.kill(os.getpid(), signal.SIGKILL)
        return {"loss": program_tokens(part)}

    def look(step):
        looks.append({name: p.detach().clone() for name, p in model.named_parameters()})
        return {"looked": 1.0}

    watch = Watch("t", log_every=1, evaluate_every=3, checkpoint_every=3, evaluate=look)
    batches = Batches(lambda epoch: epoch_batches(EXAMPLES, 100, epoch), 0, 0)
    fit(model, batches, Objective(sums, counts, {"loss": 1.0}), Plan(10, 1e-3, accumulate=accumulate), run, watch, machine)
    torch.save(model.state_dict(), run / f"weights-{machine.rank}.pt")
    torch.save({"held": max(shares), "of": sum(p.numel() for p in model.parameters()), "looks": looks}, run / f"facts-{machine.rank}.pt")


def _held(p: torch.Tensor) -> int:
    return p.to_local().numel() if isinstance(p, DTensor) else p.numel()


def losses(folder: Path) -> list[tuple[float, ...]]:
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in RunDirectory(folder).metrics() if "loss" in line]


@pytest.mark.parametrize("accumulate, lora, again", [(1, 0, False), (2, 0, True), (1, 2, False)])
def test_sharded_training_is_that_of_one_process(tmp_path, accumulate, lora, again):
    assert run_two(train, str(tmp_path / "two"), accumulate, 0.0, lora, again, sharded=True) == [0, 0]
    train(str(tmp_path / "one"), 2 * accumulate, 0.0, lora, again)
    one, first, second = weights(tmp_path / "one"), weights(tmp_path / "two"), weights(tmp_path / "two", 1)
    assert one.keys() == first.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert all(torch.allclose(one[name], first[name], rtol=0, atol=1e-5) for name in one)
    for a, b in zip(losses(tmp_path / "one"), losses(tmp_path / "two"), strict=True):
        assert a == pytest.approx(b, abs=1e-5)
    start = small_t5(32, 0, width=16, heads=2, feed_forward=32).state_dict()
    moved = {name for name in start if not torch.equal(start[name], first.get(name, start[name]))}
    assert (moved == set()) if lora else (len(moved) == len(start))
    facts, alone = (torch.load(tmp_path / name / "facts-0.pt", weights_only=True) for name in ("two", "one"))
    assert len(facts["looks"]) == len(alone["looks"]) == 4  # at steps 3, 6, 9 and at the end
    for ours, theirs in zip(facts["looks"], alone["looks"], strict=True):
        assert all(torch.allclose(ours[name], theirs[name], rtol=0, atol=1e-5) for name in theirs)


def test_each_process_holds_a_part(tmp_path):
    """In a pass the root's weights are whole (embeddings, norms: a small part of this model), those of the blocks are not."""
    assert run_two(train, str(tmp_path), 1, sharded=True) == [0, 0]
    facts = [torch.load(tmp_path / f"facts-{rank}.pt", weights_only=True) for rank in (0, 1)]
    root = 32 * 16 + 16 * 2
    for one in facts:
        assert one["held"] <= root + (one["of"] - root) / 2 + 200
    assert facts[1]["looks"] == []


def test_a_killed_run_goes_on_to_the_last_bit(tmp_path):
    assert run_two(train, str(tmp_path / "whole"), 1, 0.2, sharded=True) == [0, 0]
    codes = run_two(train, str(tmp_path / "torn"), 1, 0.2, 0, False, 8, sharded=True)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0 and not (tmp_path / "torn" / "weights-0.pt").exists()
    assert RunDirectory(tmp_path / "torn").newest_checkpoint().name == "checkpoint-000006"
    assert run_two(train, str(tmp_path / "torn"), 1, 0.2, sharded=True) == [0, 0]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "torn")


def test_a_checkpoint_does_not_know_of_shards(tmp_path):
    """One process goes on from what two with shards left, and the other way round."""
    assert run_two(train, str(tmp_path / "two"), 1, sharded=True) == [0, 0]
    train(str(tmp_path / "one"), 2)
    mine, theirs = (torch.load(tmp_path / name / "checkpoint-000009" / "state.pt", weights_only=True) for name in ("one", "two"))
    assert mine["rules"][0]["state"].keys() == theirs["rules"][0]["state"].keys()
    for number, state in mine["rules"][0]["state"].items():
        assert all(torch.allclose(state[name], theirs["rules"][0]["state"][number][name], atol=1e-5) for name in state)
    train(str(tmp_path / "two"), 2)
    assert run_two(train, str(tmp_path / "one"), 1, sharded=True) == [0, 0]
    assert all(torch.allclose(value, weights(tmp_path / "one")[name], rtol=0, atol=1e-5) for name, value in weights(tmp_path / "two").items())
