"""Advantages and spreads from records, by hand; merged or not; every algorithm fills the same array."""

from dataclasses import replace

import pytest
import torch

from coderl import signals
from coderl.errors import DataError
from coderl.examples import Judged, Limits
from coderl.records import Outcome, Problem, Program, TestResult, TokenScores, Verdict
from coderl.tokens import decode, train_tokenizer

TOKENIZER = train_tokenizer(["print(a + b)\nprint(c)\n", "Print the sum."] * 3, 270)
LIMITS = Limits(64, 32)
PROBLEMS = {name: Problem(name, "Print the sum.", "stdin") for name in "pq"}


def judged(problem, index, ids, outcome, **more):
    return Judged(Program(problem, decode(TOKENIZER, ids), index, extra={"token_ids": ids}), Verdict(problem, index, outcome, **more))


SAMPLES = [
    judged("p", 0, [10, 11, 2], Outcome.PASSED_TEST),
    judged("p", 1, [12, 2], Outcome.FAILED_TEST),
    judged("p", 2, [10, 11, 2], Outcome.PASSED_TEST),
    judged("q", 0, [13, 2], Outcome.COMPILE_ERROR),
]
BASELINE = [Verdict("p", 0, Outcome.FAILED_TEST), Verdict("q", 0, Outcome.PASSED_TEST)]


def scores(one, values, passed=None):
    made = TokenScores(
        one.program.problem, one.program.index, ("",) * len(values), tuple(values), tuple(passed or values), Outcome.FAILED_TEST, one.verdict.outcome
    )
    return (one.program.problem, one.program.index), made


SCORES = dict(scores(one, values) for one, values in zip(SAMPLES, [(0.5, 0.25, 1.0), (1.0, 1.0), (0.5, 0.25, 1.0), (0.1, 0.2)]))


def signal(advantages, spread=signals.evenly, samples=SAMPLES, **more):
    return signals.weighted(TOKENIZER, PROBLEMS, samples, advantages, spread, LIMITS, **more)


def by_key(found):
    return {(e.key, e.program): list(e.weights) for e in found.examples}


def test_over_greedy_by_hand():
    # p: greedy failed (-0.3): a pass weighs 1.3, a fail 0 (dropped); q: greedy passed (1): a compile error weighs -2.
    # mean size over tokens with a gradient: (1.3*3 + 1.3*3 + 2*2) / 8 = 1.475; the two equal passes are merged: 2.6 / 1.475.
    found = signal(signals.over_greedy(BASELINE, 1.0))
    assert found.scale == pytest.approx(1.475) and found.value == pytest.approx(1) and found.merged == 2
    assert found.zero == pytest.approx(0.25) and found.positive == pytest.approx(0.5) and found.programs == 4
    assert by_key(found)["p", (10, 11, 2)] == pytest.approx([2.6 / 1.475] * 3)
    assert by_key(found)["q", (13, 2)] == pytest.approx([-2 / 1.475] * 2)


def test_unscaled_weights_are_the_formulas_own():
    found = signal(signals.over_greedy(BASELINE, 1.0), scaled=False)
    assert found.scale == 1.0 and by_key(found)["q", (13, 2)] == pytest.approx([-2.0, -2.0])


def test_negative_advantages_can_be_tempered():
    # the compile error of q weighs -0.2 instead of -2; mean size (1.3*3 + 1.3*3 + 0.2*2) / 8 = 1.025
    found = signal(signals.over_greedy(BASELINE, 0.1))
    assert found.scale == pytest.approx(1.025) and by_key(found)["q", (13, 2)] == pytest.approx([-0.2 / 1.025] * 2)


def test_a_greedy_program_without_verdict_gives_no_advantage():
    gone = Verdict("q", 0, None, harness_error="the server is gone")
    found = signal(signals.over_greedy([BASELINE[0], gone], 1.0))
    assert {key for key, _ in by_key(found)} == {"p"} and found.zero == pytest.approx(0.5)


