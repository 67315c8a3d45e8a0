"""Tests with loops, variables and the problem's own helpers, unrolled: the calls that they make, with their arguments, and a check on each.

    for _ in range(100):
        text = encode(draw())                 100 calls with 100 arguments, known before any program is,
        assert candidate(text) == ...         and 100 checks, evaluated in the judge's process

That can be done when neither the arguments nor the way through the test depend on what the program gives. Understood: `for`, `if`, variables,
comprehensions, plain functions of the problem's prompt, drawing from `random` (seeded as in a sandbox process). What an expression may be
says `closures.py`. Everything else raises NotPlain and runs as code.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .assertions import Call, Check, NotPlain, Result, keyword_name, place, truths
from .closures import METHODS, MODULES, PURE, PURE_METHODS, RESULTS, STEPS_LEFT, Scope, Value, Words, bind, drawing, each, targets, weigh

PLAN_STEPS, CHECK_STEPS, CALLS = 50_000, 1_000_000, 1_000
Step = Callable[["_Run"], None]
_PLAIN = (bool, int, float, str)


@dataclass
class _Run:
    """A test being unrolled: its variables, the calls that wait for their assert and the names of what they give, the checks so far."""

    scope: Scope
    calls: list[Call] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def bind(self, names: str | list[str], value: Any) -> None:
        weigh(value, self.scope[STEPS_LEFT])
        bind(self.scope, names, value)
        for name in [names] if isinstance(names, str) else names:
            self.waiting.pop(name, None)


class _Test:
    """The statements of one test, as steps. `names`: what the function under test is called in it, and what it is called."""

    def __init__(self, names: dict[str, str], local: frozenset[str], helpers: dict[str, ast.FunctionDef], code: str) -> None:
        self.names, self.code = names, code
        pure = {name: function for name, function in PURE.items() if name not in names}
        self.words = Words({**pure, **drawing()}, METHODS, helpers, local, {}, {"math"}, {})
        self.pure = Words(pure, PURE_METHODS, helpers, local, self.words.renamed, self.words.modules, self.words.made)

    def block(self, statements: list[ast.stmt]) -> Step:
        steps = [step for step in map(self.step, statements) if step is not None]

        def run(state: _Run) -> None:
            for step in steps:
                step(state)

        return run

    def step(self, node: ast.stmt) -> Step | None:
        match node:
            case ast.Pass() | ast.Expr(value=ast.Constant() | ast.Name()):
                return None
            case ast.Import() | ast.ImportFrom():
                self.bring(node)
                return None
            case ast.Assign(targets=[target]):
                return self.assign(targets(target), node.value)
            case ast.For(orelse=[]):
                return self.loop(node)
            case ast.If():
                test, then, otherwise = self.words.make(node.test), self.block(node.body), self.block(node.orelse)
                return lambda state: (then if test(state.scope) else otherwise)(state)
            case ast.Assert():
                return self.check(node)
            case ast.Expr(value=ast.Call(func=ast.Attribute())):
                value = self.words.make(node.value)
                return lambda state: void(value(state.scope))
        raise NotPlain(type(node).__name__)

    def bring(self, node: ast.Import | ast.ImportFrom) -> None:
        module = node.module if isinstance(node, ast.ImportFrom) else None
        for alias in node.names:
            if alias.asname is not None or alias.name in self.words.local or (module or alias.name) not in MODULES:
                raise NotPlain(f"import {alias.name}")
            if module is None:
                self.words.modules.add(alias.name)
            else:
                self.words.renamed[alias.name] = f"{module}.{alias.name}"

    def is_tested(self, node: ast.AST) -> bool:
        return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.names

    def request(self, node: ast.Call) -> Callable[[Scope], Call]:
        assert isinstance(node.func, ast.Name)
        name = self.names[node.func.id]
        arguments = [self.words.make(argument) for argument in node.args]
        keywords = {keyword_name(keyword): self.words.make(keyword.value) for keyword in node.keywords}

        def ask(scope: Scope) -> Call:
            return name, [copied(value(scope)) for value in arguments], {key: copied(value(scope)) for key, value in keywords.items()}

        return ask

    def assign(self, target: str | list[str], node: ast.expr) -> Step:
        if isinstance(node, ast.Call) and self.is_tested(node):
            if not isinstance(target, str):
                raise NotPlain("a result taken apart")
            name, ask = target, self.request(node)

            def keep(state: _Run) -> None:
                state.scope.pop(name, None)
                state.waiting[name] = len(state.calls)
                state.calls.append(ask(state.scope))

            return keep
        value = self.words.make(node)
        return lambda state: state.bind(target, value(state.scope))

    def loop(self, node: ast.For) -> Step:
        source, names, body = self.words.make(node.iter), targets(node.target), self.block(node.body)

        def run(state: _Run) -> None:
            for item in each(source(state.scope), state.scope[STEPS_LEFT]):
                state.bind(names, item)
                body(state)

        return run

    def check(self, node: ast.Assert) -> Step:
        lift = _Calls(self)
        expression = lift.visit(copy.deepcopy(node.test))
        holds, asks, asked = self.pure.make(expression), [self.request(one) for one in lift.found], truths(expression)
        where = place(node.test)
        names = [part for part in ast.walk(expression) if isinstance(part, ast.Name)]
        used = {part.id for part in names} & self.words.local
        outer = used - {part.id for part in names if isinstance(part.ctx, ast.Store)}

        def run(state: _Run) -> None:
            scope, first = state.scope, len(state.calls)
            if missing := outer - scope.keys() - state.waiting.keys():
                raise NotPlain(f"{missing}: no value, or one that was used before")
            calls = (*state.calls, *[ask(scope) for ask in asks])
            known = {name: copied(scope[name]) for name in used if name in scope}
            given = {name: state.waiting[name] for name in used if name in state.waiting}
            state.calls, state.waiting = [], {}
            if calls or not holds({**known, STEPS_LEFT: [CHECK_STEPS]}):
                state.checks.append(Check(calls, _decider(holds, known, given, first), frozenset(first + n for n in asked), self.code, where))
            if len(state.checks) > CALLS or len(calls) > CALLS:
                raise NotPlain("too many calls")

        return run


def _decider(holds: Value, known: Scope, given: dict[str, int], first: int) -> Callable[[list[Any]], Any]:
    """What decides on the results of a check's calls."""
    return lambda results: holds({**known, **{name: results[n] for name, n in given.items()}, RESULTS: results[first:], STEPS_LEFT: [CHECK_STEPS]})


