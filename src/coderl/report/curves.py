"""Learning curves: from a run's `metrics.jsonl` to series of finite numbers that a figure can draw.

A line of the log is `{"stage": "warm-start", "step": 120, "cpu_seconds": 31.2, "loss": 1.2, "validation/pass@1": 0.31}`. Lines without
`step` and `cpu_seconds`, values that are no finite number, and torn last lines are left out. Drawing is in `figures.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..records import OUTCOMES
from ..run_directory import RunDirectory

AXES = ("step", "cpu_seconds")
OUTCOME_KEYS = tuple(f"outcome/{outcome}" for outcome in OUTCOMES)
MOST_POINTS = 1500  # of one series; longer ones keep every n-th point and the last


@dataclass(frozen=True)
class RunCurves:
    """The log of one run: its name in legends, and the decoded lines of its `metrics.jsonl`, oldest first."""

    name: str
    lines: tuple[Mapping[str, Any], ...]


class Series(NamedTuple):
    """One line of one chart, N points.

    Fields:
        label: run, and its stage where the run has several.
        axes: for each of `AXES` N numbers, None where the log has none.
        values: N finite numbers.
    """

    label: str
    axes: dict[str, list[float | None]]
    values: list[float]


def read_run(path: Path) -> list[RunCurves]:
    """The curves of a run folder; of a folder of run folders (such as the demo's), one for each that has a `metrics.jsonl`.

    Raises:
        DataError: no such folder, no `metrics.jsonl` in it, or a broken line (with its number).
    """
    if not path.is_dir():
        raise DataError("no such run folder; give the folder that a training stage wrote (its --out)", path)
    candidates = [path] if (path / "metrics.jsonl").is_file() else sorted(path.iterdir())
    folders = [folder for folder in candidates if (folder / "metrics.jsonl").is_file()]
    if not folders:
        raise DataError("holds no metrics.jsonl, neither itself nor in a folder inside; give the folder that a training stage wrote", path)
    return [RunCurves(folder.resolve().name, tuple(_objects(folder))) for folder in folders]


def _objects(folder: Path) -> list[dict[str, Any]]:
    lines = RunDirectory(folder).metrics()
    for line in lines:
        if not isinstance(line, dict):
            raise DataError(f"a line is {str(line)[:60]!r}; every line must be a JSON object", folder / "metrics.jsonl")
    return lines


def metric_names(runs: Iterable[RunCurves]) -> list[str]:
    """Names of all metrics that have a curve: validation first, then rewards, losses, the rest by name."""
    names = {
        key for run in runs for line in run.lines if _has_axis(line) for key, value in line.items() if key not in AXES and finite(value) is not None
    }
    return sorted(names - set(OUTCOME_KEYS), key=lambda name: (_rank(name), name))


def _rank(name: str) -> int:
    for rank, start in enumerate(("validation", "heldout", "pass@", "reward", "loss")):
        if name.startswith(start):
            return rank
    return 9


def metric_series(runs: Sequence[RunCurves], metric: str) -> list[Series]:
    """Every run's curve of one metric, one for each stage that logs it."""
    result = []
    for run, stage, lines in _by_stage(runs):
        points = [(line, value) for line in lines if (value := finite(line.get(metric))) is not None]
        if points:
            points = _thin(points)
            result.append(Series(_label(run, stage), _axes(line for line, _ in points), [value for _, value in points]))
    return result


def outcome_series(runs: Sequence[RunCurves]) -> list[tuple[Series, ...]]:
    """For every run and stage that logs outcomes: four series, one for each outcome in the order of `OUTCOMES`; same points."""
    result = []
    for run, stage, lines in _by_stage(runs):
        kept = _thin([line for line in lines if any(finite(line.get(key)) is not None for key in OUTCOME_KEYS)])
        if kept:
            axes = _axes(kept)
            result.append(tuple(Series(_label(run, stage), axes, [finite(line.get(key)) or 0.0 for line in kept]) for key in OUTCOME_KEYS))
    return result


def finite(value: Any) -> float | None:
    """The value as a float when it is a finite number, else None (booleans are no numbers)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond any float
        return None


def _has_axis(line: Mapping[str, Any]) -> bool:
    return any(finite(line.get(axis)) is not None for axis in AXES)


def _by_stage(runs: Sequence[RunCurves]) -> list[tuple[RunCurves, str, list[Mapping[str, Any]]]]:
    groups: list[tuple[RunCurves, str, list[Mapping[str, Any]]]] = []
    for run in runs:
        stages: dict[str, list[Mapping[str, Any]]] = {}
        for line in run.lines:
            if _has_axis(line):
                stages.setdefault(str(line.get("stage", "")), []).append(line)
        groups += [(run, stage if len(stages) > 1 else "", lines) for stage, lines in stages.items()]
    return groups


def _label(run: RunCurves, stage: str) -> str:
    return f"{run.name} · {stage}" if stage and stage != run.name else run.name


def _axes(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[float | None]]:
    lines = list(lines)
    return {axis: [finite(line.get(axis)) for line in lines] for axis in AXES}


def _thin(points: list[Any]) -> list[Any]:
    if len(points) <= MOST_POINTS:
        return points
    stride = math.ceil(len(points) / MOST_POINTS)
    return points[:-1][::stride] + points[-1:]