def test_the_critic_scales_tokens():
    found = signal(signals.over_greedy(BASELINE, 1.0), signals.by_critic(SCORES))
    assert found.value == pytest.approx((1.75 * 2 + 0.3) / 8)
    scale = (1.3 * 1.75 * 2 + 2 * 0.3) / 8
    assert by_key(found)["p", (10, 11, 2)] == pytest.approx([2.6 * 0.5 / scale, 2.6 * 0.25 / scale, 2.6 / scale])
    assert by_key(found)["q", (13, 2)] == pytest.approx([-0.2 / scale, -0.4 / scale])


def test_absolute_returns_and_linear_decay():
    found = signal(signals.absolute, signals.decaying, scaled=False)
    assert by_key(found)["p", (12, 2)] == pytest.approx([-0.3, -0.15])
    assert by_key(found)["p", (10, 11, 2)] == pytest.approx([2.0, 4 / 3, 2 / 3])


def test_other_samples_as_baseline():
    # p: returns 1, -0.3, 1: 1 - 0.35 = 0.65, -0.3 - 1 = -1.3, 0.65; q: alone
    assert signals.over_others(SAMPLES).tolist() == pytest.approx([0.65, -1.3, 0.65, 0.0])
    # mean 1.7 / 3, deviations 1.3 / 3, -2.6 / 3, 1.3 / 3, over std 1.3 sqrt(2) / 3: 1 / sqrt(2), -sqrt(2), 1 / sqrt(2)
    assert signals.over_group(SAMPLES).tolist() == pytest.approx([0.5**0.5, -(2**0.5), 0.5**0.5, 0.0], abs=1e-5)


def test_expert_iteration_keeps_what_passes():
    found = signal(signals.passing)
    assert by_key(found) == {("p", (10, 11, 2)): [2.0, 2.0, 2.0]} and found.zero == 0.5


def test_solutions_alone_weigh_what_they_are_better_by():
    # p: the greedy program fails, so each pass is 1 - (-0.3) better, times q̂; 3 more for being a solution; it is there twice. q: no solution
    found = signal(signals.over_greedy(BASELINE, 1.0), signals.by_critic(SCORES), scaled=False, solutions=3.0)
    assert by_key(found) == {("p", (10, 11, 2)): pytest.approx([2 * (3 + 1.3 * q) for q in (0.5, 0.25, 1.0)], abs=1e-5)}
    assert found.zero == 0.5 and found.value == pytest.approx((0.5 + 0.25 + 1.0) / 3, abs=1e-6)
    solved = [Verdict("p", 0, Outcome.PASSED_TEST), Verdict("q", 0, Outcome.PASSED_TEST)]  # then it is worth what a reference is
    assert by_key(signal(signals.over_greedy(solved, 1.0), scaled=False, solutions=1.0)) == {("p", (10, 11, 2)): [2.0, 2.0, 2.0]}


def test_changes_of_the_critics_mind():
    # p before: 2 of 3 samples of p pass. advantage 1.3: 1.3 * (0.5 - 2/3, 0.25 - 0.5, 1 - 0.25), twice as it is there twice
    found = signal(signals.over_greedy(BASELINE, 1.0), signals.by_changes(SCORES), scaled=False)
    assert by_key(found)["p", (10, 11, 2)] == pytest.approx([2.6 * (0.5 - 2 / 3), 2.6 * -0.25, 2.6 * 0.75], abs=1e-6)
    # q: no sample passes: 0.1 - 0, then 0 - 0.1, times 2
    assert by_key(found)["q", (13, 2)] == pytest.approx([0.2, -0.2], abs=1e-6)


TEXT = "a\nprint(a + b)\nb"
IDS = [*TOKENIZER.encode(TEXT, add_special_tokens=False), 2]


def test_the_line_of_the_error_is_penalised():
    # all tokens -1; those of line 2 get -0.3 * T / (E - S) on top
    one = judged("q", 0, IDS, Outcome.RUNTIME_ERROR, error_type="NameError", error_line=2)
    found = signal(lambda samples: torch.tensor([-1.0]), signals.on_error_line(TOKENIZER, PROBLEMS), [one], scaled=False)
    weights = torch.tensor(by_key(found)["q", tuple(IDS)])
    hit = [t for t in range(len(IDS)) if weights[t] < -1]
    assert decode(TOKENIZER, [IDS[t] for t in hit]).strip("\n") == "print(a + b)"
    assert weights[hit].tolist() == pytest.approx([-1 - 0.3 * len(IDS) / len(hit)] * len(hit))


