"""Stage `problems`: the files it writes and the line it prints."""

import json
from pathlib import Path

import pytest

from coderl.recipes.problems import Jsonl, Mini, main_jsonl, main_mini, summary
from coderl.records import Problem, Test
from coderl.store import read_records


def test_mini_writes_four_files_and_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main_mini(Mini(tmp_path, seed=7, train=20, tests_only=30, validation=10, heldout=10))
    for name, size in (("train", 20), ("train_tests_only", 30), ("validation", 10), ("heldout", 10)):
        assert len(read_records(tmp_path / f"{name}.jsonl", Problem)) == size
    assert json.loads((tmp_path / "manifest.json").read_text())["config"]["seed"] == 7
    assert (tmp_path / "COMPLETE").exists()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(f"{tmp_path / 'train.jsonl'}: 20 problems (6 introductory, 8 interview, 6 competition; ")


def test_mini_gives_identical_files_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main_mini(Mini(tmp_path / name, seed=1, train=20, tests_only=20, validation=5, heldout=5))
    for name in ("train", "train_tests_only", "validation", "heldout"):
        assert (tmp_path / "a" / f"{name}.jsonl").read_bytes() == (tmp_path / "b" / f"{name}.jsonl").read_bytes()


def test_jsonl_copies(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"id":"a","statement":"s","kind":"stdin","tests":[{"input":"1","output":"2"}],"own":[1]}\n')
    main_jsonl(Jsonl(tmp_path / "in.jsonl", tmp_path / "out.jsonl"))
    assert read_records(tmp_path / "out.jsonl", Problem) == read_records(tmp_path / "in.jsonl", Problem)


def test_summary_counts_what_is_missing() -> None:
    problems = [Problem("a", "s", "call", (Test([1], 1),), solutions=("x",), difficulty="interview"), Problem("b", "s", "stdin", difficulty="easy")]
    assert summary(problems) == "2 problems (1 interview, 1 easy; 1 call, 1 stdin; 1 without tests; 1 without references)"
