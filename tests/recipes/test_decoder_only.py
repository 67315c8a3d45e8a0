"""Decoder-only folders from the command line: the whole loop, critic and search included, and what refuses them in a sentence."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from coderl.chat import REQUEST, is_chat
from coderl.cli import main
from coderl.models.actor import load_actor
from coderl.models.critic import load_critic
from coderl.models.value_head import load_value_head
from coderl.prompts import prompt
from coderl.records import Problem
from coderl.store import read_records
from coderl.tokens import decode, load_tokenizer
from decoder_only import codegen_folder, gpt2_folder, llama_folder, qwen2_folder, qwen3_folder, starcoder2_folder


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    assert main(["problems", "mini", "--out", str(folder), "--train", "12", "--tests-only", "6", "--validation", "3", "--heldout", "4"]) == 0
    return folder


@pytest.fixture(scope="module", params=[gpt2_folder, llama_folder])
def model(request, files, tmp_path_factory) -> Path:
    return request.param(tmp_path_factory.mktemp("model"), read_records(files / "train.jsonl", Problem))


def call(*words) -> int:
    return main([str(word) for word in words])


def run(*words) -> None:
    assert call(*words) == 0, words


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_greedy_programs_are_those_of_hugging_face(files, model, tmp_path):
    out = tmp_path / "p.jsonl"
    sizes = ("--max-program-tokens", 16, "--workers", 1, "--max-source-tokens", 480)
    run("sample", "--model", model, "--problems", files / "train.jsonl", "--out", out, "--temperature", 0, *sizes)
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


def decreed(programs: Path, verdicts: Path) -> None:
    """This actor knows nothing yet: verdicts by lot, of all four kinds."""
    outcomes = ("compile_error", "passed_test", "runtime_error", "failed_test")
    told = ({"problem": x["problem"], "index": x["index"], "outcome": outcomes[i % 4], "tests": []} for i, x in enumerate(lines(programs)))
    verdicts.write_text("".join(json.dumps(line) + "\n" for line in told))


def test_warm_start_learns_and_finetune_goes_on(files, model, tmp_path):
    warm, p, v = tmp_path / "warm", tmp_path / "p.jsonl", tmp_path / "v.jsonl"
    start = ("warm-start", "--model", model, "--problems", files / "train.jsonl", "--validation", files / "validation.jsonl")
    steps = ("--updates", 12, "--batch-tokens", 1024, "--evaluate-every", 12, "--checkpoint-every", 5)
    run(*start, "--out", warm, *steps)
    found = [line["loss"] for line in lines(warm / "metrics.jsonl") if "loss" in line] or [0.0]
    run("sample", "--model", warm / "actor", "--problems", files / "train_tests_only.jsonl", "--out", p, "-n", 4, "--workers", 1)
    assert found and len(lines(p)) == 24
    decreed(p, v)
    judged = ("--problems", files / "train_tests_only.jsonl", "--programs", p, "--verdicts", v, "--references", files / "train.jsonl")
    out = tmp_path / "tuned"
    run("finetune", "reinforce", "--model", warm / "actor", *judged, "--out", out, "--lora", 2, "--gradient-checkpointing")
    states = [load_actor(folder).model.state_dict() for folder in (model, warm / "actor", out / "actor")]
    assert states[0].keys() == states[1].keys() == states[2].keys()
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0])
    moved = {name for name in states[1] if not torch.equal(states[1][name], states[2][name])}
    assert moved and all(name.split(".")[-2] in ("q_proj", "v_proj", "c_attn") for name in moved)


@pytest.mark.parametrize("family", [codegen_folder, starcoder2_folder, llama_folder, qwen2_folder, qwen3_folder])
def test_the_whole_loop_with_a_critic(family, files, tmp_path, capsys):
    """Sampling, verdicts, critic, scores, CodeRL, PPO, repair, search with critic and repair model, grading, estimates, diagnosis."""
    model = family(tmp_path / "model", read_records(files / "train.jsonl", Problem))
    problems, p, g, v, gv, t = (tmp_path / f"{name}.jsonl" for name in ("problems", "p", "g", "v", "gv", "t"))
    problems.write_text("".join((files / "train_tests_only.jsonl").read_text().splitlines(keepends=True)[:3]))
    limits = ("--max-source-tokens", 300, "--max-program-tokens", 16)
    run("sample", "--model", model, "--problems", problems, "--out", p, "--greedy", g, "-n", 4, *limits, "--workers", 1)
    decreed(p, v)
    gv.write_text("".join(json.dumps({"problem": x["problem"], "index": 0, "outcome": "failed_test", "tests": []}) + "\n" for x in lines(g)))
    judged = ("--problems", problems, "--programs", p, "--verdicts", v)
    start = ("--model", model, *judged)
    run("train-critic", *start, "--out", tmp_path / "c", "--updates", 3, "--held-out", 0.4, "--lora", 2, "--prefix-weight", 1, *limits)
    critic = tmp_path / "c" / "critic"
    assert not load_critic(critic).shares_prompts and json.loads((tmp_path / "c" / "report.json").read_text())["held_out"]
    run("score", "--critic", critic, *judged, "--out", t, *limits)
    drawn = [(s, x) for s, x in zip(lines(t), lines(p), strict=True) if max(x["token_ids"]) < 300]  # rows without a token are spelled anew
    assert len(drawn) > 3 and all(len(s["values"]) == len(x["token_ids"]) for s, x in drawn)
    tuning = ("--references", files / "train.jsonl", "--validation", files / "validation.jsonl", *limits)
    run("finetune", "coderl", *start, "--baseline", gv, "--scores", t, "--out", tmp_path / "tuned", *tuning)
    before, after = (load_actor(folder).model.state_dict() for folder in (model, tmp_path / "tuned" / "actor"))
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    run("finetune", "ppo", *start, "--out", tmp_path / "ppo", *limits)
    head = load_value_head(tmp_path / "ppo" / "actor", 32)
    assert head is not None and bool(head.outer.weight.any())  # it starts at 0
    repair_limits = ("--max-source-tokens", 400, "--max-program-tokens", 90)
    run("train-repair", *start, "--targets", "both", "--updates", 1, "--held-out", 0, "--out", tmp_path / "fix", *repair_limits)
    found = ("--critic", critic, "--repair", tmp_path / "fix" / "actor", "-n", 3, "--max-program-tokens", 16, "--workers", 1)
    run("critic-sample", "--model", tmp_path / "tuned" / "actor", "--problems", problems, *found, "--out", tmp_path / "search")
    final = lines(tmp_path / "search" / "final.jsonl")
    assert len(final) == 9 and {"sample", "repair"} & {x["origin"] for x in final}
    run("grade", "--problems", problems, "--programs", tmp_path / "search" / "final.jsonl", "--out", tmp_path / "fv.jsonl", "--workers", 1)
    run("evaluate", "--problems", problems, "--verdicts", tmp_path / "fv.jsonl", "--k", 1, "--out", tmp_path / "r.json")
    capsys.readouterr()
    run("diagnose", tmp_path / "tuned")
    assert "validation" in capsys.readouterr().out


def test_rounds_of_coderl(files, tmp_path):
    model = llama_folder(tmp_path / "model", read_records(files / "train.jsonl", Problem))
    size = (
        "--rounds",
        1,
        "--problems-per-round",
        3,
        "--samples",
        2,
        "--critic-updates",
        1,
        "--cores",
        1,
        "--variant",
        "B",
        "--max-program-tokens",
        12,
    )
    run(
        "rounds",
        "--model",
        model,
        "--problems",
        files / "train_tests_only.jsonl",
        "--references",
        files / "train.jsonl",
        *size,
        "--out",
        tmp_path / "r",
    )
    assert load_actor(tmp_path / "r" / "actor").model.config.model_type == "llama"
    assert load_critic(tmp_path / "r" / "round-1" / "critic" / "critic").config.model_type == "llama"


def test_a_fresh_one_starts_from_nothing(files, tmp_path):
    size = ("--family", "llama", "--updates", 2, "--width", 16, "--layers", 1, "--vocabulary", 300)
    run("warm-start", "--problems", files / "train.jsonl", "--out", tmp_path / "warm", *size)
    actor = load_actor(tmp_path / "warm" / "actor")
    assert actor.model.config.model_type == "llama" and actor.model.config.max_position_embeddings == 192 + 128
    run("sample", "--model", tmp_path / "warm" / "actor", "--problems", files / "heldout.jsonl", "--out", tmp_path / "p.jsonl", "-n", 1)
    assert len(lines(tmp_path / "p.jsonl")) == 4


def test_an_adopted_chat_model_is_asked_through_its_template(files, tmp_path, capsys):
    model, chat = tmp_path / "model", tmp_path / "chat"
    qwen2_folder(model, read_records(files / "train.jsonl", Problem))
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    run("adopt", "--model", model, "--out", chat)
    capsys.readouterr()
    run("show-prompt", "--problems", files / "train.jsonl", "--tokenizer", chat)
    shown = capsys.readouterr().out
    assert shown.startswith("<|im_start|>system\n") and REQUEST in shown and "<|im_start|>assistant\n" in shown
    run("warm-start", "--model", chat, "--problems", files / "train.jsonl", "--updates", 1, "--max-source-tokens", 300, "--out", tmp_path / "warm")
    assert is_chat(load_tokenizer(tmp_path / "warm" / "actor"))
    out = tmp_path / "p.jsonl"
    run("sample", "--model", tmp_path / "warm" / "actor", "--problems", files / "heldout.jsonl", "--out", out, "-n", 2, "--max-source-tokens", 300)
    tokenizer = load_tokenizer(chat)
    assert all(decode(tokenizer, x["token_ids"]) == x.get("text", x["code"]) for x in lines(out))
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before  # the folder of its authors is as it was


def test_what_cannot_be_adopted_is_one_sentence(files, tmp_path, capsys):
    model = gpt2_folder(tmp_path / "m", read_records(files / "train.jsonl", Problem))
    assert call("adopt", "--model", model, "--out", tmp_path / "o") == 1
    assert "no chat template" in capsys.readouterr().err and not (tmp_path / "o").exists()
    assert call("adopt", "--model", model, "--out", model) == 2
    assert "is there already" in capsys.readouterr().err


def test_more_tokens_than_positions_is_one_sentence(files, tmp_path, capsys):
    folder = gpt2_folder(tmp_path / "m", read_records(files / "train.jsonl", Problem), positions=64)
    assert call("sample", "--model", folder, "--problems", files / "train.jsonl", "--out", tmp_path / "p.jsonl", "--workers", 1) == 2
    assert "the model has 64 positions; lower --max-source-tokens" in capsys.readouterr().err
