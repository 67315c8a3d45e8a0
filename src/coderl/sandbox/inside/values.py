"""The language in which call arguments and results travel: JSON text with tags, exact built-in types only. No pickle, no marshal.

    None, True, "text", 12, 1.5, [a, b]      themselves
    {"t": [..]} tuple   {"s": [..]} set   {"z": [..]} frozenset   {"d": [[key, value], ..]} dict   {"b": "hex"} bytes
    {"y": "hex"} bytearray   {"i": "-ff"} integer beyond 53 bits, hex   {"f": "nan"} float without JSON form   {"c": [re, im]} complex
    {"r": [..]} what an iterator or a view gave (only where asked for)

A value of a subclass is flattened to its base type by the base type's own methods, so nothing that a program defines is called. Runs
on both sides.
"""

from collections.abc import Callable
from typing import Any

from .text import from_text, to_text

DEPTH = 200
_SAFE, _SHORT = 1 << 53, 32
_SPECIAL = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


class Unsupported(Exception):
    """A value that is not made of plain built-in types, or is nested too deeply."""


class TooLarge(Exception):
    """A value whose text would be longer than the limit."""


class Iterated(list):
    """What an iterator gave, on the judge's side: it equals nothing but itself until list(), set(), sorted().. is applied to it."""

    __hash__ = None

    def __eq__(self, other):
        return self is other

    def __ne__(self, other):
        return self is not other


_EMPTY: dict[int, int] = {}
_SOURCES: tuple[Any, ...] = ([], (), {}, set(), "", b"", range(0), range(1 << 65), _EMPTY.values(), _EMPTY.items(), reversed([]), reversed(_EMPTY))
_ITERATORS: tuple[type, ...] = (
    *(range, type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items())),
    *(map, filter, zip, enumerate, reversed),
    *(type(iter(source)) for source in _SOURCES),
    type(_ for _ in ()),
)


class _Encoder:
    def __init__(self, limit, iterators, plain):
        self.room, self.iterators, self.plain = limit, iterators, plain

    def spend(self, amount):
        self.room -= amount
        if self.room < 0:
            raise TooLarge

    def each(self, items, depth):
        if depth >= DEPTH:
            raise Unsupported(f"a value nested deeper than {DEPTH}")
        result = []
        for item in items:
            result.append(self.encode(item, depth + 1))
        return result

    def encode(self, value, depth):  # the exact types first: they are nearly all of the work
        kind = type(value)
        self.spend(4)
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -_SAFE < value < _SAFE else self.big(value)
        if kind is str:
            self.spend(len(value))
            return value
        if kind is float:
            return self.real(value)
        if kind is list:
            return self.each(value, depth)
        if kind is tuple:
            return {"t": self.each(value, depth)}
        if kind is dict:
            pairs = iter(value.items())
            return {"d": [[self.encode(item, depth + 1) for item in pair] for pair in (pairs if depth < DEPTH else self.each(pairs, depth))]}
        return self.other(value, kind, depth)

    def big(self, value):
        self.spend(value.bit_length() // 4)
        return {"i": format(value, "x")}

    def real(self, value):
        if value - value == 0.0:
            self.spend(20)
            return value
        return {"f": "nan" if value != value else "inf" if value > 0 else "-inf"}

    def other(self, value, kind, depth):
        if issubclass(kind, (set, frozenset)):
            plain_set = issubclass(kind, set)
            return {"s" if plain_set else "z": self.each((set if plain_set else frozenset).__iter__(value), depth)}
        if kind is complex:
            return {"c": [self.real(value.real), self.real(value.imag)]}
        if kind is bytes or kind is bytearray:
            self.spend(2 * len(value))
            return {"b" if kind is bytes else "y": value.hex()}
        if self.iterators and kind in _ITERATORS:
            return {"r": self.each(value, depth)}
        for base, flatten in _FLATTEN:
            if issubclass(kind, base):
                return self.encode(flatten(value), depth)
        if self.plain is not None:
            simple = self.plain(value)
            if simple is not value:
                return self.encode(simple, depth)
        raise Unsupported(f"a value of type {kind.__module__}.{kind.__qualname__}")


_WHOLE = slice(None)
_FLATTEN: tuple[tuple[type, Callable[[Any], Any]], ...] = (  # each gives a value of exactly the base type, whatever the subclass overrides
    (int, lambda v: int.__add__(v, 0)),
    (float, float.__float__),
    (str, lambda v: str.__getitem__(v, _WHOLE)),
    (list, lambda v: list.__getitem__(v, _WHOLE)),
    (tuple, lambda v: tuple.__getitem__(v, _WHOLE)),
    (dict, lambda v: {key: dict.__getitem__(v, key) for key in dict.__iter__(v)}),
    (complex, lambda v: complex(complex.real.__get__(v), complex.imag.__get__(v))),
    (bytes, lambda v: bytes.__getitem__(v, _WHOLE)),
    (bytearray, lambda v: bytearray(bytearray.__getitem__(v, _WHOLE))),
)


def encode(value: Any, limit: int, iterators: bool = False, plain: Callable[[Any], Any] | None = None) -> str:
    """The value as JSON text of at most about `limit` characters.

    `iterators`: exhaust generators, maps, ranges and views. `plain`: a function that may turn a foreign scalar into a built-in one.
    Raises Unsupported or TooLarge.
    """
    if limit > _SHORT and (value is None or type(value) is bool or (type(value) is int and -_SAFE < value < _SAFE)):
        return to_text(value)
    return to_text(_Encoder(limit, iterators, plain).encode(value, 0))


def decode(text: str | bytes) -> Any:
    """The value again. Raises ValueError (or RecursionError) for text that `encode` cannot have made."""
    return _decode(from_text(text if isinstance(text, str) else text.decode("utf-8", "surrogatepass")))


def _decode(data: Any) -> Any:
    kind = type(data)
    if kind is list:
        return [_decode(item) for item in data]
    if kind is not dict:
        return data
    if len(data) != 1:
        raise ValueError("a tagged value has exactly one tag")
    tag = next(iter(data))
    try:
        return _DECODERS[tag](data[tag])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a tagged value: {tag!r}") from error


def unique(items: list[Any]) -> list[Any]:
    """The items, for a set or the keys of a dict. Raises ValueError when most of them share their hash values: building it would take for ever."""
    if len(items) > 1000 and len({hash(item) for item in items}) < len(items) // 4:
        raise ValueError("too many items with the same hash value")
    return items


def _pairs(body: list[Any]) -> dict[Any, Any]:
    keys = unique([_decode(key) for key, _ in body])
    return dict(zip(keys, [_decode(value) for _, value in body], strict=True))


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "t": lambda body: tuple([_decode(item) for item in body]),
    "s": lambda body: set(unique([_decode(item) for item in body])),
    "z": lambda body: frozenset(unique([_decode(item) for item in body])),
    "d": _pairs,
    "b": bytes.fromhex,
    "y": bytearray.fromhex,
    "i": lambda body: int(body, 16),
    "f": lambda body: _SPECIAL[body],
    "c": lambda body: complex(_decode(body[0]), _decode(body[1])),
    "r": lambda body: Iterated(_decode(item) for item in body),
}
