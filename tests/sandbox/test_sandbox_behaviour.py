"""Behaviours: equal tuples for programs that give the same, and errors are behaviour too."""

import pytest

from coderl.errors import ProblemError
from coderl.records import Problem, Program
from coderl.sandbox import Judge, behaviours


def programs(*codes):
    return [Program("p", code, i) for i, code in enumerate(codes)]


@pytest.fixture(scope="module")
def judge():
    with Judge(workers=1) as judge:
        yield judge


def test_programs_that_print_the_same_behave_the_same(judge):
    problem = Problem("p", "", "stdin")
    a, b, c, d, e = behaviours(
        judge,
        problem,
        programs("print(int(input()) * 2)", "n = int(input())\nprint(n + n)", "print(int(input()) ** 2)", "print(1 // (int(input()) - 2))", "x ="),
        ["2\n", "3\n"],
    )
    assert a == b and a != c and len(a) == 2
    assert a[0] == c[0]  # 2 * 2 = 2 ** 2
    assert d[0] == "runtime_error ZeroDivisionError" and len(set(d)) == 2
    assert e == ("compile_error SyntaxError",)


def test_return_values_are_compared_as_values_not_as_text(judge):
    problem = Problem("p", "", "call", entry_point="f")
    found = behaviours(judge, problem, programs("def f(n): return n", "def f(n): return str(n)", "def f(n):\n    m = n\n    return m"), [[4], [5]])
    assert found[0] == found[2] != found[1]


def test_tests_that_are_code_have_no_inputs(judge):
    with pytest.raises(ProblemError, match="kind assert"):
        behaviours(judge, Problem("p", "", "assert"), programs("f = 1"), [])
