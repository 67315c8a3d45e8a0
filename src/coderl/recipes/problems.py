"""Problems: generate Mini, or bring MBPP, HumanEval, APPS, CodeContests or one's own file into one problems file.

Writes `records.Problem` lines; what each importer reads and decides is said in `coderl.problems`. Nothing is run here: `coderl
validate` runs the references afterwards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..errors import UsageError
from ..records import DIFFICULTIES
from ..run_directory import RunDirectory, manifest
from ..store import write_records

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
    """Import APPS from its folder layout or from the hub's data files."""

    source: Path
    """folder that holds the problem folders; or the hub's train.jsonl or parquet file, or a folder of those"""
    out: Path
    """problems file to write (JSON Lines)"""
    examples: Path | None = None
    """file with example tests, as released with CodeRL; without it they are read from the statements"""


@dataclass(frozen=True)
class Mbpp:
    """Import MBPP."""

    source: Path
    """mbpp.jsonl, sanitized-mbpp.json or parquet, also of MBPP+ (evalplus/mbppplus)"""
    out: Path
    """problems file to write (JSON Lines)"""
    shots: int = 0
    """solved problems in front of each prompt, from the data set's own prompt split (Austin et al.: 3); 0 = CodeRL's prompt"""


@dataclass(frozen=True)
class HumanEval:
    """Import HumanEval."""

    source: Path
    """HumanEval.jsonl, plain or gzipped, or parquet, also of HumanEval+ (evalplus/humanevalplus)"""
    out: Path
    """problems file to write (JSON Lines)"""


@dataclass(frozen=True)
class Contests:
    """Import CodeContests (deepmind/code_contests)."""

    source: Path
    """parquet or JSON Lines file, or a folder of them"""
    out: Path
    """problems file to write (JSON Lines)"""


@dataclass(frozen=True)
class Jsonl:
    """Check and copy a file of problems in coderl's own form, or in any other by a map of its fields."""

    source: Path
    """JSON Lines, JSON or parquet file, or a folder of them"""
    out: Path
    """problems file to write (JSON Lines)"""
    fields: tuple[str, ...] = ()
    """OURS=THEIRS for fields of another name, e.g. id=task_id statement=question tests=input_output; THEIRS may be a.b"""
    constants: tuple[str, ...] = ()
    """OURS=TEXT for what all problems have, e.g. kind=stdin comparator=apps source=mine"""


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

    _write(config.out, load(config.source, config.shots))


def main_humaneval(config: HumanEval) -> None:
    from ..problems.humaneval import load

    _write(config.out, load(config.source))


def main_contests(config: Contests) -> None:
    from ..problems.code_contests import load

    _write(config.out, load(config.source))


def main_jsonl(config: Jsonl) -> None:
    from ..problems import jsonl, mapped

    fields, constants = _pairs("fields", config.fields), _pairs("constants", config.constants)
    own = not fields and not constants and config.source.suffix != ".parquet" and not config.source.is_dir()
    _write(config.out, jsonl.load(config.source) if own else mapped.load(config.source, fields, constants))


def _pairs(flag: str, words: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE words as a dictionary.

    Raises:
        UsageError: a word is none.
    """
    for word in words:
        name, found, value = word.partition("=")
        if not (name and found and value):
            raise UsageError(f"--{flag} has {word!r}; every word must be NAME=VALUE, e.g. id=task_id")
    return {word.partition("=")[0]: word.partition("=")[2] for word in words}


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
