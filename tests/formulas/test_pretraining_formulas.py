"""Spans, sentinels and pivots of pretraining: cases by hand, invariants, and slow references."""

import itertools
import random
import statistics
from collections import Counter

import pytest

from coderl.formulas.pretraining import masked_spans, next_tokens, pivot, span_lengths, span_starts

END = 2
SENTINELS = (90, 91, 92, 93)


@pytest.mark.parametrize(
    ("words", "draws", "most", "lengths"),
    [
        (40, (2, 5, 3), 100, (2, 4)),  # m = 6: 2, then 5 is cut to 4
        (40, (1, 1, 4, 5), 100, (1, 1, 4)),  # m = 6 met exactly
        (30, (5,), 100, (5,)),  # m = int(4.5 + 0.5) = 5
        (3, (5,), 100, (1,)),  # m = int(0.95) = 0: one word is masked at least
        (1, (5,), 100, (1,)),  # the only word
        (40, (1, 1, 1, 1, 1, 1), 2, (1, 1)),  # two sentinels: two spans
    ],
)
def test_span_lengths_by_hand(words, draws, most, lengths):
    assert span_lengths(words, draws, most=most) == lengths


def test_span_lengths_are_fewer_where_no_gap_is_left():
    # n = 5, m = int(0.8 * 5 + 0.5) = 4: one word stays, so two spans at most
    assert span_lengths(5, (1, 1, 1, 1), rate=0.8) == (1, 1)
    assert span_lengths(5, (3, 1), rate=0.8) == (3, 1)


def test_the_rate_is_met_and_the_mean_length_is_three():
    """15 % of 512 words are masked exactly; lengths, of the first ten spans, none of which is cut, are uniform on 1..5."""
    rng = random.Random(0)
    lengths = [span_lengths(512, [rng.randint(1, 5) for _ in range(77)]) for _ in range(2000)]
    assert {sum(one) for one in lengths} == {77}
    whole = [length for one in lengths for length in one[:10]]
    assert statistics.mean(whole) == pytest.approx(3, abs=0.03)
    assert all(count == pytest.approx(len(whole) / 5, rel=0.04) for count in Counter(whole).values())


def test_span_starts_by_hand():
    # two words, a span of 3, one word, a span of 1: the words 2, 3, 4 and 6
    assert span_starts((3, 1), (2, 3)) == (2, 6)
    assert span_starts((2,), (0,)) == (0,)
    assert span_starts((), ()) == ()


def test_all_gaps_give_all_arrangements_once():
    """Against a search over all places: n = 9 words, spans of 2, 1, 2, a word or more between two."""
    words, lengths = 9, (2, 1, 2)
    kept = words - sum(lengths)
    found = [span_starts(lengths, gaps) for gaps in itertools.combinations(range(kept + 1), len(lengths))]

    def apart(starts):
        ends = [s + n for s, n in zip(starts, lengths)]
        return all(end < start for end, start in zip(ends, starts[1:])) and ends[-1] <= words

    slow = [starts for starts in itertools.product(range(words), repeat=3) if starts == tuple(sorted(starts)) and apart(starts)]
    assert sorted(found) == sorted(slow) and len(set(found)) == len(found) == 10  # 5 choose 3


def test_span_starts_refuse_spans_that_touch():
    with pytest.raises(AssertionError, match="ascending"):
        span_starts((1, 1), (2, 2))


def test_masked_spans_by_hand():
    # words: 10 | 11 12 | 13 | 14 15 16 | 17; masked: word 1, and words 3 and 4
    pair = masked_spans((10, 11, 12, 13, 14, 15, 16, 17), (0, 1, 3, 4, 7), (1, 3), (1, 2), SENTINELS, END)
    assert pair.source == (10, 90, 13, 91)
    assert pair.target == (90, 11, 12, 91, 14, 15, 16, 17, END)


def filled(pair):
    """The text that source and target say together: each sentinel of the source replaced by what follows it in the target."""
    spans, current = {}, []
    for token in pair.target[:-1]:
        if token in SENTINELS:
            current = spans.setdefault(token, [])
        else:
            current.append(token)
    return tuple(itertools.chain.from_iterable(spans[t] if t in SENTINELS else [t] for t in pair.source))


def test_masked_spans_are_a_loop_over_words_and_nothing_is_lost():
    rng = random.Random(1)
    for _ in range(200):
        words = [[rng.randrange(3, 80) for _ in range(rng.randint(1, 4))] for _ in range(rng.randint(1, 24))]
        lengths = span_lengths(len(words), [rng.randint(1, 5) for _ in words], most=len(SENTINELS))
        gaps = sorted(rng.sample(range(len(words) - sum(lengths) + 1), len(lengths)))
        starts = span_starts(lengths, gaps)
        ids = tuple(itertools.chain.from_iterable(words))
        first = tuple(itertools.accumulate((len(w) for w in words[:-1]), initial=0))
        pair = masked_spans(ids, first, starts, lengths, SENTINELS, END)
        source, target, span_of = [], [], {s + i: j for j, (s, n) in enumerate(zip(starts, lengths)) for i in range(n)}
        for number, word in enumerate(words):
            span = span_of.get(number)
            if span is None:
                source += word
            else:
                if number in starts:
                    source.append(SENTINELS[span])
                    target.append(SENTINELS[span])
                target += word
        assert pair == (tuple(source), (*target, END))
        assert filled(pair) == ids


@pytest.mark.parametrize(
    ("tokens", "share", "at"),
    [(100, 0.0, 10), (100, 0.5, 50), (100, 0.999, 89), (2, 0.0, 1), (2, 0.999, 1), (7, 0.5, 3)],
)
def test_pivot_by_hand(tokens, share, at):
    assert pivot(tokens, share) == at


def test_pivots_are_uniform_between_a_tenth_and_nine_tenths():
    places = Counter(pivot(1000, i / 8000) for i in range(8000))
    assert set(places) == set(range(100, 900)) and max(places.values()) - min(places.values()) <= 2


def test_next_tokens_by_hand():
    ids = (10, 11, 12, 13, 14)
    assert next_tokens(ids, 2, 9, 9, END) == ((10, 11), (12, 13, 14, END))
    assert next_tokens(ids, 3, 2, 9, END) == ((11, 12), (13, 14, END))  # the source keeps what is next to the pivot
    assert next_tokens(ids, 1, 9, 4, END) == ((10,), (11, 12, 13, 14))  # no room for </s>
    assert next_tokens(ids, 2, 9, 9, None) == ((10, 11), (12, 13, 14))  # the code goes on


def test_source_and_target_of_next_tokens_are_the_text():
    ids = tuple(range(30, 50))
    for at in range(1, 20):
        pair = next_tokens(ids, at, 99, 99, END)
        assert pair.source + pair.target == (*ids, END)
