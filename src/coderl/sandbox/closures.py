"""Expressions of tests as closures over plain data: what `unroll.py` knows how to evaluate, and what each step may cost.

Nothing is executed as Python: an expression becomes a tree of closures over the functions listed here, with bounds on steps and sizes,
or NotPlain is raised while it is made. A closure takes a scope, the variables by name, and raises what the expression would raise.
"""

from __future__ import annotations

import ast
import copy
import math
import random
import string
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .assertions import BINARY, COMPARE, CONSTANTS, FUNCTIONS, UNARY, NotPlain, Result, arithmetic, dotted, keyword_name

ITEMS = 100_000
_SMALL = 1 << 31
SEED = 0  # that of every sandbox process (`inside/server.py`)
_CONTAINERS = (list, tuple, dict, set, frozenset)
Scope = dict[str, Any]
Value = Callable[[Scope], Any]
STEPS_LEFT, RESULTS = "steps left", "results"  # no names of Python's: they cannot meet a variable


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > ITEMS:
        raise OverflowError("a range too long to compare")
    return found


def _join(between: str, parts: Any) -> str:
    texts = list(parts)
    if sum(map(len, texts)) + len(between) * len(texts) > ITEMS:
        raise OverflowError("a text too long to compare")
    return between.join(texts)


PURE: dict[str, Callable[..., Any]] = {
    **FUNCTIONS,
    **{"range": _range, "enumerate": lambda items: list(enumerate(items)), "zip": lambda *lists: list(zip(*lists))},
    **{"ord": ord, "chr": chr, "math.pow": math.pow, "copy.deepcopy": copy.deepcopy},
}
_TEXTS = {f"string.{name}": getattr(string, name) for name in ("ascii_lowercase", "ascii_uppercase", "ascii_letters", "digits")}
MODULES = ("math", "random", "copy", "string")
PURE_METHODS: dict[tuple[type, str], Callable[..., Any]] = {(str, "join"): _join}
METHODS: dict[tuple[type, str], Callable[..., Any]] = {
    **PURE_METHODS,
    (list, "append"): list.append,
    (random.Random, "randint"): random.Random.randint,
    (random.Random, "choice"): random.Random.choice,
}


def drawing() -> dict[str, Callable[..., Any]]:
    """Functions that draw, from a source that starts anew."""
    source = random.Random(SEED)
    return {"random.randint": source.randint, "random.choice": source.choice, "random.Random": lambda seed: random.Random(int(seed))}


