"""Generation with plain torch for encoder-decoder models of the T5 family: greedy and nucleus sampling.

What makes it fast on small models: every prompt is encoded once and its cross-attention keys and values are shared by its samples
(never copied per sample); rows of many problems run in one batch; self-attention keys and values live in one preallocated block;
finished rows are dropped in batches of many ("compaction"). What makes it repeatable: every sample has its own stream of random
numbers, a counter-based hash of (seed, problem, index, position), so the same program comes out in whatever batch it runs, up to
float rounding where two tokens are nearly tied.

Greedy output equals Hugging Face `generate` token for token (tests/engines). Not here: beam search, decoder-only models, GPUs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import T5ForConditionalGeneration

from ..errors import UsageError
from ..tokens import pad


class Request(NamedTuple):
    """Write `len(indices)` programs for one prompt; sample `indices[j]` draws from the stream (seed, key, indices[j])."""

    key: str
    prompt: tuple[int, ...]
    indices: tuple[int, ...]


class Generated(NamedTuple):
    """One finished program: its ids (with </s> unless `cut` at the length limit) and log-probabilities.

    `logprobs` are those of the model (temperature 1, no nucleus); `sampling_logprobs` those of the distribution that was drawn from.
    """

    key: str
    sample: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampling_logprobs: tuple[float, ...]
    cut: bool


class Decoding(NamedTuple):
    """temperature 0 = greedy; `top_p` in (0, 1]; at most `max_tokens` tokens a program; `rows` programs at a time."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 128
    rows: int = 512

    def check(self) -> None:
        """Raises UsageError when a value makes no sense."""
        if self.temperature < 0:
            raise UsageError(f"temperature is {self.temperature}; it must be 0 (greedy) or above")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.max_tokens < 1 or self.rows < 1:
            raise UsageError(f"max_tokens is {self.max_tokens} and rows {self.rows}; both must be at least 1")