class _Calls(ast.NodeTransformer):
    """Takes the calls under test out of an assert, where they are made once and in any case."""

    def __init__(self, test: _Test) -> None:
        self.test = test
        self.found: list[ast.Call] = []

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not self.test.is_tested(node):
            self.generic_visit(node)
            return node
        self.found.append(node)
        result = Result()
        result.number = len(self.found) - 1
        return result

    def visit_ListComp(self, node: ast.ListComp) -> ast.expr:
        return node

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.expr:
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.expr:
        return node


def copied(value: Any) -> Any:
    """As it is now: the test may change it later."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if type(value) is list and all(isinstance(item, _PLAIN) for item in value):
        return value[:]
    return copy.deepcopy(value)


def void(value: Any) -> None:
    """A method called for its effect."""


def unroll(module: ast.Module, statements: list[ast.stmt], names: dict[str, str], starter: str, code: str) -> list[list[Check]]:
    """The checks of a test, for each of its outermost statements that has any: those of a loop belong together. Raises NotPlain.

    Args:
        statements: the test's, those of its `check` function where it has one; `module` is all of it.
        names: what the function under test is called here, and its name.
        starter: the problem's own code, with the functions that the test may call.
        code: the test's text.
    """
    if not all(isinstance(node, (ast.FunctionDef, ast.Assign, ast.Expr, ast.Import, ast.ImportFrom)) or node in statements for node in module.body):
        raise NotPlain("code beside the check")
    local = frozenset(part.id for node in statements for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
    if local & (names.keys() | set(names.values())):
        raise NotPlain("a variable with the name of the function")
    test = _Test(names, local, _functions(starter, set(names.values())), code)
    steps = [step for step in map(test.step, statements) if step is not None]
    state, groups = _Run({STEPS_LEFT: [PLAN_STEPS]}), []
    try:
        for step in steps:
            step(state)
            if state.checks:
                groups.append(state.checks)
                state.checks = []
    except NotPlain:
        raise
    except Exception as error:  # the test means to raise, or it is one that does not work: it shows when it runs
        raise NotPlain(str(error)) from None
    if state.calls or not groups:
        raise NotPlain("a call without an assert")
    return groups


def _functions(starter: str, tested: set[str]) -> dict[str, ast.FunctionDef]:
    try:
        body = ast.parse(starter).body
    except (SyntaxError, ValueError, RecursionError):
        return {}
    return {node.name: node for node in body if isinstance(node, ast.FunctionDef) and node.name not in tested}
