"""T5's encoder and decoder over whole texts, for training and scoring: the modules and weights of Hugging Face's model, our order of work.

What differs from the model's own `forward`, whose numbers these are up to rounding (tests/models/test_t5_passes.py):
    - linear layers, norms and activations see real tokens only, as one (N, d) matrix; padding exists inside attention alone;
    - keys and values of the prompt are projected once per prompt and then shared by its programs;
    - biases and masks of attention are put together once per stack, not in every layer.
Not here: generation (engines/), the vocabulary head and other heads (actor.py, critic.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.models.t5.modeling_t5 import T5Attention, T5Block, T5LayerCrossAttention, T5LayerFF, T5LayerSelfAttention, T5Stack


class Places(NamedTuple):
    """Where N real tokens stand in a padded (B, T) array.

    Fields:
        rows, width: B and T.
        cells: (N,) long, ascending: row x T + position.
    """

    rows: int
    width: int
    cells: Tensor

    def spread(self, x: Tensor, parts: int, heads: int) -> Tensor:
        """(N, parts x heads x k) to (parts, B, heads, T, k), 0 where there is no token."""
        padded = x.new_zeros(self.rows * self.width, x.shape[1]).index_copy_(0, self.cells, x)
        return padded.view(self.rows, self.width, parts, heads, -1).permute(2, 0, 3, 1, 4).contiguous()

    def collect(self, x: Tensor, heads: int) -> Tensor:
        """(B x heads, T, k) to (N, heads x k)."""
        return x.view(self.rows, heads, self.width, -1).transpose(1, 2).reshape(self.rows * self.width, -1).index_select(0, self.cells)


def places(mask: Tensor) -> Places:
    """The tokens of a (B, T) bool mask."""
    assert mask.ndim == 2 and mask.dtype == torch.bool, f"mask must be (B, T) bool, found {tuple(mask.shape)} {mask.dtype}"
    return Places(len(mask), mask.shape[1], mask.flatten().nonzero().squeeze(1))


class Memory(NamedTuple):
    """Prompts as the decoder sees them.

    Fields:
        states: (N, d), real tokens of P prompts. places: where they stand in (P, S). mask: (P, S) bool.
        rows: (B,) long, the prompt of each program.
    """

    states: Tensor
    places: Places
    mask: Tensor
    rows: Tensor


def encode(stack: T5Stack, ids: Tensor, mask: Tensor) -> Tensor:
    """Encoder states of the real tokens: (N, d).

    Args:
        ids: (P, S) long. mask: (P, S) bool, True at real tokens; at least one a row.
    """
    at = places(mask)
    bias = _relative_bias(stack, at.width) + _hiding(mask)[:, None, None, :]  # (P, H, S, S)
    x = _embedded(stack, ids, at)
    for block in _blocks(stack):
        x = _computed(stack, _encoder_block, block, x, at, bias.flatten(0, 1))
    return _ended(stack, x)


def decode(stack: T5Stack, ids: Tensor, mask: Tensor, memory: Memory) -> Tensor:
    """Decoder states of the real tokens: (N, d). Position t has read ids[:, :t + 1] and its prompt.

    Args:
        ids: (B, T) long decoder inputs, padded on the right.
        mask: (B, T) bool, True at real tokens.
    """
    at, heads = places(mask), stack.config.num_heads
    ahead = torch.ones(at.width, at.width, dtype=torch.bool, device=ids.device).triu(1)
    bias = _relative_bias(stack, at.width).masked_fill(ahead, _LOWEST)  # (H, T, T); padding is ahead of every real token
    bias = bias.expand(at.rows, -1, -1, -1).flatten(0, 1)  # (B x H, T, T)
    beside = _hiding(memory.mask).index_select(0, memory.rows).repeat_interleave(heads, dim=0)[:, None, :]  # (B x H, 1, S)
    across = [_cross_attention(block).EncDecAttention for block in _blocks(stack)]
    projected = _projected(memory.states, [part for a in across for part in (a.k, a.v)])
    prompts = memory.places.spread(projected, 2 * len(across), heads).split(2)  # L times (2, P, H, S, k)
    x = _embedded(stack, ids, at)
    for block, own in zip(_blocks(stack), prompts, strict=True):
        x = _computed(stack, _decoder_block, block, x, at, bias, own, memory.rows, beside)
    return _ended(stack, x)


_LOWEST = torch.finfo(torch.float32).min


def _hiding(mask: Tensor) -> Tensor:
    """0 at real tokens and the lowest number elsewhere, to be added to attention scores."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, _LOWEST)


def _relative_bias(stack: T5Stack, width: int) -> Tensor:
    """bias[h, i, j] = b_h(j - i), learnt per bucket of distances: (H, T, T).

    b is looked up once per distance, in the order 0..T-1, (one unused), -(T-1)..-1. That vector u of 2T written T times in a row and
    read in rows of 2T - 1 has u[(j - i) mod 2T] in row i, column j: what the model's own way looks up T x T times, and adds up again.
    """
    attention = _self_attention(_blocks(stack)[0]).SelfAttention
    table = attention.relative_attention_bias
    distance = torch.arange(2 * width, device=table.weight.device)
    distance = torch.where(distance < width, distance, distance - 2 * width)
    bucket = attention._relative_position_bucket(
        distance, not stack.is_decoder, attention.relative_attention_num_buckets, attention.relative_attention_max_distance
    )
    u = table(bucket).T[:, None, :]  # (H, 1, 2 T)
    rows = u.expand(-1, width, -1).flatten(1)[:, : width * (2 * width - 1)]
    return rows.view(-1, width, 2 * width - 1)[..., :width]


