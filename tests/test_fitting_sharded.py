"""Two processes with sharded weights (FSDP2 over gloo) take the steps of one process, write what it writes, and go on after a kill."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.tensor import DTensor
from transformers import LlamaConfig, LlamaForCausalLM

from coderl.cli import main
from coderl.errors import UsageError
from coderl.fitting import Batches, Objective, Plan, Watch, fit, program_tokens
from coderl.formulas.policy_gradient import cross_entropy
from coderl.machine import this_machine
from coderl.models.actor import load_actor, program_log_probs, small_t5
from coderl.models.adapters import add_adapters
from coderl.models.t5_passes import recompute
from coderl.run_directory import RunDirectory
from coderl.tokens import epoch_batches
from test_fitting_processes import EXAMPLES, weights
from two_processes import run_two


def train(folder: str, accumulate: int, dropout: float = 0.0, lora: int = 0, again: bool = False, die: int = 0, llama: bool = False) -> None:
    """Ten updates with a checkpoint and a look every third; `die`: the step in which the second process kills itself."""
    torch.set_num_threads(1)
    model, machine = small_t5(32, 0, width=16, heads=2, feed_forward=32, dropout=dropout), this_machine()
    if llama:
        torch.manual_seed(0)
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes, max_position_embeddings=64))
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


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> Path:
    """A run of two processes."""
    folder = tmp_path_factory.mktemp("two")
    assert run_two(train, str(folder), 1, sharded=True) == [0, 0]
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Path:
    """The same by one process."""
    folder = tmp_path_factory.mktemp("one")
    train(str(folder), 2)
    return folder


def same(one: Path, two: Path) -> None:
    mine, first = weights(one), weights(two)
    assert mine.keys() == first.keys() and all(torch.allclose(mine[name], first[name], rtol=0, atol=1e-5) for name in mine)
    for a, b in zip(losses(one), losses(two), strict=True):
        assert a == pytest.approx(b, abs=1e-5)


def test_sharded_training_is_that_of_one_process(one, two):
    same(one, two)
    first, second = weights(two), weights(two, 1)
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = small_t5(32, 0, width=16, heads=2, feed_forward=32).state_dict()
    assert all(float((start[name] - first[name]).abs().max()) > 1e-3 for name in start)


def test_a_look_sees_the_whole_model_of_the_moment(one, two):
    ours, theirs = (torch.load(folder / "facts-0.pt", weights_only=True)["looks"] for folder in (two, one))
    assert len(ours) == len(theirs) == 4  # at steps 3, 6, 9 and at the end
    for a, b in zip(ours, theirs, strict=True):
        assert all(torch.allclose(a[name], b[name], rtol=0, atol=1e-5) for name in b)
    assert any(not torch.equal(ours[0][name], ours[1][name]) for name in ours[0])


def test_each_process_holds_a_part(two):
    """In a pass the root's weights are whole (embeddings, last norms), those of the blocks are not but for the one at work."""
    for rank in (0, 1):
        facts = torch.load(two / f"facts-{rank}.pt", weights_only=True)
        root = 32 * 16 + 2 * 16
        assert facts["held"] == root + (facts["of"] - root) // 2
        assert len(facts["looks"]) == 4 * (rank == 0)


@pytest.mark.parametrize("lora, again", [(0, True), (2, False)])
def test_with_adapters_and_with_activations_computed_again(tmp_path, lora, again):
    assert run_two(train, str(tmp_path / "two"), 2, 0.0, lora, again, sharded=True) == [0, 0]
    train(str(tmp_path / "one"), 4, 0.0, lora, again)
    same(tmp_path / "one", tmp_path / "two")


def test_a_decoder_only_model(tmp_path):
    assert run_two(train, str(tmp_path / "two"), 1, 0.0, 0, True, 0, True, sharded=True) == [0, 0]
    train(str(tmp_path / "one"), 2, 0.0, 0, False, 0, True)
    same(tmp_path / "one", tmp_path / "two")
    facts = torch.load(tmp_path / "two" / "facts-1.pt", weights_only=True)
    root = 2 * 32 * 16 + 16  # embedding, head, last norm
    assert facts["held"] == root + (facts["of"] - root) // 2


def test_a_killed_run_goes_on_to_the_last_bit(tmp_path):
    assert run_two(train, str(tmp_path / "whole"), 1, 0.2, sharded=True) == [0, 0]
    codes = run_two(train, str(tmp_path / "torn"), 1, 0.2, 0, False, 8, sharded=True)
    assert codes[1] == -signal.SIGKILL and codes[0] != 0 and not (tmp_path / "torn" / "weights-0.pt").exists()
    assert RunDirectory(tmp_path / "torn").newest_checkpoint().name == "checkpoint-000006"
    assert run_two(train, str(tmp_path / "torn"), 1, 0.2, sharded=True) == [0, 0]
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "torn")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert losses(tmp_path / "whole") == losses(tmp_path / "torn")


