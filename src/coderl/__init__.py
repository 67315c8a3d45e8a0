"""coderl: reinforcement learning for code models from unit tests (CodeRL), with a judge that cannot be fooled."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .solving import solve as solve

__version__ = "0.1.0"
__all__ = ["__version__", "solve"]


def __getattr__(name: str) -> object:
    """`coderl.solve`, imported when it is first asked for: the command line's help must not wait for torch."""
    if name == "solve":
        from .solving import solve

        return solve
    raise AttributeError(f"module 'coderl' has no attribute {name!r}")
