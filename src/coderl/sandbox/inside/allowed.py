"""What a tame program may name: see `tame.py`, which says why nothing of this can change what another program finds.

Whoever adds a name must be able to say of it: called or read with any values that a tame program can have, it changes nothing but the
containers it is given, hands out no module, frame, namespace, stream or `type` itself, keeps nothing for later, and runs nothing later.
"""

import ast


def _words(*texts):
    return frozenset(" ".join(texts).split())


BUILTINS = _words(
    "abs all any bin bool callable chr complex dict divmod enumerate filter float format frozenset hex input int isinstance issubclass iter len",
    "list map max min next oct ord pow print range repr reversed round set slice sorted str sum tuple zip NotImplemented Ellipsis ArithmeticError",
    "AssertionError AttributeError BaseException EOFError Exception FloatingPointError IndexError KeyError KeyboardInterrupt LookupError MemoryError",
    "NameError NotImplementedError OverflowError RecursionError RuntimeError StopIteration SystemExit TypeError UnboundLocalError UnicodeError",
    "ValueError ZeroDivisionError",
)
TYPING = _words("Any Callable Deque Dict FrozenSet Generator Iterable Iterator List Optional Sequence Set Tuple Union")
MODULES = {
    "math": _words(
        "acos acosh asin asinh atan atan2 atanh cbrt ceil comb copysign cos cosh degrees dist e erf erfc exp exp2 expm1 fabs factorial floor fmod",
        "frexp fsum gamma gcd hypot inf isclose isfinite isinf isnan isqrt lcm ldexp lgamma log log10 log1p log2 modf nan nextafter perm pi pow prod",
        "radians remainder sin sinh sqrt tan tanh tau trunc ulp",
    ),
    "itertools": _words(
        "accumulate chain combinations combinations_with_replacement compress count cycle dropwhile filterfalse groupby islice pairwise permutations",
        "product repeat starmap takewhile tee zip_longest",
    ),
    "functools": _words("cache cmp_to_key lru_cache partial reduce"),
    "collections": _words("Counter OrderedDict defaultdict deque"),
    "heapq": _words("heapify heappop heappush heappushpop heapreplace merge nlargest nsmallest"),
    "bisect": _words("bisect bisect_left bisect_right insort insort_left insort_right"),
    "operator": _words(
        "abs add and_ contains eq floordiv ge getitem gt inv invert itemgetter le lshift lt mod mul ne neg not_ or_ pos pow rshift sub truediv xor"
    ),
    "string": _words("ascii_letters ascii_lowercase ascii_uppercase digits hexdigits octdigits printable punctuation whitespace"),
    "sys": _words("exit maxsize stdin"),  # and `sys.stdout.write(..)`
    "typing": TYPING,  # in annotations only
}
METHODS = _words(  # and what else may stand behind the dot of a value that is no module
    # str
    "capitalize casefold center count endswith expandtabs find index isalnum isalpha isascii isdecimal isdigit isidentifier islower isnumeric",
    "isprintable isspace istitle isupper join ljust lower lstrip maketrans partition removeprefix removesuffix replace rfind rindex rjust",
    "rpartition rsplit rstrip split splitlines startswith strip swapcase title translate upper zfill",
    # list, deque, set, dict, Counter, OrderedDict, itertools.chain
    "append clear copy extend insert pop remove reverse sort appendleft extendleft popleft rotate add difference difference_update discard",
    "intersection intersection_update isdisjoint issubset issuperset symmetric_difference symmetric_difference_update union update fromkeys get",
    "items keys popitem setdefault values elements most_common subtract total move_to_end from_iterable",
    # numbers, ranges, exceptions, sys.stdin
    "as_integer_ratio bit_count bit_length conjugate imag is_integer real numerator denominator start step stop args read readline readlines",
)
FIELDS: dict[type[ast.AST], tuple[str, ...]] = {  # of the nodes that are allowed, the fields that hold nodes to be read
    **dict.fromkeys((ast.Pass, ast.Break, ast.Continue, ast.Global, ast.Nonlocal, ast.Import, ast.ImportFrom, ast.Name, ast.Constant), ()),
    ast.Module: ("body",),
    ast.FunctionDef: ("args", "body", "decorator_list"),
    ast.arguments: ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg", "defaults", "kw_defaults"),
    ast.arg: (),
    ast.Return: ("value",),
    ast.Delete: ("targets",),
    ast.Assign: ("targets", "value"),
    ast.AugAssign: ("target", "value"),
    ast.AnnAssign: ("target", "value"),
    ast.For: ("target", "iter", "body", "orelse"),
    ast.While: ("test", "body", "orelse"),
    ast.If: ("test", "body", "orelse"),
    ast.Raise: ("exc", "cause"),
    ast.Try: ("body", "handlers", "orelse", "finalbody"),
    ast.ExceptHandler: ("type", "body"),
    ast.Assert: ("test", "msg"),
    ast.Expr: ("value",),
    ast.BoolOp: ("values",),
    ast.NamedExpr: ("target", "value"),
    ast.BinOp: ("left", "right"),
    ast.UnaryOp: ("operand",),
    ast.Lambda: ("args", "body"),
    ast.IfExp: ("test", "body", "orelse"),
    ast.Dict: ("keys", "values"),
    ast.Set: ("elts",),
    ast.ListComp: ("elt", "generators"),
    ast.SetComp: ("elt", "generators"),
    ast.DictComp: ("key", "value", "generators"),
    ast.GeneratorExp: ("elt", "generators"),
    ast.comprehension: ("target", "iter", "ifs"),
    ast.Yield: ("value",),
    ast.YieldFrom: ("value",),
    ast.Compare: ("left", "comparators"),
    ast.Call: ("func", "args", "keywords"),
    ast.keyword: ("value",),
    ast.FormattedValue: ("value", "format_spec"),
    ast.JoinedStr: ("values",),
    ast.Attribute: ("value",),
    ast.Subscript: ("value", "slice"),
    ast.Starred: ("value",),
    ast.List: ("elts",),
    ast.Tuple: ("elts",),
    ast.Slice: ("lower", "upper", "step"),
}
ANNOTATION: dict[type[ast.AST], tuple[str, ...]] = {  # the same, in annotations
    ast.Subscript: ("value", "slice"),
    ast.Tuple: ("elts",),
    ast.List: ("elts",),
    ast.BinOp: ("left", "right"),
}
