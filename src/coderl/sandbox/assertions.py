"""Tests that are code, turned into calls and a check: `assert f(1, 2) == 3` becomes "call f with 1, 2" and "the result equals 3".

The calls go into the sandbox, the check stays out here and is evaluated on the results, which are plain data: no object of the
program's takes part in the comparison. Understood: asserts over calls whose arguments are constant expressions, with comparisons,
`not`, `and`, `or`, arithmetic, subscripts, `math.isclose`, `abs`, `set`, `sorted` and the like; HumanEval's `check(candidate)` when
its statements are such asserts. What else there is says `codeplan.py`.
"""

from __future__ import annotations

import ast
import builtins
import math
import operator
from collections.abc import Callable, Container
from functools import partial
from typing import Any, NamedTuple

from .inside import values


def _set(*items: Any) -> set[Any]:
    return set(values.unique(list(*items)))


def _frozenset(*items: Any) -> frozenset[Any]:
    return frozenset(values.unique(list(*items)))


def _dict(*pairs: Any) -> dict[Any, Any]:
    result = [tuple(pair) for pair in (pairs[0].items() if pairs and isinstance(pairs[0], dict) else list(*pairs))]
    values.unique([pair[0] for pair in result])
    return dict(result)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{f.__name__: f for f in (abs, all, any, bool, complex, float, int, len, list, max, min, round, sorted, str, sum, tuple)},
    **{"set": _set, "frozenset": _frozenset, "dict": _dict},
    **{f"math.{f.__name__}": f for f in (math.isclose, math.fabs, math.floor, math.ceil, math.isnan, math.isinf, math.sqrt)},
}
CONSTANTS = {"math.pi": math.pi, "math.e": math.e, "math.inf": math.inf, "math.nan": math.nan}
UNARY: dict[type, Callable[[Any], Any]] = {ast.Not: operator.not_, ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Invert: operator.invert}
BINARY: dict[type, Callable[[Any, Any], Any]] = {
    **{ast.Add: operator.add, ast.Sub: operator.sub, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod},
    **{ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor},
}
COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    **{ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge},
    **{ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b},
}
_PRODUCT_BITS, _PRODUCT_ITEMS = 1_000_000, 1_000_000


class NotPlain(Exception):
    """An expression that this module does not understand."""


Call = tuple[str, list[Any], dict[str, Any]]  # name, arguments, named arguments


class Check(NamedTuple):
    """Calls for the sandbox, and what decides on the list of their results; `truths`: see there; `place` of the assert in the test's `code`:
    first and last line, first and last column. The tree itself is not kept: thousands of live nodes are what the garbage collector walks through."""

    calls: tuple[Call, ...]
    holds: Callable[[list[Any]], Any]
    truths: frozenset[int]
    code: str
    place: tuple[int, int, int, int]

    def source(self) -> str:
        """What the assert says, on one line. Made when it is asked for: most never are."""
        first, last, start, end = self.place
        segment = ast.get_source_segment(self.code, ast.Pass(lineno=first, end_lineno=last, col_offset=start, end_col_offset=end))
        return ast.unparse(ast.parse(f"({segment}\n)", mode="eval").body)


def place(node: ast.expr) -> tuple[int, int, int, int]:
    """Where a parsed expression stands: see `Check`."""
    return node.lineno, node.end_lineno or node.lineno, node.col_offset, node.end_col_offset or 0


class Result(ast.expr):
    """Stands in the expression where the result of call `number` goes."""

    _fields = ("number",)
    number: int


def evaluate(node: ast.expr, given: list[Any]) -> Any:
    """The value of an expression over plain data, `given` being the results of its calls.

    Raises NotPlain for what is not understood, and what the operations themselves raise.
    """
    match node:
        case Result():
            return given[node.number]
        case ast.Constant():
            return node.value
        case ast.List() | ast.Tuple() | ast.Set():
            items = [evaluate(item, given) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items) if isinstance(node, ast.Tuple) else set(items)
        case ast.Dict():
            return {evaluate(_present(key), given): evaluate(value, given) for key, value in zip(node.keys, node.values, strict=True)}
        case ast.UnaryOp():
            return UNARY[type(node.op)](evaluate(node.operand, given))
        case ast.BinOp():
            return arithmetic(node.op, evaluate(node.left, given), evaluate(node.right, given))
        case ast.BoolOp():
            return _boolean(node, given)
        case ast.Compare():
            return _compare(node, given)
        case ast.Subscript():
            return evaluate(node.value, given)[_index(node.slice, given)]
        case ast.Attribute():
            return _constant(dotted(node))
        case ast.Call():
            named = {keyword_name(keyword): evaluate(keyword.value, given) for keyword in node.keywords}
            return _function(dotted(node.func))(*[evaluate(argument, given) for argument in node.args], **named)
    raise NotPlain(type(node).__name__)


