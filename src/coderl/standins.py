"""Critics of known quality, to learn what a trained one adds: `score --instead constant | oracle | shuffled`.

    constant   q̂ and p(passed) are the same at every token of every program: the trained critic's means. It knows nothing, at the same scale.
    oracle     q̂ = 1 at every token, p(passed) = 1 or 0: the critic that eq. (9) would reach in the end. It knows everything about the
               program and nothing about its tokens.
    shuffled   the trained critic reads another problem's program of about the same length: the same kind of values, about nothing.

Eq. (10) multiplies with q̂, so once token weights are scaled to mean size 1 the oracle and the constant give the same step: the relative
return, evenly (Table 2, row A). They differ where the scale is left (`--no-scaled`) and where p(passed) is used (`--variant changes`).
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from .errors import DataError
from .scoring import Reading
from .tokens import Example


def constant(readings: Sequence[Reading]) -> Reading:
    """A reading of one token (`fitted` makes more of it): the means of q̂ and p(passed) over all tokens, of the outcomes' probabilities over
    programs."""
    tokens = sum(len(r.values) for r in readings)
    value = sum(sum(r.values) for r in readings) / tokens
    passed = sum(sum(r.passed) for r in readings) / tokens
    whole = tuple(sum(column) / len(readings) for column in zip(*(r.probabilities for r in readings), strict=True))
    return Reading((value,), (passed,), whole)


def oracle(examples: Sequence[Example], outcomes: int) -> list[Reading]:
    """Readings that give the actual outcome, one of `outcomes` classes, the probability 1 at every token; the last class is "passed"."""
    result = []
    for example in examples:
        size, passes = len(example.program), float(example.label == outcomes - 1)
        result.append(Reading((1.0,) * size, (passes,) * size, tuple(float(u == example.label) for u in range(outcomes))))
    return result


def others(examples: Sequence[Example], seed: int) -> list[int]:
    """For each example the place of one of another problem with as many tokens or, where there is none left, hardly more or fewer: the
    next one in a random order of equal lengths. With one problem alone, another of its programs.

    Raises:
        DataError: there is no other program.
    """
    if len(examples) < 2:
        raise DataError(f"--instead shuffled gives each program the values of another one; found {len(examples)} program, and 2 are needed")
    dice = random.Random(f"shuffled critic/{seed}")
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i].program), dice.random()))
    result = [0] * len(examples)
    for place, i in enumerate(order):
        round_trip = (order[(place + step) % len(order)] for step in range(1, len(order)))
        result[i] = next((j for j in round_trip if examples[j].key != examples[i].key), order[(place + 1) % len(order)])
    return result


def fitted(reading: Reading, size: int) -> Reading:
    """The reading of T tokens as one of `size` tokens: token t has what token floor(t T / size) had, t from 0."""
    places = [t * len(reading.values) // size for t in range(size)]
    return reading._replace(values=tuple(reading.values[t] for t in places), passed=tuple(reading.passed[t] for t in places))
