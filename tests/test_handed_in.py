"""n@all by a rule: the first n of the ranking that pass the examples, looked up among the hidden verdicts."""

import pytest

from coderl.errors import DataError
from coderl.handed_in import Ranked, by_rule
from coderl.records import Outcome, Verdict


def ranked(problem, order, passing, with_examples=True, rule="critic"):
    return Ranked(problem, tuple(sorted(order)), tuple(order), rule, passing, len(order), 10, ("sample",), "rounds", with_examples)


def verdicts(problem, right, count=4):
    return [Verdict(problem, i, Outcome.PASSED_TEST if i in right else Outcome.FAILED_TEST) for i in range(count)]


LINES = [
    ranked("a", [2, 0, 1], passing=2),  # right: 0, the second choice
    ranked("b", [1, 3], passing=1),  # right: 3, which fails the examples: never handed in
    ranked("c", [3, 2], passing=0, with_examples=False),  # right: 3, no filter
    ranked("d", [0], passing=0),  # nothing passes: nothing is handed in
]
VERDICTS = [*verdicts("a", {0}), *verdicts("b", {3}), *verdicts("c", {3}), *verdicts("d", {0})]


def test_by_hand():
    found = by_rule(LINES, VERDICTS, [1, 2], seed=0)
    assert found["rule"] == "critic" and found["problems"] == 4
    assert found["1@all"]["value"] == 0.25  # c
    assert found["2@all"]["value"] == 0.5  # a and c
    assert found["1@all"]["low"] <= 0.25 <= found["1@all"]["high"]


def test_what_is_handed_in_needs_a_verdict():
    with pytest.raises(DataError, match="program 2 of problem 'a' is handed in but has no verdict"):
        by_rule(LINES[:1], verdicts("a", {0}, count=2), [1], seed=0)


def test_one_rule_at_a_time():
    with pytest.raises(DataError, match="names 2 rules"):
        by_rule([LINES[0], ranked("b", [0], 1, rule="majority")], VERDICTS, [1], seed=0)


def test_the_record_reads_what_it_writes():
    assert Ranked.from_json(LINES[0].to_json()) == LINES[0]
