"""Critic sampling (CodeRL, Le et al., NeurIPS 2022, section 3.3.4 and Algorithm 1): which part of a program is kept, what is repaired, how a
round is dealt out.

The loop that calls these is `coderl.critic_sampling`; q̂ comes from `formulas.coderl.passed_probabilities`. The letters in brackets are the
choices that the paper leaves open, as docs/algorithms/critic-sampling.md lists them.
"""

from __future__ import annotations

from collections.abc import Sequence


def seed_length(passed: Sequence[float], threshold: float = 0.5, keep_cut: bool = False) -> int:
    """How many tokens of a program the actor goes on from: the prefix up to the best token score, cut where failing is likelier than passing.

        t_max = argmax_t q̂(w_t)                       q̂(w_t) = p_φ(PassedTest | w_{1:t}, D), eq. (11)
        t_cut = min { t <= t_max : p(FailedTest | w_{1:t}, D) > p(PassedTest | w_{1:t}, D) }
        seed  = w_{1:t_max}, or w_{1:t_cut - 1} where there is a t_cut

    With two outcomes p(failed) = 1 - p(passed), so the cut is at the first q̂ < 1/2; a critic of four outcomes counts all but passing as
    failing. Of equal scores the earliest token counts: more is written anew. [a] argmax, as the prose says (Algorithm 1 says "Sampling").
    [b] the first such token; it goes too, unless `keep_cut`.
    Differs from the paper: `threshold` may be another number than 1/2 (0 never cuts).

    Args:
        passed: length T, q̂ of each of the program's tokens, </s> not among them.
        threshold: q̂ below which a token is cut, 0 to 1.
        keep_cut: the token at the cut stays.

    Returns:
        0 to T tokens; 0 is plain regeneration.
    """
    if not passed:
        return 0
    best = max(range(len(passed)), key=passed.__getitem__)  # the first of equals
    for t in range(best + 1):
        if passed[t] < threshold:
            return t + keep_cut
    return best + 1


def surest_length(logprobs: Sequence[float]) -> int:
    """The control by log-probability: w_{1:t-1} with t = argmin_t log p_θ(w_t | w_{1:t-1}, D), what stands before the actor's least sure token.

    Not in the paper: what a seed is worth that needs no critic. Of equals the earliest counts.

    Args:
        logprobs: length T, of the program's tokens, </s> not among them.

    Returns:
        0 to T - 1 tokens (0 for an empty program).
    """
    return min(range(len(logprobs)), key=logprobs.__getitem__, default=0)


def turns(programs: int, parents: int) -> tuple[int, ...]:
    """Which parent each program of a round has: j mod P for j = 0..N-1, so every parent gets N / P programs.

    CodeRL: "each seed is stacked N/|P| times", and N/M repairs of each failed program. [e] Where P does not divide N the first
    N mod P parents get one more; with more parents than programs the last ones get none. In turns, so that a budget that ends in the
    middle of a round has treated the parents alike.

    Args:
        programs: N, 0 or more. parents: P, 1 or more.

    Returns:
        length N, numbers 0..P-1.
    """
    assert parents >= 1, f"parents is {parents}; a round needs at least one"
    return tuple(j % parents for j in range(programs))


def best(scores: Sequence[float], most: int) -> tuple[int, ...]:
    """The `most` highest scores, best first, of equals the earlier: R = top-M of q̂(W), eq. (12) and Algorithm 1. All, where there are fewer.

    Args:
        scores: q̂(W) = p_φ(PassedTest | W, D) of each failed program.
        most: M, 1 or more.

    Returns:
        places in `scores`, at most M.
    """
    assert most >= 1, f"most is {most}; it must be at least 1"
    return tuple(sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:most])
