"""How well Mini's hidden tests tell right from wrong: common mistakes, made on purpose, and how many of them the tests catch.

A mistake counts as wrong only if it gives another answer on at least one of many fresh inputs; the others are no mistakes at all
(swapping two steps that commute). Used by tests and by bench/mini_family.py; generation does not need it.
"""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from .mini_compose import SHAPES, Spec, Variant, draw_spec, outcome, skeletons, wrong_variants
from .mini_inputs import Case, Cases, choose_tests, draw_case
from .mini_sources import SOURCES


class Sample(NamedTuple):
    """One random composition of the family with its tests; `cases` is None where the generator turns it down."""

    spec: Spec
    cases: Cases | None


class Mistakes(NamedTuple):
    """The variants of a spec that are wrong, and those of them that pass every hidden test."""

    wrong: list[Variant]
    missed: list[Variant]


def draw_samples(difficulty: str, count: int, random: Random) -> list[Sample]:
    """Random compositions of one difficulty, every skeleton equally likely."""
    everything = [skeleton for source in SOURCES for shape in SHAPES[difficulty] for skeleton in skeletons(source, shape)]
    specs = [draw_spec(skeleton, random) for skeleton in random.choices(everything, k=count)]
    return [Sample(spec, choose_tests(spec, random)) for spec in specs]


def find_mistakes(spec: Spec, cases: Cases, random: Random, inputs: int = 200) -> Mistakes:
    """Tries `inputs` fresh inputs (tests included) to learn which common mistakes are wrong."""
    fresh = [case for _ in range(inputs) if (case := _fresh(spec, random)) is not None]
    missed = [variant for variant in wrong_variants(spec) if _passes(variant, cases.hidden)]
    harmless = [variant for variant in missed if _passes(variant, fresh)]
    return Mistakes([v for v in wrong_variants(spec) if v not in harmless], [v for v in missed if v not in harmless])


def _fresh(spec: Spec, random: Random) -> Case | None:
    return draw_case(spec, random, short=False, negative=False, lively=False, seen=set())


def _passes(variant: Variant, cases: list[Case]) -> bool:
    return all(outcome(variant.spec, case.arguments) == case.answer for case in cases)
