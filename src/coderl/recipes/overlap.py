"""Near-duplicates: how many evaluation problems share lines of code, or a statement, with training problems, and which.

Prints the table of CodeRL's overlap analysis and writes one line a problem (problems/overlap.py says what is counted). Runs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..records import Problem
from ..store import atomic_write, dump_line, iterate_records, read_records

if TYPE_CHECKING:
    from ..problems.overlap import Overlap

NAMED = 10
"""Near-duplicates that are printed; all are in the file."""


@dataclass(frozen=True)
class Config:
    """Report what evaluation problems share with training problems."""

    training: Path
    """problems that a model is trained on (.jsonl)"""
    evaluation: Path
    """problems that it is evaluated on (.jsonl)"""
    out: Path
    """one line a problem to write (.jsonl): lines, shared, share, similarity, closest"""
    similar: float = 0.5
    """statements from this similarity on (0 to 1) are called near-duplicates"""


def main(config: Config) -> None:
    from ..problems.overlap import overlaps

    evaluation = read_records(config.evaluation, Problem)
    found = overlaps(iterate_records(config.training, Problem), evaluation)
    atomic_write(config.out, (dump_line(row._asdict()) for row in found))
    for line in report(found, config.similar):
        print(line)
    print(f"wrote {config.out}")


def report(found: Sequence[Overlap], similar: float) -> list[str]:
    """The numbers of CodeRL's analysis, and the near-duplicates by name."""
    solved = [row for row in found if row.lines]
    count = max(1, len(solved))
    none, half = sum(not row.shared for row in solved), sum(row.share > 0.5 for row in solved)
    lines = [
        f"{len(found)} evaluation problems, {len(solved)} with references",
        f"no line shared with training references: {none} ({100 * none / count:.1f} %)",
        f"more than half of the lines shared: {half} ({100 * half / count:.1f} %); all of them: {sum(row.share == 1 for row in solved)}",
    ]
    close = sorted((row for row in found if row.similarity >= similar), key=lambda row: -row.similarity)
    lines.append(
        f"statements that are at least {similar:g} similar to a training statement: {len(close)} ({100 * len(close) / max(1, len(found)):.1f} %)"
    )
    return lines + [f"  {row.problem} ~ {row.closest} ({row.similarity:.2f})" for row in close[:NAMED]]
