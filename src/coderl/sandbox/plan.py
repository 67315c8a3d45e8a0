"""A problem's tests in two halves: what goes into the sandbox, and what decides, out here, on what comes back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ProblemError
from ..records import Problem, Test
from .comparators import Comparator, apps_arguments, comparator
from .inside import values

CHOICES = ("hidden", "example", "both")
_NO_LIMIT = 1 << 62


class Decision(NamedTuple):
    """Passed or not, and what differed; `error` names an exception that the comparison itself raised."""

    passed: bool
    message: str = ""
    error: str | None = None


Decide = Callable[[bytes], Decision]


class Plan(NamedTuple):
    """`job` is the part of the sandbox's job that all programs of the problem share; `decide[i]` judges the bytes of test i."""

    job: dict[str, Any]
    decide: tuple[Decide, ...]
    trust: str
    comparator: str


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
    from .assertions import assert_plan

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


def call(name: str, arguments: list[Any], named: dict[str, Any]) -> dict[str, str]:
    """One call as the sandbox reads it."""
    return {"name": name, "args": values.encode(arguments, _NO_LIMIT), "kwargs": values.encode(named, _NO_LIMIT)}


def results(blob: bytes) -> list[Any]:
    """What the calls of one test returned. Raises ValueError or RecursionError for bytes that no honest child sends."""
    decoded = values.decode(blob)
    if type(decoded) is not list:
        raise ValueError("the results are not a list")
    return decoded


def _decide_value(rule: Comparator, expected: Any) -> Decide:
    def decide(blob: bytes) -> Decision:
        (got,) = results(blob)
        return Decision(True) if rule.value(expected, got) else Decision(False, f"expected {short(expected)}, got {short(got)}")

    return decide


def short(value: Any) -> str:
    """At most 80 characters of a value, without building a long text first."""
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > 80:
        value = value[:80]
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value too large to show"
    return text if len(text) <= 80 else text[:77] + "..."
