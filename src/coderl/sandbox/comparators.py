"""When does what a program gave equal what was expected? Two rules, `strict` and `apps`. Plain data in, True or False out.

strict  the project's own. Text: lines are compared after white space at their ends and blank lines at the end are cut. Values: the
        same types all the way down (a tuple is not a list, True is not 1); an int equals a float of the same value; two numbers of
        which one is a float may differ by 1e-9 relatively or 1e-12 absolutely; nan equals nan.
apps    what the tester of APPS and CodeRL accepts (`run_test` in utils/testing_util.py of the released CodeRL, itself from APPS), so
        that published numbers can be compared. Much too lenient for training: see the list at `apps_text` and `apps_value`.

A problem with several right answers names `checker` instead and brings its own function (relay.py); it is not run here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..errors import ProblemError

RELATIVE, ABSOLUTE = 1e-9, 1e-12
_NUMPY_RELATIVE, _NUMPY_ABSOLUTE = 1e-5, 1e-8


class Comparator(NamedTuple):
    """`text(expected, got)` for standard output, `value(expected, got)` for return values."""

    text: Callable[[str, str], bool]
    value: Callable[[Any, Any], bool]


def comparator(name: str) -> Comparator:
    """The rule of that name. Raises ProblemError for another name."""
    if name == "strict":
        return Comparator(strict_text, strict_value)
    if name == "apps":
        return Comparator(apps_text, apps_value)
    raise ProblemError(f"comparator {name!r} does not exist; it must be 'strict', 'apps' or 'checker'")


def _significant_lines(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def strict_text(expected: str, got: str) -> bool:
    """Equal up to white space at line ends and blank lines at the end."""
    return expected == got or _significant_lines(expected) == _significant_lines(got)


def strict_value(expected: Any, got: Any) -> bool:
    """Equal in type and value, floats within the tolerance. Sets and dict keys are compared exactly."""
    kinds = (type(expected), type(got))
    if float in kinds and all(kind in (int, float) for kind in kinds):
        return _close(expected, got)
    if kinds[0] is not kinds[1]:
        return False
    if isinstance(expected, (list, tuple)):
        return len(expected) == len(got) and all(map(strict_value, expected, got))
    if isinstance(expected, dict):
        return _same_keys(expected, got) and all(strict_value(value, got[key]) for key, value in expected.items())
    if isinstance(expected, complex):
        return strict_value(expected.real, got.real) and strict_value(expected.imag, got.imag)
    if isinstance(expected, (set, frozenset)):
        return _same_keys(dict.fromkeys(expected), dict.fromkeys(got))
    return bool(expected == got)


def _same_keys(expected: dict[Any, Any], got: dict[Any, Any]) -> bool:
    """Equal key sets, True and 1 told apart."""
    if len(expected) != len(got):
        return False
    kinds = {key: type(key) for key in got}
    return all(key in kinds and (kinds[key] is type(key) or bool not in (kinds[key], type(key))) for key in expected)


def _close(expected: float, got: float) -> bool:
    try:
        if expected == got or (math.isnan(expected) and math.isnan(got)):
            return True
        return math.isclose(expected, got, rel_tol=RELATIVE, abs_tol=ABSOLUTE)
    except OverflowError:  # an int too large for a float
        return False


def apps_text(expected: str, got: str) -> bool:
    """Standard output as the APPS tester compares it; the first rule that holds makes it right.

    1. all text equal after stripping it, or after stripping every line; 2. its lines, as they are or without empty ones, equal the
    expected lines, stripped, without empty ones; 3. one number a line, all within numpy's `allclose` (relative 1e-5, absolute 1e-8);
    4. the set of (set of words) over the lines is equal: order of lines, order of words and repetitions do not count; 5. the same
    with every word a number rounded to 3 digits.
    """
    lines, target = got.splitlines(), expected.strip()
    if "\n".join(lines).strip() == target or "\n".join(line.strip() for line in lines).strip() == target or lines == [expected]:
        return True
    wanted = [line.strip() for line in expected.split("\n") if line]
    filled = [line for line in lines if line]
    if wanted in (lines, filled) or _all_close(filled, wanted):
        return True
    words = [set(line.split()) for line in filled if line.split()]
    wanted_words = [set(line.split()) for line in wanted]
    if {frozenset(line) for line in words} == {frozenset(line) for line in wanted_words}:
        return True
    try:
        return _rounded(words) == _rounded(wanted_words)
    except (ValueError, OverflowError):
        return False


def _rounded(lines: list[set[str]]) -> set[frozenset[float]]:
    return {frozenset(round(float(word), 3) for word in line) for line in lines}


def _all_close(got: list[str], expected: list[str]) -> bool:
    """numpy.allclose of two lists of numbers given as text."""
    try:
        pairs = [(float(a), float(b)) for a, b in zip(got, expected, strict=True)]
    except ValueError:
        return False
    return all(a == b or (math.isfinite(b) and abs(a - b) <= _NUMPY_ABSOLUTE + _NUMPY_RELATIVE * abs(b)) for a, b in pairs)


def apps_arguments(arguments: list[Any]) -> list[Any]:
    """A first argument that is a dict gets int keys back where all of them are numbers, and then stands alone, as in the APPS tester."""
    if arguments and isinstance(arguments[0], dict):
        whole = _int_keys(arguments[0])
        return arguments if whole is None else [whole]
    return arguments


def _int_keys(mapping: dict[Any, Any]) -> dict[int, Any] | None:
    try:
        return {int(key): value for key, value in mapping.items()}
    except (ValueError, TypeError):
        return None


def apps_value(expected: Any, got: Any) -> bool:
    """Return values as the APPS tester compares them: Python's `==` with these allowances.

    Dict keys of the expected value become ints where they can; a tuple counts as a list, at the top and one level below; the value
    may equal the first element of the expected list instead of the list.
    """
    if isinstance(expected, dict) and (whole := _int_keys(expected)) is not None:
        expected = [whole]
    if isinstance(expected, list) and expected and isinstance(expected[0], dict) and (whole := _int_keys(expected[0])) is not None:
        expected = [whole]
    if isinstance(got, tuple):
        got = list(got)
    if got == expected:
        return True
    if not isinstance(expected, list) or not expected:
        return False
    if got == expected[0]:
        return True
    if isinstance(got, list) and got and isinstance(got[0], tuple):
        return all(isinstance(item, (list, tuple, str, set, frozenset, dict, bytes)) for item in got) and [list(item) for item in got] == expected[0]
    return False
