"""Asserts turned into calls and checks: what is understood, what must run as code, and that verdicts are those of the asserts."""

import pytest

from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge
from coderl.sandbox.assertions import NotPlain, read_test


def asserted(judge: Judge, test: str, code: str, **fields: str) -> Verdict:
    problem = Problem(id="a", statement="", kind="assert", tests=(Test(code=test),), **fields)  # type: ignore[arg-type]
    return judge.grade(problem, [Program("a", code, 0)])[0]


UNDERSTOOD = [
    ("assert f(1, 'a') == [1, 'a']", "return [*x]", "return list(x)[::-1]"),
    ("assert f(1) == (1,)", "return x", "return [*x]"),
    ("assert f(2) == 2.0", "return x[0]", "return x[0] + 1e-9"),
    ("assert f(-1, 2 ** 3) == -1 * 8", "return x[0] * x[1]", "return 8"),
    ("assert f(1), 'message'", "return x", "return 0"),
    ("assert not f(1)", "return []", "return x"),
    ("assert f(1) is None", "return None", "return 0"),
    ("assert f(1) != 2 and f(3) in (3, 4) or f(5)", "return x[0]", "return 0"),
    ("assert abs(f(1) - 0.5) < 1e-6", "return 0.5000001", "return 0.50001"),
    ("import math\nassert math.isclose(f(1), 0.5, rel_tol=1e-3)", "return 0.5001", "return 0.51"),
    ("assert set(f(1)) == {1, 2}", "return [2, 1, 1]", "return [1]"),
    ("assert sorted(f(1)) == [1, 2]", "return {2, 1}", "return [1, 2, 2]"),
    ("assert list(f(1)) == [0, 1]", "return (n for n in range(2))", "return range(3)"),
    ("assert f(1)[0][-1] == 3", "return [[1, 3]]", "return [[3, 1]]"),
    ("assert 1 < f(1) <= 3 < f(f=2)", "return 4 if k else 2", "return 4"),
    ("assert f(f=1) == {'a': {1}}", "return {'a': {k['f']}}", "return {'a': [1]}"),
    ("assert len(f(1)) == 2; assert f(2) == 'ab'", "return 'ab'", "return 'cd'"),
    ("assert f([1, 2]) == g(3)", "return 6\ndef g(n): return 2 * n", "return 6\ndef g(n): return n"),
    ("assert f(1) == float('inf')", "return float('inf')", "return 1e300"),
    ("assert f(1)", "import re; return re.match('a', 'a')", "import re; return re.match('a', 'b')"),
]


@pytest.mark.parametrize(("test", "right", "wrong"), UNDERSTOOD, ids=[test for test, _, _ in UNDERSTOOD])
def test_an_assert_decides_outside_as_it_would_inside(judge: Judge, test: str, right: str, wrong: str) -> None:
    for body, outcome in ((right, Outcome.PASSED_TEST), (wrong, Outcome.FAILED_TEST)):
        code = f"def f(*x, **k):\n    {body}\n"
        verdict = asserted(judge, test, code)
        assert (verdict.outcome, verdict.trust) == (outcome, "parent"), verdict
        try:  # the same, the ordinary way (these programs are ours)
            exec(f"{code}\n{test}", {})
            expected = Outcome.PASSED_TEST
        except AssertionError:
            expected = Outcome.FAILED_TEST
        assert verdict.outcome is expected


NOT_UNDERSTOOD = [
    "for n in range(3):\n    assert f(n) == n",
    "x = 3\nassert f(x) == 3",
    "assert f(1).real == 1",
    "assert all(y == 1 for y in f(1))",
    "assert f(lambda: 1) == 1",
    "assert f(int) == 1",
    "assert f(1) == Node(2)",
    "assert '%s' % f(1) == '1'",
    "import os\nassert f(1) == 1",
    "def check(candidate):\n    for n in range(3):\n        assert candidate(n) == n",
]


@pytest.mark.parametrize("test", NOT_UNDERSTOOD, ids=NOT_UNDERSTOOD)
def test_other_code_is_not_guessed_at(test: str) -> None:
    with pytest.raises(NotPlain):
        checks = read_test(test, "f")
        checks[0].holds([1])


