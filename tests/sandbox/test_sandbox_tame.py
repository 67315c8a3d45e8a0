"""Which programs may share a process: the list of what is allowed, attacked word by word."""

import ast
import builtins
import collections
import math
import time
import typing

import pytest

from coderl.sandbox.inside import allowed
from coderl.sandbox.inside.tame import LONGEST, NOTHING, given, is_tame

TAME = [
    "def f(x):\n    'text \u279e and a comment'  # \u00e9\n    return x + '\u00e9'",
    "a, b = map(int, input().split())\nprint(a + b)",
    "import sys\nfor line in sys.stdin:\n    print(line.strip())\nsys.stdout.write(str(len('x')))\nsys.exit(0)",
    "import sys as s, math\nprint(math.sqrt(4), s.maxsize, s.stdin.readline())\ns.stdout.flush()",
    "from typing import List, Optional\nimport typing as t\n"
    "def f(a: List[int], b: Optional[str] = None, *c: t.Any, **d: int | None) -> t.Tuple[int, ...]:\n    return 1",
    "from functools import lru_cache\n@lru_cache(maxsize=None)\ndef f(n):\n    return n if n < 2 else f(n - 1) + f(n - 2)",
    "from collections import Counter, defaultdict, deque\nd = defaultdict(list)\nd[1].append(2)\nprint(Counter('aab').most_common(), deque([1]))",
    "def g():\n    x = yield 1\n    yield from range(3)\nprint(list(g()), [y for y in g() if y], {z: 1 for z in 'ab'}, (lambda q, *r, **s: q)(1))",
    "try:\n    1 / 0\nexcept (ZeroDivisionError, ValueError) as e:\n    print(e.args)\nexcept:\n    pass\nfinally:\n    print('x')",
    "if __name__ == '__main__':\n    for _ in range(3):\n        print(f'{_:>{3}} {_!r}', '{0:.2f} {a!r:>4}'.format(1, a=2))",
    "print(type(1) == int, type(2) is int, 3 is None, type([]) in (list, tuple))",
    "x = 0\ndef f():\n    global x\n    x += 1\n    del x\nf()\nassert (y := 5) > 3, y",
    "class_ = [1, 2][::-1]\nprint(*class_, sep='', end='')",
]
WILD = {
    "attribute store": "def f(): pass\nf.x = 1",
    "attribute augmented": "import math\nmath.pi += 1",
    "attribute deleted": "import math\ndel math.pi",
    "attribute as loop target": "def f(): pass\nfor f.x in [1]: pass",
    "attribute in tuple target": "def f(): pass\na, f.x = 1, 2",
    "attribute in comprehension": "def f(): pass\n[0 for f.x in [1]]",
    "starred attribute target": "def f(): pass\n*f.x, a = 1, 2",
    "attribute annotated": "def f(): pass\nf.x: int = 1",
    "class": "class A: pass",
    "with": "with f() as x: pass",
    "async": "async def f(): pass",
    "async generator expression": "def f(x):\n    return (a async for a in x)",
    "match": "match 1:\n    case int(real=x): pass",
    "except star": "try: pass\nexcept* ValueError: pass",
    "dunder": "().__class__",
    "dunder name": "__builtins__",
    "dunder by dot": "__builtins__.open",
    "dunder bound": "__builtins__ = {}",
    "dunder import": "import math as __builtins__",
    "dunder argument": "def f(__builtins__): pass",
    "dunder keyword": "f = dict(__class__=1)",
    "dunder handler": "try: pass\nexcept ValueError as __builtins__: pass",
    "dunder global": "def f():\n    global __builtins__\n    __builtins__ = 1",
    "dunder function": "def __import__(): pass",
    "dunder lambda": "lambda __x: 1",
    "dunder annotation": "def f(x: __builtins__): pass",
    "dunder walrus": "(__builtins__ := 1)",
    "private": "_x = 1",
    "generator frame": "g = (x for x in [])\ng.gi_frame",
    "traceback": "try: 1/0\nexcept Exception as e: e.with_traceback(None)",
    "notes": "try: 1/0\nexcept Exception as e: e.add_note('x')",
    "format reads": "'{0.__class__}'.format(1)",
    "format indexes": "'{0[a]}'.format({})",
    "format nested": "'{0:{1.__class__}}'.format(1, 2)",
    "format of a name": "s = '{0.x}'\ns.format(1)",
    "format of a call": "('{0.' + 'x}').format(1)",
    "format unbound": "str.format('{0.x}', 1)",
    "format by map": "list(map('{0.x}'.format, [1]))",
    "format_map": "'{x.y}'.format_map({})",
    "format of bytes": "b'x'.format",
    "bytes": "b''",
    "bytes type": "bytes(3)",
    "nested f-string": "f'{f\"{().__class__}\"}'",
    "f-string spec": "f'{1:{().__class__}}'",
    "type called": "type('A', (int,), {})",
    "type as a value": "x = type",
    "type of type": "t = type(int)",
    "type in a call": "print(type(1))",
    "type by walrus": "(t := type(int)) == 1",
    "type with three arguments": "type('A', (), {}) == 1",
    "type starred": "type(*[1]) == 1",
    "type of a class is read too": "type(open('x')) == 1",
    "type redefined": "def type(x): return x\ntype(1) == 1",
    "is": "a = 1000\nprint(a is 1000)",
    "is not between names": "a = b = 'x'\nprint(a is not b)",
    "star import": "from math import *",
    "relative import": "from . import math",
    "other module": "import os",
    "submodule": "import collections.abc",
    "other name": "from functools import wraps",
    "update_wrapper": "import functools\nfunctools.update_wrapper(len, print)",
    "module as a value": "import math\nm = math",
    "module in a list": "import math\nx = [math]",
    "module passed": "import math\nprint(math)",
    "module returned": "import math\ndef f(): return math",
    "module renamed and rebound": "import math as m\nm = 5",
    "module as an argument's name": "import math\ndef f(math): return math.pi",
    "module as a handler's name": "import math\ntry: pass\nexcept ValueError as math: pass",
    "module as a function's name": "import math\ndef math(): pass",
    "module global": "def f():\n    global math\n    import math",
    "two modules of one name": "import math as m\nimport sys as m\nm.stdin",
    "module and a name of one name": "import math as m\nfrom sys import stdin as m",
    "module attribute": "import math\nmath.__loader__",
    "module attribute of another": "import math\nmath.stdin",
    "module in an annotation": "import math\ndef f(x: math): pass",
    "method of another module": "import math\nmath.append",
    "stdout as a value": "import sys\nx = sys.stdout",
    "stdout's method as a value": "import sys\nw = sys.stdout.write",
    "stdout imported": "from sys import stdout",
    "stdout passed": "import sys\nprint(1, file=sys.stdout)",
    "stdout closed": "import sys\nsys.stdout.close()",
    "stdout of another": "import math\nmath.stdout.write('x')",
    "stdin's buffer": "import sys\nsys.stdin.buffer",
    "stdin closed": "import sys\nsys.stdin.close()",
    "stdin detached": "import sys\nsys.stdin.detach()",
    "recursion limit": "import sys\nsys.setrecursionlimit(10)",
    "modules": "import sys\nsys.modules",
    "argv": "import sys\nsys.argv",
    "normalised": "\uff45\uff56\uff41\uff4c('1')",
    "normalised attribute": "''.\uff3f\uff3fclass\uff3f\uff3f",
    "a name that is not ascii": "\u00e9 = 1",
    "bound elsewhere": "def f(open): pass\nopen('x')",
    "deleted, and then the built-in one": "eval = 1\ndel eval\neval('1')",
    "by a decorator": "@eval\ndef f(): pass",
    "by a default": "def f(x=open): pass",
    "by a keyword default": "def f(*, x=open): pass",
    "by a lambda": "lambda: globals()",
    "by star-args": "print(*vars())",
    "by star-star": "print(**vars())",
    "in an annotation": "def f(x: open('x')): pass",
    "in a return annotation": "def f() -> print('x'): pass",
    "annotation of a variable": "x: print('x') = 1",
    "annotation of a value": "from typing import List\nn = 1\ndef f(x: List[n]): pass",
    "annotation of a number": "from typing import List\ndef f(x: List[1]): pass",
    "annotation of a text in brackets": "from typing import List\ndef f(x: List['a']): pass",
    "typing as a value": "from typing import List\nprint(List[True])",
    "typing by dot as a value": "import typing\nprint(typing.List[True])",
    "typing's other names": "from typing import NamedTuple",
    "generator with a try": "def g():\n    try:\n        yield 1\n    finally:\n        print('later')\nx = g()\nnext(x)",
    "generator beside a try": "def g():\n    yield 1\ntry: pass\nexcept ValueError: pass",
    "yield in a lambda in a try": "try:\n    f = lambda: (yield)\nexcept ValueError: pass",
    "syntax": "x = (",
    "long": "x = 1\n" * (LONGEST // 6 + 1),
    "deep": "x = " + "-" * 9000 + "1",
}
DANGEROUS = (
    "__import__ breakpoint classmethod compile delattr dir eval exec exit getattr globals hasattr hash help id locals memoryview object open "
    "property quit setattr staticmethod super type vars bytes bytearray aiter anext copyright credits license"
)


@pytest.mark.parametrize("number", range(len(TAME)))
def test_plain_programs_are_tame(number: int) -> None:
    assert is_tame(TAME[number], NOTHING)


@pytest.mark.parametrize("name", WILD)
def test_what_could_leave_something_behind_is_not(name: str) -> None:
    assert not is_tame(WILD[name], NOTHING)


@pytest.mark.parametrize(
    "form", ["{}", "x = {}", "{}(1)", "[{}]", "lambda {}: 1", "{} = 1", "print({})", "f'{{{}}}'", "import math as {}", "{}.index"]
)
def test_no_other_built_in_name_is_to_be_had(form: str) -> None:
    for name in {*DANGEROUS.split(), *vars(builtins)} - allowed.BUILTINS - {"None", "True", "False", "__name__", "__debug__"}:
        assert not is_tame(form.format(name), NOTHING), form.format(name)


def test_names_that_the_tester_gives() -> None:
    found = given(
        {
            "time": time,
            "math": math,
            "sqrt": math.sqrt,
            "Counter": collections.Counter,
            "List": vars(typing)["List"],
            "heappush": 5,
            "collections": math,
        }
    )
    for code in ("print(sqrt(4), math.pi)", "import math\nmath.pi", "from collections import Counter\nCounter('x')", "def f(x: List[int]): pass"):
        assert is_tame(code, found), code
    for code in (
        "time.sleep(1)",
        "time = 1",
        "print(math)",
        "List[int]",
        "heappush(1)",
        "collections.Counter",
        "import sys as time",
        "import sys as math",
    ):
        assert not is_tame(code, found), code


def test_every_field_of_a_node_is_read_or_harmless() -> None:
    """A new version of Python that gives a node another field, or a name another meaning, is found here."""
    seen_elsewhere = {
        ast.FunctionDef: {"name", "returns", "type_params"},
        ast.arg: {"arg", "annotation"},
        ast.AnnAssign: {"annotation", "simple"},
        ast.Global: {"names"},
        ast.Nonlocal: {"names"},
        ast.Import: {"names"},
        ast.ImportFrom: {"module", "names", "level"},
        ast.Name: {"id"},
        ast.Constant: {"value", "kind"},
        ast.ExceptHandler: {"name"},
        ast.Attribute: {"attr"},
        ast.keyword: {"arg"},
        ast.comprehension: {"is_async"},
        ast.FormattedValue: {"conversion"},
    }
    for kind, fields in allowed.FIELDS.items():
        assert set(kind._fields) - set(fields) - seen_elsewhere.get(kind, set()) <= {"ctx", "op", "ops", "type_comment", "type_ignores"}, kind
