"""Which numbers a stage's fields take: checked for every stage alike, before it starts and before it reads anything.

A whole number must be 1 or more and a float more than 0, finite both, unless `BOUNDS` says otherwise for the field's name: a name
means the same in every stage. What depends on data or on other fields (an even width, a k beyond the samples) is the stage's to check.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from .errors import UsageError


class Bound(NamedTuple):
    """From `low` (itself allowed if `closed`) to `high`, which is allowed."""

    low: float
    high: float
    closed: bool = True

    def holds(self, value: float) -> bool:
        return (value >= self.low if self.closed else value > self.low) and value <= self.high  # NaN: False

    def words(self, value: float) -> str:
        """What is accepted, as far as `value` breaks it."""
        low, high = (f"{n:.0f}" if n == int(n) else f"{n:g}" for n in (self.low, self.high))
        if value < self.low or (value == self.low and not self.closed):
            return f"{low} or more" if self.closed else f"more than {low}"
        return f"from {low} to {high}" if self.closed else f"more than {low} and at most {high}"


MOST_WHOLE = 2**31 - 1
MOST_FLOAT = 1e9
WHOLE = Bound(1, MOST_WHOLE)
FLOAT = Bound(0, MOST_FLOAT, closed=False)
BOUNDS: dict[str, Bound] = {
    "seed": Bound(0, MOST_WHOLE),
    "train": Bound(0, MOST_WHOLE),
    "tests_only": Bound(0, MOST_WHOLE),
    "validation": Bound(0, MOST_WHOLE),
    "heldout": Bound(0, MOST_WHOLE),
    "temperature": Bound(0, MOST_FLOAT),
    "rl_weight": Bound(0, MOST_FLOAT),
    "negative_weight": Bound(0, MOST_FLOAT),
    "solutions": Bound(0, MOST_FLOAT),
    "kl_weight": Bound(0, MOST_FLOAT),
    "prefix_weight": Bound(0, MOST_FLOAT),
    "shots": Bound(0, MOST_WHOLE),
    "similar": Bound(0, 1, closed=False),
    "gamma": Bound(0, 1),
    "gae_lambda": Bound(0, 1),
    "value_epochs": Bound(0, MOST_FLOAT),
    "value_weight": Bound(0, MOST_FLOAT),
    "clip_low": Bound(0, 1, closed=False),
    "refine_rounds": Bound(0, MOST_WHOLE),
    "repair_rounds": Bound(0, MOST_WHOLE),
    "cut_below": Bound(0, 1),
    "top_p": Bound(0, 1, closed=False),
    "held_out": Bound(0, 0.5),
    "real_share": Bound(0, 1),
    "discount": Bound(0, 1, closed=False),
    "advantage_weight": Bound(0, MOST_FLOAT),
    "ce_weight": Bound(0, MOST_FLOAT),
    "near": Bound(0, 0.999),
    "rate": Bound(0, 0.9, closed=False),
    "dropout": Bound(0, 0.9),
    "warmup": Bound(0, 0.99),
    "final_rate": Bound(0, 1),
    "weight_decay": Bound(0, MOST_FLOAT),
    "block_tokens": Bound(2, MOST_WHOLE),
    "vocabulary": Bound(261, MOST_WHOLE),  # 256 bytes and 5 special tokens
}


def check_bounds(config: Any) -> None:
    """Check every number in the dataclass instance `config`, also those in tuples.

    Raises:
        UsageError: the first number that is out of its bounds, by its flag.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):  # a part of the config (recipes.training.Training)
            check_bounds(value)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool):
                _check(field.name, number)


def _check(name: str, number: float) -> None:
    bound = BOUNDS.get(name, WHOLE if isinstance(number, int) else FLOAT)
    if not bound.holds(number):
        shown = f"{number:g}" if isinstance(number, float) else str(number)
        raise UsageError(f"--{name.replace('_', '-')} is {shown}; it must be {bound.words(number)}")
