"""A program that does not compile has run nothing: its process may take the next program. That must not be seen in any verdict."""

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from attack_tools import processes

from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits

SUM = Problem(id="sum", statement="", kind="stdin", tests=(Test(input="1 2\n", output="3\n"), Test(input="4 5\n", output="9\n")))
ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
FUNCTION = Problem(id="f", statement="", kind="call", entry_point="f", tests=(Test(input=[1], output=2),))
REFUSED = "x = 1\ny = ("


@pytest.fixture(scope="module")
def keeper() -> Iterator[Judge]:
    """One worker, so that programs follow each other in one fork server."""
    with Judge(1, Limits(cpu_seconds=0.5, wall_factor=20.0, memory_mib=256)) as judge:
        judge.grade(SUM, [Program("sum", ADD)])
        yield judge


def graded(judge: Judge, pairs: list[tuple[Problem, str]], stop: bool = True) -> list[Verdict]:
    return list(judge.grade_many([(p, Program(p.id, code, n)) for n, (p, code) in enumerate(pairs)], stop_at_first_failure=stop))


def told(verdict: Verdict) -> Verdict:
    """Without its times."""
    return replace(verdict, cpu_seconds=0.0, tests=tuple(replace(test, cpu_seconds=0.0) for test in verdict.tests))


def marked(code: str, number: int) -> str:
    """Another text that means the same: the same text is run once."""
    return f"{code}\n# {number}"


@pytest.mark.parametrize("stop", [True, False])
def test_verdicts_are_those_of_programs_judged_one_by_one(keeper: Judge, stop: bool) -> None:
    right = "def f(x):\n    return x + 1"
    codes = [(SUM, REFUSED), (SUM, "if 1:\nx"), (SUM, ADD), (SUM, REFUSED), (FUNCTION, right), (FUNCTION, "def f(:"), (FUNCTION, right)]
    codes += [(SUM, "print(1 / 0)"), (SUM, "\tx = 1\n  y"), (replace(SUM, limits={"memory_mib": 64}), ADD), (SUM, "x = '\ud800'"), (SUM, "print(3)")]
    pairs = [(problem, marked(code, n)) for n, (problem, code) in enumerate(codes * 4)]
    together = graded(keeper, pairs, stop)
    alone = [replace(graded(keeper, [pair], stop)[0], index=n) for n, pair in enumerate(pairs)]
    assert [told(verdict) for verdict in together] == [told(verdict) for verdict in alone]
    assert {v.outcome for v in together} == set(Outcome)


def test_programs_that_do_not_compile_share_a_process(keeper: Judge) -> None:
    """The first 15 know that others wait; each of those costs less than a fork does."""
    costs = [verdict.cpu_seconds for verdict in graded(keeper, [(SUM, marked(REFUSED, n)) for n in range(15)])]
    assert sorted(costs[1:-1])[6] < costs[0] / 2


def test_such_a_process_does_not_outlive_the_work(keeper: Judge) -> None:
    before = processes()
    graded(keeper, [(SUM, marked(REFUSED, n)) for n in range(10)])
    time.sleep(0.1)
    assert processes() == before
    keeper.grade(SUM, [Program("sum", REFUSED)])
    assert processes() == before  # one program, and none behind it


def test_what_is_slow_to_refuse_is_charged_and_not_kept(keeper: Judge) -> None:
    slow = "x = [" + "(1, 2.0, 'a', [], {}), " * 30_000 + "("
    first, second, third = graded(keeper, [(SUM, slow), (SUM, REFUSED), (SUM, ADD)])
    assert (first.outcome, second.outcome, third.outcome) == (Outcome.COMPILE_ERROR, Outcome.COMPILE_ERROR, Outcome.PASSED_TEST)
    assert first.cpu_seconds > 0.02


def test_a_program_after_many_that_do_not_compile_has_all_its_time_and_memory(keeper: Judge) -> None:
    use = "block = bytearray(200 << 20)\nimport time\nstart = time.thread_time()\nwhile time.thread_time() < start + 0.3:\n    pass\n"
    refused = [(SUM, marked(REFUSED, n)) for n in range(30)]
    assert graded(keeper, [*refused, (SUM, use + ADD), *refused[:2]])[30].is_pass


def test_a_program_cannot_wait_for_the_next_one(keeper: Judge) -> None:
    """It reads all its descriptors: nothing of another program comes there."""
    read = "    try:\n        os.set_blocking(handle, False)\n        print(os.read(handle, 100))\n    except OSError:\n        pass\n"
    spy = f"import os\nfor handle in range(3, 40):\n{read}"
    pairs = [(SUM, REFUSED), (SUM, spy), (SUM, ADD), (SUM, marked(ADD, 1))]
    verdicts = graded(keeper, pairs)
    assert [verdict.is_pass for verdict in verdicts] == [False, False, True, True]
    assert "map(int" not in str(verdicts[1].error_message)
