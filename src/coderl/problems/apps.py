"""APPS (Hendrycks et al., 2021) from its own folder layout, one folder a problem.

    <source>/0000/question.txt          the statement
    <source>/0000/input_output.json     {"inputs": [...], "outputs": [...], "fn_name": optional}; also that as JSON inside a string
    <source>/0000/solutions.json        list of programs (may be absent); also as JSON inside a string
    <source>/0000/starter_code.py       given with call-form problems
    <source>/0000/metadata.json         {"difficulty", "url"}

`fn_name` makes a call problem; the entry point may be a method of `class Solution`, which the judge makes an object of. The data
are kept as they are: outputs of call tests may be wrapped in a list of one, dictionaries have string keys, some strings carry their
quotes. The comparator "apps" knows these habits, as the released tester does. A stdin test given as a list of lines is joined.
Examples come from a file (either form below) or else from the statement (example_tests.py). Nothing is run here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import Problem, Test
from .example_tests import from_texts, parse
from .reading import checked, decode, field, optional, read_json, read_rows, read_text

Given = dict[str, list[tuple[str, str]] | None]


def load(source: Path, examples: Path | None = None) -> list[Problem]:
    """All problems below a folder: of problem folders, or of `train` and `test` folders of them, or one problem folder.

    Args:
        source: the folder. The id of a problem is "apps/<name of the folder of problems>/<name of the problem's folder>".
        examples: JSON `{"0001": {"inputs", "outputs"} or null}` or JSON Lines `{"problem_id", "inputs", "outputs"}` with the
            example tests, as released with CodeRL and CodeT; a problem without an entry has no examples.

    Raises:
        DataError: names the file that is missing or broken.
    """
    if not source.is_dir():
        raise DataError("is not a folder; give the folder that holds the problem folders (0000, 0001, ...)", source)
    given = read_examples(examples) if examples is not None else None
    folders = sorted({path.parent for pattern in ("question.txt", "*/question.txt", "*/*/question.txt") for path in source.glob(pattern)})
    if not folders:
        raise DataError("holds no question.txt; APPS has one folder a problem, with question.txt and input_output.json in it", source)
    return checked([read_problem(folder, given) for folder in folders], source)


def read_problem(folder: Path, given: Given | None) -> Problem:
    """One problem folder. `given`: example tests by folder name, or None to read them from the statement."""
    statement = read_text(folder / "question.txt")
    path = folder / "input_output.json"
    tests = _unwrapped(path) if path.exists() else {"inputs": [], "outputs": []}
    if not isinstance(tests, dict):
        raise DataError(f"is {tests!r:.60}; it must be an object with inputs and outputs", path)
    name = optional(tests, "fn_name", "", path)
    kind = "call" if name else "stdin"
    metadata = _metadata(folder)
    pairs = given.get(folder.name) if given is not None else None
    return Problem(
        id=f"apps/{folder.absolute().parent.name}/{folder.name}",
        statement=statement,
        kind=kind,
        tests=_tests(tests, kind, path),
        examples=parse(statement, kind) if given is None else from_texts(pairs or [], kind),
        solutions=_solutions(folder),
        entry_point=name or None,
        starter_code=read_text(folder / "starter_code.py") if (folder / "starter_code.py").exists() else "",
        difficulty=optional(metadata, "difficulty", "", folder / "metadata.json"),
        source="apps",
        comparator="apps",
        extra={"url": metadata["url"]} if "url" in metadata else {},
    )


def _unwrapped(path: Path) -> Any:
    """The JSON value of a file; a string is decoded once more."""
    value = read_json(path)
    return decode(value, path, None) if isinstance(value, str) else value


def _tests(data: dict[str, Any], kind: str, path: Path) -> tuple[Test, ...]:
    inputs, outputs = field(data, "inputs", list, path), field(data, "outputs", list, path)
    if len(inputs) != len(outputs):
        raise DataError(f"has {len(inputs)} inputs and {len(outputs)} outputs; there must be as many of both", path)
    if kind == "stdin":
        return tuple(Test(input=_joined(given, path), output=_joined(wanted, path)) for given, wanted in zip(inputs, outputs, strict=True))
    for given in inputs:
        if not isinstance(given, list):
            raise DataError(f"has the input {given!r:.60}; with fn_name every input must be the list of arguments", path)
    return tuple(Test(input=given, output=wanted) for given, wanted in zip(inputs, outputs, strict=True))


def _joined(value: Any, path: Path) -> str:
    if isinstance(value, list):
        return "\n".join(map(str, value))
    if not isinstance(value, str):
        raise DataError(f"has the test text {value!r:.60}; without fn_name inputs and outputs must be strings or lists of lines", path)
    return value


def _solutions(folder: Path) -> tuple[str, ...]:
    path = folder / "solutions.json"
    if not path.exists() or not (text := read_text(path)).strip():
        return ()
    value = decode(text, path, None)
    value = decode(value, path, None) if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise DataError(f"is {value!r:.60}; it must be a list of programs (strings)", path)
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
