"""Low-rank adapters (LoRA, Hu et al., 2021) on the query and value projections, with peft underneath.

W x becomes W x + (alpha / r) B A x with W frozen, A (r, in) random, B (out, r) zero at the start and alpha = 2 r. The model stays the
object that it was, with some of its linear layers wrapped. What is written for others is always the plain model, W + (alpha / r) B A.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Protocol, cast

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import ModelError

TARGETS = (("q", "v"), ("q_proj", "v_proj"), ("c_attn",), ("query_key_value",), ("qkv_proj",))
"""Names of the projections in families of models (T5; Llama and most others; GPT-2; GPT-NeoX; Phi-3): the first that a model has.

Where one layer makes queries, keys and values together, the adapter is on all three.
"""


def add_adapters(model: nn.Module, rank: int, seed: int) -> None:
    """Wrap every q and v projection of `model` in place, and freeze everything else of it. The global random state is left as it was.

    Args:
        rank: r, 1 or more.
        seed: of A.

    Raises:
        ModelError: peft is not installed, or the model's projections have other names.
    """
    if find_spec("peft") is None:
        raise ModelError("LoRA needs peft, which is not installed; install coderl[lora], or train all weights (without --lora)")
    from peft import LoraConfig, inject_adapter_in_model

    layers = {name.rpartition(".")[2]: module for name, module in model.named_modules()}
    found = next((names for names in TARGETS if all(name in layers for name in names)), None)
    if found is None:
        raise ModelError("LoRA knows no query and value projections in this model; train all weights (without --lora)")
    across = isinstance(layers[found[0]], Conv1D)  # GPT-2 keeps its matrices the other way round
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(found), fan_in_fan_out=across)
        inject_adapter_in_model(config, model)


class Adapted(Protocol):
    """What is used here of peft's layers."""

    base_layer: nn.Linear

    def merge(self) -> None: ...

    def unmerge(self) -> None: ...


def adapted(model: nn.Module) -> dict[str, Adapted]:
    """The wrapped layers of a model, by name."""
    return {name: cast(Adapted, module) for name, module in model.named_modules() if hasattr(module, "lora_A") and hasattr(module, "base_layer")}


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """Inside, the wrapped layers hold W + (alpha / r) B A as their weight, for whoever reads it; behind, W again to the last bit."""
    wrapped = adapted(model).values()
    with torch.no_grad():
        kept = [layer.base_layer.weight.clone() for layer in wrapped]
        for layer in wrapped:
            layer.merge()
    try:
        yield
    finally:
        with torch.no_grad():
            for layer, weight in zip(wrapped, kept, strict=True):
                layer.unmerge()
                layer.base_layer.weight.copy_(weight)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The state of the plain model: merged weights under the names that they have without adapters. Of a model without any, its state."""
    with merged(model):
        state = {name: value.clone() for name, value in model.state_dict().items() if "lora_" not in name}
    return {name.replace(".base_layer.", "."): value for name, value in state.items()}


def remove_adapters(model: nn.Module) -> None:
    """Put plain linear layers with the merged weights in the places of the wrapped ones; all weights can be trained again."""
    for name, layer in adapted(model).items():
        layer.merge()
        parent, _, last = name.rpartition(".")
        setattr(model.get_submodule(parent), last, layer.base_layer)
    model.requires_grad_(True)
