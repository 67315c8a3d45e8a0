"""How good predicted probabilities of yes-or-no events are: how well they rank (area under the ROC curve), and whether they are to be believed.

For a critic the event is "the program passes". Ranking is what a search or a policy gradient lives on; calibration is what a threshold
(critic sampling cuts at p = 0.5) and the scale of token weights live on. Nothing here knows of critics.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor


def area_under_roc(scores: Tensor, positive: Tensor) -> float:
    """P(s⁺ > s⁻) + P(s⁺ = s⁻) / 2 for a random positive and a random negative: (R⁺ - n⁺(n⁺ + 1) / 2) / (n⁺ n⁻), R⁺ the sum of the positives'
    ranks, ties given their mean rank. Hanley and McNeil 1982; Mann and Whitney's U over n⁺ n⁻.

    0.5 is chance, 1 a perfect ranking; no monotone change of the scores changes it.

    Args:
        scores: (N,) float.
        positive: (N,) bool.

    Returns:
        from 0 to 1; NaN when there is only one kind.
    """
    assert scores.ndim == 1 and positive.shape == scores.shape and positive.dtype == torch.bool, "scores (N,), positive (N,) bool"
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return math.nan
    ranks = rankdata(scores.numpy())
    return float((ranks[positive.numpy()].sum() - yes * (yes + 1) / 2) / (yes * no))


class Within(NamedTuple):
    """A mean over groups that have both kinds: `auc` (NaN without such groups), and how many `groups` that is."""

    auc: float
    groups: int


def area_under_roc_within(scores: Tensor, positive: Tensor, groups: Tensor) -> Within:
    """The mean over groups of `area_under_roc` inside the group; groups of one kind say nothing and are left out.

    With problems as groups: how well programs of the *same* problem are ranked, the difficulty of problems taken out. Each group
    counts the same, however many programs it has.

    Args:
        scores: (N,) float.
        positive: (N,) bool.
        groups: (N,) int, equal for members of a group.
    """
    assert groups.shape == scores.shape, f"scores {tuple(scores.shape)} and groups {tuple(groups.shape)} must be (N,)"
    order = np.argsort(groups.numpy(), kind="stable")
    borders = np.flatnonzero(np.diff(groups.numpy()[order])) + 1
    members = [torch.from_numpy(part) for part in np.split(order, borders)] if len(order) else []
    found = [area_under_roc(scores[part], positive[part]) for part in members]
    known = [auc for auc in found if not math.isnan(auc)]
    return Within(sum(known) / len(known) if known else math.nan, len(known))


def brier_score(probabilities: Tensor, positive: Tensor) -> float:
    """(1/N) Σ (p_i - y_i)², y = 1 for a positive and 0 otherwise. Brier 1950 (his sum over both classes is twice this).

    Lower is better; always saying the share of positives, s, gives s (1 - s).

    Args:
        probabilities: (N,) float in [0, 1].
        positive: (N,) bool.

    Returns:
        from 0 to 1; NaN when N is 0.
    """
    assert probabilities.ndim == 1 and positive.shape == probabilities.shape, "probabilities (N,), positive (N,) bool"
    return float((probabilities.double() - positive.double()).square().mean())


def calibration_error(probabilities: Tensor, positive: Tensor, bins: int = 10) -> float:
    """ECE = Σ_b (n_b / N) |mean of p in b - share of positives in b|, b the `bins` equal intervals of [0, 1]. Guo et al. 2017 eq. (3).

    Guo et al. take the probability of the predicted class; here it is that of the one event asked for. 0 is perfect, and also what
    always saying the share of positives reaches: read it beside the Brier score.

    Args:
        probabilities: (N,) float in [0, 1]; 1 belongs to the last bin.
        positive: (N,) bool.

    Returns:
        from 0 to 1; NaN when N is 0.
    """
    assert probabilities.ndim == 1 and positive.shape == probabilities.shape, "probabilities (N,), positive (N,) bool"
    if not len(probabilities):
        return math.nan
    p, y = probabilities.double(), positive.double()
    bin_of = (p * bins).long().clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64).index_add_(0, bin_of, p - y)  # n_b (mean p - share), by bin
    return float(gaps.abs().sum() / len(p))
