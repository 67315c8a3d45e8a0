"""Programs to verdicts: look up each program's problem and hand the pairs to the judge. Streaming, in order.

Between the sandbox (which knows one problem at a time) and the recipes (which know files). Writes nothing. Also reads programs files,
where other tools leave the index out.
"""

from __future__ import annotations

import difflib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .errors import DataError
from .records import Problem, Program, Verdict, code_digest
from .sandbox import Judge
from .store import iterate_records


def grade_programs(
    judge: Judge,
    problems: Mapping[str, Problem],
    programs: Iterable[Program],
    tests: str = "hidden",
    stop_at_first_failure: bool = False,
) -> Iterator[Verdict]:
    """One verdict for each program, in the order of the programs, which are taken a few ahead of the verdicts.

    Args:
        problems: by id.
        tests: "hidden", "example" or "both".
        stop_at_first_failure: leave a program's other tests alone once one has failed.

    Raises:
        DataError: a program names a problem that is not there.
        ProblemError: a problem has no such tests, or cannot be judged.
    """
    digests: deque[str] = deque()

    def pairs() -> Iterator[tuple[Problem, Program]]:
        for program in programs:
            digests.append(code_digest(program))
            yield _problem(problems, program), program

    for verdict in judge.grade_many(pairs(), tests, stop_at_first_failure):
        yield replace(verdict, extra={**verdict.extra, "code_digest": digests.popleft()})


def numbered(path: Path) -> Iterator[Program]:
    """The programs of a file, those without an index numbered within their problem in file order.

    Raises:
        DataError: two programs have the same problem and index.
    """
    counts: Counter[str] = Counter()
    seen: set[tuple[str, int]] = set()
    for program in iterate_records(path, Program):
        if program.index == -1:
            program = replace(program, index=counts[program.problem])
        counts[program.problem] += 1
        key = (program.problem, program.index)
        if key in seen:
            raise DataError(f"holds two programs {program.index} for problem {program.problem!r}; give each its own index, or none at all", path)
        seen.add(key)
        yield program


def programs_of(path: Path) -> list[Program]:
    """All programs of a file, numbered; an empty file is a DataError."""
    programs = list(numbered(path))
    if not programs:
        raise DataError("holds no program records; a file with at least one line is needed", path)
    return programs


def _problem(problems: Mapping[str, Problem], program: Program) -> Problem:
    if program.problem in problems:
        return problems[program.problem]
    close = difflib.get_close_matches(program.problem, problems, n=3) or list(problems)[:3]
    raise DataError(
        f"program {program.index} is for problem {program.problem!r}, which is not among the {len(problems)} problems given"
        + (f" (for example {', '.join(map(repr, close))})" if close else "")
        + "; give the problems file that the programs were written for"
    )
