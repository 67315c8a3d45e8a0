"""Which programs may share a process: those that provably leave nothing behind which another program could notice.

A fork, and the pages that both sides copy after it, are most of what a short program costs. `is_tame` reads a program's syntax tree in
the child, before any of the program runs. A tame program may be followed by another tame one in the same process; anything else gets a
process of its own, in which nothing has run before it. So what follows must hold for tame programs only, and a fault in it can only
let one such program disturb the next: the sandbox around the process, and the judge that decides from data, are the same for all.

Why a tame program leaves nothing behind:

1. It has only values that it makes itself, the arguments of its tests, and what `BUILTINS` and `MODULES` name: immutable numbers and
   strings, functions, and classes. It makes no class, so it has no object with methods of its own; all its containers are its own.
2. It changes objects only through subscripts, the methods of `METHODS`, and the functions of heapq and bisect. It stores and deletes no
   attribute (the nodes are not in `FIELDS`, or their `ctx` is refused), and the built-in functions that could are not to be had: neither
   by name, nor through `type` (only `type(x) == ..` is a value nobody gets), nor as a method, nor by an underscore. Modules are no
   values: their names may stand only before a dot. Names that a program finds without defining them must be in the list even where it
   defines them too, since a name may mean another thing elsewhere. The tree holds names as the compiler normalises them, and they must be
   ASCII then; other text may hold anything.
3. None of its code runs once it is over. No class, so no `__del__`; no `with`, no threads, exit functions, signals, hooks; and a generator
   that is dropped runs code only if it waits inside a `try`, so a program with a `yield` has none. What it leaves as garbage is data.
4. Its output is over too: `sys.stdout` can only be written to, so nobody else holds it, and the child flushes it at the program's end.
5. It cannot know about others: no clock, no counters, no `is` but with None, True and False, no addresses but in the text of functions and the
   order of sets of them (which differ from server to server anyway). Annotations name types only and are seen by nobody, since the cache of
   `typing` keeps what it was given and takes equal for the same.
6. What remains are garbage and caches (of annotations, abstract classes, codecs): they change how long something takes, and how many calls
   fit in at the very end of a recursion. The child leaves when as much memory as a program may take is not to be had any more, the server
   ends it after a program that took long, and both do after a limit was hit. A failure that company could have to do with (memory, a crash,
   a lost channel) is never reported from a shared process: the program is run again in one of its own.

Left out, because an argument is missing or long: re, random, copy, fractions, decimal, datetime, namedtuple, typing outside annotations,
bytes, codecs, `str.format` with anything but plain fields.
"""

import ast
import builtins
import sys
from _string import formatter_parser
from typing import NamedTuple

from .allowed import ANNOTATION, BUILTINS, FIELDS, METHODS, MODULES, TYPING

LONGEST = 20_000  # characters of a program that is looked at; the tree of a longer one costs more than a fork

_CONSTANTS = frozenset((int, float, complex, str, bool, type(None), type(...)))
_ONES = None, True, False
_OUTSIDE = frozenset(vars(builtins)) - BUILTINS - {"__name__"}
_PLAIN_FIELD = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")


class _Wild(Exception):
    """The program is not tame."""


class Given(NamedTuple):
    """What programs find besides the built-in names: all names, those of modules, those that a program could have imported itself."""

    names: frozenset[str]
    modules: dict[str, str]
    importable: frozenset[str]


def given(space):
    """`space`: the names that programs find, and their values."""
    modules = {name: name for name in space if name in MODULES and space[name] is sys.modules.get(name)}
    importable = {
        name for module, names in MODULES.items() for name in names & space.keys() if space[name] is getattr(sys.modules.get(module), name, None)
    }
    return Given(frozenset(space), modules, frozenset(importable))


NOTHING = given({})


