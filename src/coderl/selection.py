"""Which programs to hand in: those that pass the example tests first, then by a rule. The n of n@k, when k programs were written.

A rule is a function from candidates to their order, best first: by the critic's score, by mean log-probability, or by majority of behaviour
(programs that give the same on the example inputs and on inputs made from them are one cluster; the largest cluster hands in first; Li et
al. 2022, AlphaCode). `ranked` puts those that pass the examples in front of those that do not, each part in the rule's order. The hidden
tests are never looked at.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from .critic_sampling import Candidate
from .records import Problem

Rule = Callable[[Sequence[Candidate]], list[Candidate]]


def ranked(candidates: Sequence[Candidate], rule: Rule) -> list[Candidate]:
    """All candidates, best first, a text once (the best place that it has): those that pass the examples, then the others."""
    passing, rest = [c for c in candidates if c.passes], [c for c in candidates if not c.passes]
    return _once((*rule(passing), *rule(rest)))


def _once(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Every text at its first place only."""
    order: dict[str, Candidate] = {}
    for candidate in candidates:
        order.setdefault(candidate.program.code, candidate)
    return list(order.values())


def by_score(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By q̂(W), the critic's score of the whole program (CodeRL eq. 12)."""
    return sorted(candidates, key=lambda c: (-c.score, c.program.index))


def by_mean_log_probability(candidates: Sequence[Candidate]) -> list[Candidate]:
    """By the mean log-probability of a program's tokens under the model that wrote it."""
    return sorted(candidates, key=lambda c: (-c.program.extra["mean_logprob"], c.program.index))


def by_majority(behaviours: Mapping[str, Hashable]) -> Rule:
    """The best-scored program of each cluster, largest cluster first, then the second of each, and so on.

    Args:
        behaviours: what each text gave on the inputs; texts that are absent are clusters of their own.
    """

    def rule(candidates: Sequence[Candidate]) -> list[Candidate]:
        clusters: dict[Hashable, list[Candidate]] = defaultdict(list)
        for candidate in by_score(candidates):
            code = candidate.program.code
            clusters[behaviours.get(code, ("alone", code))].append(candidate)
        largest_first = sorted(clusters.values(), key=lambda members: (-len(members), -members[0].score, members[0].program.index))
        distinct = [_once(members) for members in largest_first]  # copies count for the size, but are handed in once
        longest = max(map(len, distinct), default=0)
        return [members[turn] for turn in range(longest) for members in distinct if turn < len(members)]

    return rule


def made_inputs(problem: Problem, count: int, seed: int) -> list[Any]:
    """New inputs in the manner of the examples' inputs: numbers moved, lists and lines of words shuffled and shortened. At most `count`, none twice.

    Nothing says that they are valid inputs; a program that fails on one has that as its behaviour.
    """
    source = random.Random(f"inputs/{problem.id}/{seed}")
    given = [test.input for test in problem.examples if test.code is None]
    found: dict[str, Any] = {repr(value): value for value in given}
    for _ in range(8 * count if given else 0):
        value = source.choice(given)
        made = [_changed(part, source) for part in value] if isinstance(value, list) and problem.kind == "call" else _changed(value, source)
        found.setdefault(repr(made), made)
        if len(found) >= len(given) + count:
            break
    return list(found.values())[len({repr(value) for value in given}) :]


def _changed(value: Any, source: random.Random) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return _moved(value, source)
    if isinstance(value, list):
        parts = [_changed(part, source) for part in value]
        source.shuffle(parts)
        return parts[: source.randint(max(1, len(parts) - 1), len(parts))] if parts else parts
    if isinstance(value, str):
        return "".join(_changed_line(line, source) for line in value.splitlines(keepends=True))
    return value


def _changed_line(line: str, source: random.Random) -> str:
    """Numbers moved; without numbers, words shuffled, or the letters of a single word."""
    if re.search(r"\d", line):
        return re.sub(r"-?\d+", lambda number: str(_moved(int(number[0]), source)), line)
    body = line.rstrip("\n")
    parts = body.split(" ") if " " in body else list(body)
    source.shuffle(parts)
    return (" " if " " in body else "").join(parts) + line[len(body) :]


def _moved(number: int, source: random.Random) -> int:
    """Another number of about the same size and the same sign."""
    size = abs(number)
    moved = source.randint(max(0 if size < 2 else 1, size // 2), 2 * size + 2)
    return -moved if number < 0 else moved
