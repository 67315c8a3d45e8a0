"""CodeContests (Li et al., 2022) as on the Hugging Face hub (`deepmind/code_contests`): parquet or JSON Lines.

    {"name", "description", "public_tests": {"input": [...], "output": [...]}, "private_tests", "generated_tests",
     "solutions": {"language": [...], "solution": [...]}, "difficulty", "cf_rating", "time_limit", "memory_limit_bytes"}

Kind "stdin". The public tests are the examples; the hidden ones are public, private and generated tests, in this order. References are
the solutions in Python 3 (language 3); the first `SOLUTIONS` different ones. The published time limits are for C++ and are kept in
`extra` (`time_limit_seconds`), not set: the judge's own limit holds. Comparator "strict", so a problem with several right answers, which
the original judges with a checker of its own, accepts the published one only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import Problem, Test
from .reading import Row, checked, field, files_of, optional, read_rows

PYTHON3 = 3
SOLUTIONS = 25
"""As many references as an APPS problem has on average; some problems here bring thousands."""
LEVELS = ("", "easy", "medium", "hard", "harder", "hardest", "external", *"ABCDEFGHIJKLMNOPQRSTUV")
"""Names of the data set's difficulty numbers: its own scale, and the letters of Codeforces contests."""


def load(source: Path) -> list[Problem]:
    """All problems of a file, or of the files of a folder; the id of a problem is "code_contests/<name>".

    Raises:
        DataError: names file and line.
    """
    return checked([_problem(row, path) for path in files_of(source) for row in read_rows(path)], source)


def _problem(row: Row, path: Path) -> Problem:
    data, line = row
    public = _tests(data, "public_tests", path, line)
    level = optional(data, "difficulty", 0, path, line)
    return Problem(
        id=f"code_contests/{field(data, 'name', str, path, line)}",
        statement=field(data, "description", str, path, line),
        kind="stdin",
        tests=(*public, *_tests(data, "private_tests", path, line), *_tests(data, "generated_tests", path, line)),
        examples=public,
        solutions=_solutions(data, path, line),
        difficulty=LEVELS[level] if 0 <= level < len(LEVELS) else str(level),
        source="code_contests",
        extra=_facts(data, path, line),
    )


def _tests(data: dict[str, Any], name: str, path: Path, line: int | None) -> tuple[Test, ...]:
    columns = optional(data, name, {"input": [], "output": []}, path, line)
    inputs, outputs = field(columns, "input", list, path, line), field(columns, "output", list, path, line)
    if len(inputs) != len(outputs):
        raise DataError(f"has {len(inputs)} inputs and {len(outputs)} outputs in {name}; there must be as many of both", path, line)
    for text in (*inputs, *outputs):
        if not isinstance(text, str):
            raise DataError(f"has the test text {text!r:.60} in {name}; it must be a string", path, line)
    return tuple(Test(input=given, output=wanted) for given, wanted in zip(inputs, outputs, strict=True))


def _solutions(data: dict[str, Any], path: Path, line: int | None) -> tuple[str, ...]:
    columns = optional(data, "solutions", {"language": [], "solution": []}, path, line)
    languages, codes = field(columns, "language", list, path, line), field(columns, "solution", list, path, line)
    return tuple(dict.fromkeys(code for language, code in zip(languages, codes, strict=False) if language == PYTHON3))[:SOLUTIONS]


def _facts(data: dict[str, Any], path: Path, line: int | None) -> dict[str, Any]:
    limit = optional(data, "time_limit", {}, path, line)
    seconds = optional(limit, "seconds", 0, path, line) + optional(limit, "nanos", 0, path, line) / 1e9
    facts = {name: data[name] for name in ("cf_rating", "memory_limit_bytes") if data.get(name)}
    return {**facts, **({"time_limit_seconds": seconds} if seconds else {})}