def test_check_functions_are_split_into_their_asserts(judge: Judge) -> None:
    test = (
        "METADATA = {}\ndef check(candidate):\n    '''doc'''\n    assert True, 'fine'\n    assert candidate(1) == 1\n    assert candidate(2) == 2\n"
    )
    verdict = asserted(judge, test, "def f(x):\n    return 1", entry_point="f")
    assert (verdict.passed, verdict.total, verdict.trust) == (1, 2, "parent")
    assert verdict.error_message == "test 2: assert candidate(2) == 2 does not hold; got 1"


def test_a_function_may_have_the_name_of_a_builtin(judge: Judge) -> None:
    code = "def sum(a, b):\n    return a * b"
    assert asserted(judge, "assert sum(3, 4) == 12", code).is_pass
    assert asserted(judge, "assert list(sum(3, [4])) == [4, 4, 4]", code, entry_point="sum").is_pass


def test_what_the_comparison_raises_is_a_runtime_error(judge: Judge) -> None:
    verdict = asserted(judge, "assert sorted(f(1)) == [1]", "def f(x):\n    return [1, 'a']")
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "TypeError")


@pytest.mark.parametrize("expression", ["f(1) * f(1) > 0", "f(1) ** f(1) > 0", "f(1) // f(1) > 0", "'a' * f(1) == ''", "f(1) % f(1) == 0"])
def test_a_giant_number_does_not_hang_the_judge(judge: Judge, expression: str) -> None:
    verdict = asserted(judge, f"assert {expression}", "def f(x):\n    return 1 << 8_000_000")
    assert verdict.outcome is Outcome.RUNTIME_ERROR


def test_colliding_numbers_do_not_hang_the_judge(judge: Judge) -> None:
    verdict = asserted(judge, "assert set(f(1)) == set()", "def f(x):\n    return [k * (2**61 - 1) for k in range(60_000)]")
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "ValueError")


CODE = "def check(candidate):\n    n = 0\n    while n < 3:\n        assert candidate(n) == n, 'wrong'\n        n += 1"
AS_CODE = [
    ("def f(n):\n    return n", Outcome.PASSED_TEST, None, None),
    ("def f(n):\n    return 0", Outcome.FAILED_TEST, None, None),
    ("def f(n):\n    return [][n]", Outcome.RUNTIME_ERROR, "IndexError", 2),
    ("def f(n):\n    assert n == 0\n    return n", Outcome.RUNTIME_ERROR, "AssertionError", 2),
    ("def g(n):\n    return n", Outcome.RUNTIME_ERROR, "MissingEntryPoint", None),
    ("def f(n):\n    while True: pass", Outcome.RUNTIME_ERROR, "Timeout", 2),
]


@pytest.mark.parametrize("way", ["checker", "child"])
@pytest.mark.parametrize(("code", "outcome", "kind", "line"), AS_CODE, ids=[f"{outcome}-{kind}" for _, outcome, kind, _ in AS_CODE])
def test_what_is_not_understood_runs_as_code_and_says_so(
    judge: Judge, code: str, outcome: Outcome, kind: str | None, line: int | None, way: str
) -> None:
    test = CODE if way == "checker" else f"class Mine: pass\n{CODE}"
    verdict = asserted(judge, test, code, entry_point="f")
    assert (verdict.outcome, verdict.error_type, verdict.error_line, verdict.trust) == (outcome, kind, line, way)


def test_setup_runs_before_tests_that_are_code(judge: Judge) -> None:
    code = "class Node:\n    def __init__(self, x):\n        self.x = x\ndef f(node):\n    return node.x"
    assert asserted(judge, "assert f(root) == 3", code, setup="root = Node(3)").is_pass
    assert asserted(judge, "import math\nassert f(math.pi) > 3", "def f(x):\n    return x", setup="import math").trust == "parent"


def test_a_check_that_calls_itself_is_called_once(judge: Judge) -> None:
    verdict = asserted(
        judge, f"{CODE}\ncheck(f)\n", "seen = []\ndef f(n):\n    seen.append(n)\n    return n if len(seen) < 4 else -1", entry_point="f"
    )
    assert verdict.is_pass
