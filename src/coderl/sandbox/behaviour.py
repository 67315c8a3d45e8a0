"""What programs give on inputs whose right outputs nobody knows: behaviours that can be compared, in the same sandbox as verdicts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..errors import ProblemError
from ..records import Problem, Program, Test, program_text
from .judge import Judge
from .plan import Decide, Decision
from .prepare import make_plan
from .sheet import Trial


def behaviours(judge: Judge, problem: Problem, programs: Sequence[Program], inputs: Sequence[Any]) -> list[tuple[str, ...]]:
    """For each program what it gave on each input: a digest of its output or return value, or the outcome's name where it gave none.

    Two programs with equal tuples printed (returned) the same throughout. A program that does not even load has one entry only.

    Args:
        inputs: text for a problem of kind "stdin", lists of positional arguments for "call".

    Raises:
        ProblemError: the problem is of kind "assert", whose tests are code, or an input is not of its form.
    """
    if problem.kind == "assert":
        raise ProblemError(f"problem {problem.id} is of kind assert: its tests are code and have no inputs; rank by the critic's score instead")
    output = "" if problem.kind == "stdin" else None
    asked = replace(problem, tests=tuple(Test(input=value, output=output) for value in inputs), comparator="strict")
    plan = make_plan(asked, "hidden")
    notes: list[dict[int, str]] = [{} for _ in programs]
    trials = [
        Trial(asked, plan._replace(decide=tuple(_noting(note, i) for i in range(len(inputs)))), program_text(problem, program), False)
        for program, note in zip(programs, notes, strict=True)
    ]
    found = []
    for note, future in zip(notes, [judge.submit(trial) for trial in trials], strict=True):
        verdict = future.result()
        each = [note[i] if i in note and test.error_type is None else f"{test.outcome} {test.error_type}" for i, test in enumerate(verdict.tests)]
        found.append(tuple(each) if each else (f"{verdict.outcome} {verdict.error_type}",))
    return found


def _noting(note: dict[int, str], number: int) -> Decide:
    def decide(blob: bytes) -> Decision:
        note[number] = hashlib.blake2b(blob.rstrip(), digest_size=8).hexdigest()
        return Decision(True)

    return decide
