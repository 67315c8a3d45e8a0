"""Run programs against unit tests: programs.jsonl to verdicts.jsonl.

Verdicts are appended as they come, in the order of the programs; a run that was killed goes on where it stopped, with the limits that
it had measured. Nothing here decides anything: see sandbox/judge.py.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..errors import DataError, UsageError
from ..grading import calibrated, calibration_limits, grade_programs, limited, numbered
from ..progress import progress
from ..records import OUTCOMES, Outcome, Problem, Verdict, code_digest
from ..sandbox import Judge, Limits
from ..store import AppendStore, iterate_records, read_records, write_records


@dataclass(frozen=True)
class Config:
    """Run programs against the tests of their problems and append a verdict for each."""

    problems: Path
    """problems file (JSON Lines)"""
    programs: Path
    """programs file (JSON Lines); HumanEval's {"task_id", "completion"} lines are read too"""
    out: Path
    """verdicts file (JSON Lines); what it holds already is not judged again"""
    workers: int = os.cpu_count() or 1
    """programs judged at the same time"""
    tests: Literal["hidden", "example", "both"] = "hidden"
    """which tests to run"""
    stop_at_first_failure: bool = False
    """leave a program's other tests alone once one has failed"""
    cpu_seconds: float = Limits.cpu_seconds
    """CPU time for each test, seconds; a problem's own limit comes first"""
    memory_mib: int = Limits.memory_mib
    """memory of a program, MiB; a problem's own limit comes first"""
    calibrate: bool = False
    """scale each problem's CPU limit with its reference solutions' time on this machine (grading.calibrated); verdicts keep it as `cpu_limit`"""
    allow_unsandboxed: bool = False
    """go on where the machine gives no isolation; programs can then do what you can do"""


def main(config: Config) -> None:
    limits = limits_of(config.cpu_seconds, config.memory_mib, config.workers)
    problems = problems_by_id(config.problems)
    wanted = Counter(program.problem for program in numbered(config.programs))
    total = wanted.total()
    if total == 0:
        raise DataError("holds no program records; a file with at least one line is needed", config.programs)
    drop_unjudged(config)
    with AppendStore(config.out, Verdict, verdict_key) as store:
        done = len(store)
        programs = (program for program in numbered(config.programs) if (program.problem, program.index) not in store)
        cpu_limits = measured(config, limits, [problems[name] for name in wanted if name in problems]) if config.calibrate else {}
        problems = {name: limited(problem, cpu_limits.get(name)) for name, problem in problems.items()}
        with Judge(config.workers, limits, config.allow_unsandboxed) as judge:
            print(f"isolation tier {judge.tier}" + (f"; {done} programs are judged already" if done else ""))
            with progress("judging", total=max(0, total - done), unit="programs") as advance:
                pace = Pace()
                for verdict in grade_programs(judge, problems, programs, config.tests, config.stop_at_first_failure):
                    limit = cpu_limits.get(verdict.problem)
                    store.append(verdict if limit is None else replace(verdict, extra={**verdict.extra, "cpu_limit": limit}))
                    advance(1, note=pace.add(verdict))
    print(pace.summary())
    print_counts(config.out)


class Pace:
    """How fast programs and tests are judged, and how they end."""

    def __init__(self) -> None:
        self.start, self.tests = time.monotonic(), 0
        self.counts: Counter[Outcome | None] = Counter()

    def add(self, verdict: Verdict) -> str:
        """Count a verdict; the words to show beside the programs: tests a second, and outcomes so far."""
        self.tests += len(verdict.tests)
        self.counts[verdict.outcome] += 1
        ends = [f"{outcome.value.split('_')[0]} {self.counts[outcome]}" for outcome in OUTCOMES]
        errors = [f"harness error {self.counts[None]}"] if self.counts[None] else []
        return "  ".join([f"{self.tests / self.seconds():.0f} tests/s", *ends, *errors])

    def seconds(self) -> float:
        return max(1e-9, time.monotonic() - self.start)

    def summary(self) -> str:
        """The line for the end."""
        seconds, programs = self.seconds(), self.counts.total()
        return f"{programs} programs, {self.tests} tests in {seconds:.1f} s: {programs / seconds:.1f} programs/s, {self.tests / seconds:.0f} tests/s"


