import itertools
import math

import pytest
import torch

from coderl.formulas.prediction import area_under_roc, area_under_roc_within, brier_score, calibration_error


def draw(size: int, seed: int = 0):
    """Scores with ties, and which of them are positive."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(8, (size,), generator=generator) / 8
    return scores, torch.rand(size, generator=generator) < scores


# ---- area_under_roc


def test_area_under_roc_by_hand():
    # positives 0.9, 0.4; negatives 0.5, 0.4: pairs 0.9 > 0.5, 0.9 > 0.4, 0.4 < 0.5, 0.4 = 0.4: (1 + 1 + 0 + 1/2) / 4
    assert area_under_roc(torch.tensor([0.9, 0.5, 0.4, 0.4]), torch.tensor([True, False, True, False])) == pytest.approx(2.5 / 4)
    assert math.isnan(area_under_roc(torch.tensor([0.1, 0.2]), torch.tensor([True, True])))
    assert math.isnan(area_under_roc(torch.tensor([]), torch.tensor([], dtype=torch.bool)))


def test_area_under_roc_is_a_count_of_pairs():
    scores, positive = draw(60)
    pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(scores[positive].tolist(), scores[~positive].tolist())]
    assert area_under_roc(scores, positive) == pytest.approx(sum(pairs) / len(pairs))


def test_a_monotone_change_of_the_scores_changes_nothing_and_their_opposite_mirrors_it():
    scores, positive = draw(60)
    area = area_under_roc(scores, positive)
    assert area_under_roc(scores.exp() * 3 - 7, positive) == pytest.approx(area)
    assert area_under_roc(-scores, positive) == area_under_roc(scores, ~positive) == pytest.approx(1 - area)


# ---- area_under_roc_within


def test_within_groups_by_hand():
    # group 4: 0.2 positive under 0.3 negative: 0; group 7: 0.9 over 0.8 and 0.1: 1; group 2: positives only, left out. Mean 1/2 of two
    scores = torch.tensor([0.2, 0.9, 0.3, 0.8, 0.1, 0.5])
    positive = torch.tensor([True, True, False, False, False, True])
    found = area_under_roc_within(scores, positive, torch.tensor([4, 7, 4, 7, 7, 2]))
    assert found == (0.5, 2)


def test_knowing_only_which_groups_are_easy_ranks_nothing_within_them():
    groups = torch.arange(90) % 9
    positive = torch.rand(90, generator=torch.Generator().manual_seed(0)) < groups / 9
    assert area_under_roc((groups / 9).float(), positive) > 0.7
    assert area_under_roc_within((groups / 9).float(), positive, groups).auc == 0.5


def test_within_groups_is_a_loop_whatever_the_order():
    scores, positive = draw(100)
    groups = torch.randint(30, (100,), generator=torch.Generator().manual_seed(5))
    areas = [area_under_roc(scores[groups == g], positive[groups == g]) for g in range(30)]
    known = [area for area in areas if not math.isnan(area)]
    assert 5 < len(known) < 30
    order = torch.randperm(100, generator=torch.Generator().manual_seed(6))
    for found in (area_under_roc_within(scores, positive, groups), area_under_roc_within(scores[order], positive[order], groups[order])):
        assert found.groups == len(known) and found.auc == pytest.approx(sum(known) / len(known))


def test_no_group_with_both_kinds():
    found = area_under_roc_within(torch.tensor([0.1, 0.2]), torch.tensor([True, False]), torch.tensor([0, 1]))
    assert math.isnan(found.auc) and found.groups == 0
    assert area_under_roc_within(torch.tensor([]), torch.tensor([], dtype=torch.bool), torch.tensor([], dtype=torch.long)).groups == 0


# ---- brier_score


def test_brier_score_by_hand():
    # (1 - 0.8)² = 0.04, (0.4 - 0)² = 0.16: mean 0.1
    assert brier_score(torch.tensor([0.8, 0.4]), torch.tensor([True, False])) == pytest.approx(0.1)


def test_always_saying_the_share_gives_the_variance_and_a_loop_agrees():
    scores, positive = draw(50)
    share = positive.double().mean()
    assert brier_score(share.expand(50), positive) == pytest.approx(float(share * (1 - share)))
    assert brier_score(scores, positive) == pytest.approx(sum((s - y) ** 2 for s, y in zip(scores.tolist(), positive.tolist())) / 50)


# ---- calibration_error


def test_calibration_error_by_hand():
    # bin [0.8, 0.9): 0.8 and 0.85, one positive: |0.825 - 0.5| = 0.325, weight 2/3; bin [0.2, 0.3): 0.2, none: 0.2, weight 1/3
    found = calibration_error(torch.tensor([0.8, 0.85, 0.2], dtype=torch.float64), torch.tensor([True, False, False]))
    assert found == pytest.approx(0.325 * 2 / 3 + 0.2 / 3)
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([True, False])) == 0
    assert calibration_error(torch.tensor([1.0, 0.0]), torch.tensor([False, True])) == 1


def test_calibration_error_is_a_loop_over_bins():
    p, positive = torch.rand(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64), draw(200)[1]
    expected = 0.0
    for b in range(5):
        inside = (p >= b / 5) & (p < (b + 1) / 5)
        expected += int(inside.sum()) / 200 * abs(float(p[inside].mean()) - float(positive[inside].double().mean()))
    assert calibration_error(p, positive, bins=5) == pytest.approx(expected)


def test_a_forecast_that_means_what_it_says_has_hardly_any_error():
    p = torch.rand(50_000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    positive = torch.rand(50_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64) < p
    assert calibration_error(p, positive) < 0.015
    assert calibration_error(p.sqrt(), positive) > 0.1  # the same ranking, boasting
    assert brier_score(p, positive) < brier_score(p.sqrt(), positive)


@pytest.mark.parametrize("function", [area_under_roc, brier_score, calibration_error])
def test_wrong_shapes_are_turned_away_at_the_door(function):
    with pytest.raises(AssertionError):
        function(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(AssertionError):
        function(torch.ones(3), torch.ones(2, dtype=torch.bool))
