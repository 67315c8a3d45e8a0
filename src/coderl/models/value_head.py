"""The value head of PPO: V(s_t) from the actor's decoder state at s_t = (D, w_{1:t-1}), the state from which it writes w_t.

Two layers of the decoder's width. Saved as `value_head.safetensors` in the actor's folder, where the next round finds it; whoever
loads the actor alone does not see it. Not here: the losses (formulas/ppo.py) and the fitting (recipes/finetune_ppo.py).
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from ..errors import ModelError
from ..store import write_failure

FILE = "value_head.safetensors"


class ValueHead(nn.Module):
    """V = w · ReLU(W h + b) + c for states of `width` numbers; w and c are 0 at the start, so V is 0 everywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, states: Tensor) -> Tensor:
        """states (..., width) to (...)."""
        values: Tensor = self.outer(functional.relu(self.inner(states))).squeeze(-1)
        return values


def fresh_value_head(width: int, seed: int) -> ValueHead:
    """A head with random first-layer weights. The global random state is left as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ValueHead(width)


def save_value_head(head: ValueHead, directory: Path) -> None:
    """Write the head into a folder, beside an actor.

    Raises:
        ModelError: it cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file({name: value.contiguous().cpu() for name, value in head.state_dict().items()}, directory / FILE)
    except OSError as error:
        raise ModelError(write_failure(directory, error)) from None
    except SafetensorError as error:
        raise ModelError(write_failure(directory, OSError(str(error)))) from None


def load_value_head(directory: Path, width: int) -> ValueHead | None:
    """The head beside an actor whose decoder states have `width` numbers; None where there is none.

    Raises:
        ModelError: the file is torn, or of a model of another width.
    """
    if not (directory / FILE).exists():
        return None
    head = fresh_value_head(width, 0)
    try:
        head.load_state_dict(load_file(directory / FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{directory / FILE} is no value head for states of {width} numbers ({reason}); remove it to begin with a new one") from None
    return head
