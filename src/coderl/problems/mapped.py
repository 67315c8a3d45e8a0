"""Problems of any JSON Lines, JSON or parquet file, by a map from our fields to its own.

    id=task_id statement=question tests=input_output solutions=canonical_solution

A field of the file may lie in an object ("public_tests.input"). Values that are JSON inside a string are read as JSON where a list is
wanted. Tests and examples are accepted as a list of `{"input", "output"}` or `{"code"}` objects, a list of strings (asserts), or two
lists `{"inputs" or "input", "outputs" or "output"}`, which may bring `fn_name` as in APPS. A field that is neither mapped nor ours is kept as it is.
Where no kind is given it follows from the tests: code makes "assert", a function to call makes "call", else "stdin".
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, UsageError
from ..records import Problem
from .jsonl import check
from .reading import Row, checked, files_of, read_rows

FIELDS = tuple(f.name for f in dataclasses.fields(Problem) if f.name != "extra")


def load(source: Path, fields: Mapping[str, str], constants: Mapping[str, str]) -> list[Problem]:
    """All problems of a file, or of the files of a folder.

    Args:
        fields: our field to the file's; ours that are not named are taken where the file has a field of the same name.
        constants: our field to a text that all problems get ("kind": "stdin").

    Raises:
        UsageError: a name that is no field of a problem.
        DataError: names file and line.
    """
    unknown = [name for name in (*fields, *constants) if name not in FIELDS]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no field of a problem; there are {', '.join(FIELDS)}")
    return checked([_problem(row, path, fields, constants) for path in files_of(source) for row in read_rows(path)], source)


def _problem(row: Row, path: Path, fields: Mapping[str, str], constants: Mapping[str, str]) -> Problem:
    taken = {name: _at(row.data, place) for name, place in fields.items()}
    lacking = [fields[name] for name, value in taken.items() if value is None and name in ("id", "statement")]
    if lacking:
        raise DataError(f"lacks the field {lacking[0]!r}; it has {sorted(row.data)}", path, row.line)
    used = {place.split(".")[0] for place in fields.values()}
    rest = {name: value for name, value in row.data.items() if name not in used}
    data = {**rest, **{name: value for name, value in taken.items() if value is not None}, **constants}
    try:
        problem = Problem.from_json(_completed(data))
    except DataError as error:
        raise DataError(str(error), path, row.line) from None
    check(problem, path, row.line)
    return problem


def _at(data: Mapping[str, Any], place: str) -> Any:
    """The value at a dotted place, None where there is none; a JSON object inside a string is looked into."""
    value: Any = data
    for name in place.split("."):
        value = _decoded(value)
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _decoded(value: Any) -> Any:
    """JSON inside a string as what it says; any other text as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{", '"'):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _completed(data: dict[str, Any]) -> dict[str, Any]:
    """The object that `Problem.from_json` reads: tests and solutions in our form, numbers that are text, and a kind."""
    result = dict(data)
    for name in ("id", "difficulty"):
        if isinstance(result.get(name), int):
            result[name] = str(result[name])
    for name in ("tests", "examples"):
        if name in result:
            value = _decoded(result[name])
            if name == "tests" and isinstance(value, Mapping) and value.get("fn_name"):
                result.setdefault("entry_point", value["fn_name"])
            result[name] = _tests(value)
    if "solutions" in result:
        value = _decoded(result["solutions"])
        result["solutions"] = [value] if isinstance(value, str) and value.strip() else value or []
    if "kind" not in result:
        coded = any(isinstance(test, Mapping) and "code" in test for test in result.get("tests", []))
        result["kind"] = "assert" if coded else "call" if result.get("entry_point") else "stdin"
    return result


def _tests(value: Any) -> Any:
    """A list of test objects from the forms above; what is none of them is left for the check of records to name."""
    if isinstance(value, Mapping):
        inputs, outputs = (value.get(f"{name}s", value.get(name)) for name in ("input", "output"))
        if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
            raise DataError(f"has tests with the fields {sorted(map(str, value))}; they must be two lists of one length, inputs and outputs")
        return [{"input": given, "output": wanted} for given, wanted in zip(inputs, outputs, strict=True)]
    if isinstance(value, list):
        return [{"code": item} if isinstance(item, str) else item for item in value]
    return value
