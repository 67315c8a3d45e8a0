"""APPS (Hendrycks et al., 2021) from its own folder layout, one folder a problem, or from the data files of the Hugging Face hub.

    <source>/0000/question.txt          the statement
    <source>/0000/input_output.json     {"inputs": [...], "outputs": [...], "fn_name": optional}; also that as JSON inside a string
    <source>/0000/solutions.json        list of programs (may be absent); also as JSON inside a string
    <source>/0000/starter_code.py       given with call-form problems
    <source>/0000/metadata.json         {"difficulty", "url"}

    <source>/train.jsonl                or parquet: {"problem_id" or "id", "question", "input_output", "solutions", "difficulty",
                                        "starter_code", "url"}, where input_output and solutions are JSON inside strings ("" = none)

`fn_name` makes a call problem; the entry point may be a method of `class Solution`, which the judge makes an object of. The data
are kept as they are: outputs of call tests may be wrapped in a list of one, dictionaries have string keys, some strings carry their
quotes. The comparator "apps" knows these habits, as the released tester does. A stdin test given as a list of lines is joined.
Examples come from a file (either form below) or else from the statement (example_tests.py). Nothing is run here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..records import Problem, Test
from .example_tests import from_texts, parse
from .reading import Row, checked, decode, field, files_of, optional, read_json, read_rows, read_text

Given = dict[str, list[tuple[str, str]] | None]


def load(source: Path, examples: Path | None = None) -> list[Problem]:
    """All problems of a folder: of problem folders, or of `train` and `test` folders of them, or one problem folder; or of data files.

    Args:
        source: the folder; or a data file of the hub's form, or a folder of them. The id of a problem is "apps/<split>/<number>": the names
            of the folders, or the beginning of the data file's name ("train-00000-of-00002.parquet": train) and four digits.
        examples: JSON `{"0001": {"inputs", "outputs"} or null}` or JSON Lines `{"problem_id", "inputs", "outputs"}` with the
            example tests, as released with CodeRL and CodeT; a problem without an entry has no examples.

    Raises:
        DataError: names the file that is missing or broken.
    """
    given = read_examples(examples) if examples is not None else None
    if source.is_file() or (source.is_dir() and _has_data_files(source)):
        return checked([_of_row(row, path, given) for path in files_of(source) for row in read_rows(path)], source)
    if not source.is_dir():
        raise DataError("is no folder and no file; give the folder that holds the problem folders (0000, 0001, ...), or a data file", source)
    folders = sorted({path.parent for pattern in ("question.txt", "*/question.txt", "*/*/question.txt") for path in source.glob(pattern)})
    if not folders:
        raise DataError("holds no question.txt; APPS has one folder a problem, with question.txt and input_output.json in it", source)
    return checked([read_problem(folder, given) for folder in folders], source)


def _has_data_files(folder: Path) -> bool:
    """Whether it holds the hub's files: parquet or JSON Lines, which the folder layout has not."""
    return any(path.name.endswith((".parquet", ".jsonl", ".jsonl.gz")) for path in folder.iterdir())


def read_problem(folder: Path, given: Given | None) -> Problem:
    """One problem folder. `given`: example tests by folder name, or None to read them from the statement."""
    metadata = _metadata(folder)
    path = folder / "input_output.json"
    return _problem(
        split=folder.absolute().parent.name,
        number=folder.name,
        statement=read_text(folder / "question.txt"),
        starter_code=read_text(folder / "starter_code.py") if (folder / "starter_code.py").exists() else "",
        tests=_unwrapped(path) if path.exists() else {"inputs": [], "outputs": []},
        solutions=_solutions(folder),
        difficulty=optional(metadata, "difficulty", "", folder / "metadata.json"),
        url=metadata.get("url"),
        given=given,
        where=Where(path, None),
    )


class Where(NamedTuple):
    """What an error names: a file, and the line of a data file."""

    path: Path
    line: int | None


def _of_row(row: Row, path: Path, given: Given | None) -> Problem:
    """One row of the hub's form."""
    data, line = row
    key = "problem_id" if "problem_id" in data else "id"
    number = str(field(data, key, (int, str), path, line))
    text = {name: optional(data, name, "", path, line) for name in ("input_output", "solutions", "difficulty", "starter_code")}
    tests = decode(text["input_output"], path, line) if text["input_output"].strip() else {"inputs": [], "outputs": []}
    return _problem(
        split=re.split(r"[-.]", path.name)[0],
        number=number.zfill(4),
        statement=field(data, "question", str, path, line),
        starter_code=text["starter_code"],
        tests=decode(tests, path, line) if isinstance(tests, str) else tests,
        solutions=_programs(text["solutions"], path, line),
        difficulty=text["difficulty"],
        url=data.get("url"),
        given=given,
        where=Where(path, line),
    )


