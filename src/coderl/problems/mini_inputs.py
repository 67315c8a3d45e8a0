"""Inputs for Mini problems: random ones that suit a spec, and the choice of those that tell right from wrong.

`choose_tests` returns None for a spec whose tests would not discriminate: answers that hardly vary, a part that no input needs,
a typical mistake that no test fails. Examples are short, since the statement shows them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from .mini_compose import Spec, outcome, run, wrong_variants

EXAMPLES = 2
HIDDEN = 12
MOST_HIDDEN = 18
ATTEMPTS = 160
EXTRA_ATTEMPTS = 40  # inputs tried to catch one more mistake
# fmt: off
WORDS = (
    "ant", "area", "art", "arrow", "apple", "as", "east", "ease", "eat", "era", "error", "easter", "iris", "idea", "ice", "iota", "item", "is",
    "it", "oat", "one", "onto", "oasis", "open", "order", "otter", "or", "rat", "rare", "root", "rose", "river", "rotor", "star", "sea", "sit",
    "stereo", "stone", "so", "tree", "toast", "test", "tiara", "tie", "to", "tomato", "radio", "ratio", "noon", "moon", "lamp", "bird", "milk",
    "desk", "fire", "bear",
)
# fmt: on
LETTER_POOL = "aaeeiioorrssttnlmpfbdgu"


class Case(NamedTuple):
    """One input (positional arguments) and its right answer."""

    arguments: tuple[Any, ...]
    answer: Any


class Cases(NamedTuple):
    """The tests of a problem: those in the statement and the hidden ones. No input occurs twice."""

    examples: list[Case]
    hidden: list[Case]


def choose_tests(spec: Spec, random: Random) -> Cases | None:
    """Examples and hidden tests of a spec, or None if it has none that discriminate."""
    negative = spec.source.name == "list" and random.random() < 0.3
    seen: set[str] = set()
    examples = _collect(spec, random, EXAMPLES, True, negative, seen)
    hidden = _collect(spec, random, HIDDEN, False, negative, seen) if len(examples) == EXAMPLES else []
    if len(hidden) < HIDDEN or not _varied([case.answer for case in hidden]) or examples[0].answer == examples[1].answer:
        return None
    for variant in wrong_variants(spec):
        if all(outcome(variant.spec, case.arguments) == case.answer for case in hidden):
            caught = _catch(spec, variant.spec, random, negative, seen) if len(hidden) < MOST_HIDDEN else None
            if caught is not None:
                hidden.append(caught)
            elif variant.essential:
                return None
    return Cases(examples, hidden)


def _varied(answers: Sequence[Any]) -> bool:
    counts = Counter(map(repr, answers))
    needed = 2 if set(counts) <= {"'YES'", "'NO'"} else 3
    return len(counts) >= needed and max(counts.values()) <= 0.6 * len(answers)


def _collect(spec: Spec, random: Random, count: int, short: bool, negative: bool, seen: set[str]) -> list[Case]:
    found: list[Case] = []
    for attempt in range(ATTEMPTS):
        case = draw_case(spec, random, short, negative, lively=attempt % 8 != 7 or short, seen=seen)
        if case is not None:
            found.append(case)
            if len(found) == count:
                break
        elif attempt == ATTEMPTS // 4 and not found:
            break
    return found


def _catch(spec: Spec, wrong: Spec, random: Random, negative: bool, seen: set[str]) -> Case | None:
    for _ in range(EXTRA_ATTEMPTS):
        case = draw_case(spec, random, False, negative, False, set())
        if case is not None and repr(case.arguments) not in seen and outcome(wrong, case.arguments) != case.answer:
            seen.add(repr(case.arguments))
            return case
    return None


def draw_case(spec: Spec, random: Random, short: bool, negative: bool, lively: bool, seen: set[str]) -> Case | None:
    """One random input with its answer, or None if it does not suit: undefined, too long, seen before, or (if asked) not lively."""
    arguments = _arguments(spec, random, short, negative)
    key = repr(arguments)
    if key in seen:
        return None
    try:
        result = run(spec, arguments)
    except (ValueError, IndexError, ZeroDivisionError):
        return None
    if result.size < spec.terminal.least or (lively and not result.lively) or len(repr(result.answer)) > (36 if short else 60):
        return None
    seen.add(key)
    return Case(arguments, result.answer)


def _arguments(spec: Spec, random: Random, short: bool, negative: bool) -> tuple[Any, ...]:
    name = spec.source.name
    if name == "range":
        return (random.randint(3, 12 if short else 40),)
    if name == "between":
        low = random.randint(1, 9 if short else 20)
        return low, low + random.randint(3, 7 if short else 20)
    if name == "words":
        return (random.choices(WORDS, k=random.randint(3, 4) if short else random.randint(4, 8)),)
    if name == "letters":
        return ("".join(random.choices(LETTER_POOL, k=random.randint(5, 6) if short else random.randint(5, 10))),)
    near = [k + shift for k in (*(step.k for step in spec.steps), spec.k) if isinstance(k, int) for shift in (-1, 0, 1)]
    if name == "digits":
        pool = [*range(10), *range(10), *(value for value in near if 0 <= value <= 9)]
        digits = random.choices(pool, k=random.randint(4, 5) if short else random.randint(5, 9))
        return (int("".join(map(str, digits)).lstrip("0") or "0"),)
    return (_numbers(random, near, short, negative),)


def _numbers(random: Random, near: list[int], short: bool, negative: bool) -> list[int]:
    high = random.choice((9, 20, 20) if short else (9, 20, 30, 60))
    size = random.randint(4, 5) if short else random.randint(5, 9)
    low = -9 if negative else 0 if random.random() < 0.2 else 1
    values = [random.randint(low, high) for _ in range(size)]
    for index in range(size):
        if near and random.random() < 0.25:
            values[index] = random.choice(near)
    return values
