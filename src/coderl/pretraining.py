"""Training examples from a tokenized corpus: masked spans (MSP) and next tokens with a pivot (NTP), and their batches.

The formulas are `formulas.pretraining`; here the random numbers are drawn. Everything is a function of (seed, number): any batch can be made
without those before it, so a run that resumes goes on at its place, however large the corpus, and repeats what it would have done.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from .corpus.token_file import TokenFile
from .errors import DataError
from .formulas.pretraining import LONGEST, RATE, SHORTEST, masked_spans, next_tokens, pivot, span_lengths, span_starts
from .tokens import Example


class Samples(Protocol):
    """Pieces of code, numbered, that examples are made of."""

    @property
    def total(self) -> int:
        """How many there are."""
        ...

    def example(self, number: int, draws: np.random.Generator) -> Example:
        """An example from one piece, its random part drawn from `draws`; without a key."""
        ...


class SpanSamples(NamedTuple):
    """Masked spans: the corpus as one stream, documents packed behind each other, cut into blocks of equal length.

    Fields:
        block: tokens of a block, source and target together before sentinels (CodeRL: 512). The rest at the corpus's end is left out.
        sentinels: ids of <extra_id_0>, <extra_id_1>, ...; end: of </s>.
        rate: share of words that are masked.
    """

    tokens: TokenFile
    block: int
    sentinels: tuple[int, ...]
    end: int
    rate: float = RATE

    @property
    def total(self) -> int:
        return len(self.tokens.ids) // self.block

    def example(self, number: int, draws: np.random.Generator) -> Example:
        ids, first = self.tokens.part(number * self.block, (number + 1) * self.block)
        drawn = draws.integers(SHORTEST, LONGEST + 1, size=len(first)).tolist()
        lengths = span_lengths(len(first), drawn, self.rate, len(self.sentinels))
        gaps = np.sort(draws.choice(len(first) - sum(lengths) + 1, len(lengths), replace=False)).tolist()
        pair = masked_spans(ids, first, span_starts(lengths, gaps), lengths, self.sentinels, self.end)
        return Example("", pair.source, pair.target)


class NextSamples(NamedTuple):
    """Next tokens: each document by itself, a long one in pieces of equal length that source and target can hold.

    Fields:
        parts: (D,) how many pieces documents 0..d have together. most_source, most_target: tokens (CodeRL: 768, 600).
        end: of </s>, which follows the last piece of a document.
    """

    tokens: TokenFile
    parts: NDArray[np.int64]
    most_source: int
    most_target: int
    end: int

    @property
    def total(self) -> int:
        return int(self.parts[-1])

    def example(self, number: int, draws: np.random.Generator) -> Example:
        ids, last = self.piece(number)
        pair = next_tokens(ids, pivot(len(ids), draws.random()), self.most_source, self.most_target, self.end if last else None)
        return Example("", pair.source, pair.target)

    def piece(self, number: int) -> tuple[list[int], bool]:
        """Token ids of a piece, <s> not among them, and whether its document ends with it."""
        document = int(np.searchsorted(self.parts, number, side="right"))
        before, ends = int(self.parts[document - 1]) if document else 0, self.tokens.ends
        begin = (int(ends[document - 1]) if document else 0) + 1
        length, pieces, place = int(ends[document]) - begin, int(self.parts[document]) - before, number - before
        ids, _ = self.tokens.part(begin + length * place // pieces, begin + length * (place + 1) // pieces)
        return ids, place == pieces - 1


def next_samples(tokens: TokenFile, most_source: int, most_target: int, end: int) -> NextSamples:
    """Documents of two tokens or more in pieces of at most `most_source` + `most_target` tokens."""
    lengths = np.diff(tokens.ends, prepend=0) - 1  # without <s>
    pieces = np.where(lengths >= 2, -(-lengths // (most_source + most_target)), 0)
    return NextSamples(tokens, np.cumsum(pieces), most_source, most_target, end)


class Dealt(NamedTuple):
    """Pieces in batches, endlessly: all of them in random order, then all again in another, a batch across the border where it falls so.

    Fields:
        first, held_out: of `samples`, the pieces before `first` are trained on and the `held_out` behind them are only looked at.
        batch: pieces of a batch.
    """

    samples: Samples
    first: int
    held_out: int
    batch: int
    seed: int

    def number(self, n: int) -> list[Example]:
        """The n-th batch, from 0. An example is drawn anew in each pass."""
        places = (divmod(place, self.first) for place in range(n * self.batch, (n + 1) * self.batch))
        return [self._drawn(_order(self.first, self.seed, turn)[place], turn) for turn, place in places]

    def alone(self, n: int) -> Iterator[list[Example]]:
        """The n-th batch as an epoch of one, for `fitting.Batches`."""
        yield self.number(n)

    def held(self, most: int) -> list[list[Example]]:
        """Batches of at most `most` held-out pieces, the same in every call."""
        numbers = range(self.first, self.first + min(most, self.held_out))
        examples = [self._drawn(number, 0) for number in numbers]
        return [examples[i : i + self.batch] for i in range(0, len(examples), self.batch)]

    def _drawn(self, number: int, turn: int) -> Example:
        example = self.samples.example(int(number), np.random.default_rng((self.seed, turn, int(number))))
        return example._replace(key=f"{turn}/{number}")  # a piece may be twice in a batch, with other spans


@lru_cache(maxsize=2)
def _order(count: int, seed: int, turn: int) -> NDArray[np.int64]:
    """A pass over all pieces: 8 bytes each."""
    return np.random.default_rng((seed, turn)).permutation(count)


def dealt(samples: Samples, batch: int, held_out: float, seed: int) -> Dealt:
    """The last `held_out` of the pieces are held out, a share from 0 to a half; files of one project lie together there.

    Raises:
        DataError: no piece is left to train on.
    """
    held = min(int(samples.total * held_out + 0.5), samples.total - 1)
    if samples.total == 0:
        raise DataError("the corpus is shorter than one example; take more code, or a smaller --block-tokens")
    return Dealt(samples, samples.total - held, held, batch, seed)