def is_tame(code, found):
    """May the program share a process? `found`: see `given`."""
    if len(code) > LONGEST:
        return False
    try:
        reading = _Reading(found)
        reading.read(ast.parse(code))
        return reading.settled()
    except (_Wild, RecursionError, MemoryError, SyntaxError, ValueError):
        return False


class _Reading:
    """One program's names while its tree is walked. Methods named after nodes return True when the node needs no further reading."""

    def __init__(self, found):
        self.found = found
        self.names: set[str] = set()  # all but those of modules, and those in annotations
        self.bound: set[str] = set()  # those of them that the program gives a value to, imports aside
        self.notes: set[str] = set()  # in annotations
        self.typed: set[str] = set()  # imported from typing
        self.modules = dict(found.modules)  # name in the program: module
        self.dotted: list[tuple[str, str]] = []  # a name, and what stands behind its dot
        self.outlets: set[str] = set()  # what must be a name of sys
        self.typing: set[str] = set()  # what must be a name of typing
        self.yields = self.tries = False

    def read(self, tree):
        """Every node, in any order."""
        todo = [tree]
        while todo:
            node = todo.pop()
            if node is None:  # a default that is not there, or `**` in a dict
                continue
            kind = type(node)
            check = _CHECKS.get(kind)
            if check is not None and check(self, node, todo):
                continue
            fields = FIELDS.get(kind)
            if fields is None:
                raise _Wild
            for field in fields:
                inner = getattr(node, field)
                if type(inner) is list:
                    todo += inner
                elif inner is not None:
                    todo.append(inner)

    def settled(self):
        """What can be said only when all names are known."""
        modules, found = self.modules, self.found
        for owner, name in self.dotted:
            if owner not in modules:
                self.names.add(owner)
            if name not in (MODULES[modules[owner]] if owner in modules else METHODS) or modules.get(owner) == "typing":
                return False
        values = self.names | self.bound
        every = values | self.notes | self.typed | modules.keys()
        return (
            not (self.yields and self.tries)
            and all(modules.get(owner) == "sys" for owner in self.outlets)
            and all(modules.get(owner) == "typing" for owner in self.typing)
            and all(name[0] != "_" and name.isascii() for name in every - {"_", "__name__"})
            and every.isdisjoint(_OUTSIDE)
            and (values | self.notes | self.typed).isdisjoint(modules)
            and values.isdisjoint(self.typed)
            and self.notes.isdisjoint(self.bound)
            and self.notes <= BUILTINS | self.typed | self.names | (found.importable & TYPING)
            and values & found.names <= found.importable - TYPING
            and (self.notes | self.typed) & found.names <= found.importable
            and all(name not in found.names or found.modules.get(name) == module for name, module in modules.items())
        )

    def name(self, node, todo):
        (self.names if type(node.ctx) is ast.Load else self.bound).add(node.id)
        return True

    def constant(self, node, todo):
        if type(node.value) not in _CONSTANTS:
            raise _Wild
        return True

    def argument(self, node, todo):
        self.bound.add(node.arg)
        self.annotation(node.annotation)
        return True

    def function(self, node, todo):
        if getattr(node, "type_params", None):  # from Python 3.12 on
            raise _Wild
        self.bound.add(node.name)
        self.annotation(node.returns)

    def annotated(self, node, todo):
        self.annotation(node.annotation)

    def scope(self, node, todo):
        self.bound.update(node.names)
        return True

    def handler(self, node, todo):
        if node.name is not None:
            self.bound.add(node.name)

    def keyword(self, node, todo):
        if node.arg is not None and node.arg[0] == "_":
            raise _Wild

    def loop(self, node, todo):
        if node.is_async:
            raise _Wild

    def attempt(self, node, todo):
        self.tries = True

    def wait(self, node, todo):
        self.yields = True

    def imports(self, node, todo):
        for alias in node.names:
            if alias.name not in MODULES or self.modules.setdefault(alias.asname or alias.name, alias.name) != alias.name:
                raise _Wild
        return True

    def imports_from(self, node, todo):
        if node.level or node.module not in MODULES or any(alias.name not in MODULES[node.module] for alias in node.names):
            raise _Wild
        names = [alias.asname or alias.name for alias in node.names]
        (self.typed if node.module == "typing" else self.names).update(names)
        return True

    def attribute(self, node, todo):
        value, name = node.value, node.attr
        if type(node.ctx) is not ast.Load:
            raise _Wild
        if type(value) is ast.Name:
            self.dotted.append((value.id, name))
            return True
        if name not in METHODS and not (name == "format" and type(value) is ast.Constant and _plain_format(value.value)):
            raise _Wild

    def call(self, node, todo):
        """`sys.stdout.write(..)` is the one use of sys.stdout."""
        function = node.func
        if type(function) is not ast.Attribute or function.attr not in ("write", "flush") or type(function.value) is not ast.Attribute:
            return False
        stream = function.value
        if stream.attr != "stdout" or type(stream.value) is not ast.Name:
            return False
        self.outlets.add(stream.value.id)
        todo += node.args
        todo += node.keywords
        return True

    def compare(self, node, todo):
        """`type(x) == ..` gives the type to nobody. What `is` says of two numbers or texts depends on the interpreter's caches."""
        sides = (node.left, *node.comparators)
        insides = [_typed(side) for side in sides]
        for number, operator in enumerate(node.ops):
            if type(operator) in (ast.Is, ast.IsNot) and insides[number] is insides[number + 1] is None and not _is_one(sides[number + 1]):
                raise _Wild
        todo += [side if inside is None else inside for side, inside in zip(sides, insides, strict=True)]
        return True

    def annotation(self, node):
        """Names of types, subscripts, `|`, None and `...`."""
        todo = [node]
        while todo:
            node = todo.pop()
            kind = type(node)
            if kind is ast.Name:
                self.notes.add(node.id)
            elif kind is ast.Attribute and type(node.value) is ast.Name and node.attr in TYPING:
                self.typing.add(node.value.id)
            elif kind in ANNOTATION and (kind is not ast.BinOp or type(node.op) is ast.BitOr):
                for field in ANNOTATION[kind]:
                    inner = getattr(node, field)
                    todo += inner if type(inner) is list else [inner]
            elif node is not None and not (kind is ast.Constant and (node.value is None or node.value is ...)):
                raise _Wild


