"""Decoder-only folders from the command line: sample, warm-start, finetune, and what refuses them in a sentence."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from coderl.cli import main
from coderl.models.actor import load_actor
from coderl.prompts import prompt
from coderl.records import Problem
from coderl.store import read_records
from decoder_only import FAMILIES, gpt2_folder


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    assert main(["problems", "mini", "--out", str(folder), "--train", "12", "--tests-only", "6", "--validation", "3", "--heldout", "4"]) == 0
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def model(request, files, tmp_path_factory) -> Path:
    return request.param(tmp_path_factory.mktemp("model"), read_records(files / "train.jsonl", Problem))


def call(*words) -> int:
    return main([str(word) for word in words])


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_greedy_programs_are_those_of_hugging_face(files, model, tmp_path):
    out = tmp_path / "p.jsonl"
    sizes = ("--max-program-tokens", 16, "--workers", 1, "--max-source-tokens", 480)
    assert call("sample", "--model", model, "--problems", files / "train.jsonl", "--out", out, "--temperature", 0, *sizes) == 0
    written = {line["problem"]: line["token_ids"] for line in lines(out)}
    plain, actor = AutoModelForCausalLM.from_pretrained(model), load_actor(model)
    tokenizer, found = actor.tokenizer, 0
    for problem in read_records(files / "train.jsonl", Problem):
        # what a user of the family would do: the tokenizer's own special tokens in front
        whole = tokenizer(prompt(problem), return_tensors="pt").input_ids
        if whole.shape[1] > 480:
            continue
        theirs = plain.generate(input_ids=whole, attention_mask=torch.ones_like(whole), max_new_tokens=16, do_sample=False, pad_token_id=0)
        ids = theirs[0, whole.shape[1] :].tolist()
        assert written[problem.id] == ids
        found += 1
    assert found >= 5 and len({tuple(ids) for ids in written.values()}) > 3


def test_warm_start_learns_and_finetune_goes_on(files, model, tmp_path):
    warm, p, v = tmp_path / "warm", tmp_path / "p.jsonl", tmp_path / "v.jsonl"
    start = ("warm-start", "--model", model, "--problems", files / "train.jsonl", "--validation", files / "validation.jsonl")
    steps = ("--updates", 12, "--batch-tokens", 1024, "--evaluate-every", 12, "--checkpoint-every", 5)
    assert call(*start, "--out", warm, *steps) == 0
    found = [line["loss"] for line in lines(warm / "metrics.jsonl") if "loss" in line] or [0.0]
    assert call("sample", "--model", warm / "actor", "--problems", files / "train_tests_only.jsonl", "--out", p, "-n", 4, "--workers", 1) == 0
    assert found and len(lines(p)) == 24
    outcomes = ("compile_error", "passed_test", "runtime_error", "failed_test")  # this actor knows nothing yet: verdicts by lot
    verdicts = ({"problem": x["problem"], "index": x["index"], "outcome": outcomes[i % 4], "tests": []} for i, x in enumerate(lines(p)))
    v.write_text("".join(json.dumps(line) + "\n" for line in verdicts))
    judged = ("--problems", files / "train_tests_only.jsonl", "--programs", p, "--verdicts", v, "--references", files / "train.jsonl")
    out = tmp_path / "tuned"
    assert call("finetune", "reinforce", "--model", warm / "actor", *judged, "--out", out, "--lora", 2, "--gradient-checkpointing") == 0
    states = [load_actor(folder).model.state_dict() for folder in (model, warm / "actor", out / "actor")]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    moved = {name for name in states[1] if not torch.equal(states[1][name], states[2][name])}
    assert moved and all(name.split(".")[-2] in ("q_proj", "v_proj", "c_attn") for name in moved)


def test_a_critic_is_refused_in_one_sentence(files, model, tmp_path, capsys):
    p, v = tmp_path / "p.jsonl", tmp_path / "v.jsonl"
    problem = lines(files / "train_tests_only.jsonl")[0]["id"]
    p.write_text(json.dumps({"problem": problem, "index": 0, "code": "print(1)"}) + "\n")
    v.write_text(json.dumps({"problem": problem, "index": 0, "outcome": "failed_test", "tests": []}) + "\n")
    words = ("train-critic", "--model", model, "--problems", files / "train_tests_only.jsonl", "--programs", p, "--verdicts", v)
    assert call(*words, "--out", tmp_path / "c") == 1
    assert "train-critic needs an encoder-decoder of type 't5'" in capsys.readouterr().err
    assert not (tmp_path / "c" / "manifest.json").exists()


def test_more_tokens_than_positions_is_one_sentence(files, tmp_path, capsys):
    folder = gpt2_folder(tmp_path / "m", read_records(files / "train.jsonl", Problem), positions=64)
    assert call("sample", "--model", folder, "--problems", files / "train.jsonl", "--out", tmp_path / "p.jsonl", "--workers", 1) == 2
    assert "the model has 64 positions; lower --max-source-tokens" in capsys.readouterr().err
