"""APPS importer and the example tests in statements."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from coderl.errors import DataError
from coderl.problems import apps
from coderl.problems.example_tests import from_texts, parse
from coderl.records import Problem, Test

STATEMENT = "Add.\n\n-----Input-----\nTwo numbers.\n\n-----Output-----\nTheir sum.\n\n-----Examples-----\nInput\n1 2\n\nOutput\n3\n\nInput\n4\n5\n\nOutput\n9\n\n\n\n-----Note-----\nInput\nx\nOutput\ny\n"  # noqa: E501


def folder(root: Path, name: str = "0007", **files: Any) -> Path:
    """A problem folder; values that are no strings are written as JSON."""
    contents = {
        "question.txt": STATEMENT,
        "input_output.json": {"inputs": ["1 2\n"], "outputs": ["3\n"]},
        "solutions.json": ["print(3)"],
        "metadata.json": {"difficulty": "interview", "url": "https://example.org/7"},
    }
    contents |= {name.replace("__", "."): value for name, value in files.items()}
    (root / name).mkdir(parents=True)
    for file, value in contents.items():
        if value is not None:
            (root / name / file).write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return root


def one(root: Path, **files: Any) -> Problem:
    (problem,) = apps.load(folder(root, **files))
    return problem


def test_real_folder(data_dir: Path) -> None:
    problems = apps.load(data_dir / "apps" / "train", data_dir / "apps" / "train_example_tests.json")
    assert len(problems) == 153
    assert sum(problem.kind == "call" for problem in problems) == 13
    assert all(problem.tests and problem.difficulty and problem.comparator == "apps" for problem in problems)
    assert sum(bool(problem.examples) for problem in problems) == 99
    assert problems[0].id == "apps/train/0000"


def test_real_root_gives_the_same_problems(data_dir: Path) -> None:
    assert apps.load(data_dir / "apps") == apps.load(data_dir / "apps" / "train")


def test_parsed_examples_agree_with_the_released_ones(data_dir: Path) -> None:
    """Up to white space; where they differ (the released ones stop at an empty line of output), most agree all the same."""
    ours = apps.load(data_dir / "apps" / "train")
    given = {problem.id: problem for problem in apps.load(data_dir / "apps" / "train", data_dir / "apps" / "train_example_tests.json")}
    words = [
        [[str(test.input).split(), str(test.output).split()] for test in problem.examples]
        for problem in ours
        if problem.kind == "stdin" and given[problem.id].examples
    ]
    released = [
        [[str(test.input).split(), str(test.output).split()] for test in problem.examples]
        for problem in given.values()
        if problem.kind == "stdin" and problem.examples
    ]
    assert len(words) == len(released) > 80
    assert sum(a == b for a, b in zip(words, released, strict=True)) >= len(words) - 2


def test_every_real_stdin_statement_has_examples(data_dir: Path) -> None:
    assert all(problem.examples for problem in apps.load(data_dir / "apps" / "train") if problem.kind == "stdin")


def test_real_example_tests_of_the_test_split(data_dir: Path) -> None:
    given = apps.read_examples(data_dir / "apps_test_example_tests" / "apps_test_example_tests.jsonl.gz")
    assert len(given) == 5000
    assert sum(pairs is None for pairs in given.values()) == 63
    assert given["0001"] == [("100\n", "99\n"), ("48\n", "48\n"), ("521\n", "499")]


def test_stdin_problem(tmp_path: Path) -> None:
    problem = one(tmp_path / "train")
    assert (problem.id, problem.kind, problem.difficulty, problem.entry_point) == ("apps/train/0007", "stdin", "interview", None)
    assert problem.tests == (Test(input="1 2\n", output="3\n"),)
    assert problem.examples == (Test(input="1 2\n", output="3\n"), Test(input="4\n5\n", output="9\n"))
    assert problem.solutions == ("print(3)",)
    assert problem.extra == {"url": "https://example.org/7"}


def test_call_problem_keeps_wrapped_outputs(tmp_path: Path) -> None:
    tests = {"fn_name": "f", "inputs": [[[1, 2], 3]], "outputs": [[6]]}
    problem = one(tmp_path, input_output__json=tests, starter_code__py="def f(a, b):\n\t")
    assert (problem.kind, problem.entry_point, problem.starter_code) == ("call", "f", "def f(a, b):\n\t")
    assert problem.tests == (Test(input=[[1, 2], 3], output=[6]),)


def test_json_inside_a_string(tmp_path: Path) -> None:
    tests = json.dumps({"inputs": ["1"], "outputs": ["2"]})
    problem = one(tmp_path, input_output__json=json.dumps(tests), solutions__json=json.dumps(json.dumps(["a", "b"])))
    assert problem.tests[0].output == "2"
    assert problem.solutions == ("a", "b")


def test_lists_of_lines_are_joined(tmp_path: Path) -> None:
    problem = one(tmp_path, input_output__json={"inputs": [["1", "2"]], "outputs": [["3"]]})
    assert problem.tests == (Test(input="1\n2", output="3"),)


def test_optional_files_may_be_absent(tmp_path: Path) -> None:
    problem = one(tmp_path, input_output__json=None, solutions__json=None, metadata__json=None)
    assert (problem.tests, problem.solutions, problem.difficulty) == ((), (), "")


@pytest.mark.parametrize(
    "content",
    [
        '{"0007": {"inputs": ["5 5"], "outputs": ["10"]}, "0008": null}',
        '{"problem_id": "0007", "inputs": ["5 5"], "outputs": ["10"]}\n{"problem_id": "0008", "inputs": null, "outputs": null}\n',
    ],
)
def test_examples_from_a_file(tmp_path: Path, content: str) -> None:
    folder(tmp_path / "d")
    folder(tmp_path / "d", "0008")
    folder(tmp_path / "d", "0009")
    (tmp_path / "e.json").write_text(content)
    (tmp_path / "e.json.gz").write_bytes(gzip.compress(content.encode()))
    for name in ("e.json", "e.json.gz"):
        examples = [problem.examples for problem in apps.load(tmp_path / "d", tmp_path / name)]
        assert examples == [(Test(input="5 5", output="10"),), (), ()]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("input_output.json", "{", "not JSON"),
        ("input_output.json", "[]", "must be an object with inputs and outputs"),
        ("input_output.json", '"[]"', "must be an object with inputs and outputs"),
        ("input_output.json", {"inputs": ["1"]}, "lacks the field 'outputs'"),
        ("input_output.json", {"inputs": ["1"], "outputs": []}, "has 1 inputs and 0 outputs"),
        ("input_output.json", {"inputs": [1], "outputs": ["1"]}, "must be strings or lists of lines"),
        ("input_output.json", {"fn_name": "f", "inputs": ["1"], "outputs": [1]}, "must be the list of arguments"),
        ("input_output.json", {"fn_name": 3, "inputs": [], "outputs": []}, "field 'fn_name' is 3"),
        ("solutions.json", {"a": 1}, "must be a list of programs"),
        ("solutions.json", "[1]", "must be a list of programs"),
        ("metadata.json", "[]", "must be an object with difficulty"),
        ("metadata.json", {"difficulty": 3}, "field 'difficulty' is 3"),
    ],
)
def test_broken_file_is_named(tmp_path: Path, file: str, content: Any, message: str) -> None:
    folder(tmp_path, **{file.replace(".", "__"): content})
    with pytest.raises(DataError, match=message) as caught:
        apps.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / "0007" / file))


def test_folder_without_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no question\.txt"):
        apps.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "must be an object of problem number"),
        ('{"1": 5}', "must be an object with inputs"),
        ('{"1": {"inputs": ["1"], "outputs": []}}', "1 example inputs"),
    ],
)
def test_broken_examples_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(DataError, match=message):
        apps.load(folder(tmp_path / "d"), tmp_path / "e.json")


def test_sample_sections() -> None:
    text = "Add.\n-----Sample Input-----\n1 2\n\n-----Sample Output-----\n3\n\n-----Notes-----\nnone\n"
    assert parse(text, "stdin") == (Test(input="1 2\n", output="3\n"),)


def test_undashed_sample_headings() -> None:
    text = "Add.\n\nSample Input 1:\n1 2\n\nSample Output 1:\n3\n\nSample Input 2\n4 5\n\nSample Output 2\n9\n"
    assert parse(text, "stdin") == (Test(input="1 2\n", output="3\n"), Test(input="4 5\n", output="9\n"))


def test_empty_lines_inside_an_output_stay() -> None:
    text = "x\n-----Example-----\nInput\n2\n\nOutput\n0\n\n2\n2 3\n"
    assert parse(text, "stdin") == (Test(input="2\n", output="0\n\n2\n2 3\n"),)


def test_call_examples() -> None:
    text = "x\nExample 1:\nInput: arr = [2,3], ok = true\nOutput: 9\nExplanation: because\n\nExample 2:\n\nInput: [1, null]\nOutput: false\n"
    assert parse(text, "call") == (Test(input=[[2, 3], True], output=9), Test(input=[[1, None]], output=False))


@pytest.mark.parametrize("pair", [("tree of nodes", "3"), ("n = 3", "three"), ("", "3"), ("a = b", "1"), ("f(", "1")])
def test_unreadable_call_examples_are_left_out(pair: tuple[str, str]) -> None:
    assert from_texts([pair], "call") == ()


def test_statements_without_examples() -> None:
    assert parse("Do something.", "stdin") == parse("Do something.", "call") == parse(STATEMENT, "assert") == ()