def _present(node: ast.expr | None) -> ast.expr:
    if node is None:
        raise NotPlain("** in a dict")
    return node


def keyword_name(keyword: ast.keyword) -> str:
    """The name in `f(name=value)`."""
    if keyword.arg is None:
        raise NotPlain("** in a call")
    return keyword.arg


def dotted(node: ast.expr) -> str:
    """`f` or `math.f` as text; other expressions are NotPlain."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    raise NotPlain(type(node).__name__)


def _constant(name: str) -> float:
    if name not in CONSTANTS:
        raise NotPlain(name)
    return CONSTANTS[name]


def _function(name: str) -> Callable[..., Any]:
    if name not in FUNCTIONS:
        raise NotPlain(name)
    return FUNCTIONS[name]


def _index(node: ast.expr, given: list[Any]) -> Any:
    if isinstance(node, ast.Slice):
        return slice(*[None if part is None else evaluate(part, given) for part in (node.lower, node.upper, node.step)])
    return evaluate(node, given)


def _boolean(node: ast.BoolOp, given: list[Any]) -> Any:
    value = None
    for part in node.values:
        value = evaluate(part, given)
        if bool(value) is isinstance(node.op, ast.Or):
            break
    return value


def _compare(node: ast.Compare, given: list[Any]) -> bool:
    left = evaluate(node.left, given)
    for kind, right_node in zip(node.ops, node.comparators, strict=True):
        right = evaluate(right_node, given)
        if not COMPARE[type(kind)](left, right):
            return False
        left = right
    return True


def arithmetic(kind: ast.operator, left: Any, right: Any) -> Any:
    """Products and powers of results could be made to take for ever: they have a bound."""
    if isinstance(kind, (ast.Mult, ast.Pow)):
        if all(isinstance(side, (int, float, complex)) for side in (left, right)):
            bits = left.bit_length() if isinstance(left, int) else 64
            more = right.bit_length() if isinstance(right, int) else 64
            if bits * abs(right) > _PRODUCT_BITS if isinstance(kind, ast.Pow) and isinstance(right, int) else bits + more > _PRODUCT_BITS:
                raise OverflowError("a number too large to compare")
            return left**right if isinstance(kind, ast.Pow) else left * right
        count, items = (left, right) if isinstance(left, int) else (right, left)
        if isinstance(kind, ast.Pow) or not isinstance(count, int) or not isinstance(items, (str, bytes, list, tuple)):
            raise TypeError("unsupported operands")
        if count * len(items) > _PRODUCT_ITEMS:
            raise OverflowError("a sequence too long to compare")
        return left * right
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() + right.bit_length() > _PRODUCT_BITS:
        raise OverflowError("a number too large to compare")
    if isinstance(left, str) and isinstance(kind, ast.Mod):
        raise NotPlain("text formatting")
    if type(kind) not in BINARY:
        raise NotPlain(type(kind).__name__)
    return BINARY[type(kind)](left, right)


class _Lift(ast.NodeTransformer):
    """Takes calls of the program's functions out of an expression; `Result` nodes stay in their places."""

    def __init__(self, names: dict[str, str], ours: Container[str], only: str | None) -> None:
        self.names, self.ours, self.only = names, ours, only
        self.calls: list[Call] = []

    def visit_Call(self, node: ast.Call) -> ast.expr:
        if not isinstance(node.func, ast.Name) or node.func.id in self.ours:
            self.generic_visit(node)
            return node
        name = self.names.get(node.func.id, node.func.id)
        if name != self.only and (self.only is not None or hasattr(builtins, name)):
            raise NotPlain(name)  # a class of the program's, perhaps: its objects are no plain data; or Python's own, like bytearray
        try:
            arguments = [evaluate(argument, []) for argument in node.args]
            named = {keyword_name(keyword): evaluate(keyword.value, []) for keyword in node.keywords} if node.keywords else {}
        except NotPlain:
            raise
        except Exception as error:  # a constant expression that raises: the test means it to
            raise NotPlain(str(error)) from None
        self.calls.append((name, arguments, named))
        result = Result()
        result.number = len(self.calls) - 1
        return result


