"""Duplicates and near duplicates: the first is kept, and near is what the Jaccard similarity of five-word runs says."""

import random

from coderl.corpus.duplicates import SHINGLE, Seen, shingles

WORDS = [f"w{i}" for i in range(400)]


def text_of(seed: int, words: int = 300) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


def changed(text: str, count: int) -> str:
    """`count` words, evenly spread, replaced by others."""
    words = text.split()
    for i in range(count):
        words[(2 * i + 1) * len(words) // (2 * count)] = f"other{i}"
    return " ".join(words)


def jaccard(a: str, b: str) -> float:
    first, second = shingles(a), shingles(b)
    return len(first & second) / len(first | second)


def test_shingles_by_hand() -> None:
    assert shingles("if a: b(c)") == {"if a : b (", "a : b ( c", ": b ( c )"}
    assert shingles("too short") == set() and SHINGLE == 5


def test_equal_but_for_white_space_is_a_duplicate_even_when_near_ones_are_not_looked_for() -> None:
    for threshold in (0.0, 0.85):
        seen = Seen(threshold)
        assert seen.add("def f(a):\n    return a\n") is None
        assert seen.add("def f(a):\n  return  a") == "duplicate"
        assert seen.add("def f(b):\n    return b\n") is None
        assert seen.add("x") is None and seen.add("x") == "duplicate"  # shorter than a run of words


def test_near_is_decided_by_the_similarity() -> None:
    """40 documents: with 2 of 300 words changed the similarity is about 0.93, with 20 about 0.5; unrelated ones share nothing."""
    seen, near, far = Seen(0.85), [], []
    for seed in range(40):
        text = text_of(seed)
        assert seen.add(text) is None
        close, distant = changed(text, 2), changed(text, 20)
        assert jaccard(text, close) > 0.9 and jaccard(text, distant) < 0.6
        near.append(seen.add(close))
        far.append(seen.add(distant))
    assert near == ["near duplicate"] * 40 and far == [None] * 40


def test_without_a_threshold_near_ones_are_kept() -> None:
    seen, text = Seen(0.0), text_of(1)
    assert seen.add(text) is None and seen.add(changed(text, 1)) is None


def test_a_near_duplicate_is_not_remembered() -> None:
    """Else a chain of small changes would leave out everything: only kept documents are compared with."""
    seen, text = Seen(0.85), text_of(2)
    assert seen.add(text) is None
    assert seen.add(changed(text, 3)) == "near duplicate"
    assert seen.add(changed(text, 3)) == "near duplicate"  # again near, not a duplicate
