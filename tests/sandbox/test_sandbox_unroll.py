"""Tests with loops and variables, unrolled: the same calls and the same verdicts as when Python runs them, decided outside."""

import random
from typing import Any

import pytest

from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge
from coderl.sandbox.assertions import NotPlain
from coderl.sandbox.codeplan import read

HELPERS = """import math

def double(x):
    '''twice'''
    y = x + x
    return y

def weighed(xs: list, x: float):
    return sum([double(c) * math.pow(x, i) for i, c in enumerate(xs) if c])

def f(*x, **k):
    '''to be written'''
"""
UNROLLED = [  # the test's check(), the body of a right program, that of a wrong one
    ("for n in range(3):\n    assert candidate(n) == n", "return x[0]", "return 1"),
    ("for a, b in [(1, 2), (3, 4)]:\n    assert candidate(a, b=b) == a + b, 'sum'", "return x[0] + k['b']", "return 3"),
    ("total = 0\nfor n in [1, 2]:\n    total = total + n\n    assert candidate(n) == total", "return x[0] * (x[0] + 1) // 2", "return x[0]"),
    ("xs = []\nfor n in range(4):\n    xs.append(n)\n    assert candidate(xs) == [y for y in xs if y]", "return x[0][1:]", "return x[0]"),
    ("got = candidate(3)\nassert got > 2 and got < 4", "return 3", "return 4"),
    ("a = candidate(1)\nb = candidate(2)\nassert a + b == candidate(3)", "return x[0]", "return 1"),
    (
        "for n in range(-2, 3):\n    if n < 0:\n        m = -n\n    else:\n        m = n\n    assert candidate(n) == m",
        "return abs(x[0])",
        "return x[0]",
    ),
    (
        "import random\nrng = random.Random(7)\nfor _ in range(9):\n    n = rng.randint(0, 99)\n    assert candidate(n) == n",
        "return x[0]",
        "return 5",
    ),
    (
        "from random import randint, choice\nimport string\nfor _ in range(20):\n"
        "    str = ''.join(choice(string.ascii_lowercase) for i in range(randint(1, 9)))\n"
        "    assert candidate(str) == str",
        "return x[0]",
        "return x[0][1:]",
    ),
    ("import copy\nxs = [1, 2]\nassert candidate(copy.deepcopy(xs)) == xs[::-1]", "return x[0][::-1]", "return x[0]"),
    ("for n in (1, 2):\n    assert abs(weighed([n, 0, 3], candidate(n))) > 1e-4", "return 1", "return float('nan')"),
    ("for n in range(5):\n    assert candidate(double(n)) == n", "return x[0] // 2", "return x[0]"),
    ("for n in range(2):\n    assert not candidate(n)", "return []", "return x"),
    ("got = candidate(1)\nassert [y + 1 for y in got] == [2, 3]", "return [1, 2]", "return [1]"),
]


def recorded(test: str, program: str) -> tuple[list[Any], bool]:
    """The calls that Python makes when it runs the test on this program of ours, and whether it passes."""
    space: dict[str, Any] = {}
    exec(f"{HELPERS}\n{program}\n{test}", space)
    calls = []

    def candidate(*arguments: Any, **named: Any) -> Any:
        calls.append(("f", [list(a) if isinstance(a, list) else a for a in arguments], named))
        return space["f"](*arguments, **named)

    random.seed(0)
    try:
        space["check"](candidate)
    except AssertionError:
        return calls, False
    return calls, True


def problem_of(body: str) -> Problem:
    code = "def check(candidate):\n    " + body.replace("\n", "\n    ")
    return Problem(id="a", statement="", kind="assert", tests=(Test(code=code),), entry_point="f", starter_code=HELPERS)


def verdict_of(judge: Judge, body: str, program: str) -> Verdict:
    return judge.grade(problem_of(body), [Program("a", program, 0)])[0]


@pytest.mark.parametrize(("body", "right", "wrong"), UNROLLED, ids=[body for body, _, _ in UNROLLED])
def test_an_unrolled_test_makes_the_calls_and_gives_the_verdict_that_python_does(judge: Judge, body: str, right: str, wrong: str) -> None:
    problem = problem_of(body)
    test = problem.tests[0].code
    assert test is not None
    for source, outcome in ((right, Outcome.PASSED_TEST), (wrong, Outcome.FAILED_TEST)):
        program = f"def f(*x, **k):\n    {source}\n"
        calls, passed = recorded(test, program)
        assert passed is (outcome is Outcome.PASSED_TEST)
        planned = [call for group in read(test, problem) for check in group for call in check.calls]
        assert planned[: len(calls)] == calls
        assert len(planned) == len(calls) or not passed
        verdict = verdict_of(judge, body, program)
        assert (verdict.outcome, verdict.trust) == (outcome, "parent"), verdict