def measured(config: Config, limits: Limits, problems: list[Problem]) -> dict[str, float]:
    """Problem id to CPU limit, seconds: what the verdicts in the store had, and the rest measured."""
    store = config.out
    verdicts = iterate_records(store, Verdict) if store.is_file() and store.stat().st_size else ()
    found: dict[str, float | None] = {verdict.problem: verdict.extra["cpu_limit"] for verdict in verdicts if "cpu_limit" in verdict.extra}
    missing = [problem for problem in problems if problem.id not in found]
    with Judge(config.workers, calibration_limits(limits), config.allow_unsandboxed) as judge:
        with progress("calibrating", total=len(missing), unit="problems") as advance:
            for problem in missing:
                found[problem.id] = calibrated(judge, problem, limits.cpu_seconds, config.tests)
                advance(1)
    known = {name: limit for name, limit in found.items() if limit is not None}
    if known:
        print(f"CPU limits of {len(known)} of {len(problems)} problems scaled: {min(known.values()):g} to {max(known.values()):g} s a test")
    return known


def limits_of(cpu_seconds: float, memory_mib: int, workers: int) -> Limits:
    """The judge's limits from the command line. Raises UsageError for values that make no sense."""
    if not cpu_seconds > 0:
        raise UsageError(f"--cpu-seconds is {cpu_seconds}; it must be more than 0")
    if memory_mib < 16:
        raise UsageError(f"--memory-mib is {memory_mib}; a program needs at least 16")
    if workers < 1:
        raise UsageError(f"--workers is {workers}; it must be 1 or more")
    return Limits(cpu_seconds=cpu_seconds, memory_mib=memory_mib)


def problems_by_id(path: Path) -> dict[str, Problem]:
    """All problems of a file. Raises DataError when two have the same id."""
    problems: dict[str, Problem] = {}
    for problem in read_records(path, Problem):
        if problem.id in problems:
            raise DataError(f"holds two problems with the id {problem.id!r}; ids must be unique", path)
        problems[problem.id] = problem
    return problems


def drop_unjudged(config: Config) -> None:
    """Take verdicts that an earlier run could not have (harness errors) out of the store: they are tried again.

    Raises:
        DataError: a verdict in the store was given to another program text of the same problem and index.
    """
    if not config.out.is_file() or config.out.stat().st_size == 0 or not config.out.read_bytes().endswith(b"\n"):
        return  # nothing there, or a torn last line that the store has to cut first
    known = list(iterate_records(config.out, Verdict))
    digests = {verdict_key(v): v.extra["code_digest"] for v in known if "code_digest" in v.extra}
    for program in numbered(config.programs):
        digest = digests.get((program.problem, program.index))
        if digest not in (None, code_digest(program)):
            raise DataError(
                f"holds a verdict for another text of program {program.index} of problem {program.problem!r}; "
                "the programs were drawn anew: remove the file, or choose another --out",
                config.out,
            )
    kept = [v for v in known if v.harness_error is None]
    if len(kept) < len(known):
        write_records(config.out, kept)


def verdict_key(verdict: Verdict) -> tuple[str, int]:
    """What identifies a verdict in a store."""
    return verdict.problem, verdict.index


def print_counts(path: Path) -> None:
    """How many verdicts of each outcome a file holds; harness errors apart."""
    counts = Counter(verdict.outcome for verdict in iterate_records(path, Verdict))
    for outcome in OUTCOMES:
        print(f"{outcome.value:<14} {counts[outcome]}")
    print(f"{'harness error':<14} {counts[None]}")
