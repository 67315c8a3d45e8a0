"""Importers of MBPP, HumanEval and own problems: real data, what they decide, and one clear sentence for broken files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coderl.errors import DataError
from coderl.problems import apps, humaneval, jsonl, mbpp
from coderl.records import Problem, Program, program_text
from coderl.sandbox import Judge
from coderl.store import write_records

MBPP_ROW = {
    "task_id": 11,
    "text": "Add two numbers.",
    "code": "import math\r\ndef add(a, b):\r\n  return a + b",
    "test_list": ["assert set([add(1, 2)]) == {3}", "assert add(0, 0) == 0"],
    "test_setup_code": "x = 1",
    "challenge_test_list": ["assert add(-1, 1) == 0"],
}
HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": "def add(a, b):\n",
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}
OWN_ROW = {"id": "p/1", "statement": "Double.", "kind": "call", "entry_point": "f", "tests": [{"input": [2], "output": 4}], "mine": 1}


def lines(path: Path, *rows: Any) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8")
    return path


def test_mbpp_real_counts(data_dir: Path) -> None:
    everything = mbpp.load(data_dir / "mbpp" / "mbpp.jsonl")
    assert len(everything) == 974
    assert len(mbpp.load(data_dir / "mbpp" / "sanitized-mbpp.json")) == 427
    splits = [problem.extra["split"] for problem in everything]
    assert [splits.count(name) for name in ("prompt", "test", "validation", "train")] == [10, 500, 90, 374]


def test_mbpp_real_entry_points_are_defined_by_the_references(data_dir: Path) -> None:
    for name in ("mbpp.jsonl", "sanitized-mbpp.json"):
        for problem in mbpp.load(data_dir / "mbpp" / name):
            assert f"def {problem.entry_point}" in problem.solutions[0] or f"class {problem.entry_point}" in problem.solutions[0], problem.id
            assert all(problem.entry_point in (test.code or "") for test in problem.tests), problem.id


def test_mbpp_fields(tmp_path: Path) -> None:
    (problem,) = mbpp.load(lines(tmp_path / "m.jsonl", MBPP_ROW))
    assert (problem.id, problem.kind, problem.entry_point, problem.setup, problem.comparator) == ("mbpp/11", "assert", "add", "x = 1", "strict")
    assert problem.solutions == ("import math\ndef add(a, b):\n  return a + b",)
    assert [test.code for test in problem.tests] == MBPP_ROW["test_list"] == [test.code for test in problem.examples]
    assert problem.extra == {"challenge_tests": ["assert add(-1, 1) == 0"], "split": "test"}


def test_mbpp_sanitized_form(tmp_path: Path) -> None:
    row = {
        "task_id": 700,
        "prompt": "Do it.",
        "code": "def g(): return 1",
        "test_imports": ["import math", "import re"],
        "test_list": ["assert g() == 1"],
    }
    (problem,) = mbpp.load(lines(tmp_path / "s.json", [row]))
    assert (problem.statement, problem.setup, problem.extra) == ("Do it.", "import math\nimport re", {"split": "train"})


@pytest.mark.parametrize(
    ("asserts", "code", "name"),
    [
        (["assert sorted(f(1)) == [1]"], "def f(x): return [x]", "f"),
        (["assert helper(f(1)) == 1"], "def f(x): return x", "f"),
        (["assert g(1) == 1"], "g = lambda x: x", "g"),
        (["assert 1 == 1"], "def f(x): return x", None),
        (["not python ("], "neither (", None),
    ],
)
def test_tested_function(asserts: list[str], code: str, name: str | None) -> None:
    assert mbpp.tested_function(asserts, code) == name


def test_humaneval_real_count(data_dir: Path) -> None:
    problems = humaneval.load(data_dir / "humaneval" / "HumanEval.jsonl.gz")
    assert len(problems) == 164
    assert all("def check(candidate)" in (problem.tests[0].code or "") for problem in problems)
    assert all(f"def {problem.entry_point}(" in problem.starter_code for problem in problems)


@pytest.mark.parametrize(("name", "load"), [("humaneval/HumanEval.jsonl.gz", humaneval.load), ("mbpp/sanitized-mbpp.json", mbpp.load)])
def test_real_references_pass(data_dir: Path, name: str, load: Callable[[Path], list[Problem]]) -> None:
    pairs = [(problem, Program(problem.id, problem.solutions[0], 0, "reference")) for problem in load(data_dir / name)]
    with Judge(workers=2) as judge:
        assert [verdict.problem for verdict in judge.grade_many(pairs) if not verdict.is_pass] == []


def test_humaneval_completion_is_put_behind_the_prompt(tmp_path: Path) -> None:
    (problem,) = humaneval.load(lines(tmp_path / "h.jsonl", HUMANEVAL_ROW))
    program = Program.from_json({"task_id": "HumanEval/0", "completion": "    return a + b\n"})
    assert program_text(problem, program) == problem.solutions[0] == "def add(a, b):\n    return a + b\n"


def test_humaneval_plain_and_gzipped_files_read_alike(tmp_path: Path) -> None:
    plain = lines(tmp_path / "h.jsonl", HUMANEVAL_ROW)
    (tmp_path / "h.jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert humaneval.load(plain) == humaneval.load(tmp_path / "h.jsonl.gz")


def test_own_problems_survive_unchanged(tmp_path: Path) -> None:
    problems = jsonl.load(lines(tmp_path / "p.jsonl", OWN_ROW, "", {**OWN_ROW, "id": "p/2", "statement": "odd \u2028 line"}))
    assert problems[0] == Problem.from_json(OWN_ROW)
    assert problems[0].extra == {"mine": 1}
    write_records(tmp_path / "q.jsonl", problems)
    assert jsonl.load(tmp_path / "q.jsonl") == problems


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "lacks the required field 'id'"),
        ({"kind": "wish"}, "field 'kind' is 'wish'"),
        ({"entry_point": None}, "has no entry_point; name the function"),
        ({"comparator": "fuzzy"}, "comparator 'fuzzy'; it must be one of strict, apps"),
        ({"tests": [{"input": 2, "output": 4}]}, "entry 0 of tests does not fit kind call; its input must be the list of arguments"),
        ({"examples": [{"code": "assert 1"}]}, "entry 0 of examples does not fit kind call"),
        ({"kind": "stdin"}, "entry 0 of tests does not fit kind stdin; its input and output must be text"),
        ({"kind": "assert"}, "entry 0 of tests does not fit kind assert; it must have 'code'"),
    ],
)
def test_own_problems_that_cannot_be_judged_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = lines(tmp_path / "p.jsonl", OWN_ROW, {**OWN_ROW, "id": "p/2", **change})
    with pytest.raises(DataError) as caught:
        jsonl.load(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


LOADERS = [apps.load, mbpp.load, humaneval.load, jsonl.load]


@pytest.mark.parametrize("load", LOADERS)
def test_missing_source_is_a_data_error(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"no such file|is no folder and no file"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("load", LOADERS[1:])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no problems"),
        (b"{\n", "not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (b"7\n", "must be a JSON object"),
        (b"[1]", "entry 0 is 1; it must be a JSON object"),
        (b"{}\n", "lacks the"),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_broken_file_is_a_data_error(tmp_path: Path, load: Callable[[Path], object], content: bytes, message: str) -> None:
    (tmp_path / "broken.jsonl").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path / "broken.jsonl")
    assert str(caught.value).startswith(str(tmp_path / "broken.jsonl"))


@pytest.mark.parametrize("load", LOADERS[1:])
def test_folder_and_broken_gzip_are_data_errors(tmp_path: Path, load: Callable[[Path], object]) -> None:
    with pytest.raises(DataError, match=r"is a folder|holds no data files"):
        load(tmp_path)
    for content in (b"plain", gzip.compress(b"{}" * 5000)[:-20]):
        (tmp_path / "x.jsonl.gz").write_bytes(content)
        with pytest.raises(DataError, match="not a whole gzip file"):
            load(tmp_path / "x.jsonl.gz")


@pytest.mark.parametrize(
    ("load", "row", "change", "message"),
    [
        (mbpp.load, MBPP_ROW, {"task_id": "eleven"}, "field 'task_id' is 'eleven'; it must be of type int"),
        (mbpp.load, MBPP_ROW, {"test_list": []}, "problem 11 has no test_list"),
        (mbpp.load, MBPP_ROW, {"test_list": [1]}, "must be a list of strings"),
        (mbpp.load, MBPP_ROW, {"code": None}, "lacks the field 'code'"),
        (humaneval.load, HUMANEVAL_ROW, {"prompt": 3}, "field 'prompt' is 3"),
    ],
)
def test_ill_typed_field_is_named_with_its_line(tmp_path: Path, load: Callable[[Path], object], row: dict, change: dict, message: str) -> None:
    path = lines(tmp_path / "x.jsonl", {**row, "task_id": type(row["task_id"])("9")}, {**row, **change})
    with pytest.raises(DataError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert message in str(caught.value)


def test_repeated_id_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'HumanEval/0' occurs twice"):
        humaneval.load(lines(tmp_path / "x.jsonl", HUMANEVAL_ROW, HUMANEVAL_ROW))