NOT_UNROLLED = [
    "n = 0\nwhile n < 3:\n    assert candidate(n) == n\n    n += 1",
    "for y in candidate(1):\n    assert y == 1",
    "x = candidate(1)\nassert candidate(x) == 1",
    "x = candidate(1)\nif x:\n    assert candidate(2)",
    "x = candidate(1)\ny = x\nassert y == 1",
    "x = candidate(1)\nassert x == 1\nassert x != 2",
    "candidate(1)\nassert candidate(2) == 1",
    "assert candidate(1) == 1\nx = candidate(2)",
    "assert all(candidate(n) == n for n in range(3))",
    "assert [candidate(n) for n in range(3)] == [0, 1, 2]",
    "assert (candidate(1) if True else candidate(2)) == 1",
    "assert candidate(1) == unknown(1)",
    "assert candidate(eval('1')) == 1",
    "assert candidate(().__class__) == 1",
    "x = [1]\nassert candidate(x.pop()) == 1",
    "assert candidate(1).upper() == 'A'",
    "import os\nassert candidate(os.getpid()) == 1",
    "from random import random\nassert candidate(random()) == 1",
    "from random import randint\nassert candidate(1) == randint(1, 2)",
    "def g(n):\n    return n\nassert candidate(g(1)) == 1",
    "for n in range(10**9):\n    assert candidate(n) == n",
    "for n in range(90_000):\n    x = n\nassert candidate(x) == 1",
    "s = 'a'\nfor n in range(60):\n    s = s + s\nassert candidate(s) == 1",
    "s = 'a'\nfor n in range(60):\n    s = ''.join([s, s])\nassert candidate(s) == 1",
    "x = [1]\nfor n in range(60):\n    x = [x, x]\nassert candidate(x) == 1",
    "x = [1]\nfor n in range(60):\n    x = list(zip(x, x))\nassert candidate(x) == 1",
    "x = [1]\nfor n in range(60):\n    x.append(x)\nassert candidate(x) == 1",
    "x = 2\nfor n in range(60):\n    x = x * x\nassert candidate(x) == 1",
    "for n in range(3):\n    assert candidate(n / 0) == 1",
    "for n in range(3):\n    assert candidate(n) == n\n    break",
]


@pytest.mark.parametrize("body", NOT_UNROLLED, ids=NOT_UNROLLED)
def test_what_depends_on_the_program_or_is_not_understood_is_not_unrolled(body: str) -> None:
    problem = problem_of(body)
    assert problem.tests[0].code is not None
    with pytest.raises(NotPlain):
        read(problem.tests[0].code, problem)


def test_draws_are_those_of_a_test_that_runs_in_a_sandbox_process(judge: Judge) -> None:
    expected = random.Random(0).randint(0, 10**9)
    body = f"from random import randint\nn = 0\nwhile n < 1:\n    assert candidate(randint(0, 10**9)) == {expected}\n    n += 1"
    verdict = verdict_of(judge, body, "def f(n):\n    return n")
    assert (verdict.trust, verdict.outcome) == ("checker", Outcome.PASSED_TEST)


def test_the_calls_of_a_loop_are_one_test_with_one_time_limit(judge: Judge) -> None:
    verdict = verdict_of(judge, "for n in range(50):\n    assert candidate(n) == n", "def f(n):\n    while n > 2: pass\n    return n")
    assert (verdict.outcome, verdict.error_type, verdict.total) == (Outcome.RUNTIME_ERROR, "Timeout", 1)
    assert verdict.cpu_seconds < 1.5 * judge.limits.cpu_seconds + 0.5


def test_the_message_says_which_call_of_the_loop_was_wrong(judge: Judge) -> None:
    verdict = verdict_of(judge, "for n in range(5):\n    assert candidate(n) == n", "def f(n):\n    return min(n, 3)")
    assert verdict.error_message == "test 1: assert candidate(n) == n does not hold; got 3"


def test_a_result_that_the_check_cannot_take_is_the_programs_error(judge: Judge) -> None:
    verdict = verdict_of(judge, "for n in range(1, 3):\n    assert weighed([n], candidate(n)) > 0", "def f(n):\n    return 'a'")
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "TypeError")


@pytest.mark.parametrize("result", ["1 << 8_000_000", "'a' * 8_000_000", "list(range(1_500_000))"])
def test_a_giant_result_does_not_hang_the_judge(judge: Judge, result: str) -> None:
    loops = "sum([y * y for y in range(got)] if n < 0 else [y for y in got])"
    body = f"for n in range(1, 3):\n    got = candidate(n)\n    assert {loops} * got * got == 1"
    verdict = verdict_of(judge, body, f"def f(n):\n    return {result}")
    assert verdict.outcome is Outcome.RUNTIME_ERROR


def test_a_program_cannot_replace_the_helpers_of_the_problem(judge: Judge) -> None:
    body = "for n in range(1, 5):\n    assert candidate(double(n)) == n"
    assert verdict_of(judge, body, "def double(x):\n    return 0\ndef f(x):\n    return 0").outcome is Outcome.FAILED_TEST
