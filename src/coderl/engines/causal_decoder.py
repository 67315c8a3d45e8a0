"""A decoder-only model of transformers, one token a row and step, the prompts' keys and values shared by their programs.

The model runs through Hugging Face's own modules, so that positions (learned, rotary), norms, biases and heads are theirs. What is
ours is an attention function, registered with transformers' `AttentionInterface`, and a small object in the place of its cache: it
keeps each row's own keys and values in the cohort's block. A row attends to its prompt (a grid, see memory.py) and to its own tokens
in two parts, which are joined as flash attention joins blocks:

    o = (e^(a - m) z_a o_a + e^(b - m) z_b o_b) / (e^(a - m) z_a + e^(b - m) z_b),    m = max(a, b)

with a, b the largest score of each part, z the sums of e^(score - largest) and o the means of the values. A prefix is part of the
source: it is read with the prompt, in one pass, and shared too. CodeGen, whose attention does not go through that interface, has its
own attention method put aside for the time of a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.cache_utils import DynamicCache

from ..errors import UsageError
from .memory import Memory, Shared, read_cache
from .requests import Request

_NAME = "coderl_shared_prompt"


class _Part(NamedTuple):
    """Attention to some of the tokens: the largest score (R, K, G, 1), the sum of exp(score - largest), the sum of the values so weighted."""

    largest: Tensor
    total: Tensor
    values: Tensor  # (R, K, G, D)


class _Cache:
    """What transformers takes for a cache. `update` keeps the new keys and values and hands itself on in the place of the keys."""

    def __init__(self, memories: Sequence[Memory]) -> None:
        self.memories = memories

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are given to the model, so nothing is computed from this

    def update(self, keys: Tensor, values: Tensor, layer_idx: int) -> tuple[_Cache, Tensor]:
        both = torch.stack((keys[:, :, 0], values[:, :, 0]))  # (2, R, K, D)
        at = 0
        for memory in self.memories:
            memory.write(layer_idx, both[:, at : at + len(memory)])
            at += len(memory)
        return self, values


def _attention(
    module: torch.nn.Module, query: Tensor, cache: _Cache, value: Tensor, attention_mask: None, scaling: float | None = None, **more: Any
) -> tuple[Tensor, None]:
    """The function that transformers' attention modules call. query (R, H, 1, D) -> (R, 1, H, D)."""
    _refuse(module, cache, more)
    layer = cast(int, module.layer_idx)
    R, H, _, D = query.shape
    heads = value.shape[1]
    query = (query * (D**-0.5 if scaling is None else scaling)).view(R, heads, H // heads, D)  # (R, K, G, D)
    result = torch.empty_like(query)
    at = 0
    for memory in cache.memories:
        part = slice(at, at + len(memory))
        result[part] = _look(memory, layer, query[part])
        at += len(memory)
    return result.view(R, 1, H, D), None


def _attention_of_codegen(module: torch.nn.Module, query: Tensor, cache: _Cache, value: Tensor, attention_mask: None) -> tuple[Tensor, None]:
    """In the place of CodeGen's `_attn`: query (R, H, 1, D) -> (R, H, 1, D)."""
    result, _ = _attention(module, query, cache, value, attention_mask)
    return result.transpose(1, 2), None


def _refuse(module: torch.nn.Module, cache: _Cache, more: dict[str, Any]) -> None:
    """Raises UsageError for attention that is more than softmax(q k) v over all tokens so far."""
    longest = max(int(memory.lengths.max()) + memory.length for memory in cache.memories)
    window = more.get("sliding_window")
    other = [name for name in ("softcap", "s_aux", "position_bias") if more.get(name) is not None]
    if other or (window is not None and window < longest):
        what = ", ".join(other) or f"sliding_window {window} (the texts have {longest} tokens)"
        raise UsageError(f"{type(module).__name__} has attention with {what}; this engine has only the plain one: use another engine for this model")


def _look(memory: Memory, layer: int, query: Tensor) -> Tensor:
    """Attention of one cohort: (R, K, G, D) from scaled queries of that shape."""
    keys, values = memory.own(layer)  # (R, K, t, D)
    own = _part(query, keys, values, None)
    keys, values = memory.shared[layer]  # (P, K, S, D)
    if keys.shape[2] == 0:
        return (own.values / own.total).to(query.dtype)
    grid = memory.to_grid(query)  # (P, M, K, G, D)
    P, M, K, G, D = grid.shape
    asked = _part(grid.transpose(1, 2).reshape(P, K, M * G, D), keys, values, memory.prompt_bias)
    prompt = _Part(*(memory.to_rows(t.view(P, K, M, G, t.shape[-1]).transpose(1, 2)) for t in asked))
    largest = torch.maximum(own.largest, prompt.largest)
    a, b = (own.largest - largest).exp_(), (prompt.largest - largest).exp_()
    return ((own.values * a + prompt.values * b) / (own.total * a + prompt.total * b)).to(query.dtype)


def _part(query: Tensor, keys: Tensor, values: Tensor, bias: Tensor | None) -> _Part:
    scores = torch.matmul(query, keys.transpose(2, 3)).float()
    if bias is not None:
        scores = scores + bias
    largest = scores.amax(-1, keepdim=True)
    scores = (scores - largest).exp_()
    return _Part(largest, scores.sum(-1, keepdim=True), torch.matmul(scores.to(values.dtype), values).float())


class CausalDecoder:
    """See `engines.torch_engine.Decoder`, which says what each method is for."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.apart = [module for module in model.modules() if type(module).__name__ == "CodeGenAttention"]
        if model.config.is_encoder_decoder or not (self.apart or model._can_set_attn_implementation()):
            raise UsageError(
                f"{type(model).__name__} cannot be run by the torch engine; it takes T5 encoder-decoders and decoder-only models whose attention "
                "goes through transformers' AttentionInterface (GPT-2, Llama, Qwen, StarCoder2, Mistral and many more), and CodeGen"
            )
        AttentionInterface.register(_NAME, _attention)
        self.model, self.device = model, model.device

    def split(self, request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
        whole = request.prompt + request.prefix
        return whole[:-1], whole[-1:]

    def encode(self, sources: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Keys and values of each source, (L, 2, K, S, D) each."""
        ids = torch.zeros(len(sources), max(1, max(map(len, sources))), dtype=torch.long)
        for row, source in enumerate(sources):
            ids[row, : len(source)] = torch.tensor(source, dtype=torch.long)
        ids = ids.to(self.device)
        cache = DynamicCache()
        # padding is behind the text, where nothing that counts sees it
        self.model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), past_key_values=cache, use_cache=True)
        both = torch.stack([torch.stack((keys, values)) for keys, values in read_cache(cache)])  # (L, 2, P, K, S, D)
        return [both[:, :, p, :, : len(source)].clone() for p, source in enumerate(sources)]

    def remember(self, encoded: Sequence[Tensor], given: Sequence[tuple[int, ...]], group: np.ndarray, rows: np.ndarray) -> Memory:
        layers, _, heads, _, size = encoded[0].shape
        lengths = np.array([e.shape[3] for e in encoded])
        both = encoded[0].new_zeros(layers, 2, len(encoded), heads, int(lengths.max()), size)
        for p, e in enumerate(encoded):
            both[:, :, p, :, : lengths[p]] = e
        own = both.new_empty(layers, 2, len(rows), heads, 0, size)
        return Memory([Shared(keys, values) for keys, values in both], lengths, group[rows], own, np.zeros(len(rows), dtype=np.int64))

    def step(self, tokens: Tensor, memories: Sequence[Memory]) -> Tensor:
        for memory in memories:
            memory.next_column()
        positions = np.concatenate([m.lengths[m.group] + m.length - 1 for m in memories])
        config = self.model.config
        before = config._attn_implementation
        config._attn_implementation = _NAME
        for module in self.apart:
            module._attn = partial(_attention_of_codegen, module)  # type: ignore[assignment]  # a plain attribute
        try:
            output = self.model(
                input_ids=tokens[:, None],
                attention_mask=torch.ones_like(tokens)[:, None],
                position_ids=torch.from_numpy(positions).to(self.device)[:, None],
                past_key_values=cast(Any, _Cache(memories)),
                use_cache=True,
            )
        finally:
            config._attn_implementation = before
            for module in self.apart:
                del module._attn  # the class's own is there again
        return cast(Tensor, output.logits)[:, 0]
