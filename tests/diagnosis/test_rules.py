"""Each rule on made-up numbers: what it takes for it to speak, and that a healthy run is left in peace."""

import pytest

from coderl.diagnosis.facts import Facts, Look
from coderl.diagnosis.rules import FAR, FEW, RULES, findings, harmed

START = Look(0, 0.30, {"compile_error": 0.20, "runtime_error": 0.10, "failed_test": 0.40, "passed_test": 0.30}, 33, 0.20, 0.0, 0.80)
BETTER = Look(200, 0.37, {"compile_error": 0.10, "runtime_error": 0.10, "failed_test": 0.43, "passed_test": 0.37}, 34, 0.17, 0.03, 0.78)
WORSE = Look(200, 0.08, {"compile_error": 0.60, "runtime_error": 0.12, "failed_test": 0.20, "passed_test": 0.08}, 36, 0.60, 0.40, 0.90)


def steps(**ends):
    """Ten lines of updates in which numbers go in a straight line from the first to the second of a pair."""
    return tuple({"step": 10 * (i + 1), "loss": 1.0, **{k: a + (b - a) * i / 9 for k, (a, b) in ends.items()}} for i in range(10))


HEALTHY = Facts(
    "finetune-coderl",
    config={"learning_rate": 5e-4, "epochs": 2.0, "negative_weight": 0.1, "scaled": True},
    problems=200,
    signal={"merged": 6000.0, "zero": 0.65, "negative": 0.12, "value": 0.3, "none_pass": 0.5, "all_pass": 0.1},
    looks=(START, START._replace(step=100, greedy=0.34, kl=0.01), BETTER),
    steps=steps(gradient_norm=(0.8, 0.6), gradient_clipped=(0.2, 0.1), loss_rl=(-0.1, -0.2), loss_ce=(0.2, 0.1)),
)
COLLAPSED = HEALTHY._replace(looks=(START, WORSE))
WITHOUT_KL = HEALTHY._replace(looks=(START, WORSE._replace(kl=None)))
RATE = "steps too large"


def named(facts):
    return {name for name, rule in RULES.items() if rule(facts)}


def test_a_healthy_run_has_no_findings():
    assert findings(HEALTHY) == [] and not harmed(HEALTHY)


def test_a_run_without_looks_has_none_that_need_them():
    assert findings(HEALTHY._replace(looks=())) == []
    assert named(HEALTHY._replace(looks=(), signal={"zero": 0.95})) == {"signal"}
    assert findings(Facts("nothing")) == []


SMALL = {"merged": 500.0, "zero": 0.65, "negative": 0.12}


@pytest.mark.parametrize(
    ("what", "facts", "expected"),
    [
        ("few programs an update", COLLAPSED._replace(signal=SMALL), {"steps too large"}),
        ("gradients cut", COLLAPSED._replace(steps=steps(gradient_clipped=(0.9, 0.9))), {"steps too large"}),
        (
            "gradients cut, no KL known, references unlearnt",
            WITHOUT_KL._replace(steps=steps(gradient_clipped=(0.9, 0.9), loss_ce=(0.1, 0.5))),
            {RATE},
        ),
        ("the same, references still learnt", WITHOUT_KL._replace(steps=steps(gradient_clipped=(0.9, 0.9), loss_ce=(0.1, 0.15))), set()),
        ("large batches that fell all the same", COLLAPSED, set()),
        ("few, but not far", COLLAPSED._replace(signal=SMALL, looks=(START, WORSE._replace(kl=FAR / 2))), set()),
        ("few, but it did not fall", HEALTHY._replace(signal=SMALL, looks=(START, BETTER._replace(kl=2 * FAR))), set()),
        ("full negative weight", COLLAPSED._replace(signal={**HEALTHY.signal, "negative": 0.6}), {"negative weights"}),
        (
            "the same behind a clipped ratio",
            COLLAPSED._replace(signal={**HEALTHY.signal, "negative": 0.6}, steps=steps(clipped=(0.1, 0.5))),
            set(),
        ),
        ("the same without harm", HEALTHY._replace(signal={**HEALTHY.signal, "negative": 0.6}), set()),
        ("entropy", HEALTHY._replace(looks=(START, BETTER._replace(entropy=0.08, distinct=0.5))), {"entropy"}),
        ("entropy alone", HEALTHY._replace(looks=(START, BETTER._replace(entropy=0.08))), set()),
        ("no signal", HEALTHY._replace(signal={**HEALTHY.signal, "zero": 0.9}), {"signal"}),
        ("all too hard", HEALTHY._replace(signal={**HEALTHY.signal, "none_pass": 0.9}), {"signal"}),
        ("a critic below the majority", HEALTHY._replace(signal={**HEALTHY.signal, "critic/accuracy": 0.4, "critic/majority": 0.5}), {"critic"}),
        (
            "a good critic",
            HEALTHY._replace(signal={**HEALTHY.signal, "critic/accuracy": 0.6, "critic/majority": 0.5, "critic/auc": 0.8}),
            set(),
        ),
        ("a coin", HEALTHY._replace(signal={**HEALTHY.signal, "critic/accuracy": 0.6, "critic/majority": 0.5, "critic/auc": 0.55}), {"critic"}),
        ("a critic's own run", Facts("train-critic", critic={"held_out/accuracy": 0.4, "held_out/majority": 0.5}), {"critic"}),
        ("references by heart", COLLAPSED._replace(steps=steps(loss_ce=(0.2, 0.005))), {"references"}),
        ("references not yet", COLLAPSED._replace(steps=steps(loss_ce=(0.2, 0.1))), set()),
        ("not moved", HEALTHY._replace(looks=(START, START._replace(step=200, kl=0.001))), {"steps too small"}),
        ("running on", HEALTHY._replace(looks=(START, BETTER._replace(length=60))), {"length"}),
    ],
)
def test_a_rule_speaks_when_its_numbers_do(what, facts, expected):
    assert named(facts) == expected, what


