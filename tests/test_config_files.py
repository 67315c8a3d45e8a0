"""Config files: every type that a Config's field can have, from TOML."""

from pathlib import Path
from typing import Literal

import pytest

from coderl.config_files import typed
from coderl.errors import UsageError

Tests = Literal["hidden", "example"]


@pytest.mark.parametrize(
    "value, hint, result",
    [
        (3, int, 3),
        (3, float, 3.0),
        (0.5, float, 0.5),
        ("x", str, "x"),
        (False, bool, False),
        ("a/b", Path, Path("a/b")),
        ("hidden", Tests, "hidden"),
        ([1, 5], tuple[int, ...], (1, 5)),
        ([1, 5], list[int], [1, 5]),
        ([], tuple[int, ...], ()),
        (["a", 2], tuple[str, int], ("a", 2)),
        ([["a"], ["b"]], tuple[tuple[str, ...], ...], (("a",), ("b",))),
        (0, int | None, 0),
        ("", str | None, ""),
        (False, bool | None, False),
        ("none", int | None, None),
        ("a", Path | None, Path("a")),
    ],
)
def test_fits(value: object, hint: object, result: object) -> None:
    got = typed(value, hint, "run.toml: 'x'")
    assert got == result and type(got) is type(result)


@pytest.mark.parametrize(
    "value, hint, message",
    [
        (True, int, "run.toml: 'x' is True; it must be a whole number"),
        (True, float, "run.toml: 'x' is True; it must be a number"),
        (1, bool, "run.toml: 'x' is 1; it must be true or false"),
        ("low", Tests, "run.toml: 'x' is 'low'; it must be one of hidden, example"),
        ("1 5", tuple[int, ...], "run.toml: 'x' is '1 5'; it must be a list, each a whole number"),
        ([1, "5"], tuple[int, ...], "run.toml: 'x' is '5'; it must be a whole number"),
        ([1], tuple[int, int], r"run.toml: 'x' is \[1\]; it must be a list of 2 values"),
        ("x", int | None, "run.toml: 'x' is 'x'; it must be a whole number or \"none\""),
        ("none", int, "run.toml: 'x' is 'none'; it must be a whole number"),
    ],
)
def test_does_not_fit(value: object, hint: object, message: str) -> None:
    with pytest.raises(UsageError, match=message + "$"):
        typed(value, hint, "run.toml: 'x'")
