"""Pretraining on code without problems: masked span prediction and next-token prediction (CodeRL, Le et al., NeurIPS 2022, section 3.2;
CodeT5, Wang et al., EMNLP 2021, section 3.2; T5, Raffel et al., JMLR 2020, section 3.1.4).

Both make a (source, target) pair of a piece of code: the encoder reads the source, the decoder learns the target by cross-entropy,
`formulas.policy_gradient.cross_entropy`. The random numbers are arguments; `coderl.pretraining` draws them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

RATE, SHORTEST, LONGEST = 0.15, 1, 5
"""Share of words that are masked, and words of a span: CodeT5 section 3.2."""
LOW, HIGH = 0.1, 0.9
"""Between which shares of a piece of code the pivot of next-token prediction lies: CodeRL section 3.2."""


class Pair(NamedTuple):
    """What the encoder reads and what the decoder learns to write, token ids both."""

    source: tuple[int, ...]
    target: tuple[int, ...]


def span_lengths(words: int, draws: Sequence[int], rate: float = RATE, most: int = 100) -> tuple[int, ...]:
    """Words of each masked span: l_1, l_2, ... = the draws in turn, until together they are m = max(1, ⌊rate · n + 1/2⌋) of n words.

    CodeT5: 15 % of the words, lengths uniform on 1..5, so 3 in the mean. The last span is cut to what is still to be masked. Spans do not
    touch, so there are at most n - m + 1 of them, and at most `most`, one for each sentinel; where that is the bound, fewer words are masked.
    Differs from the paper: it does not say how the rate is met; T5 draws the number of spans first.

    Args:
        words: n, 1 or more.
        draws: lengths that were drawn, 1 or more each; as many as m are always enough.
        rate: share of words to mask, more than 0 and at most 1.
        most: spans at most, 1 or more.

    Returns:
        the lengths, of 1 to `most` spans; they sum to at most m.
    """
    assert words >= 1 and most >= 1, f"words is {words} and most {most}; both must be 1 or more"
    left = max(1, int(rate * words + 0.5))
    most = min(most, words - left + 1)
    lengths: list[int] = []
    for draw in draws:
        if not left or len(lengths) == most:
            break
        lengths.append(min(draw, left))
        left -= lengths[-1]
    return tuple(lengths)


def span_starts(lengths: Sequence[int], gaps: Sequence[int]) -> tuple[int, ...]:
    """Where each span begins: s_j = g_j + l_1 + ... + l_{j-1}, g_j the number of words before it that are not masked.

    With n words of which m are masked, {g_1 < ... < g_k} drawn uniformly from the subsets of {0, ..., n - m}, every arrangement of the
    spans, in this order and with a word between any two, is equally likely.
    Differs from the paper: it does not say how places are drawn.

    Args:
        lengths: k words of the spans.
        gaps: k numbers in 0..n - m, ascending, no two equal.

    Returns:
        k places of first words, ascending.
    """
    assert len(lengths) == len(gaps) and all(a < b for a, b in itertools.pairwise(gaps)), f"{len(lengths)} spans need as many ascending gaps: {gaps}"
    starts, masked = [], 0
    for length, gap in zip(lengths, gaps):
        starts.append(gap + masked)
        masked += length
    return tuple(starts)


def masked_spans(ids: Sequence[int], first: Sequence[int], starts: Sequence[int], lengths: Sequence[int], sentinels: Sequence[int], end: int) -> Pair:
    """x^{\\mask} and x^{mask} of masked span prediction, L_MSP = Σ_t - log P(x_t^{mask} | x^{\\mask}, x_{<t}^{mask}) (CodeT5 eq. (1)).

    Span j, all tokens of words s_j .. s_j + l_j - 1, becomes sentinel j in the source; the target is
    sentinel_1 span_1 sentinel_2 span_2 ... sentinel_k span_k </s>. Whole words: spans are of words, never of parts of one.
    Differs from T5: no sentinel behind the last span, </s> says the same. Differs from CodeT5: a word is what the tokenizer's pre-tokenizer
    calls one (tokenizers' `word_ids`), where CodeT5 takes the tokens of a parser.

    Args:
        ids: T token ids. first: n places in `ids` where a word begins, ascending, the first of them 0.
        starts, lengths: k spans in words, ascending, apart from each other.
        sentinels: k or more ids. end: the id of </s>.

    Returns:
        source of T - (masked tokens) + k ids, target of (masked tokens) + k + 1.
    """
    assert len(starts) == len(lengths) <= len(sentinels), f"{len(starts)} starts, {len(lengths)} lengths, {len(sentinels)} sentinels"
    edges = [*first, len(ids)]
    source: list[int] = []
    target: list[int] = []
    read = 0
    for start, length, sentinel in zip(starts, lengths, sentinels):
        begin, stop = edges[start], edges[start + length]
        source += [*ids[read:begin], sentinel]
        target += [sentinel, *ids[begin:stop]]
        read = stop
    return Pair((*source, *ids[read:]), (*target, end))


def pivot(tokens: int, share: float, low: float = LOW, high: float = HIGH) -> int:
    """p = ⌊T · (low + (high - low) · u)⌋, u uniform on [0, 1): how many tokens of a piece of code the encoder gets (CodeRL section 3.2).

    At least one token is on either side.

    Args:
        tokens: T, 2 or more. share: u. low, high: shares of T.

    Returns:
        1 to T - 1.
    """
    assert tokens >= 2, f"a pivot needs 2 tokens or more, found {tokens}"
    return min(tokens - 1, max(1, int(tokens * (low + (high - low) * share))))


def next_tokens(ids: Sequence[int], at: int, most_source: int, most_target: int, end: int | None) -> Pair:
    """w_{1:p} and w_{p+1:T} of next-token prediction, L_NTP = Σ_{t>p} - log P(w_t | w_{1:t-1}) (CodeRL section 3.2).

    Differs from the paper: it gives 768 and 600 tokens as limits and not what is left out beyond; here the source keeps the tokens next to the
    pivot and the target those behind it.

    Args:
        ids: T token ids. at: p, 1 to T - 1.
        most_source, most_target: tokens at most, `end` counted.
        end: the id of </s>, written where the target is all that follows; None where the code goes on behind `ids`.

    Returns:
        source of 1 to `most_source` ids, target of 1 to `most_target`.
    """
    assert 1 <= at < len(ids), f"the pivot is {at}; it must be between 1 and {len(ids) - 1}"
    target = [*ids[at:], *([] if end is None else [end])]
    return Pair(tuple(ids[max(0, at - most_source) : at]), tuple(target[:most_target]))
