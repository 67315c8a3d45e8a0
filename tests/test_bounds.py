"""Bounds of numbers: the sentence for each way to be out of them."""

from dataclasses import dataclass

import pytest

from coderl.bounds import check_bounds
from coderl.errors import UsageError


@dataclass(frozen=True)
class Config:
    workers: int = 1
    learning_rate: float = 0.1
    top_p: float = 1.0
    held_out: float = 0.0
    seed: int = 0
    k: tuple[int, ...] = (1, 5)
    pool: int | None = None
    quick: bool = False
    name: str = ""


def test_what_is_within_bounds_passes() -> None:
    check_bounds(Config())
    check_bounds(Config(workers=2**31 - 1, learning_rate=1e-12, top_p=0.1, held_out=0.5, k=(), pool=3))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"workers": 0}, "--workers is 0; it must be 1 or more"),
        ({"workers": 2**31}, "--workers is 2147483648; it must be from 1 to 2147483647"),
        ({"learning_rate": 0.0}, "--learning-rate is 0; it must be more than 0"),
        ({"learning_rate": float("nan")}, "--learning-rate is nan; it must be more than 0 and at most 1000000000"),
        ({"learning_rate": float("inf")}, "--learning-rate is inf; it must be more than 0 and at most 1000000000"),
        ({"top_p": 1.5}, "--top-p is 1.5; it must be more than 0 and at most 1"),
        ({"held_out": 0.6}, "--held-out is 0.6; it must be from 0 to 0.5"),
        ({"seed": -1}, "--seed is -1; it must be 0 or more"),
        ({"k": (1, 0)}, "--k is 0; it must be 1 or more"),
        ({"pool": -3}, "--pool is -3; it must be 1 or more"),
    ],
)
def test_what_is_out_of_bounds_is_told(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_bounds(Config(**changes))  # type: ignore[arg-type]
    assert str(caught.value) == message
