"""Problems: generate Mini, or bring MBPP, HumanEval, APPS or one's own file into one problems file.

Writes `records.Problem` lines; what each importer reads and decides is said in `coderl.problems`. Nothing is run here: `coderl
validate` runs the references afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..records import DIFFICULTIES
from ..store import RunDirectory, manifest, write_records

if TYPE_CHECKING:
    from ..records import Problem

Source = Literal["list", "range", "between", "digits", "words", "letters"]


@dataclass(frozen=True)
class Mini:
    """Generate Mini: train.jsonl, train_tests_only.jsonl, validation.jsonl, heldout.jsonl and manifest.json."""

    out: Path
    """folder to write to"""
    seed: int = 0
    """seed of everything that is drawn; equal seeds give equal files"""
    train: int = 1200
    """training problems with references"""
    tests_only: int = 10000
    """training problems without references"""
    validation: int = 400
    """problems for choosing settings"""
    heldout: int = 400
    """problems for the final numbers"""
    hardest: Literal["introductory", "interview", "competition"] = "competition"
    """problems up to this difficulty"""
    sources: tuple[Literal["list", "range", "between", "digits", "words", "letters"], ...] = (
        "list",
        "range",
        "between",
        "digits",
        "words",
        "letters",
    )
    """what problems read: a list of integers, 1..n, a..b, the digits of a number, words, the letters of a word"""


@dataclass(frozen=True)
class Apps:
    """Import APPS from its folder layout."""

    source: Path
    """folder that holds the problem folders"""
    out: Path
    """problems file to write (JSON Lines)"""
    examples: Path | None = None
    """file with example tests, as released with CodeRL; without it they are read from the statements"""


@dataclass(frozen=True)
class Mbpp:
    """Import MBPP."""

    source: Path
    """mbpp.jsonl or sanitized-mbpp.json"""
    out: Path
    """problems file to write (JSON Lines)"""


@dataclass(frozen=True)
class HumanEval:
    """Import HumanEval."""

    source: Path
    """HumanEval.jsonl or HumanEval.jsonl.gz"""
    out: Path
    """problems file to write (JSON Lines)"""


@dataclass(frozen=True)
class Jsonl:
    """Check and copy a file of problems that is in coderl's own form already."""

    source: Path
    """problems file to check (JSON Lines)"""
    out: Path
    """problems file to write (JSON Lines)"""


def main_mini(config: Mini) -> None:
    from ..problems.mini import generate

    splits = generate(config.seed, config.train, config.tests_only, config.validation, config.heldout, config.hardest, config.sources)
    directory = RunDirectory(config.out)
    directory.start(manifest(config))
    for name, problems in splits._asdict().items():
        _write(directory / f"{name}.jsonl", problems)
    directory.finish()


def main_apps(config: Apps) -> None:
    from ..problems.apps import load

    _write(config.out, load(config.source, config.examples))


def main_mbpp(config: Mbpp) -> None:
    from ..problems.mbpp import load

    _write(config.out, load(config.source))


def main_humaneval(config: HumanEval) -> None:
    from ..problems.humaneval import load

    _write(config.out, load(config.source))


def main_jsonl(config: Jsonl) -> None:
    from ..problems.jsonl import load

    _write(config.out, load(config.source))


def _write(path: Path, problems: Sequence[Problem]) -> None:
    write_records(path, problems)
    print(f"{path}: {summary(problems)}")


def summary(problems: Sequence[Problem]) -> str:
    """One line: how many, by difficulty and by kind, and what they lack."""
    levels, kinds = Counter(problem.difficulty for problem in problems), Counter(problem.kind for problem in problems)
    names = [name for name in (*DIFFICULTIES, *sorted(set(levels) - {*DIFFICULTIES, ""})) if levels[name]]
    parts = [", ".join(f"{levels[name]} {name}" for name in names), ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))]
    untested, unsolved = sum(not problem.tests for problem in problems), sum(not problem.solutions for problem in problems)
    parts += [f"{untested} without tests" if untested else "", f"{unsolved} without references" if unsolved else ""]
    return f"{len(problems)} problems ({'; '.join(part for part in parts if part)})"