def _blocks(stack: T5Stack) -> list[T5Block]:
    return cast(list[T5Block], list(stack.block))


def _self_attention(block: T5Block) -> T5LayerSelfAttention:
    return cast(T5LayerSelfAttention, block.layer[0])


def _cross_attention(block: T5Block) -> T5LayerCrossAttention:
    return cast(T5LayerCrossAttention, block.layer[1])


def _embedded(stack: T5Stack, ids: Tensor, at: Places) -> Tensor:
    embedded: Tensor = stack.dropout(stack.embed_tokens(ids.flatten().index_select(0, at.cells)))
    return embedded  # (N, d)


def _ended(stack: T5Stack, x: Tensor) -> Tensor:
    ended: Tensor = stack.dropout(_norm(stack.final_layer_norm, x))
    return ended


def _computed(stack: T5Stack, layers: Callable[..., Tensor], block: T5Block, *inputs: object) -> Tensor:
    """A block's output, by the block's own `run` where it has one: sharding gathers its weights there (shards.py)."""
    run: Callable[..., Tensor] = getattr(block, "run", None) or partial(run_block, block)
    return run(layers, stack.gradient_checkpointing and torch.is_grad_enabled(), *inputs)


def run_block(block: T5Block, layers: Callable[..., Tensor], again: bool, *inputs: object) -> Tensor:
    """The layers of a block; with `again` their activations are not kept but computed a second time for the gradient."""
    if again:
        computed: Tensor = checkpoint(layers, block, *inputs, use_reentrant=False)
        return computed
    return layers(block, *inputs)


def block_parts(block: nn.Module) -> list[nn.Module | list[nn.Module]]:
    """What is called of a block before the block is: its table of position biases, and its projections of the prompt."""
    table = getattr(block.layer[0].SelfAttention, "relative_attention_bias", None)  # type: ignore[index,union-attr]
    across = [layer.EncDecAttention for layer in block.layer if isinstance(layer, T5LayerCrossAttention)]  # type: ignore[union-attr]
    return [*([table] if table is not None else []), *([a.k, a.v] for a in across)]


def _encoder_block(block: T5Block, x: Tensor, at: Places, bias: Tensor) -> Tensor:
    return _fed_forward(block, _self_attended(block, x, at, bias))


def _decoder_block(block: T5Block, x: Tensor, at: Places, bias: Tensor, prompts: Tensor, rows: Tensor, beside: Tensor) -> Tensor:
    """prompts: (2, P, H, S, k), keys and values of this block."""
    x = _self_attended(block, x, at, bias)
    layer = _cross_attention(block)
    attention = layer.EncDecAttention
    keys, values = prompts.index_select(1, rows).flatten(1, 2)  # (B x H, S, k) each: a prompt for every program of it
    (queries,) = at.spread(attention.q(_norm(layer.layer_norm, x)), 1, attention.n_heads).flatten(1, 2)
    return _fed_forward(block, x + layer.dropout(_attended(attention, queries, keys, values, at, beside)))


def _self_attended(block: T5Block, x: Tensor, at: Places, bias: Tensor) -> Tensor:
    layer = _self_attention(block)
    attention = layer.SelfAttention
    projected = _projected(_norm(layer.layer_norm, x), [attention.q, attention.k, attention.v])
    queries, keys, values = at.spread(projected, 3, attention.n_heads).flatten(1, 2)
    attended: Tensor = x + layer.dropout(_attended(attention, queries, keys, values, at, bias))
    return attended


def _fed_forward(block: T5Block, x: Tensor) -> Tensor:
    layer = cast(T5LayerFF, block.layer[-1])
    fed: Tensor = x + layer.dropout(layer.DenseReluDense(_norm(layer.layer_norm, x)))
    return fed


def _projected(x: Tensor, layers: Sequence[nn.Module]) -> Tensor:
    """What several linear layers make of x, side by side; as one product where none of them is more than that (adapters are)."""
    if all(type(layer) is nn.Linear for layer in layers):
        return functional.linear(x, torch.cat([layer.weight for layer in layers]))  # type: ignore[misc]
    return torch.cat([layer(x) for layer in layers], dim=-1)


def _attended(attention: T5Attention, queries: Tensor, keys: Tensor, values: Tensor, at: Places, bias: Tensor) -> Tensor:
    """softmax(q k + bias) v, projected: (N, d). T5 does not scale the scores. Three (B x H, T or S, k); bias (B x H, T or 1, S)."""
    scores = torch.baddbmm(bias.to(queries.dtype), queries, keys.mT)
    weights = functional.dropout(scores.softmax(-1), attention.dropout, attention.training)
    projected: Tensor = attention.o(at.collect(torch.bmm(weights.to(values.dtype), values), attention.n_heads))
    return projected


def _norm(norm: nn.Module, x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)  # type: ignore[arg-type]


def recompute(model: nn.Module, on: bool) -> None:
    """Whether the passes of this model keep the activations of a block or compute them a second time for the gradient."""
    stacks = [module for module in model.modules() if isinstance(module, T5Stack)]
    for stack in stacks:
        stack.gradient_checkpointing = on
    if not stacks:  # decoder-only: the layers of transformers look at these two when they are called
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                layer.gradient_checkpointing = on
                layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)  # type: ignore[assignment]  # as transformers sets it
