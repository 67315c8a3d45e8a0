"""What a run folder says of its run: `manifest.json` and `metrics.jsonl` as one record, for words.py and rules.py.

Reads the folders of `finetune` stages, of `rounds`, `warm-start` and `train-critic`. Nothing is computed with a model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..records import OUTCOMES
from ..run_directory import RunDirectory

Line = Mapping[str, Any]


class Look(NamedTuple):
    """One look at the validation problems.

    Fields:
        step: optimiser steps done (of `rounds`: rounds).
        greedy: share of greedy programs that pass.
        outcomes: shares of the four outcomes, by name; empty where they were not logged.
        length: tokens of a greedy program, mean. entropy, kl: nats a token of drawn programs, kl against the start. distinct: share of a
            problem's drawn programs that differ. None where they were not logged.
    """

    step: int
    greedy: float
    outcomes: Mapping[str, float]
    length: float | None = None
    entropy: float | None = None
    kl: float | None = None
    distinct: float | None = None

    def share(self, *names: str) -> float:
        """Sum of the shares of these outcomes."""
        return sum(self.outcomes.get(name, 0.0) for name in names)


class Facts(NamedTuple):
    """One run.

    Fields:
        stage: as metrics have it: "finetune-coderl", "warm-start", "train-critic", "rounds".
        config: settings, from the manifest.
        problems: how many validation problems the looks are at; 0: not known.
        signal: the line of that stage: what was known of the samples before training. Empty for other stages.
        looks: oldest first.
        steps: lines with a loss, oldest first; each holds means over a few updates.
        kept: step of the look whose actor is OUT/actor, where a look chose it.
        critic: the last line of held-out numbers, of `train-critic`.
        origin: looks of the run that made the starting actor, where it can be reached.
        complete: the run has come to its end.
    """

    stage: str
    config: Mapping[str, Any] = {}
    problems: int = 0
    signal: Mapping[str, float] = {}
    looks: Sequence[Look] = ()
    steps: Sequence[Line] = ()
    kept: int | None = None
    critic: Mapping[str, float] = {}
    origin: Sequence[Look] = ()
    complete: bool = True

    @property
    def noise(self) -> float:
        """Standard error of a difference of two looks, as a share, at most: two looks at the same problems differ by less.

        The root of 2 p (1 - p) / n, p between the first look and the best; taken as n = 200 where n is not known.
        """
        rates = [look.greedy for look in self.looks] or [0.5]
        p = min(0.95, max(0.05, (rates[0] + max(rates)) / 2))
        return math.sqrt(2 * p * (1 - p) / (self.problems or 200))

    @property
    def change(self) -> float:
        """Last look minus first look, in pass rate; 0 without two looks."""
        return self.looks[-1].greedy - self.looks[0].greedy if len(self.looks) > 1 else 0.0

    def mean(self, name: str, part: Sequence[Line] | None = None) -> float | None:
        """Mean of a number over the lines of the updates, or of a part of them; None where no line has it."""
        found = [float(line[name]) for line in (self.steps if part is None else part) if isinstance(line.get(name), int | float)]
        return sum(found) / len(found) if found else None

    def ends(self, name: str) -> tuple[float, float] | None:
        """Means of a number over the first and the last fifth of the updates' lines; None with fewer than five lines."""
        lines = [line for line in self.steps if isinstance(line.get(name), int | float)]
        fifth = len(lines) // 5
        if not fifth:
            return None
        first, last = self.mean(name, lines[:fifth]), self.mean(name, lines[-fifth:])
        return None if first is None or last is None else (first, last)

    @property
    def updates(self) -> int:
        """Optimiser steps that the log has seen; 0 for `rounds`, whose steps are rounds."""
        seen = [int(line.get("step", 0)) for line in self.steps]
        return 0 if self.stage == "rounds" else max([*seen, *(look.step for look in self.looks)], default=0)

    @property
    def programs_per_update(self) -> float | None:
        """Distinct sampled programs in an optimiser step that has any; None where it is not known."""
        if not self.updates or "merged" not in self.signal:
            return None
        updates = self.updates / 2 if self.config.get("alternate") and self.config.get("references") else self.updates
        return float(self.signal["merged"]) * float(self.config.get("epochs", 1.0)) / max(1.0, updates)


def facts_of(manifest: Mapping[str, Any], lines: Sequence[Line], complete: bool = True, origin: Sequence[Look] = ()) -> Facts:
    """The facts of a run, from its manifest and the lines of its metrics.

    A run folder may hold several stages' lines; the one that is not "signal" or "kept" names the run.
    """
    own = [line for line in lines if line.get("stage") not in (None, "signal", "kept")]
    stage = str(own[-1]["stage"]) if own else "nothing"
    own = [line for line in own if line["stage"] == stage]
    chosen = next((line for line in lines if line.get("stage") == "kept"), {})
    held = [line for line in own if any(name.startswith("held_out/") for name in line)]
    return Facts(
        stage=stage,
        config=manifest.get("config", {}),
        problems=int(manifest.get("validation_problems", 0)),
        signal={k: v for k, v in next((x for x in lines if x.get("stage") == "signal"), {}).items() if isinstance(v, int | float)},
        looks=tuple(_look(line, stage) for line in own if "validation/greedy" in line),
        steps=tuple(line for line in own if "loss" in line),
        kept=chosen.get("at"),
        critic={k: v for k, v in (held[-1] if held else {}).items() if k.startswith("held_out/")},
        origin=origin,
        complete=complete,
    )


def _look(line: Line, stage: str) -> Look:
    outcomes = {str(name): float(line[f"outcome/{name}"]) for name in OUTCOMES if f"outcome/{name}" in line}
    names = ("length", "entropy", "distinct") if stage == "rounds" else ("length", "entropy", "distinct", "kl")  # a round's kl is to the round before
    more = {name: line.get(f"actor/{name}") for name in names}
    return Look(int(line.get("step", 0)), float(line["validation/greedy"]), outcomes, **more)


def read_facts(folder: Path) -> Facts:
    """The facts of a run folder.

    Raises:
        DataError: it is no run folder, or its metrics cannot be read.
    """
    if not (folder / "metrics.jsonl").is_file():
        raise DataError("holds no metrics.jsonl; give the folder that a training stage wrote (its --out)", folder)
    manifest = _manifest(folder)
    run = RunDirectory(folder)
    facts = facts_of(manifest, [line for line in run.metrics() if isinstance(line, dict)], run.complete, _origin(manifest))
    return (
        facts
        if facts.problems or facts.stage != "rounds"
        else facts._replace(problems=int(_manifest(folder / "round-1" / "tuned").get(_PROBLEMS, 0)))
    )


_PROBLEMS = "validation_problems"


def read_rounds(folder: Path) -> dict[str, Facts]:
    """The facts of every round that has begun to fine-tune, by name ("round 1"); empty for a folder that is not of `rounds`."""
    tuned = sorted(folder.glob("round-*/tuned/metrics.jsonl"), key=lambda p: int(p.parent.parent.name.removeprefix("round-")))
    return {path.parent.parent.name.replace("-", " "): read_facts(path.parent) for path in tuned}


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error}); every run folder's manifest is JSON", path) from None
    return data if isinstance(data, dict) else {}


def _origin(manifest: Mapping[str, Any]) -> tuple[Look, ...]:
    """Looks of the run that wrote the starting actor: MODEL is RUN/actor."""
    model = manifest.get("config", {}).get("model")
    folder = Path(model).parent if isinstance(model, str) else None
    if folder is None or not (folder / "metrics.jsonl").is_file():
        return ()
    return tuple(facts_of({}, RunDirectory(folder).metrics()).looks)
