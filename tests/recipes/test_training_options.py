"""The options that training stages share: from flags and files, in bounds, and what they do to a run."""

import json

import pytest
import torch
from safetensors.torch import load_file

from coderl.cli import main
from coderl.config_files import file_defaults
from coderl.models.actor import load_actor
from coderl.models.critic import load_critic
from coderl.recipes import finetune_coderl, train_critic, warm_start
from coderl.recipes.training import Training


@pytest.fixture(scope="module")
def problems(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    assert main(["problems", "mini", "--out", str(folder), "--train", "20", "--tests-only", "4", "--validation", "4", "--heldout", "4"]) == 0
    return folder


def train(problems, out, *more):
    words = ["warm-start", "--problems", problems / "train.jsonl", "--out", out, "--updates", 6, "--width", 16, "--layers", 1, "--vocabulary", 300]
    return main([str(word) for word in (*words, "--batch-tokens", 512, *more)])


@pytest.mark.parametrize("stage, every", [(warm_start, 250), (train_critic, 250), (finetune_coderl, 100)])
def test_a_config_file_has_them_beside_the_others(tmp_path, stage, every):
    (tmp_path / "c.toml").write_text('threads = 3\nlora = 4\nprecision = "float32"\nbatch_tokens = 99\n')
    found = file_defaults(stage.Config, tmp_path / "c.toml")
    assert found["training"] == Training(threads=3, lora=4, precision="float32", checkpoint_every=every)
    assert (found["tuning"].batch_tokens if "tuning" in found else found["batch_tokens"]) == 99


def test_the_course_of_the_rate_is_theirs():
    plan = Training(warmup=0.2, final_rate=0.5, decay_power=2.0, weight_decay=0.3, accumulate=4).plan(10, 0.1, muon=True)
    assert (plan.updates, plan.learning_rate, plan.cpu_seconds, plan.muon, plan.accumulate) == (10, 0.1, None, True, 4)
    assert (plan.warmup, plan.final, plan.power, plan.weight_decay) == (0.2, 0.5, 2.0, 0.3)
    usual = Training().plan(10, 0.1)
    assert (usual.warmup, usual.final, usual.power, usual.weight_decay) == (0.03, 0.1, 1.0, 0.01)


@pytest.mark.parametrize("flags, told", [(("--accumulate", 0), "--accumulate is 0"), (("--lora", -1), "--lora is -1")])
def test_they_have_bounds(problems, tmp_path, capsys, flags, told):
    assert train(problems, tmp_path, *flags) == 2
    assert told in capsys.readouterr().err


def test_float16_is_not_on_offer(problems, tmp_path):
    assert train(problems, tmp_path, "--precision", "float16") == 2


def test_the_manifest_has_them_flat_and_a_resume_may_change_only_what_moves_nothing(problems, tmp_path, capsys):
    assert train(problems, tmp_path, "--checkpoint-every", 2) == 0
    config = json.loads((tmp_path / "manifest.json").read_text())["config"]
    assert config["checkpoint_every"] == 2 and config["accumulate"] == 1 and "training" not in config
    (tmp_path / "COMPLETE").unlink()
    (tmp_path / "checkpoint-000002").mkdir()
    (tmp_path / "checkpoint-000002" / "complete").write_text("2\n")
    assert train(problems, tmp_path, "--checkpoint-every", 3, "--accumulate", 2) == 1
    assert "accumulate was 1, now it is 2" in capsys.readouterr().err


def test_gradient_checkpointing_moves_nothing(problems, tmp_path):
    for name, flags in (("plain", ()), ("again", ("--gradient-checkpointing",))):
        assert train(problems, tmp_path / name, *flags) == 0
    plain, again = (load_file(tmp_path / name / "actor" / "model.safetensors") for name in ("plain", "again"))
    assert all(torch.allclose(plain[name], again[name], atol=1e-6) for name in plain)


def test_lora_trains_adapters_and_leaves_plain_models(problems, tmp_path, monkeypatch):
    from coderl.run_directory import RunDirectory

    assert train(problems, tmp_path / "warm") == 0
    monkeypatch.setattr(RunDirectory, "remove_checkpoints", lambda self, keep=None: None)  # the checkpoints stay to be looked at
    looks = ("--validation", problems / "validation.jsonl", "--evaluate-every", 3, "--checkpoint-every", 3)
    assert train(problems, tmp_path / "lora", "--model", tmp_path / "warm" / "actor", "--lora", 2, *looks) == 0
    before = load_actor(tmp_path / "warm" / "actor").model.state_dict()
    half, after = (load_actor(tmp_path / "lora" / name).model.state_dict() for name in ("checkpoint-000003", "actor"))
    for later in (half, after):
        moved = {name for name in before if not torch.equal(before[name], later[name])}
        assert moved and all(name.endswith((".q.weight", ".v.weight")) for name in moved)
    assert any(not torch.equal(half[name], after[name]) for name in half)


def test_lora_for_a_critic(problems, tmp_path):
    assert train(problems, tmp_path / "warm") == 0
    model, tests_only = tmp_path / "warm" / "actor", problems / "tests_only.jsonl"
    tests_only.write_bytes((problems / "train_tests_only.jsonl").read_bytes())
    programs, verdicts = tmp_path / "s.jsonl", tmp_path / "v.jsonl"
    sample = ("sample", "--model", model, "--problems", tests_only, "--out", programs, "-n", 2, "--max-program-tokens", 16, "--workers", 1)
    grade = ("grade", "--problems", tests_only, "--programs", programs, "--out", verdicts, "--workers", 1)
    critic = ("train-critic", "--model", model, "--problems", tests_only, "--programs", programs, "--verdicts", verdicts, "--out", tmp_path / "c")
    for words in (sample, grade, (*critic, "--updates", 3, "--held-out", 0, "--references", problems / "train.jsonl", "--lora", 2)):
        assert main([str(word) for word in words]) == 0
    actor, found = load_actor(model).model.state_dict(), load_critic(tmp_path / "c" / "critic").body.state_dict()
    moved = {name for name in found if not torch.equal(actor[name], found[name])}
    assert moved and all(name.endswith((".q.weight", ".v.weight")) for name in moved)