def test_a_checkpoint_does_not_know_of_shards(one, two, tmp_path):
    """One process goes on from what two with shards left, and the other way round."""
    mine, theirs = (torch.load(folder / "checkpoint-000009" / "state.pt", weights_only=True)["rules"][0]["state"] for folder in (one, two))
    assert mine.keys() == theirs.keys()
    for number, state in mine.items():
        assert all(torch.allclose(state[name], theirs[number][name], atol=1e-5) for name in state)
    for folder in (one, two):
        shutil.copytree(folder, tmp_path / folder.name)
    train(str(tmp_path / two.name), 2)
    assert run_two(train, str(tmp_path / one.name), 1, sharded=True) == [0, 0]
    same(one, tmp_path / two.name)
    same(tmp_path / one.name, two)


def test_warm_start_and_reinforce_from_the_command_line(tmp_path):
    """Two stages by two processes with shards, and by one: the same models, which anyone can load."""
    mini, warm, p, v = (tmp_path / name for name in ("mini", "warm", "p.jsonl", "v.jsonl"))
    call("problems", "mini", "--out", mini, "--train", 20, "--tests-only", 4, "--validation", 4, "--heldout", 4)
    size = ("--width", 16, "--layers", 1, "--vocabulary", 300, "--batch-tokens", 512, "--evaluate-every", 3, "--checkpoint-every", 4)
    start = (
        "warm-start",
        "--problems",
        mini / "train.jsonl",
        "--validation",
        mini / "validation.jsonl",
        "--optimiser",
        "adamw",
        *size,
        "--updates",
        6,
    )
    call(*start, "--out", warm, "--accumulate", 2)
    problems = mini / "train_tests_only.jsonl"
    call("sample", "--model", warm / "actor", "--problems", problems, "--out", p, "-n", 8, "--max-program-tokens", 16, "--workers", 1)
    programs = [json.loads(line) for line in p.read_text().splitlines()]
    outcomes = ("compile_error", "passed_test", "runtime_error", "failed_test")  # this actor knows nothing yet: verdicts by lot
    verdicts = ({"problem": x["problem"], "index": x["index"], "outcome": outcomes[i % 4], "tests": []} for i, x in enumerate(programs))
    v.write_text("".join(json.dumps(line) + "\n" for line in verdicts))
    files = ("--problems", problems, "--programs", p, "--verdicts", v, "--references", mini / "train.jsonl", "--batch-tokens", 256)
    tune = ("finetune", "reinforce", "--model", warm / "actor", *files, "--learning-rate", 1e-3, "--epochs", 4)
    call(*tune, "--out", tmp_path / "tuned", "--accumulate", 2)
    assert run_two(stages, [(*start, "--out", tmp_path / "warm-two"), (*tune, "--out", tmp_path / "tuned-two")], sharded=True) == [0, 0]
    for name in ("warm", "tuned"):
        one, two = (load_file(tmp_path / folder / "actor" / "model.safetensors") for folder in (name, f"{name}-two"))
        assert one.keys() == two.keys() and all(torch.allclose(one[key], two[key], rtol=0, atol=1e-5) for key in one)
    before, after = (load_actor(tmp_path / f"{name}-two" / "actor").model.state_dict() for name in ("warm", "tuned"))
    assert max(float((before[name] - after[name]).abs().max()) for name in before) > 1e-3
    looks = [json.loads(line)["step"] for line in (tmp_path / "warm-two" / "metrics.jsonl").read_text().splitlines() if "validation/greedy" in line]
    assert looks == [3, 6]


def test_muon_is_refused(tmp_path):
    model, machine = small_t5(32, 0, width=16, heads=2, feed_forward=32), this_machine()._replace(sharded=True)
    nothing = Objective(lambda batch: {}, lambda part: {}, {})
    with pytest.raises(UsageError, match="--optimiser adamw"):
        fit(model, Batches(lambda epoch: iter([]), 0, 0), nothing, Plan(1, 1e-3, muon=True), RunDirectory(tmp_path), Watch("t"), machine)


def call(*words) -> None:
    assert main([str(word) for word in words]) == 0


def stages(commands) -> None:
    for words in commands:
        call(*words)
        torch.distributed.barrier()