@pytest.mark.parametrize(
    ("outcome", "more", "penalised"),
    [
        (Outcome.COMPILE_ERROR, {"error_type": "SyntaxError"}, True),
        (Outcome.RUNTIME_ERROR, {"error_type": "NameError", "error_line": 99}, False),
        (Outcome.RUNTIME_ERROR, {"error_type": "Timeout", "error_line": 2}, False),
        (Outcome.FAILED_TEST, {}, False),
        (Outcome.PASSED_TEST, {}, False),
    ],
)
def test_errors_without_a_place_penalise_everything_or_nothing(outcome, more, penalised):
    weights = signals.on_error_line(TOKENIZER, PROBLEMS)(
        judged("q", 0, IDS, outcome, **more), signal(lambda s: torch.ones(1), samples=[judged("q", 0, IDS, outcome)]).examples[0], 0.5
    )
    assert weights.tolist() == pytest.approx([0.5 - 0.3 if penalised else 0.5] * len(IDS))


def test_the_line_counts_from_the_programs_own_first_line():
    starter = Problem("s", "", "call", starter_code="def f():\n    '''help'''\n")
    one = judged("s", 0, IDS, Outcome.RUNTIME_ERROR, error_type="NameError", error_line=4)
    one = Judged(replace(one.program, extra={**one.program.extra, "completion": True}), one.verdict)
    found = signals.weighted(
        TOKENIZER, {"s": starter}, [one], lambda s: -torch.ones(1), signals.on_error_line(TOKENIZER, {"s": starter}), LIMITS, False
    )
    hit = [i for i, w in zip(IDS, found.examples[0].weights) if w < -1]
    assert decode(TOKENIZER, hit).strip("\n") == "print(a + b)"  # line 2 of the program, line 4 with its two starter lines


def test_a_program_like_the_greedy_one_still_has_the_penalty_of_its_error():
    both = [Verdict("q", 0, Outcome.RUNTIME_ERROR)]
    one = judged("q", 0, IDS, Outcome.RUNTIME_ERROR, error_type="NameError")
    found = signal(signals.over_greedy(both, 1.0), signals.on_error_line(TOKENIZER, PROBLEMS), [one], scaled=False)
    assert by_key(found)["q", tuple(IDS)] == pytest.approx([-0.3] * len(IDS)) and found.zero == 0 and found.value == 0


def test_the_share_of_tests_passed():
    tests = (TestResult(Outcome.PASSED_TEST), TestResult(Outcome.FAILED_TEST))
    half = judged("p", 1, [12, 2], Outcome.FAILED_TEST, passed=1, total=2, tests=tests)
    assert signals.pass_ratios([SAMPLES[0], half, SAMPLES[3]]).tolist() == pytest.approx([1.0, 0.35, -1.0])
    with pytest.raises(DataError, match="judged on 1 of 2 tests"):
        signals.pass_ratios([Judged(half.program, replace(half.verdict, tests=tests[1:]))])
    greedy = Verdict("p", 0, Outcome.FAILED_TEST, tests=(tests[1], tests[1]), passed=0, total=2)
    assert signals.over_greedy([greedy], 1.0, signals.pass_ratios)([half]).tolist() == pytest.approx([0.35 + 0.3])
    with pytest.raises(DataError, match="judged on 0 of 1 tests"):
        signals.over_greedy([replace(BASELINE[0], total=1)], 1.0, signals.pass_ratios)([half])


def test_missing_baseline_and_scores_are_named():
    with pytest.raises(DataError, match=r"'q' has sampled programs but no greedy verdict"):
        signal(signals.over_greedy(BASELINE[:1], 1.0))
    with pytest.raises(DataError, match="several verdicts of problem 'p'"):
        signal(signals.over_greedy([*BASELINE, BASELINE[0]], 1.0))
    with pytest.raises(DataError, match=r"program 0 of problem 'p' has 3 tokens but 1 scored"):
        signal(signals.passing, signals.by_critic(dict([scores(SAMPLES[0], (0.5,))])))
    with pytest.raises(DataError, match="tokens but none scored"):
        signal(signals.passing, signals.by_changes({}))
