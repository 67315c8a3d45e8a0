"""How much evaluation problems have in common with training problems: lines of code shared, and statements that are nearly the same.

Lines: as in CodeRL's analysis of MBPP against APPS (appendix; after Austin et al.): the share of a reference's lines that occur in any
training reference. A line is compared without the white space around it; empty ones and comments do not count. A problem's share is that
of its most overlapping reference. Statements: Jaccard similarity of word 5-grams with the closest training statement, exact (an index
from n-grams to problems, no sketch: all that share an n-gram are compared). Not here: files; what to do about it is the reader's.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

from ..records import Problem

WORDS = 5
"""Length of the n-grams; a statement of fewer words is one n-gram."""


class Overlap(NamedTuple):
    """What one evaluation problem shares with training.

    Fields:
        lines: lines of the reference that shares most; shared: how many of these occur in training references.
        share: shared / lines, 0 where the problem has no reference.
        similarity: of the closest training statement, 0 to 1; closest: its problem's id, the first by name of several that are as close ("" where
            none shares an n-gram).
    """

    problem: str
    lines: int
    shared: int
    share: float
    similarity: float
    closest: str


def overlaps(training: Iterable[Problem], evaluation: Sequence[Problem]) -> list[Overlap]:
    """The overlap of every evaluation problem with all of the training problems, in equal order."""
    known = _Known(set(), defaultdict(list), Counter())
    for problem in training:
        for code in problem.solutions:
            known.lines.update(lines_of(code))
        for gram in ngrams(problem.statement):
            known.places[gram].append(problem.id)
            known.sizes[problem.id] += 1
    return [_overlap(problem, known) for problem in evaluation]


class _Known(NamedTuple):
    """All training lines, the training problems of each n-gram, and how many n-grams each has."""

    lines: set[str]
    places: dict[str, list[str]]
    sizes: Counter[str]


def _overlap(problem: Problem, known: _Known) -> Overlap:
    counts = [(len(found), sum(line in known.lines for line in found)) for found in map(lines_of, problem.solutions)]
    lines, shared = max(counts, key=_share, default=(0, 0))
    grams = ngrams(problem.statement)
    both = Counter(chain.from_iterable(known.places.get(gram, []) for gram in grams))  # n-grams shared with each training problem
    close = {name: count / (len(grams) + known.sizes[name] - count) for name, count in both.items()}
    closest = min(close, key=lambda name: (-close[name], name), default="")
    return Overlap(problem.id, lines, shared, _share((lines, shared)), close.get(closest, 0.0), closest)


def _share(counts: tuple[int, int]) -> float:
    lines, shared = counts
    return shared / lines if lines else 0.0


def lines_of(code: str) -> list[str]:
    """The lines of a program that count, each without the white space around it; with repetitions, in order."""
    return [line for line in map(str.strip, code.splitlines()) if line and not line.startswith("#")]


def ngrams(text: str) -> set[str]:
    """The different runs of `WORDS` words of a text, lower case, without punctuation."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))} if words else set()
