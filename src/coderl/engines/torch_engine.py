"""Generation with plain torch: encoder-decoders of the T5 family, and any decoder-only model of transformers.

What makes it fast: a prompt is read once and its keys and values are shared by its programs; programs of many problems are written
together; when enough of them are finished, others begin while the rest goes on (a *cohort* is what began together, and all cohorts
take each step together); rows that are finished are closed up in batches of many; nothing is sorted that need not be (nucleus.py).

What makes it repeatable: every sample has its own random stream (requests.py), so the same program comes out whatever `rows`, the
order of the requests, the process or a resume. That holds up to float rounding: sums of matrix products depend in the last digit
on how many rows are multiplied at once, so that a program can differ where two tokens are tied, or a random number falls on the edge
between two, within about 1e-6 of a probability (in bfloat16: 1e-2).

Greedy output equals Hugging Face `generate` token for token, sampled output the exact distribution (tests/engines). Not here: beam
search, and models whose attention is not the plain one (sliding windows, Mamba; refused). The code runs on the model's device in the
model's precision; it has been tested and measured on CPUs only.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel, T5ForConditionalGeneration

from ..models.causal import check_positions
from .causal_decoder import CausalDecoder
from .memory import Memory
from .nucleus import Choice, choose
from .requests import Generated, Request, check_requests, stream_key, uniforms
from .t5_decoder import T5Decoder

_COHORT = 0.5  # of the rows begin together
_FULL = 0.875  # of a cohort's rows are alive, or they are closed up
_ENCODED = 2048  # prompt tokens read at a time


class Decoder(Protocol):
    """What a family of models has to offer. R rows, Q requests, P distinct sources."""

    device: torch.device

    def split(self, request: Request) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The source, which is read once and shared, and the tokens that each program is given; the first step reads the last of them."""

    def encode(self, sources: Sequence[tuple[int, ...]]) -> list[Tensor]:
        """What is kept of each source for as long as programs for it are left."""

    def remember(self, encoded: Sequence[Tensor], given: Sequence[tuple[int, ...]], group: np.ndarray, rows: np.ndarray) -> Memory:
        """The memory of a cohort: encoded (P), given (Q), group (Q,) the source of each request, rows (R,) the request of each row."""

    def step(self, tokens: Tensor, memories: Sequence[Memory]) -> Tensor:
        """Logits (R, V) from the newest tokens (R,), the rows of the memories one after the other. The memories grow by a column."""


class _Cohort:
    """Programs that began together: R rows under way of N programs. `row` (R,) says which program a row writes."""

    def __init__(self, requests: Sequence[Request], memory: Memory, seed: int, first: np.ndarray) -> None:
        self.memory, self.newest = memory, first
        self.programs = [(request, index) for request in requests for index in request.indices]
        each = [request for request, _ in self.programs]
        self.streams = np.array([stream_key(seed, request.key, index) for request, index in self.programs], dtype=np.uint64)
        self.temperature = np.array([request.decoding.temperature for request in each])
        self.top_p = np.array([request.decoding.top_p for request in each])
        self.room = np.array([request.decoding.max_tokens - len(request.prefix) for request in each])
        self.given = np.array([len(request.prefix) for request in each])
        self.row = np.arange(len(each))
        self.alive = np.ones(len(each), dtype=bool)
        self.steps = 0
        longest = int(self.room.max())
        self.written = np.zeros((len(each), longest), dtype=np.int64)
        self.scores = np.zeros((2, len(each), longest), dtype=np.float32)

    def __len__(self) -> int:
        return len(self.row)

    def take(self, choice: Choice, ends: np.ndarray) -> Iterator[Generated]:
        """Note one token a row; the programs that are finished."""
        self.written[self.row, self.steps] = choice.tokens
        self.scores[0, self.row, self.steps] = choice.logprobs
        self.scores[1, self.row, self.steps] = choice.sampling_logprobs
        self.steps += 1
        self.newest = choice.tokens
        stopped = np.isin(choice.tokens, ends)
        finished = self.alive & (stopped | (self.room[self.row] == self.steps))
        self.alive &= ~finished
        for row in np.flatnonzero(finished):
            yield self._finished(self.row[row], cut=not stopped[row])

    def _finished(self, number: int, cut: bool) -> Generated:
        request, index = self.programs[number]
        ids = request.prefix + tuple(self.written[number, : self.steps].tolist())
        model, drawn = self.scores[:, number, : self.steps].tolist()
        return Generated(request.key, index, ids, tuple(model), tuple(drawn), cut, len(request.prefix))

    def close_up(self) -> None:
        """Drop finished rows when there are enough of them."""
        living = np.count_nonzero(self.alive)
        if living >= _FULL * len(self.row):
            return
        kept = np.flatnonzero(self.alive)
        self.row, self.newest, self.alive = self.row[kept], self.newest[kept], self.alive[kept]
        if living:
            self.memory.keep(kept)