def stream_key(seed: int, key: str, index: int) -> int:
    """64 bits that name the random stream of one sample."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}/{index}".encode(), digest_size=8).digest(), "little")


def uniforms(streams: np.ndarray, position: int) -> np.ndarray:
    """One uniform number in [0, 1) for each stream at a token position: splitmix64 of (stream + position), 53 bits. (R,) -> (R,)."""
    with np.errstate(over="ignore"):
        z = streams + np.uint64(0x9E3779B97F4A7C15) * np.uint64(position + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


class Choice(NamedTuple):
    """Tokens (R,), their log-probabilities under the model (R,) and under the distribution drawn from (R,)."""

    tokens: Tensor
    logprobs: Tensor
    sampling_logprobs: Tensor


def nucleus_choice(logits: Tensor, uniform: Tensor, temperature: float, top_p: float, shortlist: int = 64) -> Choice:
    """Nucleus sampling (Holtzman et al. 2020) by inversion: the smallest set of most likely tokens whose mass reaches `top_p`.

    logits (R, V), uniform (R,) in [0, 1). Exact: the `shortlist` most likely tokens are sorted first, and only when they do not hold
    the mass `top_p` in some row is the whole vocabulary sorted. temperature 0 takes the most likely token.
    """
    assert logits.ndim == 2 and uniform.shape == logits.shape[:1]
    model = torch.log_softmax(logits, -1)
    if temperature == 0:
        logprobs, tokens = model.max(-1)
        return Choice(tokens, logprobs, torch.zeros_like(logprobs))
    probabilities = torch.softmax(logits / temperature, -1) if temperature != 1 else model.exp()
    size = min(shortlist, logits.shape[1])
    values, tokens = probabilities.topk(size, -1)  # (R, size), sorted
    if size < logits.shape[1] and bool((values.sum(-1) < top_p).any()):
        values, tokens = probabilities.sort(-1, descending=True)
    before = values.cumsum(-1) - values  # mass of the more likely tokens
    values = values.masked_fill(before >= top_p, 0.0)
    mass = values.sum(-1, keepdim=True)
    place = (values.cumsum(-1) <= uniform[:, None].to(values.dtype) * mass).sum(-1, keepdim=True)
    last = (values > 0).sum(-1, keepdim=True) - 1
    place = torch.minimum(place, last)  # rounding may step over the end
    chosen = tokens.gather(-1, place)
    return Choice(chosen[:, 0], model.gather(-1, chosen)[:, 0], (values.gather(-1, place) / mass).log()[:, 0])


class _Layer(NamedTuple):
    """Weights of one decoder layer, those that are used together joined."""

    norms: tuple[Tensor, Tensor, Tensor]
    self_qkv: Tensor
    self_out: Tensor
    cross_q: Tensor
    cross_kv: Tensor
    cross_out: Tensor
    feed_forward: torch.nn.Module


class _Decoder:
    """A T5 decoder that reads one token per row and step. Rows are arranged (P prompts, M slots): row p * M + j answers prompt p."""

    def __init__(self, model: T5ForConditionalGeneration, longest: int) -> None:
        config, stack = model.config, model.decoder
        blocks: list[Any] = list(stack.block)
        self.heads, self.size, self.eps = config.num_heads, config.d_kv, config.layer_norm_epsilon
        self.embedding = stack.embed_tokens.weight
        self.final_norm = stack.final_layer_norm.weight
        self.head = model.lm_head.weight * (config.d_model**-0.5 if config.scale_decoder_outputs else 1.0)
        attention = blocks[0].layer[0].SelfAttention
        self.bias = attention.compute_bias(longest, longest)[0]  # (H, T, T)
        self.layers = []
        for block in blocks:
            own, cross, last = block.layer[0], block.layer[1], block.layer[2]
            a, c = own.SelfAttention, cross.EncDecAttention
            self.layers.append(
                _Layer(
                    norms=(own.layer_norm.weight, cross.layer_norm.weight, last.layer_norm.weight),
                    self_qkv=torch.cat([a.q.weight, a.k.weight, a.v.weight]),
                    self_out=a.o.weight,
                    cross_q=c.q.weight,
                    cross_kv=torch.cat([c.k.weight, c.v.weight]),
                    cross_out=c.o.weight,
                    feed_forward=last.DenseReluDense,
                )
            )

    def cross_cache(self, states: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the prompts, once per prompt: for each layer two (P, H, S, D) from encoder states (P, S, d)."""
        P, S, _ = states.shape
        result = []
        for layer in self.layers:
            kv = torch.nn.functional.linear(states, layer.cross_kv).view(P, S, 2, self.heads, self.size).permute(2, 0, 3, 1, 4)
            result.append((kv[0].contiguous(), kv[1].contiguous()))
        return result

    def norm(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x, (x.shape[-1],), weight, self.eps)

    def step(self, tokens: Tensor, position: int, own: Tensor, cross: list[tuple[Tensor, Tensor]], prompt_bias: Tensor, slots: int) -> Tensor:
        """Logits (R, V) of the next token. tokens (R,); own (L, 2, R, H, T, D) is written at `position`; prompt_bias (P, 1, 1, S)."""
        linear = torch.nn.functional.linear
        R = tokens.shape[0]
        x = self.embedding.index_select(0, tokens)  # (R, d)
        bias = self.bias[:, position : position + 1, : position + 1]  # (H, 1, t)
        for number, layer in enumerate(self.layers):
            qkv = linear(self.norm(x, layer.norms[0]), layer.self_qkv).view(R, 3, self.heads, 1, self.size)
            own[number, 0, :, :, position] = qkv[:, 1, :, 0]
            own[number, 1, :, :, position] = qkv[:, 2, :, 0]
            keys, values = own[number, 0, :, :, : position + 1], own[number, 1, :, :, : position + 1]  # (R, H, t, D)
            scores = torch.matmul(qkv[:, 0], keys.transpose(2, 3)) + bias  # (R, H, 1, t)
            mixed = torch.matmul(torch.softmax(scores, -1), values).reshape(R, self.heads * self.size)
            x = x + linear(mixed, layer.self_out)
            query = linear(self.norm(x, layer.norms[1]), layer.cross_q).view(-1, slots, self.heads, self.size).transpose(1, 2)  # (P, H, M, D)
            scores = torch.matmul(query, cross[number][0].transpose(2, 3)) + prompt_bias  # (P, H, M, S)
            mixed = torch.matmul(torch.softmax(scores, -1), cross[number][1]).transpose(1, 2).reshape(R, self.heads * self.size)
            x = x + linear(mixed, layer.cross_out)
            x = x + layer.feed_forward(self.norm(x, layer.norms[2]))
        return linear(self.norm(x, self.final_norm), self.head)


