"""The tagged JSON of values: what goes in comes out, exactly, and nothing of a program's own takes part."""

import math
from collections import Counter, OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl.sandbox.inside import values

LIMIT = 1 << 20
hashables = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary() | st.complex_numbers(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4),
    max_leaves=8,
)
plain = st.recursive(
    hashables | st.integers(min_value=-(10**60), max_value=10**60) | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
        | st.sets(hashables, max_size=5)
        | st.dictionaries(hashables, inner, max_size=5)
    ),
    max_leaves=20,
)


def same(a: Any, b: Any) -> bool:
    """Equal, with equal types all the way down; -0.0 is not 0.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a.items(), b.items(), strict=True))
    if isinstance(a, (set, frozenset)):
        return len(a) == len(b) and all(any(same(x, y) for y in b) for x in a)
    return repr(a) == repr(b)


@settings(deadline=None)
@given(plain)
def test_every_plain_value_survives_the_round_trip(value: Any) -> None:
    assert same(values.decode(values.encode(value, LIMIT)), value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 2**53, -(2**53), 10**500, "\ud800\x00", {1: {(2, "a"): [b"\xff"]}}])
def test_the_odd_corners_survive_too(value: Any) -> None:
    assert same(values.decode(values.encode(value, LIMIT)), value)


class Liar(int):
    def __add__(self, other: Any) -> int:
        raise AssertionError("called")

    __eq__ = __index__ = __repr__ = __int__ = __add__  # type: ignore[assignment]
    __hash__ = int.__hash__


class LyingList(list):  # type: ignore[type-arg]
    def __iter__(self) -> Any:
        raise AssertionError("called")

    __len__ = __getitem__ = __iter__  # type: ignore[assignment]


class LyingDict(dict):  # type: ignore[type-arg]
    def items(self) -> Any:
        raise AssertionError("called")

    keys = __iter__ = __getitem__ = items  # type: ignore[assignment]


FLATTENED: list[tuple[Any, Any]] = [
    (Liar(7), 7),
    (LyingList([1, 2]), [1, 2]),
    (LyingDict({1: 2}), {1: 2}),
    (type("Text", (str,), {"__str__": None, "__getitem__": None})("abc"), "abc"),
    (type("Pair", (tuple,), {"__iter__": None})((1, 2)), (1, 2)),
    (type("Many", (set,), {"__iter__": None})({1}), {1}),
    (type("Real", (float,), {"__float__": None})(0.5), 0.5),
    (type("Raw", (bytes,), {"__getitem__": None})(b"x"), b"x"),
    (Counter("aab"), {"a": 2, "b": 1}),
    (OrderedDict([(2, 1)]), {2: 1}),
    (defaultdict(int, {1: 2}), {1: 2}),
    (namedtuple("Point", "x y")(1, 2), (1, 2)),
]


@pytest.mark.parametrize("number", range(len(FLATTENED)))
def test_a_subclass_is_flattened_without_calling_it(number: int) -> None:
    value, expected = FLATTENED[number]
    assert same(values.decode(values.encode(value, LIMIT)), expected)


@pytest.mark.parametrize("value", [object(), type, len, [lambda: 0], range(3), iter([1]), {"a": object()}, NotImplemented, ...])
def test_a_value_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(values.Unsupported):
        values.encode(value, LIMIT)


def test_iterators_are_read_where_asked_for_and_equal_nothing_by_themselves() -> None:
    got = values.decode(values.encode((x for x in [1, 2]), LIMIT, iterators=True))
    assert list(got) == [1, 2]
    assert got != [1, 2]


@pytest.mark.parametrize("value", ["a" * 2000, list(range(1000)), 1 << 8000, b"x" * 2000])
def test_a_value_beyond_the_limit_is_refused(value: Any) -> None:
    with pytest.raises(values.TooLarge):
        values.encode(value, 1000)


def test_shared_parts_cannot_explode() -> None:
    value: list[Any] = []
    for _ in range(100):
        value = [value, value]
    with pytest.raises(values.TooLarge):
        values.encode(value, LIMIT)


def test_a_list_that_holds_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(values.Unsupported):
        values.encode(value, LIMIT)


@pytest.mark.parametrize(
    "text", ['{"q": 1}', '{"t": 1}', '{"s": [[1]]}', '{"i": "x"}', '{"t": [], "s": []}', "{}", "[1", '{"d": [[1]]}', '{"f": "x"}']
)
def test_forged_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        values.decode(text)


def test_a_set_made_to_collide_is_refused_at_once() -> None:
    numbers = ",".join(f'{{"i": "{k * (2**61 - 1):x}"}}' for k in range(1, 50_000))
    with pytest.raises(ValueError, match="same hash"):
        values.decode(f'{{"s": [{numbers}]}}')
