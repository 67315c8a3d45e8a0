"""Keys and values of the programs that started together (a cohort): those of the prompts, shared, and those of each program.

A prompt's keys and values are there once however many programs answer it. To attend to them the programs' queries are laid out as a
grid (P prompts, M places) and the answers are brought back to rows. Each program's own keys and values lie in one block that is made
ahead and grows by doubling; rows of programs that are finished are closed up now and then.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from transformers import Cache

_COLUMNS = 64  # of a new block
_MASKED = -1e9


class Shared(NamedTuple):
    """One layer's keys and values of the prompts: both (P, H, S, D)."""

    keys: Tensor
    values: Tensor


def read_cache(cache: Cache) -> list[Shared]:
    """The keys and values of each layer in a filled cache of transformers."""
    return [Shared(layer.keys, layer.values) for layer in cast(Any, cache).layers]


class Memory:
    """What R programs of P prompts look back at.

    Args:
        shared: for each layer.
        lengths: (P,) tokens of each prompt; what is behind them in `shared` does not count.
        group: (R,) the prompt of each program, ascending.
        own: (L, 2, R, H, n, D) keys and values of tokens that the programs have been given (right-aligned), or n = 0.
        starts: (R,) the first of those n columns that counts.
    """

    def __init__(self, shared: list[Shared], lengths: np.ndarray, group: np.ndarray, own: Tensor, starts: np.ndarray) -> None:
        self.shared, self.group, self.starts = shared, group, starts
        self.lengths = lengths
        self.device = own.device
        self.prompt_bias = self._bias(np.arange(shared[0].keys.shape[2])[None] >= self.lengths[:, None])  # (P, 1, 1, S)
        self.length = own.shape[4]  # columns written
        self.block = self._room(own, max(_COLUMNS, self.length + 1))
        self.own_bias: Tensor | None = None
        self._arrange()

    def __len__(self) -> int:
        return len(self.group)

    def _index(self, numbers: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device)

    def _bias(self, hidden: np.ndarray) -> Tensor | None:
        """0 where seen, very low where hidden (N, W): (N, 1, 1, W); None when nothing is hidden."""
        if not hidden.any():
            return None
        return torch.zeros(hidden.shape, device=self.device).masked_fill_(self._index(hidden), _MASKED)[:, None, None, :]

    def _room(self, used: Tensor, width: int) -> Tensor:
        """A block of `width` columns that begins with these, (L, 2, R, H, n, D)."""
        block = used.new_empty(*used.shape[:4], width, used.shape[5])
        block[..., : used.shape[4], :] = used
        return block

    def _arrange(self) -> None:
        """How rows lie in the grid: `places` rows a prompt; `grid` and `back` are None where the rows are the grid as they stand."""
        counts = np.bincount(self.group, minlength=len(self.lengths))
        self.places = int(counts.max(initial=1))
        self.grid: Tensor | None = None
        self.back: Tensor | None = None
        if (counts != self.places).any():
            within = np.arange(len(self.group)) - (np.cumsum(counts) - counts)[self.group]
            spots = self.group * self.places + within
            grid = np.zeros(len(self.lengths) * self.places, dtype=np.int64)  # an empty place repeats row 0
            grid[spots] = np.arange(len(self.group))
            self.grid, self.back = self._index(grid), self._index(spots)

    def to_grid(self, rows: Tensor) -> Tensor:
        """(R, ...) -> (P, M, ...)."""
        laid = rows if self.grid is None else rows.index_select(0, self.grid)
        return laid.reshape(len(self.lengths), self.places, *rows.shape[1:])

    def to_rows(self, grid: Tensor) -> Tensor:
        """(P, M, ...) -> (R, ...)."""
        flat = grid.reshape(-1, *grid.shape[2:])
        return flat if self.back is None else flat.index_select(0, self.back)

    def next_column(self) -> None:
        """Make room for the keys and values of one more token a row. Once a step, before `write`."""
        if self.length == self.block.shape[4]:
            self.block = self._room(self.block, 2 * self.length)
        self.length += 1
        self.own_bias = self._bias(np.arange(self.length)[None] < self.starts[:, None]) if self.starts.any() else None  # (R, 1, 1, t)

    def write(self, layer: int, both: Tensor) -> None:
        """Keys and values (2, R, H, D) of the newest token."""
        self.block[layer, :, :, :, self.length - 1] = both

    def own(self, layer: int) -> tuple[Tensor, Tensor]:
        """Keys and values (R, H, t, D) of the programs so far."""
        used = self.block[layer, :, :, :, : self.length]
        return used[0], used[1]

    def keep(self, rows: np.ndarray) -> None:
        """Go on with these rows, ascending, and with the prompts that they answer."""
        used = self.block[..., : self.length, :].index_select(2, self._index(rows))
        self.block = self._room(used, self.block.shape[4])
        prompts, self.group = np.unique(self.group[rows], return_inverse=True)
        self.starts = self.starts[rows]
        if len(prompts) < len(self.lengths):
            chosen = self._index(prompts)
            self.shared = [Shared(keys.index_select(0, chosen), values.index_select(0, chosen)) for keys, values in self.shared]
            self.prompt_bias = None if self.prompt_bias is None else self.prompt_bias.index_select(0, chosen)
            self.lengths = self.lengths[prompts]
        self._arrange()
