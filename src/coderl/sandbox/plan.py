"""The words in which the judge plans: what goes into the sandbox, what decides outside. `prepare.py` makes plans out of problems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from .inside import values
from .testcode import Apart

_NO_LIMIT = 1 << 62
_NONE_NAMED = values.encode({}, _NO_LIMIT)


class Decision(NamedTuple):
    """Passed or not, and what differed; `error` names an exception that the comparison itself raised."""

    passed: bool
    message: str = ""
    error: str | None = None


Decide = Callable[[bytes], Decision]


class Answers(NamedTuple):
    """The source of a problem's own checker function, and each test's input and expected output for it."""

    code: str
    given: tuple[tuple[Any, Any], ...]


class Plan(NamedTuple):
    """`job` is the part of the sandbox's job that all programs of the problem share; `decide[i]` judges the bytes of test i.

    `apart`: the tests are code and run in a checker process. `answers`: the problem's checker function decides, on what `decide[i]`
    has read from the bytes.
    """

    job: dict[str, Any]
    decide: tuple[Callable[[bytes], Any], ...]
    trust: str
    comparator: str
    apart: Apart | None = None
    answers: Answers | None = None


def call(name: str, arguments: list[Any], named: dict[str, Any]) -> dict[str, str]:
    """One call as the sandbox reads it."""
    return {"name": name, "args": values.encode(arguments, _NO_LIMIT), "kwargs": values.encode(named, _NO_LIMIT) if named else _NONE_NAMED}


def results(blob: bytes) -> list[Any]:
    """What the calls of one test returned. Raises ValueError or RecursionError for bytes that no honest child sends."""
    decoded = values.decode(blob)
    if type(decoded) is not list:
        raise ValueError("the results are not a list")
    return decoded


def short(value: Any) -> str:
    """At most 80 characters of a value, without building a long text first."""
    if isinstance(value, (str, bytes, list, tuple)) and len(value) > 80:
        value = value[:80]
    if isinstance(value, int) and value.bit_length() > 1000:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "a value too large to show"
    return text if len(text) <= 80 else text[:77] + "..."