def _understood(node: ast.expr) -> None:
    """Raises NotPlain when `evaluate` could meet something it does not understand."""
    for part in ast.walk(node):
        if isinstance(part, ast.Call):
            _function(dotted(part.func))
            for keyword in part.keywords:
                keyword_name(keyword)
        elif isinstance(part, ast.Attribute):
            name = dotted(part)
            if name not in FUNCTIONS and name not in CONSTANTS:
                raise NotPlain(name)
        elif isinstance(part, ast.Name):
            if part.id not in FUNCTIONS and part.id != "math":
                raise NotPlain(part.id)
        elif isinstance(part, ast.Dict):
            for key in part.keys:
                _present(key)
        elif isinstance(part, ast.expr) and not isinstance(part, _KNOWN):
            raise NotPlain(type(part).__name__)


_KNOWN = (Result, ast.Constant, ast.List, ast.Tuple, ast.Set, ast.UnaryOp, ast.BinOp, ast.BoolOp, ast.Compare, ast.Subscript, ast.Slice)


def read_assert(node: ast.Assert, names: dict[str, str], entry_point: str | None, code: str) -> Check:
    """One assert of `code` as calls and a check. Raises NotPlain.

    MBPP has a problem whose function is called `sum`: the entry point is the program's, whatever its name; and an assert that calls
    nothing but functions of ours can only mean functions of the program.
    """
    lift = _Lift(names, set(FUNCTIONS) - {entry_point}, entry_point)
    if (check := _equality(node.test, lift, code)) is not None:
        return check
    expression = lift.visit(node.test)
    if not lift.calls:
        lift = _Lift(names, (), entry_point)
        expression = lift.visit(expression)
    _understood(expression)
    return Check(tuple(lift.calls), partial(evaluate, expression), frozenset(truths(expression)), code, place(node.test))


def _equality(node: ast.expr, lift: _Lift, code: str) -> Check | None:
    """`f(..) == literal`, what most asserts are: the same as the long way round, in a third of its time. None: it is something else."""
    if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and isinstance(node.ops[0], ast.Eq) and isinstance(node.left, ast.Call)):
        return None
    function = node.left.func
    if not isinstance(function, ast.Name) or function.id in lift.ours:
        return None
    try:
        expected = _literal(node.comparators[0])
    except NotPlain:
        return None
    lift.visit_Call(node.left)
    return Check(tuple(lift.calls), partial(_first_equals, expected), frozenset(), code, place(node))


def _first_equals(expected: Any, given: list[Any]) -> bool:
    return bool(given[0] == expected)


def _literal(node: ast.expr) -> Any:
    """The value of constants in lists and tuples. Raises NotPlain."""
    kind = type(node)
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if kind is ast.List else tuple(items)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        if isinstance(value, (int, float)):
            return -value
    raise NotPlain(kind.__name__)


def truths(node: ast.expr) -> set[int]:
    """Numbers of the results of which only the truth is asked, as in `assert f(1)` and `assert not f(1)`: they may be any object."""
    if isinstance(node, Result):
        return {node.number}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return truths(node.operand)
    if isinstance(node, ast.BoolOp):
        return set().union(*map(truths, node.values))
    return set()


def read_test(code: str, entry_point: str | None) -> list[Check]:
    """The checks of one test. Raises NotPlain when any part must run as code, SyntaxError when it is not Python."""
    statements, names = statements_of(ast.parse(code), entry_point)
    checks = []
    for statement in statements:
        if isinstance(statement, ast.Assert):
            check = read_assert(statement, names, entry_point, code)
            if check.calls or not _holds(check):
                checks.append(check)
        elif not _harmless(statement):
            raise NotPlain(type(statement).__name__)
    if not checks:
        raise NotPlain("no assert over a call")
    return checks


def _holds(check: Check) -> bool:
    """HumanEval has `assert True`: nothing to run."""
    try:
        return bool(check.holds([]))
    except Exception:
        return False


def statements_of(module: ast.Module, entry_point: str | None) -> tuple[list[ast.stmt], dict[str, str]]:
    """The statements that test, and what the function under test is called in them."""
    function = check_function(module)
    if function is None:
        return module.body, {}
    if entry_point is None or len(function.args.args) != 1:
        raise NotPlain("check() without an entry point")
    return function.body, {function.args.args[0].arg: entry_point}


def check_function(module: ast.Module) -> ast.FunctionDef | None:
    """HumanEval's `check(candidate)`, where there is one."""
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "check":
            return statement
    return None


def _harmless(statement: ast.stmt) -> bool:
    """Statements without effect: documentation, a lone name, `pass`, an import of math."""
    if isinstance(statement, ast.Import):
        return all(alias.name == "math" and alias.asname is None for alias in statement.names)
    return isinstance(statement, ast.Pass) or (isinstance(statement, ast.Expr) and isinstance(statement.value, (ast.Constant, ast.Name)))
