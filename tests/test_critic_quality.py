"""What a critic's quality says, on readings made by hand."""

import json
import math

import pytest

from coderl.critic_quality import POSITIONS, by_difficulty, quality, read
from coderl.examples import labelled_for
from coderl.scoring import Reading
from coderl.tokens import Example


def example(key: str, label: int, size: int = 4) -> Example:
    return Example(key, (5,), tuple(range(6, 6 + size)), label=label)


def reading(*probabilities: float, passed: tuple[float, ...] = (0.5, 0.5, 0.5, 0.5)) -> Reading:
    return Reading(passed, passed, probabilities)


def test_quality_by_hand():
    readings = [reading(0.1, 0.2, 0.3, 0.4), reading(0.7, 0.1, 0.1, 0.1), reading(0.1, 0.1, 0.6, 0.2), reading(0.1, 0.2, 0.4, 0.3)]
    found = quality(readings, [example("a", 3), example("a", 0), example("b", 2), example("c", 3)])
    assert found.accuracy == 0.75 and found.majority == 0.5
    assert (found.programs, found.problems, found.mixed) == (4, 3, 1)
    # p(passed): passing 0.4, 0.3; others 0.1, 0.2: every pair is in order, and in problem a, the only one with both, too
    assert found.auc == 1.0 and found.auc_within == 1.0
    # ((1 - 0.4)² + 0.1² + 0.2² + (1 - 0.3)²) / 4; gaps of the four, each alone in its bin: 0.6, 0.1, 0.2, 0.7
    assert found.brier == pytest.approx(0.9 / 4) and found.calibration_error == pytest.approx(1.6 / 4)
    # passing 0.1, 0.3; others 0.4, 0.2: of four pairs only 0.3 > 0.2 is in order; in problem a none is
    other = quality(readings, [example("a", 2), example("a", 3), example("b", 2), example("c", 3)])
    assert other.auc == 0.25 and other.auc_within == 0.0


def test_auc_by_position_takes_the_value_of_the_token_that_so_much_of_the_program_ends_with():
    # of 4 tokens: after 25 % the first, ... ; the first says nothing, the second is wrong, the third is half right, the last is right
    labels = [3, 2]
    passed = [(0.5, 0.1, 0.6, 0.9), (0.5, 0.8, 0.6, 0.2)]
    found = quality([reading(0, 0, 0, 1, passed=p) for p in passed], [example("a", label) for label in labels])
    assert found.auc_at == found.auc_within_at == (0.5, 0.0, 0.5, 1.0)
    assert [read(4, at) for at in POSITIONS] == [1, 2, 3, 4]
    assert [read(1, at) for at in POSITIONS] == [1, 1, 1, 1]
    assert [read(5, at) for at in POSITIONS] == [2, 3, 4, 5]


def test_two_outcomes():
    examples = labelled_for([example("a", 3), example("a", 1), example("a", 0)], 2)
    assert [e.label for e in examples] == [1, 0, 0]
    found = quality([reading(0.2, 0.8), reading(0.4, 0.6), reading(0.9, 0.1)], examples)
    assert found.accuracy == pytest.approx(2 / 3) and found.majority == pytest.approx(2 / 3) and found.auc == 1.0


def test_what_cannot_be_said_is_null_in_json_and_the_rest_is_there():
    found = quality([reading(0, 0, 0, 1)] * 2, [example("a", 3), example("b", 3)])
    assert math.isnan(found.auc) and math.isnan(found.auc_within_at[0])
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert data["auc"] is None and data["auc_at"] == {"25": None, "50": None, "75": None, "100": None} and data["accuracy"] == 1
    assert set(found.metrics("held_out")) >= {"held_out/accuracy", "held_out/majority", "held_out/auc", "held_out/auc_within_at_75"}
    assert quality([], []).programs == 0


def test_by_difficulty():
    examples = [example("a", 3), example("b", 3), example("b", 0), example("c", 3)]
    found = by_difficulty([reading(0, 0, 0, 1)] * 4, examples, {"a": "interview", "b": "introductory", "c": ""})
    assert list(found) == ["introductory", "interview", "unknown"]
    assert found["introductory"].accuracy == 0.5 and found["introductory"].programs == 2 and found["unknown"].accuracy == 1
