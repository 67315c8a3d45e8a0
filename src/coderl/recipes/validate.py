"""Run the reference solutions of problems, and set aside the problems that none of them solves.

A problem whose own reference fails teaches a model the wrong thing, or is beyond the judge (another Python, another answer among
many). It is better found before training than after.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ProblemError
from ..progress import progress
from ..records import Problem, Program, Verdict
from ..sandbox import Judge, Limits
from ..store import AppendStore, read_records, write_records
from .grade import limits_of, problems_by_id, verdict_key


@dataclass(frozen=True)
class Config:
    """Run every reference solution; write the verdicts, and the problems that no reference passes."""

    problems: Path
    """problems file (JSON Lines)"""
    out: Path
    """verdicts of the references (JSON Lines); what it holds already is not judged again"""
    quarantine: Path | None = None
    """write the problems without a passing reference here, each with a `reason`"""
    workers: int = os.cpu_count() or 1
    """programs judged at the same time"""
    cpu_seconds: float = Limits.cpu_seconds
    """CPU time for each test, seconds; a problem's own limit comes first"""
    memory_mib: int = Limits.memory_mib
    """memory of a program, MiB; a problem's own limit comes first"""
    allow_unsandboxed: bool = False
    """go on where the machine gives no isolation; programs can then do what you can do"""


def main(config: Config) -> None:
    limits = limits_of(config.cpu_seconds, config.memory_mib, config.workers)
    problems = problems_by_id(config.problems)
    with Judge(config.workers, limits, config.allow_unsandboxed) as judge:
        print(f"isolation tier {judge.tier}")
        unfit = {problem.id: reason for problem in problems.values() if (reason := _unfit(judge, problem)) is not None}
        _run(judge, [problem for problem in problems.values() if problem.id not in unfit], config.out)
    reasons = {**unfit, **_failures(problems, read_records(config.out, Verdict, allow_empty=True))}
    for name, reason in reasons.items():
        print(f"{name}: {reason}")
    if config.quarantine is not None:
        held = (problem for problem in problems.values() if problem.id in reasons)
        write_records(config.quarantine, (replace(problem, extra={**problem.extra, "reason": reasons[problem.id]}) for problem in held))
    print(f"{len(problems) - len(reasons)} of {len(problems)} problems have a passing reference")


def _unfit(judge: Judge, problem: Problem) -> str | None:
    """Why a problem cannot be judged at all, or None."""
    if not problem.solutions:
        return "has no reference solution"
    try:
        judge.check(problem)
    except ProblemError as error:
        return str(error)
    return None


def _run(judge: Judge, problems: list[Problem], out: Path) -> None:
    """Append the verdicts of all references that `out` does not hold yet; the rest of a failing one's tests is left alone."""
    with AppendStore(out, Verdict, verdict_key) as store:
        pairs = [pair for pair in _references(problems) if (pair[1].problem, pair[1].index) not in store]
        with progress("references", total=len(pairs), unit="programs") as advance:
            for verdict in judge.grade_many(pairs, stop_at_first_failure=True):
                store.append(verdict)
                advance(1)


def _references(problems: Iterable[Problem]) -> Iterator[tuple[Problem, Program]]:
    for problem in problems:
        for index, code in enumerate(problem.solutions):
            yield problem, Program(problem.id, code, index, origin="reference")


def _failures(problems: dict[str, Problem], verdicts: Iterable[Verdict]) -> dict[str, str]:
    """Problem id to reason, for problems whose references were run and all failed."""
    passed: set[str] = set()
    first: dict[str, str] = {}
    for verdict in verdicts:
        if verdict.is_pass:
            passed.add(verdict.problem)
        first.setdefault(verdict.problem, _words(verdict))
    count = {name: len(problem.solutions) for name, problem in problems.items()}
    return {
        name: reason + (f" (and the other {count[name] - 1} do not pass either)" if count[name] > 1 else "")
        for name, reason in first.items()
        if name in problems and name not in passed
    }


def _words(verdict: Verdict) -> str:
    if verdict.outcome is None:
        return f"the first reference has no verdict: {verdict.harness_error}"
    what = ", ".join(part for part in (verdict.error_type, verdict.error_message) if part)
    line = f" in line {verdict.error_line}" if verdict.error_line is not None else ""
    return f"the first reference ends with {verdict.outcome.value}: {what}{line}"
