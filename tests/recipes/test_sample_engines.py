"""`coderl sample --engine`: which engine wrote is told, CTranslate2 writes what torch writes, and what cannot be had is bad usage."""

import sys

import pytest

from coderl.cli import main
from coderl.models.actor import Actor, save_actor, small_t5
from coderl.problems import mini
from coderl.prompts import prompt
from coderl.records import Program
from coderl.store import read_records, write_records
from coderl.tokens import train_tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engines")
    problems = mini.generate(0, train=6, tests_only=0, validation=0, heldout=0).train
    tokenizer = train_tokenizer([text for p in problems for text in (prompt(p), *p.solutions)], vocabulary=300)
    save_actor(Actor(small_t5(len(tokenizer), 0, width=32, layers=1), tokenizer), folder / "actor")
    write_records(folder / "problems.jsonl", problems)
    return folder


def sample(place, out, *words):
    files = ["--model", place / "actor", "--problems", place / "problems.jsonl", "--out", place / out, "--max-program-tokens", 12]
    return main(["sample", *map(str, [*files, *words])])


def programs(place, out):
    return sorted((p.problem, p.index, p.code, round(p.logprob or 0, 2)) for p in read_records(place / out, Program))


def test_greedy_programs_are_those_of_the_torch_engine(place, capsys):
    assert sample(place, "torch.jsonl", "--temperature", 0, "--workers", 1) == 0
    assert "engine torch: an encoder-decoder: CTranslate2 in float32 is not faster" in capsys.readouterr().out
    assert sample(place, "other.jsonl", "--temperature", 0, "--workers", 2, "--engine", "ctranslate2") == 0
    assert "engine ctranslate2: asked for; repeating a run needs the same requests" in capsys.readouterr().out
    assert programs(place, "other.jsonl") == programs(place, "torch.jsonl") and len(programs(place, "other.jsonl")) == 6


def test_samples_with_greedy_ones_beside_them(place):
    words = ("-n", 3, "--workers", 1, "--engine", "ctranslate2-int8", "--greedy", place / "greedy.jsonl", "--logprobs")
    assert sample(place, "int8.jsonl", *words) == 0
    written = read_records(place / "int8.jsonl", Program)
    assert len(written) == 18 and len(programs(place, "greedy.jsonl")) == 6
    assert all(len(p.extra["sampling_logprobs"]) == p.tokens and max(p.extra["sampling_logprobs"]) <= 0 for p in written)


def test_what_cannot_be_had_is_bad_usage(place, capsys, monkeypatch):
    assert sample(place, "no.jsonl", "--engine", "vllm") == 2
    assert "--engine vllm takes decoder-only models" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert sample(place, "no.jsonl", "--engine", "ctranslate2") == 2
    assert "pip install 'coderl[ctranslate2]'" in capsys.readouterr().err
    assert not (place / "no.jsonl").exists() or not (place / "no.jsonl").read_text()
