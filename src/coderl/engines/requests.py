"""What engines take and give: requests in, programs out. Needs neither torch nor transformers.

Every engine module has one function of the form `generate(model, requests, seed, rows)`. Programs come out as they finish, in no
order that means anything. Every sample has its own stream of random numbers, a counter-based hash of (seed, key, index, position),
so that a program does not depend on its batch, its neighbours, the number of processes or a resume in the middle.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np

from ..errors import UsageError


class Decoding(NamedTuple):
    """How tokens are chosen: temperature 0 = greedy; `top_p` in (0, 1]; at most `max_tokens` tokens a program, </s> and prefix included."""

    temperature: float = 0.6
    top_p: float = 0.95
    max_tokens: int = 128

    def check(self) -> None:
        """Raises UsageError when a value makes no sense."""
        if not 0 <= self.temperature < float("inf"):
            raise UsageError(f"temperature is {self.temperature}; it must be 0 (greedy) or above")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens is {self.max_tokens}; it must be at least 1")


class Request(NamedTuple):
    """Write `len(indices)` programs for one prompt; sample `indices[j]` draws from the stream (seed, key, indices[j]).

    `prefix` is what every one of these programs begins with: tokens of the program, given instead of written.
    """

    key: str
    prompt: tuple[int, ...]
    indices: tuple[int, ...]
    decoding: Decoding = Decoding()
    prefix: tuple[int, ...] = ()


class Generated(NamedTuple):
    """One finished program: its ids (the prefix included, </s> last unless `cut` at the length limit) and log-probabilities.

    `logprobs` are those of the model (temperature 1, no nucleus) and `sampling_logprobs` those of the distribution that was drawn
    from; both have one number for each token behind the first `prefix` ones.
    """

    key: str
    sample: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    sampling_logprobs: tuple[float, ...]
    cut: bool
    prefix: int = 0

    @property
    def finish(self) -> str:
        """Why it ended: "stop" (it wrote </s>) or "length" (the limit)."""
        return "length" if self.cut else "stop"


def check_requests(requests: Sequence[Request], vocabulary: int, rows: int) -> None:
    """Raises UsageError, in one sentence, for what no engine can do. `vocabulary`: rows of the model's embedding."""
    if rows < 1:
        raise UsageError(f"rows is {rows}; it must be at least 1 (programs written at the same time)")
    for decoding in {request.decoding for request in requests}:
        decoding.check()
    for request in requests:
        if not request.prompt:
            raise UsageError(f"the prompt of {request.key!r} is empty; a prompt must have at least one token")
        if len(request.prefix) >= request.decoding.max_tokens:
            raise UsageError(
                f"the prefix of {request.key!r} has {len(request.prefix)} tokens; it must be shorter than max_tokens ({request.decoding.max_tokens})"
            )
        ids = request.prompt + request.prefix
        if min(ids) < 0 or max(ids) >= vocabulary:
            raise UsageError(
                f"a token of {request.key!r} has id {max(ids) if min(ids) >= 0 else min(ids)}; ids must be from 0 to {vocabulary - 1}: "
                "use the tokenizer that the model was trained with"
            )


def stream_key(seed: int, key: str, index: int) -> int:
    """64 bits that name the random stream of one sample."""
    return int.from_bytes(hashlib.blake2b(f"{seed}/{key}/{index}".encode(), digest_size=8).digest(), "little")


def uniforms(streams: np.ndarray, position: np.ndarray | int) -> np.ndarray:
    """One uniform number in [0, 1) for each stream at a token's position: splitmix64 of (stream + position), 53 bits.

    streams (R,) uint64; position (R,) or one for all, counted from the program's first token (those of a prefix count). -> (R,).
    """
    with np.errstate(over="ignore"):
        z = streams + np.uint64(0x9E3779B97F4A7C15) * (np.asarray(position).astype(np.uint64) + np.uint64(1))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) * 2.0**-53


def optional_package(name: str, remedy: str) -> ModuleType:
    """A package that only one engine needs.

    Raises:
        UsageError: it is not there; `remedy` says what to do.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"engine {name} needs the package {name} ({error}); {remedy}") from None
