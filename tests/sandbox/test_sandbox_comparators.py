"""The two comparison rules: strict, and the lenient one of APPS."""

from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl.errors import ProblemError
from coderl.sandbox.comparators import apps_arguments, apps_text, apps_value, comparator, strict_text, strict_value


@pytest.mark.parametrize("got", ["1 2\n3", "1 2\n3\n", "1 2  \n3\t\n\n\n", "1 2\r\n3\r\n"])
def test_strict_text_ignores_only_blanks_at_line_ends_and_blank_last_lines(got: str) -> None:
    assert strict_text("1 2\n3\n", got)


@pytest.mark.parametrize("got", ["1  2\n3", " 1 2\n3", "1 2\n\n3", "3\n1 2", "1.0 2\n3", "1 2", ""])
def test_strict_text_refuses_everything_else(got: str) -> None:
    assert not strict_text("1 2\n3\n", got)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (1, 1),
        (1, 1.0),
        (0.1 + 0.2, 0.3),
        (nan, nan),
        (inf, inf),
        ([1, (2,)], [1, (2,)]),
        ({1: 0.3}, {1: 0.1 + 0.2}),
        ({1, 2}, {2, 1}),
        (None, None),
        (1j, 1j),
    ],
)
def test_strict_values_that_are_equal(expected: Any, got: Any) -> None:
    assert strict_value(expected, got)


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        (1, True),
        (False, 0),
        (1, 1.0001),
        (1, "1"),
        ([1, 2], (1, 2)),
        ([1], [1, 1]),
        ({1: 2}, {"1": 2}),
        ({1}, {True}),
        ({1}, frozenset({1})),
        (0, None),
        ("a", b"a"),
        (inf, -inf),
        (10**400, 1.0),
        ({1: 2}, {1: 2, 3: 4}),
        (10**20, 10**20 + 1),
    ],
)
def test_strict_values_that_differ(expected: Any, got: Any) -> None:
    assert not strict_value(expected, got)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_every_value_is_strictly_equal_to_itself(value: Any) -> None:
    assert strict_value(value, value)


@pytest.mark.parametrize(
    ("expected", "got"),
    [("1 2 3", "2 1 3"), ("1 2 3", "3 2 1 1"), ("a\nb\n", "b\na\n"), ("100000000", "100000900"), ("0.0004 0.0001", "0 0"), ("1\n2\n", "1\n\n2\n")],
)
def test_what_the_apps_rule_forgives(expected: str, got: str) -> None:
    assert apps_text(expected, got)


@pytest.mark.parametrize(
    ("expected", "got"), [("YES", "Yes"), ("1 2", "1\n2"), ("100000000", "100002000"), ("0.004", "0.001"), ("1", ""), ("nan", "nan x")]
)
def test_what_the_apps_rule_does_not_forgive(expected: str, got: str) -> None:
    assert not apps_text(expected, got)


@given(st.text(alphabet="ab1 .-\n\t"))
def test_the_apps_rule_forgives_all_that_the_strict_one_does(text: str) -> None:
    assert apps_text(text, text)


@pytest.mark.parametrize(
    ("expected", "got"),
    [([5, 6], 5), (1, True), ([2, 3], (2, 3)), ([[[2, 3]]], [(2, 3)]), ({"1": 7}, {1: 7}), ([{"1": 7}], {1: 7}), ([None], None), ([[1], [2]], [1])],
)
def test_what_the_apps_rule_forgives_in_values(expected: Any, got: Any) -> None:
    assert apps_value(expected, got)


@pytest.mark.parametrize(
    ("expected", "got"), [(0.3, 0.1 + 0.2), ([1, 2], [2, 1]), ([], None), ("ab", "a"), ({"a": 1}, {"a": 2}), ([[1, 2]], [(1, 2), (3, 4)])]
)
def test_what_the_apps_rule_does_not_forgive_in_values(expected: Any, got: Any) -> None:
    assert not apps_value(expected, got)


def test_apps_arguments_get_their_int_keys_back() -> None:
    assert apps_arguments([{"1": "a"}]) == [{1: "a"}]
    assert apps_arguments([{"x": "a"}, 2]) == [{"x": "a"}, 2]


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(ProblemError, match="'fuzzy' does not exist"):
        comparator("fuzzy")
