"""Programs to verdicts: look up each program's problem and hand the pairs to the judge. Streaming, in order.

Between the sandbox (which knows one problem at a time) and the recipes (which know files). Writes nothing. Also reads programs files,
where other tools leave the index out, and measures how long reference solutions take here.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from .errors import DataError
from .records import Problem, Program, Verdict, code_digest
from .sandbox import Judge, Limits
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


TIMES_REFERENCE, FLOOR, CEILING = 10.0, 0.25, 3.0
_REFERENCES = 3


def calibration_limits(limits: Limits) -> Limits:
    """What a judge that calibrates needs: the highest limit that a calibration may give."""
    return limits.times(CEILING)


def calibrated(judge: Judge, problem: Problem, cpu_seconds: float, tests: str = "hidden") -> float | None:
    """The problem's CPU limit on this machine, in seconds for each test; None for one that has a limit of its own, or no passing reference.

    Ten times what the slowest test (or loading) takes the slowest of the first three references that pass; not less than a quarter of
    `cpu_seconds` and not more than three times that; rounded up to tenths of a second.

    Args:
        judge: with `calibration_limits`.
        cpu_seconds: the limit without calibration.
    """
    if "cpu_seconds" in (problem.limits or {}):
        return None
    references = [Program(problem.id, code, n, origin="reference") for n, code in enumerate(problem.solutions[:_REFERENCES])]
    times = [_slowest(verdict) for verdict in judge.grade(problem, references, tests, stop_at_first_failure=True) if verdict.is_pass]
    if not times:
        return None
    limit = min(max(TIMES_REFERENCE * max(times), FLOOR * cpu_seconds), CEILING * cpu_seconds)
    return math.ceil(10 * limit) / 10


def _slowest(verdict: Verdict) -> float:
    """CPU time of the slowest test, or of loading, seconds."""
    each = [test.cpu_seconds for test in verdict.tests]
    return max(*each, verdict.cpu_seconds - sum(each))


def limited(problem: Problem, cpu_seconds: float | None) -> Problem:
    """The problem with this CPU limit, seconds; None changes nothing."""
    return problem if cpu_seconds is None else replace(problem, limits={**(problem.limits or {}), "cpu_seconds": cpu_seconds})


def _problem(problems: Mapping[str, Problem], program: Program) -> Problem:
    if program.problem in problems:
        return problems[program.problem]
    close = difflib.get_close_matches(program.problem, problems, n=3) or list(problems)[:3]
    raise DataError(
        f"program {program.index} is for problem {program.problem!r}, which is not among the {len(problems)} problems given"
        + (f" (for example {', '.join(map(repr, close))})" if close else "")
        + "; give the problems file that the programs were written for"
    )
