"""pass@k and n@k against hand-worked numbers, invariants and a slow enumeration over all subsets."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coderl.errors import CoderlError, UsageError
from coderl.formulas.passk import n_at_k, pass_at_k


def test_pass_at_k_by_hand() -> None:
    # n = 5, c = 2, k = 3: the 3 wrong ones fill a draw of 3 in C(3,3) = 1 of C(5,3) = 10 ways: 1 - 1/10.
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9, abs=1e-15)
    # n = 6, c = 3, k = 1: 3/6. n = 6, c = 1, k = 2: 1 - C(5,2)/C(6,2) = 1 - 10/15.
    np.testing.assert_allclose(pass_at_k([6, 6], [3, 1], 1), [0.5, 1 / 6], atol=1e-15)
    assert pass_at_k(6, 1, 2) == pytest.approx(1 / 3, abs=1e-15)


def test_pass_at_k_is_exactly_one_when_the_wrong_ones_cannot_fill_the_draw() -> None:
    assert pass_at_k([10, 10], [10, 8], 3).tolist() == [1.0, 1.0]
    assert pass_at_k([10], [0], 10).tolist() == [0.0]


@pytest.mark.parametrize(("n", "c", "k"), [(2, 0, 5), (2, 2, 3), (0, 0, 1)])
def test_more_tries_than_samples_is_an_error_and_never_one(n: int, c: int, k: int) -> None:
    with pytest.raises(CoderlError, match=rf"pass@{k} cannot be estimated from {n} samples"):
        pass_at_k([9, n], [1, c], k)


@pytest.mark.parametrize(("n", "c", "k"), [([3], [4], 1), ([3], [-1], 1), ([3], [1], 0), ([3.0], [1.0], 1), ([3, 3], [1], 1)])
def test_counts_that_cannot_be_are_refused(n: list[float], c: list[float], k: int) -> None:
    with pytest.raises(UsageError):
        pass_at_k(n, c, k)


def _enumerate_pass(n: int, c: int, k: int) -> Fraction:
    draws = list(combinations(range(n), k))  # samples 0..c-1 are correct
    return Fraction(sum(min(draw) < c for draw in draws), len(draws))


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_pass_at_k_equals_the_enumeration_over_subsets(case: tuple[int, int, int]) -> None:
    n, c, k = case
    assert pass_at_k(n, c, k) == pytest.approx(float(_enumerate_pass(n, c, k)), abs=1e-12)


def test_pass_at_k_grows_with_k_and_with_correct_samples() -> None:
    counts = np.arange(0, 21)
    table = np.array([pass_at_k(np.full(21, 20), counts, k) for k in range(1, 21)])
    assert (np.diff(table, axis=0) >= -1e-12).all() and (np.diff(table, axis=1) >= -1e-12).all()


def test_pass_at_k_is_unbiased() -> None:
    # Samples correct with p = 0.3, n = 6: the mean of the estimate over the binomial counts is 1 - (1 - p)^k exactly.
    from scipy.stats import binom

    counts = np.arange(7)
    for k in (1, 2, 6):
        mean = (binom.pmf(counts, 6, 0.3) * pass_at_k(np.full(7, 6), counts, k)).sum()
        assert mean == pytest.approx(1 - 0.7**k, abs=1e-12)


def test_thousands_of_samples_stay_accurate() -> None:
    # One correct of 1000: pass@k = k / 1000.
    np.testing.assert_allclose([pass_at_k(1000, 1, k) for k in (1, 200, 1000)], [0.001, 0.2, 1.0], rtol=1e-11)


def test_n_at_k_by_hand() -> None:
    # 4 samples, k = 2 drawn, n = 1 submitted; 2 survive the examples, one of them is correct; no other is correct.
    # Both drawn survive: 1 of 6 draws; one survives: 4 of 6; none: 1 of 6. Either way the submission is correct with 1/2.
    # strict = 5/6 * 1/2; the fallback submits a rejected one, which is wrong.
    result = n_at_k(4, 2, 1, 1, n=1, k=2)
    assert result.strict == pytest.approx(5 / 12, abs=1e-12) and result.fallback == pytest.approx(5 / 12, abs=1e-12)


def test_n_at_k_fallback_by_hand() -> None:
    # 4 samples, none survives, one is correct: strict 0; 2 of the k = 3 are submitted at random: C(3,2)/C(4,2) = 1/2 miss it.
    result = n_at_k(4, 0, 1, 0, n=2, k=3)
    assert result.strict == 0.0 and result.fallback == pytest.approx(0.5, abs=1e-12)


def test_fewer_survivors_than_submissions_submit_the_survivors_only() -> None:
    # 5 samples, all drawn; 1 survives and is wrong; the 4 rejected are correct but must not be used to fill up.
    assert n_at_k(5, 1, 4, 0, n=3, k=5).fallback == pytest.approx(0.0, abs=1e-12)


def test_without_a_filter_n_at_k_is_pass_at_n() -> None:
    total, correct = np.full(11, 10), np.arange(11)
    result = n_at_k(total, total, correct, correct, n=3, k=7)
    np.testing.assert_allclose(result.strict, pass_at_k(total, correct, 3), atol=1e-12)
    np.testing.assert_allclose(result.fallback, result.strict, atol=1e-12)


def test_a_perfect_filter_finds_what_is_there() -> None:
    # Survivors are exactly the correct ones: 1@k = P(at least one correct among k) = pass@k.
    total, correct = np.full(11, 10), np.arange(11)
    np.testing.assert_allclose(n_at_k(total, correct, correct, correct, n=1, k=4).strict, pass_at_k(total, correct, 4), atol=1e-12)


def _enumerate_n_at_k(total: int, e: int, c: int, h: int, n: int, k: int) -> tuple[float, float]:
    """All draws of k, all submissions of each draw; samples 0..e-1 survive, 0..h-1 and e..e+c-h-1 are correct."""
    correct = set(range(h)) | set(range(e, e + c - h))
    strict = fallback = Fraction(0)
    draws = list(combinations(range(total), k))
    for draw in draws:
        alive = [i for i in draw if i < e]
        pool = alive if alive else list(draw)
        choices = list(combinations(pool, min(n, len(pool))))
        solved = Fraction(sum(bool(correct & set(choice)) for choice in choices), len(choices))
        strict, fallback = strict + (solved if alive else 0), fallback + solved
    return float(strict / len(draws)), float(fallback / len(draws))


@st.composite
def _filter_counts(draw: st.DrawFn) -> tuple[int, int, int, int, int, int]:
    total = draw(st.integers(1, 7))
    e = draw(st.integers(0, total))
    h = draw(st.integers(0, e))
    c = h + draw(st.integers(0, total - e))
    k = draw(st.integers(1, total))
    return total, e, c, h, draw(st.integers(1, k)), k


@given(_filter_counts())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_n_at_k_equals_the_enumeration_over_draws_and_submissions(case: tuple[int, int, int, int, int, int]) -> None:
    total, e, c, h, n, k = case
    result = n_at_k(total, e, c, h, n=n, k=k)
    strict, fallback = _enumerate_n_at_k(total, e, c, h, n, k)
    assert result.strict == pytest.approx(strict, abs=1e-10) and result.fallback == pytest.approx(fallback, abs=1e-10)


def test_n_at_k_works_on_many_problems_at_once() -> None:
    cases = [(7, 3, 4, 2), (7, 0, 2, 0), (7, 7, 1, 1)]
    together = n_at_k(*np.array(cases).T, n=2, k=5)
    alone = [n_at_k(*case, n=2, k=5) for case in cases]
    np.testing.assert_allclose(together.strict, [float(r.strict) for r in alone], atol=1e-12)
    np.testing.assert_allclose(together.fallback, [float(r.fallback) for r in alone], atol=1e-12)


@pytest.mark.parametrize(
    ("counts", "n", "k", "words"),
    [
        ((5, 2, 1, 1), 3, 2, "n must be between 1 and k"),
        ((5, 2, 1, 1), 1, 6, "cannot be estimated from 5 samples"),
        ((5, 2, 1, 2), 1, 2, "counts that cannot be"),
        ((5, 4, 5, 1), 1, 2, "counts that cannot be"),
    ],
)
def test_n_at_k_refuses_what_cannot_be(counts: tuple[int, int, int, int], n: int, k: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        n_at_k(*counts, n=n, k=k)
