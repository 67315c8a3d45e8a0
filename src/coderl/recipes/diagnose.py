"""Stage `diagnose`: what happened in a run, what went wrong, and what to do next, from its metrics and manifest alone.

Reads the run folder of a `finetune` stage, of `rounds`, `warm-start` or `train-critic`; writes to stdout. Trains nothing, judges nothing, imports no
torch. Rules and thresholds: diagnosis/rules.py, docs/diagnosis.md. The exit code is 0 whatever is found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from ..diagnosis.facts import Facts
    from ..diagnosis.rules import Finding


@dataclass(frozen=True)
class Config:
    """Explain a run: what happened, what went wrong, what to do next."""

    run: Positional[Path]
    """run folder (the --out of finetune, rounds, warm-start or train-critic)"""


def main(config: Config) -> None:
    from ..diagnosis.facts import read_facts, read_rounds

    facts = read_facts(config.run)
    print("\n".join(report(facts, read_rounds(config.run) if facts.stage == "rounds" else {})))


def report(facts: Facts, rounds: Mapping[str, Facts]) -> list[str]:
    """The lines that the stage prints. `rounds`: the runs inside one of `rounds`."""
    from ..diagnosis.rules import RULES, findings
    from ..diagnosis.words import what_happened

    lines = [f"{facts.stage}{'' if facts.complete else ', not finished'}", "", *what_happened(facts), ""]
    found: list[tuple[str, Finding]] = [("", finding) for finding in findings(facts) if not rounds or not finding.cause]
    for name, inner in rounds.items():
        found += [(f"{name}: ", finding) for finding in findings(inner)]
    if rounds and not any(finding.cause for _, finding in found):
        found += [("", finding) for finding in findings(facts) if finding.cause]
    for title, part in (("What went wrong", [f for f in found if f[1].cause]), ("What is weak", [f for f in found if not f[1].cause])):
        lines += _section(title, part) if part else []
    if not found:
        lines.append(f"Nothing looks wrong ({len(RULES)} rules: {', '.join(RULES)}).")
    if not facts.looks:
        lines.append("Without looks at validation problems (--validation) most rules have nothing to go by.")
    return lines


def _section(title: str, found: Sequence[tuple[str, Finding]]) -> list[str]:
    lines = [f"{title}:"]
    for number, (where, finding) in enumerate(found, 1):
        lines += [f"{number}. {where}{finding.title}.", f"   Seen: {finding.evidence}.", f"   Next: {finding.advice}."]
    return [*lines, ""]
