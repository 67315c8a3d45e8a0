"""An encoder-decoder of the T5 family, one token a row and step.

The encoder runs once for each distinct prompt, the keys and values of the cross-attention are computed once for each prompt of a
cohort, and everything but attention is computed for the rows of all cohorts together. A prefix is read in one pass of Hugging Face's
decoder. Matches `T5ForConditionalGeneration` (relative positions, any feed-forward); no dropout, whatever the model's mode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from ..tokens import pad
from .memory import Memory, Shared, read_cache
from .requests import Request


class _Layer(NamedTuple):
    """Weights of one decoder layer, those that are used together joined; of a plain feed-forward `wide` and `narrow`."""

    norms: tuple[Tensor, Tensor, Tensor]
    self_qkv: Tensor
    self_out: Tensor
    cross_q: Tensor
    cross_kv: Tensor
    cross_out: Tensor
    feed_forward: torch.nn.Module
    plain: tuple[Tensor, Tensor] | None  # the two matrices of a feed-forward with ReLU and without a gate


class T5Decoder:
    """See `engines.torch_engine.Decoder`, which says what each method is for."""

    def __init__(self, model: T5ForConditionalGeneration) -> None:
        config, stack = model.config, model.decoder
        blocks: list[Any] = list(stack.block)
        self.model, self.device = model, model.device
        self.start: int = config.decoder_start_token_id
        self.heads, self.size, self.eps = config.num_heads, config.d_kv, config.layer_norm_epsilon
        self.embedding = stack.embed_tokens.weight
        self.final_norm = stack.final_layer_norm.weight
        self.head = model.lm_head.weight * (config.d_model**-0.5 if config.scale_decoder_outputs else 1.0)
        self.attention = blocks[0].layer[0].SelfAttention
        self.bias = torch.empty(0)
        self.layers = [_layer(block) for block in blocks]

    def split(self, request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return request.prompt, (self.start, *request.prefix)

    def encode(self, sources: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """Encoder states of each prompt, (S, d) each."""
        ids, mask = (t.to(self.device) for t in pad(sources, self.model.config.pad_token_id or 0))
        states = self.model.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return [states[i, : len(p)].clone() for i, p in enumerate(sources)]

    def remember(self, encoded: Sequence[Tensor], given: Sequence[tuple[int, ...]], group: np.ndarray, rows: np.ndarray) -> Memory:
        states = torch.nn.utils.rnn.pad_sequence(list(encoded), batch_first=True)  # (P, S, d)
        P, S, _ = states.shape
        shared = []
        for layer in self.layers:
            both = torch.nn.functional.linear(states, layer.cross_kv).view(P, S, 2, self.heads, self.size).permute(2, 0, 3, 1, 4).contiguous()
            shared.append(Shared(both[0], both[1]))
        lengths = np.array([len(e) for e in encoded])
        sizes = np.array([len(g) - 1 for g in given])
        own = states.new_empty(len(self.layers), 2, len(given), self.heads, int(sizes.max()), self.size)  # (L, 2, Q, H, n, D)
        if own.shape[4]:
            self._read(own, given, states[torch.from_numpy(group).to(self.device)], lengths[group])
        ask = torch.from_numpy(rows).to(self.device)
        return Memory(shared, lengths, group[rows], own.index_select(2, ask), (own.shape[4] - sizes)[rows])

    def _read(self, own: Tensor, given: Sequence[tuple[int, ...]], states: Tensor, lengths: np.ndarray) -> None:
        """Fill `own` (L, 2, Q, H, n, D), right-aligned, with keys and values of all given tokens but the last. states (Q, S, d)."""
        widest = own.shape[4]
        ids, _ = pad([g[:-1] for g in given], self.start)  # what is behind the shorter ones is seen by nothing that counts
        seen = torch.from_numpy(np.arange(states.shape[1])[None] < lengths[:, None]).long()
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        self.model.decoder(
            input_ids=ids.to(self.device),
            encoder_hidden_states=states,
            encoder_attention_mask=seen.to(self.device),
            past_key_values=cache,
            use_cache=True,
        )
        own.zero_()
        for number, (keys, values) in enumerate(read_cache(cache.self_attention_cache)):
            for row, tokens in enumerate(given):
                size = len(tokens) - 1
                own[number, 0, row, :, widest - size :] = keys[row, :, :size]
                own[number, 1, row, :, widest - size :] = values[row, :, :size]

    def _own_bias(self, length: int) -> Tensor:
        """Bias of the newest of `length` tokens towards each: (1, H, 1, t)."""
        if length > self.bias.shape[-1]:
            self.bias = self.attention.compute_bias(2 * length, 2 * length)  # (1, H, T, T)
        return self.bias[:, :, length - 1 : length, :length]

    def step(self, tokens: Tensor, memories: Sequence[Memory]) -> Tensor:
        linear, add = torch.nn.functional.linear, torch.addmm
        x = self.embedding.index_select(0, tokens)  # (R, d)
        mixed = x.new_empty(x.shape[0], self.heads * self.size)
        ends = np.cumsum([len(m) for m in memories])
        parts = [slice(end - len(m), end) for m, end in zip(memories, ends)]
        biases = []
        for memory in memories:
            memory.next_column()
            bias = self._own_bias(memory.length)
            biases.append(bias if memory.own_bias is None else bias + memory.own_bias)
        for number, layer in enumerate(self.layers):
            qkv = linear(self._norm(x, layer.norms[0]), layer.self_qkv)
            for memory, part, bias in zip(memories, parts, biases):
                mixed[part] = self._look_back(memory, number, qkv[part], bias)
            x = add(x, mixed, layer.self_out.T)
            query = linear(self._norm(x, layer.norms[1]), layer.cross_q)
            for memory, part in zip(memories, parts):
                mixed[part] = self._look_at_prompt(memory, number, query[part])
            x = add(x, mixed, layer.cross_out.T)
            n = self._norm(x, layer.norms[2])
            x = x + layer.feed_forward(n) if layer.plain is None else add(x, linear(n, layer.plain[0]).relu_(), layer.plain[1].T)
        return linear(self._norm(x, self.final_norm), self.head)

    def _norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, self.eps)

    def _look_back(self, memory: Memory, number: int, qkv: Tensor, bias: Tensor) -> Tensor:
        """Self-attention of the newest tokens: (R, H * D) from their queries, keys and values (R, 3 * H * D)."""
        qkv = qkv.view(-1, 3, self.heads, self.size)
        memory.write(number, qkv[:, 1:].transpose(0, 1))
        keys, values = memory.own(number)  # (R, H, t, D)
        scores = torch.matmul(qkv[:, 0, :, None], keys.transpose(2, 3)).add_(bias)  # (R, H, 1, t)
        return torch.matmul(torch.softmax(scores, -1), values).view(-1, self.heads * self.size)

    def _look_at_prompt(self, memory: Memory, number: int, query: Tensor) -> Tensor:
        """Cross-attention: (R, H * D) from queries (R, H * D)."""
        keys, values = memory.shared[number]  # (P, H, S, D)
        grid = memory.to_grid(query)  # (P, M, H * D)
        P, M, _ = grid.shape
        asked = grid.view(P, M, self.heads, self.size).transpose(1, 2)  # (P, H, M, D)
        bias = None if memory.prompt_bias is None else memory.prompt_bias.expand(P, self.heads, M, -1)
        mixed = torch.nn.functional.scaled_dot_product_attention(asked, keys, values, bias, scale=1.0)
        return memory.to_rows(mixed.transpose(1, 2).reshape(P, M, -1))


def _layer(block: Any) -> _Layer:
    own, cross, last = block.layer[0], block.layer[1], block.layer[2]
    a, c, dense = own.SelfAttention, cross.EncDecAttention, last.DenseReluDense
    plain = hasattr(dense, "wi") and isinstance(dense.act, torch.nn.ReLU)
    return _Layer(
        norms=(own.layer_norm.weight, cross.layer_norm.weight, last.layer_norm.weight),
        self_qkv=torch.cat([a.q.weight, a.k.weight, a.v.weight]),
        self_out=a.o.weight,
        cross_q=c.q.weight,
        cross_kv=torch.cat([c.k.weight, c.v.weight]),
        cross_out=c.o.weight,
        feed_forward=dense,
        plain=(dense.wi.weight, dense.wo.weight) if plain else None,
    )
