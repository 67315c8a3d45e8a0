"""B-Coder's ranked tables from files: pass@k of the k best programs by recovered reward, and of those that pass the example tests.

    python runs/ranked_table.py PROBLEMS PROGRAMS VERDICTS EXAMPLE_VERDICTS SCORES [K ...]      K: 1 and 5 unless told

Beside the reward stand its control, the mean log-probability of the program (B-Coder's Table 8 leaves open whether ranking by it would do),
and the bound, the hidden verdict itself (Table 9). Percent, by difficulty; copies of a program are one candidate.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from coderl.ranking import Candidate, ProgramScore, ranked_pass
from coderl.records import DIFFICULTIES, Problem, Program, Verdict
from coderl.store import read_records

KS = (1, 5)


class Judged(NamedTuple):
    """A program with its score, and whether it passes the hidden and the example tests."""

    code: str
    score: ProgramScore
    right: bool
    survives: bool


RULES: dict[str, Callable[[Judged], float]] = {
    "recovered reward": lambda one: one.score.score,
    "mean log-probability": lambda one: one.score.logprob / max(1, one.score.tokens),
    "hidden verdict (bound)": lambda one: float(one.right),
}


def read(programs: Path, verdicts: Path, examples: Path, scores: Path) -> dict[str, list[Judged]]:
    """The scored programs of each problem; one without a verdict on the example tests does not survive them."""
    right = {(v.problem, v.index): v.is_pass for v in read_records(verdicts, Verdict)}
    survives = {(v.problem, v.index): v.is_pass for v in read_records(examples, Verdict, allow_empty=True)}
    known = {(s.problem, s.index): s for s in read_records(scores, ProgramScore)}
    found: dict[str, list[Judged]] = defaultdict(list)
    for program in read_records(programs, Program):
        key = (program.problem, program.index)
        if key in known and key in right:
            found[program.problem].append(Judged(program.code, known[key], right[key], survives.get(key, False)))
    return found


def table(problems: Sequence[Problem], judged: dict[str, list[Judged]], ks: Sequence[int] = KS) -> list[tuple[str, ...]]:
    """A row for each rule and k: plain and filtered, each by difficulty and for all, in percent."""
    levels = [level for level in DIFFICULTIES if any(p.difficulty == level for p in problems)]
    rows: list[tuple[str, ...]] = [("ranked by", "k", "rows", *levels, "all")]
    for name, rule in RULES.items():
        for k in ks:
            found = {
                p.id: ranked_pass([Candidate(one.code, rule(one), one.right, one.survives) for one in judged[p.id]], k)
                for p in problems
                if judged.get(p.id)
            }
            for kind, of in (("plain", lambda r: r.plain), ("filtered", lambda r: r.filtered)):
                parts = [[of(found[p.id]) for p in problems if p.id in found and level in (p.difficulty, "")] for level in (*levels, "")]
                rows.append((name, str(k), kind, *(f"{100 * mean(part):.2f}" if part else "-" for part in parts)))
    return rows


def main(words: Sequence[str]) -> None:
    ks = [int(word) for word in words[5:] if word.isdecimal() and int(word)] or list(KS)
    if len(words) < 5 or (len(words) > 5 and len(ks) != len(words) - 5):
        sys.exit("usage: python runs/ranked_table.py PROBLEMS PROGRAMS VERDICTS EXAMPLE_VERDICTS SCORES [K ...], each K at least 1")
    problems = read_records(Path(words[0]), Problem)
    rows = table(problems, read(*map(Path, words[1:5])), ks)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
