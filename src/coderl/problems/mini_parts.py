"""What a part of a Mini problem is: source, filter, map or terminal, each with its meaning, its code and its English.

A Mini problem is source -> steps (filters and maps) -> terminal. `meaning` is a Python function: expected outputs are computed
from it. `code` is the text that references are written with. The two are written apart, so that judging the references checks
both. Code templates: `{x}` the element, `{k}` the constant, `{xs}` the collection. English templates: `{k}`, `{each}`, `{them}`,
`{bare}` (see mini_text.py). The parts themselves are in mini_sources.py, mini_steps.py and mini_terminals.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

Constant = int | str | None
Constants = tuple[int, ...] | tuple[str, ...]

DIGITS: Constants = (2, 3, 4, 5, 6, 7, 8, 9)
FACTORS: Constants = (2, 3, 4, 5, 6, 7)
DIVISORS: Constants = (3, 4, 5, 6, 7)
LETTERS: Constants = tuple("aeiorst")


class Element(StrEnum):
    """What a collection holds."""

    NUMBER = "number"
    WORD = "word"
    LETTER = "letter"


N, W, C = Element.NUMBER, Element.WORD, Element.LETTER


class Undefined(ValueError):
    """The English of a part does not say what happens for this value (the digits of a negative number), so it is never asked."""


def natural(value: int) -> int:
    """The value itself; negative numbers raise `Undefined`."""
    if value < 0:
        raise Undefined
    return value


class Access(NamedTuple):
    """How a program of one form (stdin or call) gets at the input."""

    names: tuple[tuple[str, ...], ...]  # alternatives for the variables {0}, {1}: parameters, or what is read
    read: str  # the line that reads the variables; empty in the call form
    inline: str  # the elements read in place; empty where the input must be named first
    iterable: str  # the elements, from the variables
    listed: str  # the same as a list
    text: tuple[str, ...]  # the input in English


class Source(NamedTuple):
    """Where the elements come from. `elements(*arguments)` is the collection; `wrong(*arguments)` a common mistake, or None."""

    name: str
    element: Element
    elements: Callable[..., Sequence[Any]]
    wrong: Callable[..., Sequence[Any]] | None
    noun: str
    stdin: Access
    call: Access


class Filter(NamedTuple):
    """Keeps the elements for which `meaning(x, k)` holds. `text` are predicates of a plural: "are even"."""

    name: str
    takes: tuple[Element, ...]
    constants: Constants
    meaning: Callable[[Any, Any], bool]
    code: str
    text: tuple[str, ...]
    confused: tuple[str, ...] = ()  # filters that are often written instead


class Map(NamedTuple):
    """Replaces each element by `meaning(x, k)`; `gives` None = the kind of element stays. `text` are imperatives: "square {each}".

    `loose`: the code must be put in parentheses inside a larger expression.
    """

    name: str
    takes: tuple[Element, ...]
    gives: Element | None
    constants: Constants
    meaning: Callable[[Any, Any], Any]
    code: str
    text: tuple[str, ...]
    confused: tuple[str, ...] = ()
    loose: bool = False


class Terminal(NamedTuple):
    """Turns the collection into the answer. `text` are objects of "print": "the sum of {them}".

    Fields:
        many: the answer is a list; on stdout its items are separated by spaces.
        twice: the code names the collection more than once, or needs a list rather than an iterator.
        least: the smallest number of elements that tests use.
        start, update: the accumulator style, e.g. "0" and "{total} += {x}"; empty where there is none.
    """

    name: str
    takes: tuple[Element, ...]
    constants: Constants
    meaning: Callable[[list[Any], Any], Any]
    code: str
    text: tuple[str, ...]
    confused: tuple[str, ...] = ()
    many: bool = False
    twice: bool = False
    least: int = 1
    start: str = ""
    update: str = ""