def test_valid_but_wrong():
    last = Look(200, 0.29, {"compile_error": 0.05, "runtime_error": 0.05, "failed_test": 0.61, "passed_test": 0.29}, 33, 0.2, 0.03, 0.8)
    (found,) = findings(HEALTHY._replace(looks=(START, last)))
    assert found.title == "Programs run now, but they are wrong" and not found.cause  # it did not fall by more than chance
    assert found.evidence == "programs that do not run: -20.0 points; failed tests: +21.0 points; passes: -1.0 points"
    assert named(HEALTHY._replace(looks=(START, last._replace(greedy=0.40)))) == set()  # it passes more as well: no drift


def test_a_warm_start_before_its_plateau_is_seen_from_both_sides():
    rising = tuple(Look(500 * i, g, {}) for i, g in enumerate((0.0, 0.1, 0.2, 0.3)))
    flat = tuple(Look(500 * i, g, {}) for i, g in enumerate((0.0, 0.28, 0.29, 0.3)))
    assert named(Facts("warm-start", looks=rising, problems=200)) == {"plateau of the warm start"} == named(HEALTHY._replace(origin=rising))
    assert named(Facts("warm-start", looks=flat, problems=200)) == set() == named(HEALTHY._replace(origin=flat))


def test_a_warm_start_that_over_fits():
    looks = tuple(Look(500 * i, g, {}) for i, g in enumerate((0.1, 0.4, 0.42, 0.3)))
    falling = tuple({"step": s, "loss": 1 / s} for s in range(1, 11))
    assert named(Facts("warm-start", looks=looks, steps=falling, problems=200)) == {"references"}


def test_the_rate_is_named_with_its_evidence_and_a_remedy():
    (found,) = findings(COLLAPSED._replace(signal=SMALL))
    assert found.cause and found.title == "The rate is too high for such small batches"
    assert f"0.40 nats a token from the start (more than {FAR} is far); about 5 programs in an update (fewer than {FEW} are few)" in found.evidence
    assert "peak rate 0.0005" in found.evidence and "--learning-rate" in found.advice


@pytest.mark.parametrize(("last", "cause"), [(-0.4, True), (0.1, False)])
def test_negative_weights_are_a_cause_where_the_loss_sank(last, cause):
    facts = COLLAPSED._replace(signal={**HEALTHY.signal, "negative": 0.6}, steps=steps(loss_rl=(0.2, last)))
    found = next(f for f in findings(facts) if "of the weight is negative" in f.evidence)
    assert found.cause is cause and ("has no floor" in found.evidence) is cause


def test_values_that_shrink_the_step_are_named():
    facts = HEALTHY._replace(looks=(START, START._replace(step=200, kl=0.001)), config={"scaled": False})
    (found,) = findings(facts)
    assert "token values of 0.30 on average shrink the step" in found.evidence and found.advice == "leave --no-scaled out"


def test_causes_come_first():
    both = COLLAPSED._replace(signal={**SMALL, "critic/accuracy": 0.4, "critic/majority": 0.5, "negative": 0.6})
    assert [f.cause for f in findings(both)] == [True, True, False]


def test_a_fall_that_nothing_explains_is_said_to_be_so():
    (found,) = findings(COLLAPSED)
    assert found.cause and "none of the rules says why" in found.title and "30.0 -> 8.0 %" in found.evidence


def test_a_fall_within_chance_is_no_fall():
    assert findings(HEALTHY._replace(looks=(START, BETTER._replace(greedy=0.27)))) == []
