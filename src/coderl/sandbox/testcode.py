"""May a test that is code run apart from the program? Looked at, never run: the answer depends on the problem alone, not on a program.

Such a test runs in a checker process, and the functions that it tests live in another one: calls and what they give travel as plain
data. So it may not use the program's classes or other names of its own, hand over functions, classes or iterators, ask for
attributes that plain data do not have, compare identities, or call a function only for what it does to its arguments. Functions that
the problem itself gives (HumanEval's prompts define `poly`, `encode_shift`) are taken from the problem, not from the program.

What this cannot see (a variable that holds an iterator, an argument changed in place and looked at later) shows when the reference
solution fails its own test: `coderl validate` finds it.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import NamedTuple

from ..records import Problem

_MODULES = frozenset(sys.stdlib_module_names) | {"numpy"}
_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_ATTRIBUTES = frozenset(name for kind in _PLAIN for name in dir(kind))
_ITERATORS = frozenset({"range", "iter", "map", "filter", "zip", "enumerate", "reversed", "object", "open"})
_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.Assign)


class Apart(NamedTuple):
    """How test code runs apart: what is run before it, and the program's functions that it calls."""

    helpers: str
    asks: tuple[str, ...]


def apart(problem: Problem, codes: list[str]) -> Apart | None:
    """None when one of the tests must live with the program. Raises SyntaxError for what is not Python."""
    entry = problem.entry_point
    if entry is None:
        return None
    given, names = _helpers(problem.starter_code, entry)
    modules: set[str] = set()
    for code in codes:
        look = _Look(ast.parse(f"{problem.setup}\n{code}"), entry)
        missing = look.free() - names - {entry}
        if not look.may_run_apart() or not look.only_modules(missing):
            return None
        modules |= missing
    return Apart("\n".join([*(f"import {name}" for name in sorted(modules)), given]), (entry,))


def _helpers(starter: str, entry: str) -> tuple[str, set[str]]:
    """What the problem itself defines besides the function to write: its source, and the names."""
    try:
        body = ast.parse(starter).body
    except (SyntaxError, ValueError, RecursionError):
        return "", set()
    kept: list[ast.stmt] = [node for node in body if isinstance(node, _KEPT) and not (isinstance(node, ast.FunctionDef) and node.name == entry)]
    module = ast.Module(body=kept, type_ignores=[])
    return ast.unparse(module), _bound(module)


def _bound(tree: ast.AST) -> set[str]:
    """All names that code gives a value to, wherever."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


class _Look:
    """One test, looked at. `entries`: what the function under test is called in it."""

    def __init__(self, module: ast.Module, entry: str) -> None:
        self.nodes, self.bound = list(ast.walk(module)), _bound(module)
        checks = (node for node in self.nodes if isinstance(node, ast.FunctionDef) and node.name == "check")
        self.entries = {entry} | {node.args.args[0].arg for node in checks if node.args.args}
        self.reached: set[str] = set()
        while self.spread():
            pass

    def free(self) -> set[str]:
        """Names that are used and come from elsewhere."""
        used = {node.id for node in self.nodes if isinstance(node, ast.Name)}
        return {name for name in used - self.bound if not hasattr(builtins, name)}

    def only_modules(self, names: set[str]) -> bool:
        """MBPP's tests say `sys.getsizeof` and count on the program's import: the checker imports it itself."""
        inside = {id(node.value) for node in self.nodes if isinstance(node, ast.Attribute)}
        lone = {node.id for node in self.nodes if isinstance(node, ast.Name) and id(node) not in inside}
        return names <= _MODULES and not names & lone

    def spread(self) -> bool:
        """Names that hold what the program gave, one step further; False when there are no more."""
        before = len(self.reached)
        for node in self.nodes:
            if isinstance(node, ast.Assign):
                source, targets = node.value, node.targets
            elif isinstance(node, (ast.For, ast.comprehension)):
                source, targets = node.iter, [node.target]
            elif isinstance(node, (ast.NamedExpr, ast.AugAssign)):
                source, targets = node.value, [node.target]
            else:
                continue
            if self.reaches(source):
                self.reached |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
        return len(self.reached) > before

    def reaches(self, node: ast.AST) -> bool:
        """Does something that the program gave take part?"""
        return any(isinstance(part, ast.Name) and part.id in self.entries | self.reached for part in ast.walk(node))

    def may_run_apart(self) -> bool:
        return not any(self.needs_the_program(node) for node in self.nodes)

    def needs_the_program(self, node: ast.AST) -> bool:
        match node:
            case ast.ClassDef() | ast.AsyncFunctionDef() | ast.Await() | ast.Global() | ast.Nonlocal():
                return True
            case ast.Import():
                return not all(alias.name.split(".")[0] in _MODULES for alias in node.names)
            case ast.ImportFrom():
                return node.level > 0 or (node.module or "").split(".")[0] not in _MODULES
            case ast.Attribute():
                return node.attr not in _ATTRIBUTES and self.reaches(node.value)
            case ast.Compare():
                identity = any(isinstance(kind, (ast.Is, ast.IsNot)) for kind in node.ops)
                return identity and self.reaches(node) and not all(isinstance(side, ast.Constant) for side in node.comparators)
            case ast.Expr(value=ast.Call() as called):
                return self.is_tested(called) and any(isinstance(part, ast.Name) for part in _arguments(called, walk=True))
            case ast.Call():
                return self.is_tested(node) and self.hands_over_objects(node)
        return False

    def is_tested(self, node: ast.Call) -> bool:
        return isinstance(node.func, ast.Name) and node.func.id in self.entries

    def hands_over_objects(self, node: ast.Call) -> bool:
        """An argument that is a function, a class or an iterator."""
        for argument in _arguments(node, walk=False):
            if isinstance(argument, ast.GeneratorExp) or (
                isinstance(argument, ast.Call) and isinstance(argument.func, ast.Name) and argument.func.id in _ITERATORS
            ):
                return True
        parts = _arguments(node, walk=True)
        called = {id(part.func) for part in parts if isinstance(part, ast.Call)}
        functions = {part.name for part in self.nodes if isinstance(part, ast.FunctionDef)}
        return any(
            isinstance(part, ast.Lambda)
            or (
                isinstance(part, ast.Name)
                and id(part) not in called
                and (part.id in functions or (part.id not in self.bound and _is_callable(part.id)))
            )
            for part in parts
        )


def _is_callable(name: str) -> bool:
    return callable(getattr(builtins, name, None))


def _arguments(node: ast.Call, walk: bool) -> list[ast.AST]:
    whole: list[ast.AST] = [*node.args, *(keyword.value for keyword in node.keywords)]
    return [part for argument in whole for part in ast.walk(argument)] if walk else whole
