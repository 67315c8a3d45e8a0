"""What a search hands in, and how good that is: n@k when the n are chosen by a rule (the critic's score, say) instead of by chance.

`Ranked` is a line of critic-sample's ranked.jsonl; `by_rule` looks its programs up among verdicts on the hidden tests. Beside `evaluation`,
whose n@k is the expectation over random submissions; needs no torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .errors import DataError
from .evaluation import bootstrap_interval
from .records import Record, Verdict


@dataclass(frozen=True)
class Ranked(Record):
    """What a search hands in for one problem.

    Fields:
        final: indices of the programs in play at the end: the paper's S', copies of a text included.
        order: of these what to hand in, best first, a text once. rule: what ordered those that pass the examples, and those that do not.
        passing: of the order, how many pass the example tests; they come first.
        programs, tokens: written in all; a prefix that was kept costs nothing.
        rounds: origin of each round. ended: why the search ended. with_examples: has the problem example tests?
    """

    problem: str
    final: tuple[int, ...]
    order: tuple[int, ...]
    rule: str
    passing: int
    programs: int
    tokens: int
    rounds: tuple[str, ...]
    ended: str
    with_examples: bool
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("problem",)
    _types: ClassVar[Mapping[str, tuple[tuple[type, ...], str]]] = {
        "problem": ((str,), "a string"),
        "final": ((list, tuple), "a list"),
        "order": ((list, tuple), "a list"),
        "passing": ((int,), "a whole number"),
        "rounds": ((list, tuple), "a list"),
    }

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if name in ("final", "order", "rounds") else value

    def submissions(self, n: int) -> tuple[int, ...]:
        """The first n that pass the example tests, or fewer; where the problem has none, the first n."""
        return self.order[:n] if not self.with_examples else self.order[: min(n, self.passing)]


def by_rule(ranked: Sequence[Ranked], verdicts: Iterable[Verdict], ns: Sequence[int], seed: int) -> dict[str, Any]:
    """n@k by the rule of `ranked`, k = all that a search wrote: share of problems of which one of the first n submissions is right.

    Strict: where nothing passes the examples nothing is submitted, and the problem is not solved. A program whose verdict is a harness
    error is not right.

    Returns:
        `rule`, `problems`, and for each n of `ns` `n@all`: value, low, high (95 % bootstrap interval over problems).

    Raises:
        DataError: a submission has no verdict, or the lines name several rules.
    """
    rules = sorted({one.rule for one in ranked})
    if len(rules) != 1:
        raise DataError(f"the ranking names {len(rules)} rules ({', '.join(rules)}); one is needed: rank with one critic-sample run")
    known = {(v.problem, v.index): v.is_pass for v in verdicts}
    result: dict[str, Any] = {"rule": rules[0], "problems": len(ranked)}
    for n in sorted(set(ns)):
        solved = np.zeros(len(ranked))
        for row, one in enumerate(ranked):
            missing = [index for index in one.submissions(n) if (one.problem, index) not in known]
            if missing:
                raise DataError(f"program {missing[0]} of problem {one.problem!r} is handed in but has no verdict; grade final.jsonl of the same run")
            solved[row] = any(known[one.problem, index] for index in one.submissions(n))
        low, high = bootstrap_interval(solved, seed)
        result[f"{n}@all"] = {"value": float(solved.mean()), "low": low, "high": high}
    return result