def _problem(
    *,
    split: str,
    number: str,
    statement: str,
    starter_code: str,
    tests: Any,
    solutions: tuple[str, ...],
    difficulty: str,
    url: str | None,
    given: Given | None,
    where: Where,
) -> Problem:
    if not isinstance(tests, dict):
        raise DataError(f"is {tests!r:.60}; it must be an object with inputs and outputs", *where)
    name = optional(tests, "fn_name", "", *where)
    kind = "call" if name else "stdin"
    pairs = given.get(number) if given is not None else None
    return Problem(
        id=f"apps/{split}/{number}",
        statement=statement,
        kind=kind,
        tests=_tests(tests, kind, where),
        examples=parse(statement, kind) if given is None else from_texts(pairs or [], kind),
        solutions=solutions,
        entry_point=name or None,
        starter_code=starter_code,
        difficulty=difficulty,
        source="apps",
        comparator="apps",
        extra={"url": url} if url else {},
    )


def _unwrapped(path: Path) -> Any:
    """The JSON value of a file; a string is decoded once more."""
    value = read_json(path)
    return decode(value, path, None) if isinstance(value, str) else value


def _tests(data: dict[str, Any], kind: str, where: Where) -> tuple[Test, ...]:
    inputs, outputs = field(data, "inputs", list, *where), field(data, "outputs", list, *where)
    if len(inputs) != len(outputs):
        raise DataError(f"has {len(inputs)} inputs and {len(outputs)} outputs; there must be as many of both", *where)
    if kind == "stdin":
        return tuple(Test(input=_joined(given, where), output=_joined(wanted, where)) for given, wanted in zip(inputs, outputs, strict=True))
    for given in inputs:
        if not isinstance(given, list):
            raise DataError(f"has the input {given!r:.60}; with fn_name every input must be the list of arguments", *where)
    return tuple(Test(input=given, output=wanted) for given, wanted in zip(inputs, outputs, strict=True))


def _joined(value: Any, where: Where) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if not isinstance(value, str):
        raise DataError(f"has the test text {value!r:.60}; without fn_name inputs and outputs must be strings or lists of lines", *where)
    return value


def _solutions(folder: Path) -> tuple[str, ...]:
    path = folder / "solutions.json"
    return _programs(read_text(path), path, None) if path.exists() else ()


def _programs(text: str, path: Path, line: int | None) -> tuple[str, ...]:
    """The list of programs that a JSON text holds, also as JSON inside a string; none for an empty text."""
    if not text.strip():
        return ()
    value = decode(text, path, line)
    value = decode(value, path, line) if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"is {value!r:.60}; it must be a list of programs (strings)", path, line)
    return tuple(value)


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "metadata.json"
    value = read_json(path) if path.exists() else {}
    if not isinstance(value, dict):
        raise DataError(f"is {value!r:.60}; it must be an object with difficulty and url", path)
    return value


def read_examples(path: Path) -> Given:
    """Example tests by problem folder name; None where the file says that there are none."""
    text = read_text(path)
    rows: list[tuple[Any, Any, int | None]]
    first = text.lstrip().partition("\n")[0]
    if '"problem_id"' in first:
        rows = [(field(row.data, "problem_id", (str, int), path, row.line), row.data, row.line) for row in read_rows(path)]
    else:
        data = decode(text, path, None)
        if not isinstance(data, dict):
            raise DataError(f"is {data!r:.60}; it must be an object of problem number and tests, or JSON Lines with problem_id", path)
        rows = [(key, value, None) for key, value in data.items()]
    return {str(key): _given(value, path, line) for key, value, line in rows}


def _given(value: Any, path: Path, line: int | None) -> list[tuple[str, str]] | None:
    if value is None or (isinstance(value, dict) and value.get("inputs") is None):
        return None
    if not isinstance(value, dict):
        raise DataError(f"has the example tests {value!r:.60}; they must be an object with inputs and outputs, or null", path, line)
    inputs, outputs = field(value, "inputs", list, path, line), field(value, "outputs", list, path, line)
    if len(inputs) != len(outputs):
        raise DataError(f"has {len(inputs)} example inputs and {len(outputs)} outputs for a problem; there must be as many of both", path, line)
    return [(str(given), str(wanted)) for given, wanted in zip(inputs, outputs, strict=True)]