@dataclass(frozen=True)
class Words:
    """What names mean where an expression stands. `local`: variables; `renamed`: what `from random import randint` and the like bind."""

    functions: dict[str, Callable[..., Any]]
    methods: dict[tuple[type, str], Callable[..., Any]]
    helpers: dict[str, ast.FunctionDef]
    local: frozenset[str]
    renamed: dict[str, str]
    modules: set[str]
    made: dict[str, Callable[[list[int], list[Any]], Any]]

    def full(self, node: ast.expr) -> str:
        """The dotted name of a function or constant."""
        name = dotted(node)
        first = name.split(".")[0]
        if first in self.local or ("." in name and first not in self.modules):
            raise NotPlain(name)
        return self.renamed.get(name, name)

    def inside(self, names: Iterable[str]) -> Words:
        return Words(self.functions, self.methods, self.helpers, self.local | frozenset(names), self.renamed, self.modules, self.made)

    def make(self, node: ast.expr) -> Value:
        """The expression as a closure. Raises NotPlain."""
        match node:
            case Result():
                number = node.number
                return lambda scope: scope[RESULTS][number]
            case ast.Constant():
                constant = node.value
                return lambda scope: constant
            case ast.Name():
                return self.variable(node.id)
            case ast.List() | ast.Tuple():
                items = [self.make(item) for item in node.elts]
                return (
                    (lambda scope: [item(scope) for item in items])
                    if isinstance(node, ast.List)
                    else (lambda scope: tuple([i(scope) for i in items]))
                )
            case ast.UnaryOp():
                operand, act = self.make(node.operand), UNARY[type(node.op)]
                return lambda scope: act(operand(scope))
            case ast.BinOp():
                return self.binary(node)
            case ast.Compare():
                return self.comparison(node)
            case ast.BoolOp():
                return self.boolean(node)
            case ast.IfExp():
                test, first, second = self.make(node.test), self.make(node.body), self.make(node.orelse)
                return lambda scope: first(scope) if test(scope) else second(scope)
            case ast.Subscript():
                return self.subscript(node)
            case ast.ListComp() | ast.GeneratorExp():
                return self.comprehension(node)
            case ast.Attribute():
                value = {**CONSTANTS, **_TEXTS}.get(self.full(node))
                if value is not None:
                    return lambda scope: value
            case ast.Call():
                return self.call(node)
        raise NotPlain(type(node).__name__)

    def variable(self, name: str) -> Value:
        if name not in self.local:
            raise NotPlain(name)

        def look(scope: Scope) -> Any:
            if name not in scope:
                raise NameError(f"{name} has no value here")
            return scope[name]

        return look

    def binary(self, node: ast.BinOp) -> Value:
        left, right, kind = self.make(node.left), self.make(node.right), node.op
        plain = BINARY.get(type(kind))

        def act(scope: Scope) -> Any:
            first, second = left(scope), right(scope)
            if plain is not None and type(first) is type(second) is int and -_SMALL < first < _SMALL and -_SMALL < second < _SMALL:
                return plain(first, second)  # nearly all of the work of a helper that shifts letters
            value = arithmetic(kind, first, second)
            if isinstance(value, (str, bytes, list, tuple)) and len(value) > ITEMS:
                raise OverflowError("a sequence too long to compare")
            return value

        return act

    def comparison(self, node: ast.Compare) -> Value:
        first, rest = self.make(node.left), [(COMPARE[type(kind)], self.make(side)) for kind, side in zip(node.ops, node.comparators, strict=True)]

        def act(scope: Scope) -> bool:
            left = first(scope)
            for compare, side in rest:
                right = side(scope)
                if not compare(left, right):
                    return False
                left = right
            return True

        return act

    def boolean(self, node: ast.BoolOp) -> Value:
        parts, last = [self.make(part) for part in node.values], isinstance(node.op, ast.Or)

        def act(scope: Scope) -> Any:
            value = None
            for part in parts:
                value = part(scope)
                if bool(value) is last:
                    break
            return value

        return act

    def subscript(self, node: ast.Subscript) -> Value:
        value = self.make(node.value)
        if not isinstance(node.slice, ast.Slice):
            index = self.make(node.slice)
            return lambda scope: value(scope)[index(scope)]
        sides = [None if side is None else self.make(side) for side in (node.slice.lower, node.slice.upper, node.slice.step)]
        return lambda scope: value(scope)[slice(*[None if side is None else side(scope) for side in sides])]

    def comprehension(self, node: ast.ListComp | ast.GeneratorExp) -> Value:
        """All at once, also for a generator: `call` sees to it that this makes no difference."""
        if len(node.generators) != 1 or node.generators[0].is_async:
            raise NotPlain("a comprehension of several loops")
        (loop,) = node.generators
        source, names = self.make(loop.iter), targets(loop.target)
        words = self.inside([names] if isinstance(names, str) else names)
        element, tests = words.make(node.elt), [words.make(test) for test in loop.ifs]

        def act(scope: Scope) -> list[Any]:
            inner, found = dict(scope), []
            for item in each(source(scope), scope[STEPS_LEFT]):
                bind(inner, names, item)
                if not tests or all(test(inner) for test in tests):
                    found.append(element(inner))
            return found

        return act

    def call(self, node: ast.Call) -> Value:
        arguments = [self.make(argument) for argument in node.args]
        keywords = {keyword_name(keyword): self.make(keyword.value) for keyword in node.keywords}
        lazy = any(isinstance(argument, ast.GeneratorExp) for argument in node.args)
        if isinstance(node.func, ast.Attribute) and not (isinstance(node.func.value, ast.Name) and node.func.value.id in self.modules):
            if keywords or (lazy and node.func.attr != "join"):
                raise NotPlain("a method with such arguments")
            return self.method(node.func, arguments)
        name = self.full(node.func)
        if name in self.helpers and not keywords and not lazy:
            helper = self.helper(name)
            return lambda scope: helper(scope[STEPS_LEFT], [argument(scope) for argument in arguments])
        if name not in self.functions or (lazy and name not in ("sum", "list", "tuple", "sorted", "set", "max", "min")):
            raise NotPlain(name)
        function = self.functions[name]
        if len(arguments) == 1 and not keywords:
            (only,) = arguments
            return lambda scope: function(only(scope))
        return lambda scope: function(*[argument(scope) for argument in arguments], **{key: value(scope) for key, value in keywords.items()})

    def method(self, node: ast.Attribute, arguments: list[Value]) -> Value:
        owner, name, methods = self.make(node.value), node.attr, self.methods
        if name not in {known for _, known in methods}:
            raise NotPlain(f".{name}()")

        def act(scope: Scope) -> Any:
            value = owner(scope)
            if (type(value), name) not in methods:
                raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r} here")
            given = [argument(scope) for argument in arguments]
            for one in given:
                weigh(one, scope[STEPS_LEFT])
            return methods[type(value), name](value, *given)

        return act

    def helper(self, name: str) -> Callable[[list[int], list[Any]], Any]:
        """A function of the problem's prompt that is made of assignments and one `return`; it may call those defined before it."""
        if name not in self.made:
            node = self.helpers[name]
            plain = node.args
            names = [argument.arg for argument in plain.args]
            if plain.vararg or plain.kwarg or plain.kwonlyargs or plain.posonlyargs or plain.defaults or node.decorator_list:
                raise NotPlain(name)
            before = dict(list(self.helpers.items())[: list(self.helpers).index(name)])
            steps = [part for part in node.body if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))]
            local = frozenset(names) | {
                target.id for part in steps if isinstance(part, ast.Assign) for target in part.targets if isinstance(target, ast.Name)
            }
            words = Words(PURE, PURE_METHODS, before, local, {}, {"math"}, self.made)
            self.made[name] = _function(words, names, steps)
        return self.made[name]


