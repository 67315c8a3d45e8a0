"""What a round learnt from, kept for the rounds behind it: programs as token ids, with the token weights that its algorithm gave them.

    passing       of earlier rounds only programs that passed; what an earlier actor got right is right for every actor
    importance    all of them, each token weighed by min(1, p / p_old): formulas/importance.py

Kept as ids, so that a later round needs neither the earlier one's baseline and critic nor its tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from .errors import DataError
from .records import Outcome, Record
from .store import iterate_records, write_records
from .tokens import Example

FILE = "learnt.jsonl"
Reuse = Literal["none", "passing", "importance"]


@dataclass(frozen=True)
class Learnt(Record):
    """A program that an actor learnt from: S prompt tokens, T program tokens.

    Fields:
        problem: its id.
        prompt: ids, length S. program: ids, length T.
        weights: one for each program token, length T, scaled as they were.
        label: the outcome's class number.
        repeats: how often it was drawn.
        old_log_probs: of the actor that drew it, nats, length T; empty where they were not asked for.
    """

    problem: str
    prompt: tuple[int, ...]
    program: tuple[int, ...]
    weights: tuple[float, ...]
    label: int
    repeats: int = 1
    old_log_probs: tuple[float, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    _types: ClassVar = {
        "problem": ((str,), "a string"),
        "prompt": ((list, tuple), "a list"),
        "program": ((list, tuple), "a list"),
        "weights": ((list, tuple), "a list"),
        "label": ((int,), "a whole number"),
        "repeats": ((int,), "a whole number"),
        "old_log_probs": ((list, tuple), "a list"),
    }

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.program) or len(self.old_log_probs) not in (0, len(self.program)):
            count = len(self.program)
            raise DataError(f"a learnt program of {count} tokens has {len(self.weights)} weights; it must have as many: make the file anew")

    @property
    def passed(self) -> bool:
        return self.label == Outcome.PASSED_TEST.label


def write_learnt(path: Path, examples: Iterable[Example]) -> None:
    """Keep sampled programs with their weights for later rounds, in one atomic step."""
    write_records(path, (_record(example) for example in examples if not example.supervised))


def earlier_examples(runs: Sequence[Path], reuse: Reuse, ratios: bool) -> list[Example]:
    """Programs of earlier runs to learn from again; with "passing" each distinct one once, those with a weight below 0 left out.

    Args:
        runs: run folders of earlier rounds, the newest last.
        ratios: whether the loss asks for p / p_old.

    Raises:
        DataError: a run has no such file, or holds no log-probabilities where ratios are asked for.
    """
    found = [(run, one) for run in runs for one in iterate_records(run / FILE, Learnt)]
    if reuse == "passing":
        found = list({(one.problem, one.program): (run, one) for run, one in found if one.passed and min(one.weights) >= 0}.values())
    for run, one in found:
        if ratios and not one.old_log_probs:
            raise DataError("holds programs without the log-probabilities of their actor; make it with --reuse importance, or with GRPO", run / FILE)
    return [_example(one) for _, one in found]


def _record(example: Example) -> Learnt:
    assert example.weights is not None
    rounded = tuple(round(w, 6) for w in example.weights)
    old = tuple(round(p, 5) for p in example.old_log_probs or ())
    return Learnt(example.key, example.prompt, example.program, rounded, example.label, example.repeats, old)


def _example(one: Learnt) -> Example:
    return Example(
        key=one.problem,
        prompt=one.prompt,
        program=one.program,
        weights=one.weights,
        label=one.label,
        supervised=False,
        old_log_probs=one.old_log_probs or None,
        repeats=one.repeats,
    )
