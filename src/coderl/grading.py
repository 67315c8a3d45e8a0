"""Programs to verdicts: look up each program's problem and hand the pairs to the judge. Streaming, in order.

Between the sandbox (which knows one problem at a time) and the recipes (which know files). Writes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping

from .errors import DataError
from .records import Problem, Program, Verdict
from .sandbox import Judge


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
    pairs = ((_problem(problems, program), program) for program in programs)
    return judge.grade_many(pairs, tests, stop_at_first_failure)


def _problem(problems: Mapping[str, Problem], program: Program) -> Problem:
    if program.problem in problems:
        return problems[program.problem]
    close = difflib.get_close_matches(program.problem, problems, n=3) or list(problems)[:3]
    raise DataError(
        f"program {program.index} is for problem {program.problem!r}, which is not among the {len(problems)} problems given"
        + (f" (for example {', '.join(map(repr, close))})" if close else "")
        + "; give the problems file that the programs were written for"
    )
