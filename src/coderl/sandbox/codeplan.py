"""The plan of a problem whose tests are code: asserts that decide out here, calls for the sandbox, and what must run as code.

Each test is read as asserts over calls (`assertions.py`), or unrolled into such (`unroll.py`): `trust: "parent"`. Where that cannot be
done it runs as code: in a process of its own where `testcode.py` finds that it may (`trust: "checker"`), else beside the program
(`trust: "child"`).
"""

from __future__ import annotations

import ast
from typing import Any

from ..errors import ProblemError
from ..records import Problem, Test
from .assertions import Check, NotPlain, check_function, read_test, statements_of
from .inside.values import Unsupported
from .plan import Decide, Decision, Plan, call, results, short
from .testcode import apart
from .unroll import unroll


def assert_plan(problem: Problem, tests: tuple[Test, ...], shared: dict[str, Any]) -> Plan:
    """The plan of a problem of kind "assert". Raises ProblemError for a test without code, or whose code is not Python."""
    parts: list[dict[str, Any]] = []
    decide: list[Decide] = []
    codes: list[str] = []
    trust = "parent"
    for test in tests:
        if test.code is None:
            raise ProblemError(f"problem {problem.id} is of kind 'assert' and has a test without code; give each test a code field")
        try:
            groups = read(test.code, problem) if _only_imports(problem.setup) else None
            calls = None if groups is None else [_calls(checks) for checks in groups]
        except (SyntaxError, ValueError) as error:
            raise ProblemError(f"problem {problem.id} has a test that is not Python: {error}; correct it or leave the problem out") from None
        except (NotPlain, RecursionError):
            groups = calls = None
        codes.append(test.code)
        if groups is None or calls is None:
            trust = "child"
            parts.append(_as_code(problem, test.code))
            decide.append(_never)
        else:
            parts += calls
            decide += [_decide(checks) for checks in groups]
    away = apart(problem, codes) if trust == "child" else None
    if away is not None:
        parts, decide, trust = [_as_code(problem, code) for code in codes], [_never for _ in codes], "checker"
    return Plan({"mode": "call", "tests": parts, **shared}, tuple(decide), trust, problem.comparator, apart=away)


def read(code: str, problem: Problem) -> list[list[Check]]:
    """The checks of one test, those that are one test together. Raises NotPlain when any part must run as code, SyntaxError."""
    try:
        return [[check] for check in read_test(code, problem.entry_point)]
    except NotPlain:
        module = ast.parse(code)
        statements, names = statements_of(module, problem.entry_point)
        if not names and problem.entry_point is not None:
            names = {problem.entry_point: problem.entry_point}
        return unroll(module, statements, names, problem.starter_code, code)


def _calls(checks: list[Check]) -> dict[str, Any]:
    """The calls of one test for the sandbox. Raises NotPlain for arguments that cannot be sent."""
    try:
        return {"calls": [{**call(*one), "truth": number in check.truths} for check in checks for number, one in enumerate(check.calls)]}
    except Unsupported as error:
        raise NotPlain(str(error)) from None


def _only_imports(setup: str) -> bool:
    return not setup or all(isinstance(statement, (ast.Import, ast.ImportFrom)) for statement in ast.parse(setup).body)


def _as_code(problem: Problem, code: str) -> dict[str, Any]:
    """A test for the sandbox to run: its setup, itself, and the name to call its check() with."""
    module = ast.parse(code)
    calls_itself = any(isinstance(part, ast.Expr) and isinstance(part.value, ast.Call) and _is_check(part.value.func) for part in module.body)
    entry = None if check_function(module) is None or calls_itself else problem.entry_point
    if check_function(module) is not None and not calls_itself and entry is None:
        raise ProblemError(f"problem {problem.id} has a test with check() and no entry_point; name the function to test")
    return {"check": f"{problem.setup}\n{code}", "entry": entry}


def _is_check(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "check"


def _never(blob: bytes) -> Decision:
    return Decision(False, "the test gave a value instead of coming to its end")


def _decide(checks: list[Check]) -> Decide:
    def decide(blob: bytes) -> Decision:
        given, at = results(blob), 0
        if len(given) != sum(len(check.calls) for check in checks):
            raise ValueError("not one result for each call")
        for check in checks:
            decision = _settle(check, given[at : at + len(check.calls)])
            if not decision.passed:
                return decision
            at += len(check.calls)
        return Decision(True)

    return decide


def _settle(check: Check, given: list[Any]) -> Decision:
    try:
        if check.holds(given):
            return Decision(True)
    except Exception as error:  # what the assert itself would have raised
        return Decision(False, f"assert {check.source()[:200]} raised {error}", type(error).__name__)
    return Decision(False, f"assert {check.source()[:200]} does not hold; got {', '.join(map(short, given))}")
