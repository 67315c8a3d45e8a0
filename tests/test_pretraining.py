"""Examples and batches of pretraining: nothing of the corpus is lost or twice in a pass, and any batch can be made alone."""

import itertools
from collections import Counter

import numpy as np
import pytest

from coderl.corpus.token_file import BEGINS, TokenFile
from coderl.errors import DataError
from coderl.pretraining import SpanSamples, dealt, next_samples
from coderl.tokens import collate

START, END, SENTINELS = 1, 2, (90, 91, 92, 93)
LENGTHS = (40, 0, 7, 1, 61, 2)  # tokens of documents, <s> not counted; 0 = an empty one


def corpus() -> TokenFile:
    """Documents of ids 3, 4, ...; every third token begins a word, and every <s>."""
    rows = [[START, *range(3, 3 + n)] if n else [] for n in LENGTHS]
    flags = [[i == 0 or i % 3 == 1 for i in range(len(row))] for row in rows]
    ids = np.array(list(itertools.chain(*rows)), np.uint32) | np.array(list(itertools.chain(*flags))) * BEGINS
    return TokenFile(ids, np.cumsum([len(row) for row in rows]).astype(np.int64), "")


def plain(tokens: TokenFile) -> list[int]:
    return (tokens.ids & ~BEGINS).tolist()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_span_examples_hold_their_block_and_mask_whole_words() -> None:
    tokens = corpus()
    samples = SpanSamples(tokens, 24, SENTINELS, END)
    assert samples.total == len(tokens.ids) // 24
    for number, seed in itertools.product(range(samples.total), range(20)):
        example = samples.example(number, rng(seed))
        spans: dict[int, list[int]] = {}
        for token in example.program[:-1]:
            if token in SENTINELS:
                current = spans.setdefault(token, [])
            else:
                current.append(token)
        assert example.program[-1] == END and list(spans) == list(SENTINELS[: len(spans)])
        filled = [part for token in example.prompt for part in spans.get(token, [token])]
        assert filled == plain(tokens)[number * 24 : (number + 1) * 24]
        _, first = tokens.part(number * 24, (number + 1) * 24)
        edges, place = {*first, 24}, 0
        for token in example.prompt:
            if token in spans:
                assert {place, place + len(spans[token])} <= edges
            place += len(spans[token]) if token in spans else 1


def test_the_share_of_masked_words_is_the_rate() -> None:
    tokens = TokenFile(np.arange(100, 700, dtype=np.uint32) | BEGINS, np.array([600]), "")
    samples = SpanSamples(tokens, 600, tuple(range(1000, 1100)), END)
    example = samples.example(0, rng())
    spans = sum(token >= 1000 for token in example.prompt)
    assert len(example.program) - spans - 1 == 90 and 600 - 90 + spans == len(example.prompt)  # 15 % of 600
    assert samples.example(0, rng(1)) != example and samples.example(0, rng()) == example


def test_next_token_pieces_are_the_documents_without_their_start() -> None:
    """Documents of two tokens or more, each in equal pieces of at most 20 tokens; the last piece of each ends."""
    tokens = corpus()
    samples = next_samples(tokens, 12, 8, END)
    pieces = [samples.piece(number) for number in range(samples.total)]
    assert [len(ids) for ids, _ in pieces] == [20, 20, 7, 15, 15, 15, 16, 2]
    assert [last for _, last in pieces] == [False, True, True, False, False, False, True, True]
    assert list(itertools.chain(*(ids for ids, _ in pieces))) == [i for n in (40, 7, 61, 2) for i in range(3, 3 + n)]
    for number, (ids, last) in enumerate(pieces):
        example = samples.example(number, rng(number))
        both = [*example.prompt, *example.program]
        assert len(example.prompt) <= 12 and len(example.program) <= 8
        whole = [*ids, END] if last else ids
        assert "".join(map(chr, both)) in "".join(map(chr, whole))


def test_a_pass_takes_every_piece_once_and_the_next_takes_them_in_another_order() -> None:
    pieces = dealt(SpanSamples(corpus(), 8, SENTINELS, END), 3, 0.0, 5)
    count = pieces.samples.total
    assert count == 14 and pieces.held_out == 0
    numbers = [example.key for n in range(count) for example in pieces.number(n)]  # 42 = three passes
    turns = [[int(key.split("/")[1]) for key in numbers[i : i + count]] for i in range(0, 3 * count, count)]
    assert all(Counter(turn) == Counter(range(count)) for turn in turns) and turns[0] != turns[1] != turns[2]
    assert [key.split("/")[0] for key in numbers] == ["0"] * count + ["1"] * count + ["2"] * count


def test_any_batch_can_be_made_alone_and_depends_on_the_seed() -> None:
    samples = next_samples(corpus(), 12, 8, END)
    one, other = dealt(samples, 3, 0.0, 1), dealt(samples, 3, 0.0, 1)
    behind = [one.number(n) for n in range(7)]
    assert other.number(6) == behind[6] and list(one.alone(2)) == [behind[2]]
    assert dealt(samples, 3, 0.0, 2).number(6) != behind[6]


def test_a_piece_that_is_twice_in_a_batch_has_two_prompts() -> None:
    """A batch larger than the corpus: both copies are masked in their own way, and collate keeps them apart."""
    pieces = dealt(SpanSamples(corpus(), 40, SENTINELS, END), 6, 0.0, 0)
    examples = pieces.number(0)
    assert pieces.samples.total == 2 and len(collate(examples, 0).prompts) == 6


def test_held_out_pieces_are_the_last_and_never_trained_on() -> None:
    pieces = dealt(SpanSamples(corpus(), 8, SENTINELS, END), 3, 0.3, 0)
    trained = {int(e.key.split("/")[1]) for n in range(20) for e in pieces.number(n)}
    held = [int(e.key.split("/")[1]) for batch in pieces.held(100) for e in batch]
    assert trained == set(range(10)) and held == [10, 11, 12, 13]
    assert [len(batch) for batch in pieces.held(100)] == [3, 1] and sum(map(len, pieces.held(2))) == 2
    assert pieces.held(100) == pieces.held(100)


def test_a_corpus_shorter_than_an_example_is_refused() -> None:
    with pytest.raises(DataError, match="the corpus is shorter than one example; take more code, or a smaller --block-tokens"):
        dealt(SpanSamples(corpus(), 1000, SENTINELS, END), 3, 0.1, 0)
