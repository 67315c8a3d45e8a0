"""pass@k and n@k: the probability that a problem is solved, from counts of samples. Exact, no randomness, no files.

What is here: two expectations over a random choice of samples, per problem, vectorised over problems with numpy. What is not:
means over problems and their intervals (`evaluation.py`), running the tests (the judge).

Counts of one problem, all whole numbers:
    n  samples drawn               c  of these, correct on the hidden tests          0 <= c <= n
    e  of these, passing the example tests ("survivors")                             0 <= e <= n
    h  survivors that are correct                                                    0 <= h <= min(c, e), c - h <= n - e
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UsageError

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class NAtK(NamedTuple):
    """n@k per problem, under both answers to "what is submitted when no sample survives the filter?".

    Fields:
        strict: nothing is submitted, the problem counts as not solved; shape of the counts. The headline number of coderl.
        fallback: n of the k samples are submitted at random as if there were no filter; shape of the counts.
    """

    strict: Floats
    fallback: Floats


def pass_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Floats:
    """Probability that at least one of k samples, chosen at random without repetition from n, is correct.

        pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod_{i=0}^{k-1} (n - c - i) / (n - i)

    It is the unbiased estimator of 1 - (1 - p)^k for samples that are correct with probability p.
    Source: Chen et al. 2021 (Codex), equation (1), the estimator that CodeRL's README names.
    Differs from the released human-eval code: there k > n gives 1.0; here it is an error, for nothing can be said.

    Args:
        n: samples per problem, any shape.
        c: correct samples per problem, same shape.
        k: samples that may be tried, 1 or more.

    Returns:
        Probabilities, same shape as n (0-d for plain numbers).

    Raises:
        UsageError: k < 1, k > n for some problem, or counts that cannot be (c < 0, c > n).
    """
    total, correct = _counts(n, c)
    if k < 1:
        raise UsageError(f"pass@k asked for k = {k}; k must be 1 or more")
    _require(bool((correct >= 0).all() and (correct <= total).all()), "pass@k", n=total, c=correct)
    if total.size and k > total.min():
        raise UsageError(f"pass@{k} cannot be estimated from {total.min()} samples; draw at least {k} per problem or ask for k <= {total.min()}")
    return 1.0 - _all_wrong(total, correct, k)


def n_at_k(total: ArrayLike, survivors: ArrayLike, correct: ArrayLike, correct_survivors: ArrayLike, *, n: int, k: int) -> NAtK:
    """Probability that a problem is solved with n submissions out of k samples, filtered by the example tests.

    Of `total` (N) samples, k are drawn at random; those that pass the example tests survive; n of the survivors, chosen at
    random, are submitted (all of them when fewer than n survive). The problem is solved when one submission is correct.

    The number j of survivors among the k is hypergeometric, and given j the submissions are a uniformly random subset of all e
    survivors, of size min(n, j). Hence, with H(j) = C(e, j) C(N - e, k - j) / C(N, k),

        strict   = sum_{j=1}^{n-1} H(j) pass@j of (e, h)  +  P(J >= n) pass@n of (e, h)
        fallback = strict + H(0) pass@n of (N - e, c - h)

    Source: n@k of Li et al. 2022 (AlphaCode) and CodeRL section 4.1; the closed form is derived here, and neither paper says
    what is submitted when nothing survives (Chen et al. 2021, section 3.5, filters "if such solutions exist"), so both are given.

    Args:
        total: N, samples per problem, any shape.
        survivors: e, samples that pass the example tests, same shape. Without example tests every sample survives: e = N.
        correct: c, samples that are correct on the hidden tests, same shape.
        correct_survivors: h, samples that are both, same shape.
        n: submissions, 1 <= n <= k.
        k: samples that are drawn and filtered, k <= N for every problem.

    Raises:
        UsageError: n or k out of range, or counts that cannot be.
    """
    big_n, e, c, h = _counts(total, survivors, correct, correct_survivors)
    if not 1 <= n <= k:
        raise UsageError(f"n@k asked for {n}@{k}; n must be between 1 and k")
    possible = (e >= 0) & (e <= big_n) & (h >= 0) & (h <= e) & (h <= c) & (c - h <= big_n - e)
    _require(bool(possible.all()), "n@k", total=big_n, survivors=e, correct=c, correct_survivors=h)
    if big_n.size and k > big_n.min():
        raise UsageError(f"{n}@{k} cannot be estimated from {big_n.min()} samples; draw at least {k} per problem or ask for k <= {big_n.min()}")
    strict, wrong = np.zeros(big_n.shape), np.ones(big_n.shape)
    remaining = 1.0 - _hypergeometric(big_n, e, k, 0)  # P(at least j of the k survive)
    for j in range(1, n + 1):
        wrong = wrong * _next_wrong(e, h, j - 1)  # all of j submitted survivors are wrong
        exactly = _hypergeometric(big_n, e, k, j) if j < n else remaining
        strict += exactly * (1.0 - wrong)
        remaining = np.maximum(remaining - exactly, 0.0)
    return NAtK(strict, strict + _hypergeometric(big_n, e, k, 0) * (1.0 - _all_wrong(big_n - e, c - h, n)))


def _all_wrong(total: Counts, correct: Counts, k: int) -> Floats:
    """C(total - correct, k) / C(total, k): none of k drawn is correct; 0 where k > total."""
    wrong = np.ones(total.shape)
    for i in range(k):
        wrong = wrong * _next_wrong(total, correct, i)
    return wrong


def _next_wrong(total: Counts, correct: Counts, i: int) -> Floats:
    """After i wrong ones were drawn from `total`, the probability that the next is wrong too."""
    return np.maximum(total - correct - i, 0) / np.maximum(total - i, 1)


def _hypergeometric(total: Counts, marked: Counts, drawn: int, hits: int) -> Floats:
    """P(exactly `hits` of `drawn` are marked) when `marked` of `total` are; 0 where it cannot happen."""
    from scipy.stats import hypergeom  # takes a third of a second to import

    return np.asarray(hypergeom.pmf(hits, total, marked, drawn), dtype=np.float64)


def _counts(*values: ArrayLike) -> tuple[Counts, ...]:
    arrays = [np.asarray(value) for value in values]
    for array in arrays:
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise UsageError(f"counts must be whole numbers, found {array.dtype}")
    if len({array.shape for array in arrays}) != 1:
        raise UsageError(f"counts must have one shape, found {', '.join(str(array.shape) for array in arrays)}")
    return tuple(array.astype(np.int64) for array in arrays)


def _require(holds: bool, what: str, **counts: Counts) -> None:
    if not holds:
        seen = ", ".join(f"{name} = {array.tolist()}" for name, array in counts.items())
        raise UsageError(f"{what} got counts that cannot be: {seen[:200]}; see the module's list of what they mean")