class _Rows:
    """The programs under way in one batch: slot j of prompt p is row p * M + j; -1 in `row` marks an empty slot."""

    def __init__(self, requests: Sequence[Request], seed: int) -> None:
        self.slots = max(len(r.indices) for r in requests)
        self.names = [(r.key, i) for r in requests for i in r.indices]
        self.row = np.full((len(requests), self.slots), -1)
        number = 0
        for p, request in enumerate(requests):
            self.row[p, : len(request.indices)] = range(number, number + len(request.indices))
            number += len(request.indices)
        self.streams = np.array([stream_key(seed, key, index) for key, index in self.names], dtype=np.uint64)

    def flat(self) -> np.ndarray:
        return self.row.reshape(-1)

    def compact(self, alive: np.ndarray) -> tuple[Tensor, Tensor] | None:
        """Close ranks when it pays. alive (R,) of the present rows. Returns (kept prompts, kept rows) to select by, or None."""
        table = alive.reshape(self.row.shape)
        counts = table.sum(1)
        prompts = np.flatnonzero(counts)
        slots = int(counts.max(initial=0))
        if len(prompts) * slots > 0.8 * table.size:
            return None
        order = np.argsort(~table[prompts], axis=1, kind="stable")[:, :slots]  # living slots first
        rows = prompts[:, None] * self.slots + order
        self.row = np.where(np.take_along_axis(table[prompts], order, 1), np.take_along_axis(self.row[prompts], order, 1), -1)
        self.slots = slots
        return torch.from_numpy(prompts), torch.from_numpy(rows.reshape(-1))


def _batches(requests: Iterable[Request], rows: int) -> Iterator[list[Request]]:
    """Requests of similar prompt length together, at most `rows` slots a batch; a request with more samples than rows is split."""
    pieces = [Request(r.key, r.prompt, r.indices[i : i + rows]) for r in requests for i in range(0, len(r.indices), rows)]
    pieces.sort(key=lambda r: (len(r.indices), len(r.prompt)))
    batch: list[Request] = []
    for piece in pieces:
        if batch and (len(batch) + 1) * max(len(piece.indices), len(batch[0].indices)) > rows:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch


@torch.inference_mode()
def _generate_batch(model: T5ForConditionalGeneration, requests: Sequence[Request], decoding: Decoding, seed: int) -> Iterator[Generated]:
    config = model.config
    rows = _Rows(requests, seed)
    prompts, mask = pad([r.prompt for r in requests], config.pad_token_id or 0)
    encoded = model.encoder(input_ids=prompts, attention_mask=mask.long()).last_hidden_state
    decoder = _Decoder(model, decoding.max_tokens)
    cross = decoder.cross_cache(encoded)
    prompt_bias = torch.zeros(mask.shape).masked_fill(~mask, -1e9)[:, None, None, :]  # (P, 1, 1, S)
    count = rows.row.size
    own = torch.empty(len(decoder.layers), 2, count, decoder.heads, decoding.max_tokens, decoder.size)
    tokens = torch.full((count,), config.decoder_start_token_id)
    written = np.zeros((len(rows.names), decoding.max_tokens), dtype=np.int64)
    logprobs = np.zeros((2, len(rows.names), decoding.max_tokens), dtype=np.float32)
    for position in range(decoding.max_tokens):
        logits = decoder.step(tokens, position, own, cross, prompt_bias, rows.slots)
        row = rows.flat()
        uniform = torch.from_numpy(uniforms(rows.streams[row], position))
        choice = nucleus_choice(logits, uniform, decoding.temperature, decoding.top_p)
        living = row >= 0
        chosen = choice.tokens.numpy()
        names = row[living]
        written[names, position] = chosen[living]
        logprobs[0, names, position] = choice.logprobs.numpy()[living]
        logprobs[1, names, position] = choice.sampling_logprobs.numpy()[living]
        ended = living & (chosen == config.eos_token_id)
        last = position + 1 == decoding.max_tokens
        for name in row[living if last else ended]:
            key, index = rows.names[name]
            ids = tuple(written[name, : position + 1].tolist())
            scores = logprobs[:, name, : position + 1].tolist()
            yield Generated(key, index, ids, tuple(scores[0]), tuple(scores[1]), cut=ids[-1] != config.eos_token_id)
        rows.row.reshape(-1)[ended] = -1
        alive = rows.flat() >= 0
        if last or not alive.any():
            return
        tokens = choice.tokens
        kept = rows.compact(alive)
        if kept is not None:
            keep_prompts, keep_rows = kept
            tokens = tokens.index_select(0, keep_rows)
            shrunk = torch.empty(own.shape[0], 2, len(keep_rows), *own.shape[3:])
            shrunk[..., : position + 1, :] = own[:, :, :, :, : position + 1].index_select(2, keep_rows)
            own = shrunk
            cross = [(k.index_select(0, keep_prompts), v.index_select(0, keep_prompts)) for k, v in cross]
            prompt_bias = prompt_bias.index_select(0, keep_prompts)


def generate(model: T5ForConditionalGeneration, requests: Iterable[Request], decoding: Decoding, seed: int) -> Iterator[Generated]:
    """Programs for all requests, as they finish (short ones first; the order says nothing).

    Raises:
        UsageError: a value in `decoding` makes no sense.
    """
    decoding.check()
    training = model.training
    model.eval()
    try:
        for batch in _batches(requests, decoding.rows):
            yield from _generate_batch(model, batch, decoding, seed)
    finally:
        model.train(training)
