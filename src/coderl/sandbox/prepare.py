"""A problem's tests in two halves: what goes into the sandbox, and what decides, out here, on what comes back."""

from __future__ import annotations

import ast
from typing import Any

from ..errors import ProblemError
from ..records import Problem, Test
from .codeplan import assert_plan
from .comparators import Comparator, apps_arguments, comparator
from .inside import values
from .plan import Answers, Decide, Decision, Plan, call, results, short
from .relay import CHECKER

CHOICES = ("hidden", "example", "both")
CHECKER_RULE = "checker"


def chosen(problem: Problem, tests: str) -> tuple[Test, ...]:
    """The tests of that choice. Raises ProblemError when there are none."""
    if tests not in CHOICES:
        raise ProblemError(f"tests is {tests!r}; it must be one of {', '.join(CHOICES)}")
    found = {"hidden": problem.tests, "example": problem.examples, "both": (*problem.examples, *problem.tests)}[tests]
    if not found:
        raise ProblemError(f"problem {problem.id} has no {'' if tests == 'both' else tests + ' '}tests; add tests or leave the problem out")
    return found


def make_plan(problem: Problem, tests: str) -> Plan:
    """Raises ProblemError: no tests, no entry point, inputs of the wrong form, unknown comparator, no checker function where one is named."""
    check_limits(problem)
    found = chosen(problem, tests)
    if problem.comparator == CHECKER_RULE:
        return _checked_plan(problem, found)
    rule = comparator(problem.comparator)
    lenient = problem.comparator == "apps"
    shared = {"wrap": lenient and problem.kind == "stdin", "names": lenient, "any_exit": lenient, "iterators": problem.kind == "assert"}
    if problem.kind == "stdin":
        texts = [_text(problem, test.input, "input") for test in found]
        decide = tuple(_decide_text(rule, _text(problem, test.output, "output")) for test in found)
        return Plan({"mode": "stdin", "tests": texts, **shared}, decide, "parent", problem.comparator)
    if problem.kind == "call":
        return Plan(_calls(problem, found, shared), tuple(_decide_value(rule, test.output) for test in found), "parent", problem.comparator)
    return assert_plan(problem, found, shared)


def _checked_plan(problem: Problem, tests: tuple[Test, ...]) -> Plan:
    """The plan of a problem whose `checker` decides: the source of a function `check(input, expected, got)` that gives True or False."""
    code = problem.extra.get("checker")
    if problem.kind == "assert" or not isinstance(code, str) or not _defines_checker(problem, code):
        raise ProblemError(
            f"problem {problem.id} has the comparator 'checker' and {'kind assert' if problem.kind == 'assert' else 'no function check()'}; give it "
            "kind stdin or call and a field checker with the source of check(input, expected, got)"
        )
    shared = {"wrap": False, "names": False, "any_exit": False, "iterators": False}
    if problem.kind == "call":
        given = tuple((test.input, test.output) for test in tests)
        _sendable(problem, given)
        return Plan(_calls(problem, tests, shared), (_returned,) * len(tests), "checker", problem.comparator, answers=Answers(code, given))
    texts = [_text(problem, test.input, "input") for test in tests]
    answers = Answers(code, tuple((text, _text(problem, test.output, "output")) for text, test in zip(texts, tests, strict=True)))
    return Plan({"mode": "stdin", "tests": texts, **shared}, (_printed,) * len(tests), "checker", problem.comparator, answers=answers)


def _defines_checker(problem: Problem, code: str) -> bool:
    try:
        return any(isinstance(node, ast.FunctionDef) and node.name == CHECKER for node in ast.parse(code).body)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise ProblemError(f"problem {problem.id} has a checker that is not Python: {error}; correct it or leave the problem out") from None


def _sendable(problem: Problem, given: Any) -> None:
    try:
        call(CHECKER, [given], {})
    except values.Unsupported as error:
        raise ProblemError(f"problem {problem.id} has a test that holds {error}; only plain values can be sent to its checker") from None


def _returned(blob: bytes) -> Any:
    (got,) = results(blob)
    return got


def _printed(output: bytes) -> str:
    return output.decode("utf-8", "surrogateescape")


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


def _calls(problem: Problem, tests: tuple[Test, ...], shared: dict[str, Any]) -> dict[str, Any]:
    """The part of the job that all programs of a problem of kind "call" share."""
    if not problem.entry_point:
        raise ProblemError(f"problem {problem.id} is of kind 'call' and has no entry_point; name the function to call")
    calls = []
    for test in tests:
        if not isinstance(test.input, list):
            raise ProblemError(f"problem {problem.id} has a test whose input is {test.input!r:.60}; a call test needs the list of arguments")
        arguments = apps_arguments(test.input) if problem.comparator == "apps" else test.input
        try:
            calls.append({"calls": [call(problem.entry_point, arguments, {})]})
        except values.Unsupported as error:
            raise ProblemError(f"problem {problem.id} has a test whose input holds {error}; only plain values can be sent") from None
    return {"mode": "call", "tests": calls, **shared}


def _decide_value(rule: Comparator, expected: Any) -> Decide:
    def decide(blob: bytes) -> Decision:
        got = _returned(blob)
        return Decision(True) if rule.value(expected, got) else Decision(False, f"expected {short(expected)}, got {short(got)}")

    return decide
