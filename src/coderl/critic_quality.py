"""How good a critic is on judged programs: accuracy, ranking, calibration, by difficulty, and by how much of the program it has read.

`train-critic` measures on problems that the critic was not trained on and writes the result as `OUT/report.json`. Two numbers matter
most to what a critic is for: whether its p(passed) ranks programs of the *same* problem rightly (else it only knows which problems are
hard, and that teaches an actor nothing), and whether it does so before the program's end (else all tokens get their weight by hindsight).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from .formulas.prediction import area_under_roc, area_under_roc_within, brier_score, calibration_error
from .records import DIFFICULTIES
from .scoring import Reading
from .tokens import Example

POSITIONS = (25, 50, 75, 100)
"""Percent of a program's tokens that have been read."""


class Quality(NamedTuple):
    """How good a critic is on judged programs. Where nothing can be said (no program, one kind alone) the number is NaN.

    Fields:
        programs, problems: how many. mixed: problems that have programs that pass and programs that do not.
        accuracy: share of programs whose most likely outcome is the true one.
        majority: what always saying the most frequent outcome would reach: the number to beat.
        auc: chance that a passing program has a higher p(passed) than one that does not pass. auc_within: the same among programs of one
            problem, mean over `mixed` problems.
        brier, calibration_error: of p(passed) of whole programs (formulas.prediction).
        auc_at, auc_within_at: the two AUCs of p(passed | prefix), the value of the token at 25, 50, 75 and 100 percent.
    """

    programs: int
    problems: int
    mixed: int
    accuracy: float
    majority: float
    auc: float
    auc_within: float
    brier: float
    calibration_error: float
    auc_at: tuple[float, ...]
    auc_within_at: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Numbers by name, those by position as an object {percent: number}; NaN becomes null."""
        flat: dict[str, Any] = {name: _number(value) for name, value in self._asdict().items() if not name.endswith("_at")}
        for name in ("auc_at", "auc_within_at"):
            flat[name] = {str(at): _number(value) for at, value in zip(POSITIONS, getattr(self, name), strict=True)}
        return flat

    def sentence(self) -> str:
        """The numbers that matter most, in words."""
        return (
            f"right on {self.accuracy:.3f} of {self.programs} programs (always the most frequent outcome: {self.majority:.3f}), "
            f"AUC of passing {self.auc:.3f}, within a problem {self.auc_within:.3f}"
        )

    def metrics(self, name: str) -> dict[str, float]:
        """Flat numbers for `metrics.jsonl`: NAME/auc, NAME/auc_at_25, ..."""
        result = {f"{name}/{key}": float(value) for key, value in self._asdict().items() if not key.endswith("_at")}
        for key in ("auc_at", "auc_within_at"):
            result |= {f"{name}/{key}_{at}": value for at, value in zip(POSITIONS, getattr(self, key), strict=True)}
        return result


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)


def quality(readings: Sequence[Reading], examples: Sequence[Example]) -> Quality:
    """The quality of a critic's readings of these examples, whose labels are 0..C-1 with "passed" the last (`examples.labelled_for`)."""
    assert len(readings) == len(examples), f"{len(readings)} readings of {len(examples)} examples"
    numbers: dict[str, int] = {}
    groups = torch.tensor([numbers.setdefault(e.key, len(numbers)) for e in examples], dtype=torch.long)
    classes = len(readings[0].probabilities) if readings else 4
    whole = torch.tensor([r.probabilities for r in readings]).view(-1, classes)
    truth = torch.tensor([e.label for e in examples], dtype=torch.long)
    passes = truth == classes - 1
    within = area_under_roc_within(whole[:, -1], passes, groups)
    by_position = [torch.tensor([r.passed[read(len(r.passed), at) - 1] for r in readings]) for at in POSITIONS]
    return Quality(
        programs=len(examples),
        problems=len(numbers),
        mixed=within.groups,
        accuracy=float((whole.argmax(-1) == truth).float().mean()),
        majority=float(torch.bincount(truth).max() / len(truth)) if examples else math.nan,
        auc=area_under_roc(whole[:, -1], passes),
        auc_within=within.auc,
        brier=brier_score(whole[:, -1], passes),
        calibration_error=calibration_error(whole[:, -1], passes),
        auc_at=tuple(area_under_roc(scores, passes) for scores in by_position),
        auc_within_at=tuple(area_under_roc_within(scores, passes, groups).auc for scores in by_position),
    )


def read(size: int, percent: int) -> int:
    """How many of `size` tokens are that many percent of them: rounded up, so at least one."""
    return -(-size * percent // 100)


def by_difficulty(readings: Sequence[Reading], examples: Sequence[Example], difficulty: Mapping[str, str]) -> dict[str, Quality]:
    """The quality on the problems of each difficulty there is, by `difficulty` of the problems' ids, the easiest first."""
    found = {difficulty[e.key] for e in examples}
    result = {}
    for level in [*(d for d in DIFFICULTIES if d in found), *sorted(found - set(DIFFICULTIES))]:
        part = [i for i, e in enumerate(examples) if difficulty[e.key] == level]
        result[level or "unknown"] = quality([readings[i] for i in part], [examples[i] for i in part])
    return result
