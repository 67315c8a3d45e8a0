"""Data sets in the forms of the Hugging Face hub: APPS, CodeContests, MBPP+, HumanEval+, and any file by a map of its fields."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from coderl.errors import DataError, UsageError
from coderl.problems import apps, code_contests, humaneval, mapped, mbpp
from coderl.problems.reading import files_of, read_rows
from coderl.prompts import before_stop, prompt
from coderl.records import Problem, Program, Test
from coderl.sandbox import Judge

Rows = list[dict[str, Any]]


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def apps_row(folder: Path) -> dict[str, Any]:
    """A problem folder as a row of codeparrot/apps."""
    read = {name: (folder / name).read_text() if (folder / name).exists() else "" for name in ("question.txt", "solutions.json", "input_output.json")}
    metadata = json.loads((folder / "metadata.json").read_text())
    starter = folder / "starter_code.py"
    return {
        "problem_id": int(folder.name),
        "question": read["question.txt"],
        "solutions": read["solutions.json"],
        "input_output": read["input_output.json"],
        "difficulty": metadata["difficulty"],
        "url": metadata.get("url", ""),
        "starter_code": starter.read_text() if starter.exists() else "",
    }


@pytest.mark.parametrize("write, name", [(write_jsonl, "train.jsonl"), (write_parquet, "train-00000-of-00001.parquet")])
def test_apps_of_the_hub_gives_the_problems_of_the_folders(data_dir: Path, tmp_path: Path, write: Any, name: str) -> None:
    folders = sorted((data_dir / "apps_coderl_sample" / "train").iterdir())
    assert len(folders) > 3
    write(tmp_path / name, [apps_row(folder) for folder in folders])
    wanted = apps.load(data_dir / "apps_coderl_sample" / "train")
    assert {p.kind for p in wanted} == {"stdin", "call"}
    assert apps.load(tmp_path / name) == wanted
    assert apps.load(tmp_path) == wanted  # a folder of such files


def test_apps_row_without_tests_or_solutions(tmp_path: Path) -> None:
    row = {"id": 7, "question": "Add.", "input_output": "", "solutions": "", "difficulty": "interview", "starter_code": "", "url": ""}
    (problem,) = apps.load(write_jsonl(tmp_path / "test.jsonl", [row]))
    assert (problem.id, problem.tests, problem.solutions, problem.difficulty) == ("apps/test/0007", (), (), "interview")


def test_a_broken_apps_row_is_named_by_its_line(tmp_path: Path) -> None:
    good = {"problem_id": 1, "question": "Add.", "input_output": "", "solutions": ""}
    path = write_jsonl(tmp_path / "test.jsonl", [good, {**good, "problem_id": 2, "input_output": "{"}])
    with pytest.raises(DataError, match="not JSON") as caught:
        apps.load(path)
    assert str(caught.value).startswith(f"{path}:2: ")


CONTEST = {
    "name": "1_A. Squares",
    "description": "Print the square.",
    "public_tests": {"input": ["2\n"], "output": ["4\n"]},
    "private_tests": {"input": ["3\n"], "output": ["9\n"]},
    "generated_tests": {"input": ["5\n", "6\n"], "output": ["25\n", "36\n"]},
    "solutions": {"language": [2, 3, 3, 1, 3], "solution": ["c++", "print(int(input())**2)", "other", "print 1", "other"]},
    "difficulty": 7,
    "cf_rating": 800,
    "time_limit": {"seconds": 1, "nanos": 500000000},
}


@pytest.mark.parametrize("write, name", [(write_jsonl, "c.jsonl"), (write_parquet, "c.parquet")])
def test_code_contests(tmp_path: Path, write: Any, name: str) -> None:
    (problem,) = code_contests.load(write(tmp_path / name, [CONTEST]))
    assert (problem.id, problem.kind, problem.difficulty) == ("code_contests/1_A. Squares", "stdin", "A")
    assert problem.examples == (Test(input="2\n", output="4\n"),)
    assert [test.input for test in problem.tests] == ["2\n", "3\n", "5\n", "6\n"]
    assert problem.solutions == ("print(int(input())**2)", "other")  # Python 3 only, each once
    assert problem.extra == {"cf_rating": 800, "time_limit_seconds": 1.5} and problem.limits is None


@pytest.mark.parametrize("name", ["c.jsonl", "c.json"])
def test_nulls_are_fields_that_are_not_there(tmp_path: Path, name: str) -> None:
    """As parquet has them: a row without a time limit, one with half of it, and one without tests of a group."""
    rows = [{**CONTEST, "name": str(i)} for i in range(3)]
    rows[0]["time_limit"] = None
    rows[1]["time_limit"] = {"seconds": 2, "nanos": None}
    rows[2]["generated_tests"] = None
    text = json.dumps(rows) if name == "c.json" else "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / name).write_text(text)
    first, second, third = code_contests.load(tmp_path / name)
    assert "time_limit_seconds" not in first.extra and second.extra["time_limit_seconds"] == 2
    assert len(third.tests) == len(first.tests) - len(CONTEST["generated_tests"]["input"])


def test_code_contests_with_unequal_columns_is_refused(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", [{**CONTEST, "private_tests": {"input": ["3"], "output": []}}])
    with pytest.raises(DataError, match="has 1 inputs and 0 outputs in private_tests"):
        code_contests.load(path)


FORMS: list[Any] = [
    [{"input": "1\n", "output": "2\n"}],
    {"inputs": ["1\n"], "outputs": ["2\n"]},
    {"input": ["1\n"], "output": ["2\n"]},
    json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]}),
    json.dumps([{"input": "1\n", "output": "2\n"}]),
]


@pytest.mark.parametrize("tests", FORMS, ids=lambda value: type(value).__name__)
def test_mapped_tests_in_every_form(tmp_path: Path, tests: Any) -> None:
    row = {"task": {"number": 7}, "text": "Next.", "checks": tests, "answer": "print(2)", "level": 3, "tags": ["a"]}
    fields = {"id": "task.number", "statement": "text", "tests": "checks", "solutions": "answer", "difficulty": "level"}
    (problem,) = mapped.load(write_jsonl(tmp_path / "m.jsonl", [row]), fields, {"source": "mine"})
    assert problem == Problem(
        "7", "Next.", "stdin", (Test(input="1\n", output="2\n"),), (), ("print(2)",), difficulty="3", source="mine", extra={"tags": ["a"]}
    )


def test_mapped_kinds_follow_from_the_tests(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "statement": "s", "tests": ["assert f(1) == 2"]},
        {"id": "b", "statement": "s", "tests": {"inputs": [[1]], "outputs": [2], "fn_name": "f"}},
        {"id": "c", "statement": "s", "tests": {"inputs": ["1"], "outputs": ["2"]}},
    ]
    found = mapped.load(write_parquet(tmp_path / "m.parquet", [{**row, "tests": json.dumps(row["tests"])} for row in rows]), {}, {})
    assert [(p.kind, p.entry_point) for p in found] == [("assert", None), ("call", "f"), ("stdin", None)]
    assert found[0].tests == (Test(code="assert f(1) == 2"),)


@pytest.mark.parametrize(
    ("fields", "row", "message"),
    [
        ({"id": "task"}, {"id": "a", "statement": "s"}, r"lacks the field 'task'"),
        ({}, {"id": "a", "statement": "s", "tests": {"inputs": ["1"]}}, "two lists of one length"),
        ({}, {"id": "a", "statement": "s", "kind": "call"}, "no entry_point"),
        ({}, {"id": "a", "statement": "s", "tests": [{"input": 1, "output": "2"}]}, "must be text"),
        ({}, {"id": "a"}, "lacks the required field 'statement'"),
    ],
)
def test_mapped_problems_that_do_not_fit_are_named(tmp_path: Path, fields: dict[str, str], row: dict[str, Any], message: str) -> None:
    path = write_jsonl(tmp_path / "m.jsonl", [row])
    with pytest.raises(DataError, match=message) as caught:
        mapped.load(path, fields, {})
    assert str(caught.value).startswith(f"{path}:1: ")


def test_a_field_of_no_problem_is_bad_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'statment' is no field"):
        mapped.load(tmp_path, {"statment": "text"}, {})


def test_rows_of_a_torn_parquet_file_are_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "p.parquet", [CONTEST])
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataError, match="not a whole parquet file"):
        list(read_rows(path))


def test_rows_of_a_gzipped_file_that_ends_early_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(CONTEST).encode() * 50)[:-20])
    with pytest.raises(DataError, match="not a whole gzip file"):
        list(read_rows(path))


def test_files_of_a_folder_come_by_name(tmp_path: Path) -> None:
    wanted = []
    for names in (("infos.json", "notes.txt"), ("b.jsonl", "a.jsonl.gz"), ("d/2.parquet", "d/1.parquet")):  # a better form each time
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        wanted.append([path.name for path in files_of(tmp_path)])
    assert wanted == [["infos.json"], ["a.jsonl.gz", "b.jsonl"], ["1.parquet", "2.parquet"]]
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no data files"):
        files_of(tmp_path / "none")


SHOT = {"task_id": 2, "text": "Double it.", "code": "def f(x):\r\n  return 2 * x", "test_list": ["assert f(1) == 2"], "test_setup_code": ""}


def test_mbpp_shots_by_hand(tmp_path: Path) -> None:
    asked = {**SHOT, "task_id": 11, "text": "Halve it.", "test_list": ["assert g(2) == 1", "assert g(4) == 2"]}
    _, problem = mbpp.load(write_jsonl(tmp_path / "m.jsonl", [SHOT, asked]), shots=1)
    assert prompt(problem) == (
        "You are an expert Python programmer, and here is your task: Double it. Your code should pass these tests:\n\n"
        "assert f(1) == 2\n[BEGIN]\ndef f(x):\n  return 2 * x\n[DONE]\n\n"
        "You are an expert Python programmer, and here is your task: Halve it. Your code should pass these tests:\n\n"
        "assert g(2) == 1\nassert g(4) == 2\n[BEGIN]\n"
    )
    assert before_stop(problem, "def g(x):\n  return x / 2\n[DONE]\n\nYou are an") == "def g(x):\n  return x / 2\n"


def test_mbpp_three_shots_are_problems_2_3_and_4(data_dir: Path) -> None:
    for name in ("mbpp.jsonl", "sanitized-mbpp.json"):
        problems = {p.id: p for p in mbpp.load(data_dir / "mbpp" / name, shots=3)}
        text = prompt(problems["mbpp/11"])
        assert text.count("[BEGIN]") == 4 and text.count("[DONE]") == 3
        assert all(problems[f"mbpp/{n}"].statement in text for n in (2, 3, 4, 11))


def test_more_shots_than_there_are_is_refused(data_dir: Path) -> None:
    with pytest.raises(DataError, match="has 9 problems from number 2 of the prompt split; --shots is 10"):
        mbpp.load(data_dir / "mbpp" / "mbpp.jsonl", shots=10)


PLUS = "def check(candidate):\n    inputs = [[1], [5]]\n    results = [2, 10]\n    for x, y in zip(inputs, results):\n        assert f(*x) == y\n"


def test_mbpp_plus_has_its_long_test_hidden(tmp_path: Path) -> None:
    (problem,) = mbpp.load(write_parquet(tmp_path / "m.parquet", [{**SHOT, "test": "inputs = [[1]]\nassert f(*inputs[0]) == 2"}]))
    assert problem.tests == (Test(code="inputs = [[1]]\nassert f(*inputs[0]) == 2"),)
    assert problem.examples == (Test(code="assert f(1) == 2"),)


def test_humaneval_plus_of_the_hub(tmp_path: Path) -> None:
    row = {"task_id": "HumanEval/0", "prompt": "def f(x):\n", "entry_point": "f", "canonical_solution": "    return 2 * x\n", "test": PLUS}
    (problem,) = humaneval.load(write_parquet(tmp_path / "h.parquet", [row]))
    assert problem.tests == (Test(code=PLUS),) and problem.solutions == ("def f(x):\n    return 2 * x\n",)


EVALPLUS = """
import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)) and x:
        return all(isinstance(i, float) for i in x)
    return False

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"

def check(candidate):
    inputs = [[[1.0, 2.0]], [[3.0]]]
    results = [1.5, 3.0]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""


def test_tests_in_the_manner_of_evalplus_are_judged_apart_from_the_program(tmp_path: Path) -> None:
    head = "def mean(xs):\n"
    row = {"task_id": "HumanEval/4", "prompt": head, "entry_point": "mean", "canonical_solution": "    return sum(xs) / len(xs)\n", "test": EVALPLUS}
    (problem,) = humaneval.load(write_jsonl(tmp_path / "h.jsonl", [row]))
    bodies = (problem.solutions[0], head + "    return sum(xs) / len(xs) + 1e-9\n", head + "    return 1.5\n")
    with Judge(workers=1) as judge:
        found = list(judge.grade_many([(problem, Program(problem.id, code, i)) for i, code in enumerate(bodies)]))
    assert [v.is_pass for v in sorted(found, key=lambda v: v.index)] == [True, True, False]
    assert {v.trust for v in found} == {"checker"}
