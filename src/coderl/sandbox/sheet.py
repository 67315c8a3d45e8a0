"""The verdict of one program while its reports come in: every test decided from data, then the whole."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

from ..records import Outcome, Problem, TestResult, Verdict
from .forkserver import Event, ServerGone
from .limits import Limits
from .plan import Decision, Plan


class Trial(NamedTuple):
    """What a worker needs for one program."""

    problem: Problem
    plan: Plan
    code: str
    stop: bool


class Sheet:
    """The verdict of one program while its events come in. `answer`: what decides on a value instead of the plan, for test number i."""

    def __init__(self, trial: Trial, tier: str, answer: Callable[[int, Any], Decision] | None = None) -> None:
        self.trial, self.tier, self.answer = trial, tier, answer
        self.tests: list[TestResult] = []
        self.first: dict[Outcome, dict[str, Any]] = {}
        self.broken: tuple[Outcome, dict[str, Any]] | None = None
        tests = trial.plan.job["tests"]
        self.tokens = {i: secrets.token_hex(16) for i, test in enumerate(tests) if isinstance(test, dict) and "check" in test}
        self.cpu = 0.0
        self.ended = False

    @property
    def failed(self) -> bool:
        return bool(self.first) or self.broken is not None

    def add(self, event: Event) -> None:
        data = event.data
        if event.kind == "end":
            self.cpu, self.ended = float(data["cpu"]), True
        elif event.kind == "test" and data["test"] == len(self.tests):
            if not (self.failed and self.trial.stop):  # tests that ran before the stop came through do not count
                self.add_test(data, event.blob)
        elif event.kind in ("compile", "load") and data["status"] != "ok" and self.broken is None:
            self.broken = (Outcome.COMPILE_ERROR if event.kind == "compile" else Outcome.RUNTIME_ERROR, data)

    def add_test(self, data: dict[str, Any], blob: bytes) -> None:
        outcome, detail = self.look(data, blob)
        if outcome is not Outcome.PASSED_TEST:
            self.first.setdefault(outcome, {**detail, "test": len(self.tests)})
        kind = detail.get("type") if outcome is Outcome.RUNTIME_ERROR else None
        self.tests.append(TestResult(outcome, kind, round(float(data["cpu"]), 6)))

    def look(self, data: dict[str, Any], blob: bytes) -> tuple[Outcome, dict[str, Any]]:
        """The outcome of one test, decided from what the program gave."""
        if data["status"] == "failed":
            return Outcome.FAILED_TEST, {"message": data["message"] or "the assertion does not hold", "line": None}
        if data["status"] != "ok":
            return Outcome.RUNTIME_ERROR, data
        try:
            decision = self.decide(data, blob)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            return Outcome.RUNTIME_ERROR, {"type": "BrokenReport", "message": f"the result cannot be read ({type(error).__name__})"}
        if decision.error is not None:
            return Outcome.RUNTIME_ERROR, {"type": decision.error, "message": decision.message}
        return (Outcome.PASSED_TEST if decision.passed else Outcome.FAILED_TEST), {"message": decision.message}

    def decide(self, data: dict[str, Any], blob: bytes) -> Decision:
        number = len(self.tests)
        if number in self.tokens:
            return Decision(data.get("token") == self.tokens[number], "the test did not come to its end")
        found = self.trial.plan.decide[number](blob)
        return found if self.answer is None else self.answer(number, found)

    def borderline(self, limits: Limits) -> bool:
        """Does all hang on one time-out that another run may not have? Then it is run again, alone, before it counts.

        All other tests that were run must have passed. And either there are some (a program that only loops has none) and this one was
        stopped by its CPU time, or the program was starved: stopped by wall time with a quarter of its CPU time used, so it did not
        just wait.
        """
        late = [test for test in self.tests if test.outcome is not Outcome.PASSED_TEST]
        if self.broken is not None or len(late) != 1 or late[0].error_type != "Timeout":
            return False
        if late[0].cpu_seconds >= limits.cpu_seconds:
            return len(self.tests) > 1
        return late[0].cpu_seconds >= limits.cpu_seconds / 4

    def close(self) -> Verdict:
        """The verdict. A program passes when every test was run and passed; nothing else is a pass."""
        if not self.ended:
            raise ServerGone("the sandbox process ended a job early")
        if self.broken is not None:
            return self.verdict(*self.broken)
        for outcome in (Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST):
            if outcome in self.first:
                return self.verdict(outcome, self.first[outcome])
        if not self.tests or len(self.tests) != len(self.trial.plan.decide):
            raise ServerGone(f"the sandbox process reported {len(self.tests)} of {len(self.trial.plan.decide)} tests")
        return self.verdict(Outcome.PASSED_TEST, {})

    def verdict(self, outcome: Outcome, detail: dict[str, Any]) -> Verdict:
        message = detail.get("message") or None
        if outcome is Outcome.FAILED_TEST:
            message = f"test {detail['test'] + 1}: {message}"
        line = detail.get("line")
        kind = detail.get("type")
        return Verdict(
            problem=self.trial.problem.id,
            index=-1,
            outcome=outcome,
            error_type=None if outcome in (Outcome.FAILED_TEST, Outcome.PASSED_TEST) or kind is None else str(kind)[:100],
            error_message=None if message is None else str(message)[:500],
            error_line=line if type(line) is int else None,
            tests=tuple(self.tests),
            passed=sum(test.outcome is Outcome.PASSED_TEST for test in self.tests),
            total=len(self.trial.plan.decide),
            cpu_seconds=round(self.cpu, 6),
            tier=self.tier,
            trust=self.trial.plan.trust,
            comparator=self.trial.plan.comparator,
        )


def no_verdict(trial: Trial, tier: str, why: str) -> Verdict:
    """The verdict of a program that could not be judged: `why` says what failed."""
    plan = trial.plan
    return Verdict(trial.problem.id, -1, None, total=len(plan.decide), tier=tier, trust=plan.trust, comparator=plan.comparator, harness_error=why)
