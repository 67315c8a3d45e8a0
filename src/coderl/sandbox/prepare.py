"""A problem's tests in two halves: what goes into the sandbox, and what decides, out here, on what comes back."""

from __future__ import annotations

from typing import Any

from ..errors import ProblemError
from ..records import Problem, Test
from .assertions import assert_plan
from .comparators import Comparator, apps_arguments, comparator
from .inside import values
from .plan import Decide, Decision, Plan, call, results, short

CHOICES = ("hidden", "example", "both")


def chosen(problem: Problem, tests: str) -> tuple[Test, ...]:
    """The tests of that choice. Raises ProblemError when there are none."""
    if tests not in CHOICES:
        raise ProblemError(f"tests is {tests!r}; it must be one of {', '.join(CHOICES)}")
    found = {"hidden": problem.tests, "example": problem.examples, "both": (*problem.examples, *problem.tests)}[tests]
    if not found:
        raise ProblemError(f"problem {problem.id} has no {'' if tests == 'both' else tests + ' '}tests; add tests or leave the problem out")
    return found


def make_plan(problem: Problem, tests: str) -> Plan:
    """Raises ProblemError: no tests, no entry point, inputs of the wrong form, unknown comparator."""
    rule = comparator(problem.comparator)
    check_limits(problem)
    found = chosen(problem, tests)
    lenient = problem.comparator == "apps"
    shared = {"wrap": lenient and problem.kind == "stdin", "names": lenient, "any_exit": lenient, "iterators": problem.kind == "assert"}
    if problem.kind == "stdin":
        texts = [_text(problem, test.input, "input") for test in found]
        decide = tuple(_decide_text(rule, _text(problem, test.output, "output")) for test in found)
        return Plan({"mode": "stdin", "tests": texts, **shared}, decide, "parent", problem.comparator)
    if problem.kind == "call":
        return _call_plan(problem, found, rule, shared)
    return assert_plan(problem, found, shared)


def check_limits(problem: Problem) -> None:
    """Raises ProblemError for limits that are no positive numbers."""
    for name, value in (problem.limits or {}).items():
        if name in ("cpu_seconds", "memory_mib") and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf")):
            raise ProblemError(f"problem {problem.id} has the limit {name} = {value!r}; it must be a number above 0")


def _text(problem: Problem, value: Any, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    if not isinstance(value, str):
        raise ProblemError(f"problem {problem.id} has a test whose {name} is {value!r:.60}; a stdin test needs text")
    return value


def _decide_text(rule: Comparator, expected: str) -> Decide:
    def decide(output: bytes) -> Decision:
        got = output.decode("utf-8", "surrogateescape")
        return Decision(True) if rule.text(expected, got) else Decision(False, f"expected {short(expected)}, got {short(got)}")

    return decide


def _call_plan(problem: Problem, tests: tuple[Test, ...], rule: Comparator, shared: dict[str, Any]) -> Plan:
    if not problem.entry_point:
        raise ProblemError(f"problem {problem.id} is of kind 'call' and has no entry_point; name the function to call")
    calls, decide = [], []
    for test in tests:
        if not isinstance(test.input, list):
            raise ProblemError(f"problem {problem.id} has a test whose input is {test.input!r:.60}; a call test needs the list of arguments")
        arguments = apps_arguments(test.input) if problem.comparator == "apps" else test.input
        try:
            calls.append({"calls": [call(problem.entry_point, arguments, {})]})
        except values.Unsupported as error:
            raise ProblemError(f"problem {problem.id} has a test whose input holds {error}; only plain values can be sent") from None
        decide.append(_decide_value(rule, test.output))
    return Plan({"mode": "call", "tests": calls, **shared}, tuple(decide), "parent", problem.comparator)


def _decide_value(rule: Comparator, expected: Any) -> Decide:
    def decide(blob: bytes) -> Decision:
        (got,) = results(blob)
        return Decision(True) if rule.value(expected, got) else Decision(False, f"expected {short(expected)}, got {short(got)}")

    return decide
