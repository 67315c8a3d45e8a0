"""Sharded weights (torch's `fully_shard`, FSDP2): each process keeps a part of every weight, of its gradient and of its optimiser states.

What is gathered together, and let go again: the layers of each block; of a T5 decoder block the projections of the prompt (they are
called before the blocks: t5_passes.py); each table of position biases; all that is left (embeddings, last norms, heads), which stays
for the whole pass. Weights are cut along their first dimension and keep their number format.

Whoever holds the model goes on holding it. While it trains, its parts are sharded copies; its own parts wait in the memory of the
host, and `whole` puts them back with the weights of now: for saving, for looks, and in the end for good. Not here: Muon, which needs
whole matrices, and offloading.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PreTrainedModel
from transformers.models.t5.modeling_t5 import T5Block, T5Stack

from .t5_passes import block_parts, run_block


class Shards:
    """A model whose weights are spread over the processes. All methods are for all processes together.

    Args:
        model: on the host, with the same weights in every process.
        device: of this process; `processes`: how many there are.
    """

    def __init__(self, model: nn.Module, device: torch.device, processes: int) -> None:
        self.model, self.device = model.cpu(), device
        self.mesh = init_device_mesh(device.type, (processes,))
        self.away = copy.deepcopy(model)  # a shell for the parts that are not in the model
        own = list(model.parameters())
        self._exchange()
        _shard_blocks(model, self.mesh)
        self.own = own

    def root(self, module: nn.Module) -> None:
        """Shard what is left, with `module`, which has the model in it and whose call is the whole pass, as the root of all."""
        fully_shard(module, mesh=self.mesh)
        self.pairs = [(own, spread) for own, spread in zip(self.own, self.model.parameters(), strict=True) if spread.requires_grad]

    @contextmanager
    def whole(self, lead: bool) -> Iterator[None]:
        """Inside, the model has its own parts with the weights of now; in the lead process it is on its device."""
        self._gather()
        self._exchange()
        if lead:
            self.model.to(self.device)
        try:
            yield
        finally:
            self.model.cpu()
            self._exchange()

    def end(self) -> None:
        """The model has its own parts with the weights of now, for good, on this process's device."""
        self._gather()
        self._exchange()
        self.model.to(self.device)

    @torch.no_grad()
    def _gather(self) -> None:
        for own, spread in self.pairs:
            own.copy_(whole_tensor(spread))

    def _exchange(self) -> None:
        here, away = self.model.__dict__, self.away.__dict__
        for name in ("_modules", "_parameters", "_buffers"):
            here[name], away[name] = away[name], here[name]


def _shard_blocks(model: nn.Module, mesh: DeviceMesh) -> None:
    names = {name for part in model.modules() if isinstance(part, PreTrainedModel) for name in part._no_split_modules or ()}
    for part in list(model.modules()):
        if isinstance(part, T5Stack):
            _shard_stack(part, mesh)
        elif type(part).__name__ in names - {"T5Block"}:
            fully_shard(part, mesh=mesh)


def _shard_stack(stack: T5Stack, mesh: DeviceMesh) -> None:
    for block in stack.block:
        for apart in block_parts(block):
            fully_shard(apart, mesh=mesh)
        fully_shard(block, mesh=mesh)
        block.run = partial(run_block, cast(T5Block, block))  # type: ignore[assignment]  # a plain attribute
        register_fsdp_forward_method(block, "run")


def whole_tensor(x: Tensor) -> Tensor:
    """All of a tensor of which each process may hold a part; a plain one is what it is. For all processes together."""
    return x.full_tensor().detach() if isinstance(x, DTensor) else x


def like(whole: Tensor, model: Tensor) -> Tensor:
    """`whole`, held as `model` is: this process's part of it where that is sharded. Every process has the same `whole`; nothing is sent."""
    if not isinstance(model, DTensor):
        return whole
    return distribute_tensor(whole.to(model.device), model.device_mesh, model.placements, src_data_rank=None)


def whole_states(optimiser: torch.optim.Optimizer, keep: bool) -> dict[str, Any]:
    """The optimiser's `state_dict` with whole tensors, the form that it has without sharding. For all processes together.

    Args:
        keep: off, the tensors are let go one by one: for processes that do not write.
    """
    state = optimiser.state_dict()

    def gathered(of: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = ((name, whole_tensor(value)) for name, value in of.items())
        return {name: value.cpu() for name, value in found if keep}

    return {**state, "state": {number: gathered(of) for number, of in state["state"].items()}}


def take_states(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """What `whole_states` gave, whatever the number of processes was then."""
    of = [p for group in optimiser.param_groups for p in group["params"]]
    spread = {
        number: {name: like(value, of[number]) if value.shape == of[number].shape else value for name, value in known.items()}
        for number, known in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": spread})