class _Queue:
    """Requests that wait, neighbours in the length and the text of their prompts; sources are encoded once, when first needed."""

    def __init__(self, decoder: Decoder, requests: Sequence[Request], size: int) -> None:
        self.decoder, self.size = decoder, size
        pieces = [r._replace(indices=r.indices[i : i + size]) for r in requests for i in range(0, len(r.indices), size)]
        ordered = sorted(((*decoder.split(piece), piece) for piece in pieces), key=lambda item: (len(item[0]), item[0], len(item[1])))
        self.waiting = deque(ordered)
        self.uses = Counter(source for source, _, _ in ordered)
        self.encoded: dict[tuple[int, ...], Tensor] = {}

    def cohort(self, seed: int) -> _Cohort:
        """The next requests, as many as fit."""
        taken = [self.waiting.popleft()]
        count = len(taken[0][2].indices)
        while self.waiting and count + len(self.waiting[0][2].indices) <= self.size:
            taken.append(self.waiting.popleft())
            count += len(taken[-1][2].indices)
        sources = list(dict.fromkeys(source for source, _, _ in taken))
        self._encode([source for source in sources if source not in self.encoded])
        place = {source: p for p, source in enumerate(sources)}
        group = np.array([place[source] for source, _, _ in taken])
        requests, given = [request for _, _, request in taken], [tokens for _, tokens, _ in taken]
        rows = np.repeat(np.arange(len(taken)), [len(request.indices) for request in requests])
        memory = self.decoder.remember([self.encoded[source] for source in sources], given, group, rows)
        self.uses.subtract(source for source, _, _ in taken)
        for source in sources:
            if not self.uses[source]:
                del self.encoded[source]
        return _Cohort(requests, memory, seed, np.array([tokens[-1] for tokens in given])[rows])

    def _encode(self, sources: Sequence[tuple[int, ...]]) -> None:
        batch: list[tuple[int, ...]] = []
        for source in sources:  # ascending in length
            if batch and (len(batch) + 1) * len(source) > _ENCODED:
                self.encoded.update(zip(batch, self.decoder.encode(batch)))
                batch = []
            batch.append(source)
        if batch:
            self.encoded.update(zip(batch, self.decoder.encode(batch)))


def generate(model: PreTrainedModel, requests: Sequence[Request], seed: int, rows: int = 512) -> Iterator[Generated]:
    """Programs for all requests, as they finish (short ones first; the order says nothing).

    Args:
        model: a T5 encoder-decoder, or a decoder-only model of transformers.
        seed: of the random streams.
        rows: programs written at the same time.

    Raises:
        UsageError: a value makes no sense, the model's attention is not the plain one, or it has too few positions.
    """
    embedding = cast(Tensor, model.get_input_embeddings().weight)
    check_requests(requests, embedding.shape[0], rows)
    if not model.config.is_encoder_decoder:
        check_positions(model, max((len(r.prompt) + r.decoding.max_tokens for r in requests), default=0))
    training = model.training
    model.eval()
    try:
        yield from _generate(model, requests, seed, rows)
    finally:
        model.train(training)


@torch.inference_mode()
def _generate(model: PreTrainedModel, requests: Sequence[Request], seed: int, rows: int) -> Iterator[Generated]:
    decoder: Decoder = T5Decoder(model) if isinstance(model, T5ForConditionalGeneration) else CausalDecoder(model)
    queue = _Queue(decoder, requests, max(1, round(_COHORT * rows)))
    ends = _ends(model)
    cohorts: list[_Cohort] = []
    while queue.waiting or cohorts:
        while queue.waiting and sum(map(len, cohorts)) + queue.size <= rows:
            cohorts.append(queue.cohort(seed))
        tokens = torch.from_numpy(np.concatenate([c.newest for c in cohorts])).to(decoder.device)
        logits = decoder.step(tokens, [c.memory for c in cohorts])
        choice = choose(logits, *_draws(cohorts))
        at = 0
        for cohort in cohorts:
            yield from cohort.take(Choice(*(part[at : at + len(cohort)] for part in choice)), ends)
            at += len(cohort)
            cohort.close_up()
        cohorts = [c for c in cohorts if len(c)]


def _draws(cohorts: Sequence[_Cohort]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Uniform numbers, temperatures and top_p of all rows."""
    uniform = [uniforms(c.streams[c.row], c.given[c.row] + c.steps) for c in cohorts]
    return np.concatenate(uniform), np.concatenate([c.temperature[c.row] for c in cohorts]), np.concatenate([c.top_p[c.row] for c in cohorts])


def _ends(model: PreTrainedModel) -> np.ndarray:
    """The tokens that end a program, as Hugging Face's `generate` sees them."""
    config = getattr(model, "generation_config", None)
    end = getattr(config, "eos_token_id", None)
    end = model.config.eos_token_id if end is None else end
    return np.array([] if end is None else end if isinstance(end, list) else [end], dtype=np.int64)