_CHECKS = {
    ast.Name: _Reading.name,
    ast.Constant: _Reading.constant,
    ast.arg: _Reading.argument,
    ast.FunctionDef: _Reading.function,
    ast.AnnAssign: _Reading.annotated,
    ast.Global: _Reading.scope,
    ast.Nonlocal: _Reading.scope,
    ast.ExceptHandler: _Reading.handler,
    ast.keyword: _Reading.keyword,
    ast.comprehension: _Reading.loop,
    ast.Try: _Reading.attempt,
    ast.Yield: _Reading.wait,
    ast.YieldFrom: _Reading.wait,
    ast.Import: _Reading.imports,
    ast.ImportFrom: _Reading.imports_from,
    ast.Attribute: _Reading.attribute,
    ast.Call: _Reading.call,
    ast.Compare: _Reading.compare,
}


def _typed(node):
    """The x of `type(x)`, or None for anything else."""
    plain = type(node) is ast.Call and type(node.func) is ast.Name and node.func.id == "type" and len(node.args) == 1 and not node.keywords
    return node.args[0] if plain and type(node.args[0]) is not ast.Starred else None


def _is_one(node):
    return type(node) is ast.Constant and any(node.value is one for one in _ONES)


def _plain_format(text):
    """A text for `format` whose fields are names and numbers: what stands behind a dot or in brackets there would be read, underscores too."""
    return type(text) is str and all(
        name is None or (set(name) <= _PLAIN_FIELD and "{" not in spec and "}" not in spec) for _, name, spec, _ in formatter_parser(text)
    )
