import pytest

from coderl.evidence import negative_share, of_critic, of_samples
from coderl.examples import Judged
from coderl.records import Outcome, Program, TokenScores, Verdict
from coderl.tokens import Example

COMPILE, FAILED, PASSED = Outcome.COMPILE_ERROR, Outcome.FAILED_TEST, Outcome.PASSED_TEST


def judged(problem, *outcomes):
    return [Judged(Program(problem, "", i), Verdict(problem, i, outcome)) for i, outcome in enumerate(outcomes)]


def test_shares_of_samples_by_hand():
    # 6 programs: 1 compile error, 2 failed, 3 passed; of 3 problems one is never solved, one always, one in between
    found = of_samples([*judged("a", COMPILE, FAILED), *judged("b", PASSED, PASSED), *judged("c", FAILED, PASSED)])
    wanted = {"samples/compile_error": 1 / 6, "samples/failed_test": 2 / 6, "samples/passed_test": 3 / 6, "none_pass": 1 / 3, "all_pass": 1 / 3}
    assert found == pytest.approx({**wanted, "samples/runtime_error": 0})


def test_negative_share_by_hand():
    # |w|: 1 + 1 up, 0.5 + 0 + 1.5 down: 2 of 4
    assert negative_share([Example("a", (1,), (1, 2), (1.0, 1.0)), Example("b", (1,), (1, 2, 3), (-0.5, 0.0, -1.5))]) == 0.5
    assert negative_share([]) == 0 == negative_share([Example("a", (1,), (1,))])


def score(passed, outcome, predicted):
    return TokenScores("a", 0, ("x", "y"), (0.5, 0.5), (0.9, passed), predicted, outcome)


def test_a_critic_by_hand():
    # pairs (pass, other): (.8, .6) right, (.8, .2) right, (.4, .6) wrong, (.4, .2) right: AUC 3/4; two of four named; majority 2 of 4
    scores = [score(0.8, PASSED, PASSED), score(0.4, PASSED, FAILED), score(0.6, FAILED, FAILED), score(0.2, COMPILE, FAILED)]
    assert of_critic(scores) == {"critic/accuracy": 0.5, "critic/majority": 0.5, "critic/auc": 0.75}
    assert of_critic([score(0.5, PASSED, PASSED), score(0.5, FAILED, PASSED)])["critic/auc"] == 0.5  # a tie counts half
    assert "critic/auc" not in of_critic(scores[:2]) and of_critic([]) == {}
