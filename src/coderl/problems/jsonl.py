"""Problems that are in coderl's own JSON Lines form already: read, and checked for what the judge will need.

What a single record must have is checked by `records.Problem`; here is what makes a whole file usable: ids once each, tests that fit
the kind, a comparator and a form that exist. Unknown fields are kept.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import DataError
from ..records import Problem, Test
from .reading import checked, read_rows

COMPARATORS = ("strict", "apps", "checker")


def load(source: Path) -> list[Problem]:
    """All problems of the file, checked.

    Raises:
        DataError: names file and line.
    """
    problems = []
    for row in read_rows(source):
        try:
            problem = Problem.from_json(row.data)
        except DataError as error:
            raise DataError(str(error), source, row.line) from None
        check(problem, source, row.line)
        problems.append(problem)
    return checked(problems, source)


def check(problem: Problem, path: Path, line: int | None) -> None:
    """Refuse a problem that the judge could not take: comparator, entry point, and tests that fit the kind.

    Raises:
        DataError: names file and line.
    """
    if problem.comparator not in COMPARATORS:
        raise DataError(f"problem {problem.id!r} has comparator {problem.comparator!r}; it must be one of {', '.join(COMPARATORS)}", path, line)
    if problem.comparator == "checker" and not isinstance(problem.extra.get("checker"), str):
        raise DataError(
            f"problem {problem.id!r} has comparator 'checker' and no field checker; give the source of check(input, expected, got)", path, line
        )
    if problem.kind == "call" and not problem.entry_point:
        raise DataError(f"problem {problem.id!r} is of kind call and has no entry_point; name the function to call", path, line)
    for name, tests in (("tests", problem.tests), ("examples", problem.examples)):
        for number, test in enumerate(tests):
            wanted = _wanted(problem.kind, test)
            if wanted:
                raise DataError(f"problem {problem.id!r}: entry {number} of {name} does not fit kind {problem.kind}; {wanted}", path, line)


def _wanted(kind: str, test: Test) -> str:
    """What the test should be, or "" if it is."""
    if kind == "assert":
        return "" if test.code is not None else "it must have 'code'"
    if test.code is not None:
        return "it must have 'input' and 'output', not 'code'"
    if kind == "call":
        return "" if isinstance(test.input, list) else "its input must be the list of arguments"
    return "" if _lines(test.input) and _lines(test.output) else "its input and output must be text"


def _lines(value: object) -> bool:
    """Text, or what the judge takes for text: nothing, or a list of lines."""
    return value is None or isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))
