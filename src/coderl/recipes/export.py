"""Export: programs and their verdicts as one parquet file for other tools, and a model card for a model folder.

Reads what other stages wrote; runs nothing. What the columns mean: docs/data.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, UsageError
from ..records import Problem, Verdict
from ..run_directory import file_hash
from ..store import atomic_write, read_records


@dataclass(frozen=True)
class Config:
    """Write samples and verdicts as parquet, and a model card."""

    programs: Path | None = None
    """programs (.jsonl) for --out"""
    verdicts: Path | None = None
    """their verdicts (.jsonl)"""
    problems: Path | None = None
    """the problems (.jsonl): adds their difficulty, source and kind"""
    out: Path | None = None
    """parquet file to write"""
    runs: tuple[Path, ...] = ()
    """run folders that made the model, first to last, for --card"""
    results: tuple[Path, ...] = ()
    """results.json files (`coderl evaluate`) for --card"""
    name: str = ""
    """the model's name on the card; without it, the name of the last run"""
    card: Path | None = None
    """model card to write, e.g. runs/warm/actor/README.md"""


def main(config: Config) -> None:
    if (config.programs is None) != (config.out is None):
        raise UsageError("--programs and --out go together: what is to be written as parquet, and where to")
    if bool(config.runs) != (config.card is not None):
        raise UsageError("--runs and --card go together: the run folders that a model card tells of, and where to write it")
    if config.out is None and config.card is None:
        raise UsageError("there is nothing to write; give --programs and --out for parquet, or --runs and --card for a model card")
    if config.programs and config.out:
        _parquet(config, config.programs, config.out)
    if config.card:
        _card(config, config.card)


def _parquet(config: Config, programs: Path, out: Path) -> None:
    from ..exporting import rows, write_parquet
    from ..grading import programs_of

    verdicts = {(v.problem, v.index): v for v in read_records(config.verdicts, Verdict)} if config.verdicts else {}
    problems = {p.id: p for p in read_records(config.problems, Problem)} if config.problems else {}
    known = programs_of(programs)
    if verdicts and not any((p.problem, p.index) in verdicts for p in known):
        raise DataError(f"holds no verdict on a program of {programs}; give the verdicts of these programs", config.verdicts)
    files = [path for path in (programs, config.verdicts, config.problems) if path]
    facts = {f"coderl:{path.name}": file_hash(path) for path in files}
    print(f"{out}: {write_parquet(out, rows(known, verdicts, problems), facts)} programs")


def _card(config: Config, card: Path) -> None:
    from ..evaluation import read_results
    from ..exporting import model_card

    manifests = [(run.resolve().name, _manifest(run)) for run in config.runs]
    name = config.name or config.runs[-1].resolve().name
    atomic_write(card, model_card(name, manifests, [read_results(path) for path in config.results]))
    print(f"{card}: model card of {name}")


def _manifest(run: Path) -> dict[str, object]:
    path = run / "manifest.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file; give a run folder that a stage has written", path) from None
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read as JSON ({error})", path) from None
    if not isinstance(found, dict):
        raise DataError(f"is {found!r:.60}; it must be the object that a stage writes", path)
    return found
