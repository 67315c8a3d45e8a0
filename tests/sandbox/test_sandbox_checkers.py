"""Problems with several right answers: their own checker function decides, in a process of its own."""

from typing import Any

import pytest

from coderl.errors import DataError, ProblemError
from coderl.problems import jsonl
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge
from coderl.store import write_records

SPLIT = "def check(input, expected, got):\n    return len(got) == 2 and sum(got) == input[0]"
LINES = "def check(input, expected, got):\n    a, b = map(int, got.split())\n    return a + b == int(input)"


def call_problem(checker: str = SPLIT, **fields: Any) -> Problem:
    tests = (Test(input=[4], output=[2, 2]), Test(input=[7], output=[3, 4]))
    return Problem(id="split", statement="", kind="call", entry_point="f", tests=tests, comparator="checker", extra={"checker": checker}, **fields)


def text_problem(checker: str = LINES) -> Problem:
    return Problem(
        id="split", statement="", kind="stdin", tests=(Test(input="4\n", output="2 2\n"),), comparator="checker", extra={"checker": checker}
    )


def one(judge: Judge, problem: Problem, code: str, **options: Any) -> Verdict:
    return judge.grade(problem, [Program("split", code, 0)], **options)[0]


@pytest.mark.parametrize("body", ["[x // 2, x - x // 2]", "[1, x - 1]", "(0, x)", "[x + 5, -5]"])
def test_every_answer_that_the_checker_accepts_passes(judge: Judge, body: str) -> None:
    verdict = one(judge, call_problem(), f"def f(x):\n    return {body}")
    assert (verdict.outcome, verdict.passed, verdict.comparator, verdict.trust) == (Outcome.PASSED_TEST, 2, "checker", "checker")


def test_text_is_checked_too(judge: Judge) -> None:
    assert one(judge, text_problem(), "n = int(input())\nprint(n - 1)\nprint(1)").is_pass
    verdict = one(judge, text_problem(), "print(3, 3)")
    assert (verdict.outcome, verdict.error_message) == (Outcome.FAILED_TEST, "test 1: the checker does not accept it")


REFUSED = {
    "wrong": ("[x, x]", "does not accept"),
    "not of the form it knows": ("[x, 'a']", "TypeError"),
    "one": ("1", "TypeError"),
    "deep": ("__import__('functools').reduce(lambda a, _: [a], range(199), [])", "nested too deeply"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_checker_refuses_or_stumbles_over_is_a_failed_test(judge: Judge, name: str) -> None:
    body, words = REFUSED[name]
    verdict = one(judge, call_problem(), f"def f(x):\n    return {body}")
    assert (verdict.outcome, len(verdict.tests)) == (Outcome.FAILED_TEST, 2)
    assert verdict.error_message is not None and words in verdict.error_message


CARELESS = {
    "loops": ("    while got == [0, 4]: pass\n    return True", "Timeout"),
    "dies": ("    import os\n    os._exit(0)", "Exit"),
    "crashes": ("    import ctypes\n    ctypes.string_at(0)", "Killed"),
    "says something": ("    return 1", "does not accept"),
    "says nothing": ("    pass", "does not accept"),
    "raises": ("    raise ValueError('no')", "ValueError: no"),
}


@pytest.mark.parametrize("name", CARELESS)
def test_a_checker_that_does_not_say_true_has_not_accepted(lonely: Judge, name: str) -> None:
    body, words = CARELESS[name]
    verdict = one(lonely, call_problem(f"def check(input, expected, got):\n{body}"), "def f(x):\n    return [0, x]")
    assert verdict.outcome is Outcome.FAILED_TEST and verdict.tests[0].outcome is Outcome.FAILED_TEST
    assert verdict.error_message is not None and words in verdict.error_message
    assert len(verdict.tests) == 2  # a fresh checker goes on with the next test
    assert one(lonely, call_problem(), "def f(x):\n    return [0, x]").is_pass


def test_a_programs_own_failure_is_told_before_the_checker_is_asked(judge: Judge) -> None:
    assert one(judge, call_problem(), "def f(x):\n    return 1 / 0").error_type == "ZeroDivisionError"
    assert one(judge, call_problem(), "def f(x):\n    return object()").error_type == "UnsupportedResult"
    assert one(judge, text_problem(), "print(").outcome is Outcome.COMPILE_ERROR
    assert len(one(judge, call_problem(), "def f(x):\n    return [x, x]", stop_at_first_failure=True).tests) == 1


def test_a_program_does_not_reach_the_checker(lonely: Judge) -> None:
    """What it defines, in builtins or in the modules, stays in its own process."""
    code = "import builtins, sys\nbuiltins.sum = lambda x: 4\nsys.modules['program'].check = lambda *a: True\n"
    assert one(lonely, call_problem(), f"{code}def check(*a):\n    return True\ndef f(x):\n    return [9, 9]").outcome is Outcome.FAILED_TEST


def test_a_checker_that_does_not_load_gives_no_verdict(judge: Judge) -> None:
    verdict = one(judge, call_problem("import nowhere\n" + SPLIT), "def f(x):\n    return [0, x]")
    assert verdict.outcome is None and verdict.harness_error is not None and "nowhere" in verdict.harness_error


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (Problem(id="x", statement="", kind="stdin", tests=(Test(input="", output=""),), comparator="checker"), "no function check"),
        (call_problem("def chek(a, b, c): return True"), "no function check"),
        (call_problem("def check("), "not Python"),
        (Problem(id="x", statement="", kind="assert", tests=(Test(code="assert f()"),), comparator="checker"), "kind assert"),
    ],
    ids=["none", "another name", "not Python", "assert"],
)
def test_a_problem_without_a_usable_checker_is_named(judge: Judge, problem: Problem, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        judge.check(problem)


def test_the_field_survives_a_file(judge: Judge, tmp_path: Any) -> None:
    write_records(tmp_path / "p.jsonl", [call_problem(solutions=("def f(x):\n    return [0, x]",))])
    (problem,) = jsonl.load(tmp_path / "p.jsonl")
    assert one(judge, problem, problem.solutions[0]).is_pass
    write_records(tmp_path / "q.jsonl", [Problem(id="x", statement="", kind="stdin", tests=(Test(input="", output=""),), comparator="chequer")])
    with pytest.raises(DataError, match="checker"):
        jsonl.load(tmp_path / "q.jsonl")