def _function(words: Words, names: list[str], steps: list[ast.stmt]) -> Callable[[list[int], list[Any]], Any]:
    parts: list[tuple[str, Value]] = []
    for step in steps[:-1]:
        if not (isinstance(step, ast.Assign) and len(step.targets) == 1 and isinstance(step.targets[0], ast.Name)):
            raise NotPlain(type(step).__name__)
        parts.append((step.targets[0].id, words.make(step.value)))
    last = steps[-1] if steps else None
    if not isinstance(last, ast.Return) or last.value is None:
        raise NotPlain("a function without a return at its end")
    result = words.make(last.value)

    def run(left: list[int], arguments: list[Any]) -> Any:
        scope: Scope = {STEPS_LEFT: left, **dict(zip(names, arguments, strict=True))}
        for name, value in parts:
            scope[name] = value(scope)
        return result(scope)

    return run


def targets(node: ast.expr) -> str | list[str]:
    """A name, or the names of a tuple."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Tuple) and all(isinstance(item, ast.Name) for item in node.elts):
        return [item.id for item in node.elts if isinstance(item, ast.Name)]
    raise NotPlain("a target that is no name")


def bind(scope: Scope, names: str | list[str], value: Any) -> None:
    """Give a value to a name, or its items to several."""
    if isinstance(names, str):
        scope[names] = value
    else:
        scope.update(zip(names, value, strict=True))


def each(items: Any, left: list[int]) -> Iterable[Any]:
    """The items, each at the cost of one step."""
    for item in items:
        left[0] -= 1
        if left[0] < 0:
            raise OverflowError("a loop too long to compare")
        yield item


def weigh(value: Any, left: list[int]) -> None:
    """Charge a value for all that it holds, at every place where it holds it: lists of the same list grow faster than any loop."""
    if not isinstance(value, _CONTAINERS):
        return
    left[0] -= len(value)
    if left[0] < 0:
        raise OverflowError("a value too large to keep")
    for item in (*value.keys(), *value.values()) if isinstance(value, dict) else value:
        if isinstance(item, _CONTAINERS):
            weigh(item, left)
