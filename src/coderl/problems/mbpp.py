"""MBPP (Austin et al., 2021): `mbpp.jsonl` (974 problems) or `sanitized-mbpp.json` (427), told apart by their content.

Kind "assert": each assert of `test_list` is a hidden test. The same asserts are the examples, because MBPP's prompts, CodeRL's
included (section 4.4), show the three asserts to the model: so filtering by example tests is filtering by the hidden tests here,
and n@k with it says nothing. `challenge_test_list` is kept in `extra` and not used, as in published numbers. Line ends become "\\n".
"""

from __future__ import annotations

import ast
import builtins
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import Problem, Test
from .reading import Row, checked, field, optional, read_rows, strings

SPLITS = ((10, "prompt"), (510, "test"), (600, "validation"), (974, "train"))  # last task_id of each split, MBPP README


def load(source: Path) -> list[Problem]:
    """All problems of the file.

    Raises:
        DataError: names file and line.
    """
    return checked([_problem(row, source) for row in read_rows(source)], source)


def _problem(row: Row, path: Path) -> Problem:
    data, line = row
    number = field(data, "task_id", int, path, line)
    code = field(data, "code", str, path, line).replace("\r\n", "\n")
    asserts = [text.replace("\r\n", "\n") for text in strings(data, "test_list", path, line)]
    if not asserts:
        raise DataError(f"problem {number} has no test_list; it must be a list of asserts", path, line)
    setup = [optional(data, "test_setup_code", "", path, line).replace("\r\n", "\n"), *strings(data, "test_imports", path, line)]
    tests = tuple(Test(code=text) for text in asserts)
    extra: dict[str, Any] = {"challenge_tests": strings(data, "challenge_test_list", path, line)} if "challenge_test_list" in data else {}
    return Problem(
        id=f"mbpp/{number}",
        statement=field(data, "prompt" if "prompt" in data else "text", str, path, line),
        kind="assert",
        tests=tests,
        examples=tests,
        solutions=(code,),
        entry_point=tested_function(asserts, code),
        setup="\n".join(part for part in setup if part),
        source="mbpp",
        extra={**extra, "split": next((name for last, name in SPLITS if number <= last), "")},
    )


def tested_function(asserts: list[str], code: str) -> str | None:
    """The function that the asserts call: one that the reference defines, else one that is no builtin; None if none is found."""
    called = [name for text in asserts for name in _calls(text)]
    defined = _definitions(code)
    candidates = [name for name in called if name in defined] or [name for name in called if not hasattr(builtins, name)]
    return candidates[0] if candidates else None


def _calls(text: str) -> list[str]:
    return [node.func.id for node in ast.walk(_parsed(text)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]


def _definitions(code: str) -> set[str]:
    return {node.name for node in _parsed(code).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}


def _parsed(code: str) -> ast.Module:
    try:
        return ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])
