"""What is noted of the material before an actor learns from it: numbers that diagnosis/ explains a run with. Goes into the line `stage: signal`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scipy.stats import mannwhitneyu

from .examples import Judged
from .records import OUTCOMES, Outcome, TokenScores
from .tokens import Example


def of_samples(judged: Sequence[Judged]) -> dict[str, float]:
    """Shares of what was sampled: `samples/<outcome>` of the programs, and of the problems `none_pass` (no sample passes) and `all_pass`."""
    groups: dict[str, list[bool]] = {}
    for program, verdict in judged:
        groups.setdefault(program.problem, []).append(verdict.is_pass)
    shares = {f"samples/{name}": sum(v.outcome is name for _, v in judged) / len(judged) for name in OUTCOMES}
    none, every = sum(not any(g) for g in groups.values()), sum(all(g) for g in groups.values())
    return {**shares, "none_pass": none / len(groups), "all_pass": every / len(groups)}


def negative_share(examples: Iterable[Example]) -> float:
    """Σ |w| over tokens of weight w < 0, over Σ |w| over all: how much of the signal pushes programs down. 0 without weights."""
    down = total = 0.0
    for example in examples:
        for weight in example.weights or ():
            total += abs(weight)
            down += max(0.0, -weight)
    return down / total if total else 0.0


def of_critic(scores: Iterable[TokenScores]) -> dict[str, float]:
    """How well a critic reads the programs that it gave values to, many of which it has learnt from.

    Returns:
        `critic/accuracy`: share of programs whose predicted outcome is the true one; `critic/majority`: what always naming the most
        frequent outcome would reach; `critic/auc`: chance that a passing program has the higher p(passed) at its last token, ties half;
        left out where all pass or none does.
    """
    counts = dict.fromkeys(OUTCOMES, 0)
    right = total = 0
    passing: list[float] = []
    others: list[float] = []
    for one in scores:
        total, right = total + 1, right + (one.predicted is one.outcome)
        counts[one.outcome] += 1
        if one.passed:
            (passing if one.outcome is Outcome.PASSED_TEST else others).append(one.passed[-1])
    if not total:
        return {}
    found = {"critic/accuracy": right / total, "critic/majority": max(counts.values()) / total}
    if passing and others:
        found["critic/auc"] = float(mannwhitneyu(passing, others).statistic) / (len(passing) * len(others))
    return found
