"""Time-outs that may be the machine's fault are run again, alone; hopeless programs are not."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits
from coderl.sandbox.gate import Gate

CPU = 0.8
BURN = "import time\ndef burn(s):\n    end = time.process_time() + s\n    while time.process_time() < end: pass\n"


@pytest.fixture(scope="module")
def tight() -> Iterator[Judge]:
    """0.8 s of CPU time, and wall time in plenty, so that a busy machine starves no program."""
    with Judge(1, Limits(cpu_seconds=CPU, wall_factor=10)) as judge:
        yield judge


@pytest.fixture(scope="module")
def hasty() -> Iterator[Judge]:
    """0.8 s of CPU time, 3 s of wall time."""
    with Judge(1, Limits(cpu_seconds=CPU, wall_factor=2.5)) as judge:
        yield judge


def judged(judge: Judge, code: str, tests: int = 3, **options: Any) -> Verdict:
    problem = Problem(id="p", statement="", kind="stdin", tests=tuple(Test(input=str(n), output=str(n)) for n in range(tests)))
    return judge.grade(problem, [Program("p", code, 0)], **options)[0]


@pytest.mark.parametrize("stop", [False, True])
def test_a_program_a_little_over_its_time_gets_a_second_chance(tight: Judge, stop: bool) -> None:
    verdict = judged(tight, f"{BURN}n = int(input())\nburn({1.1 * CPU} if n == 1 else 0)\nprint(n)", stop_at_first_failure=stop)
    assert verdict.is_pass and verdict.extra == {"run_again": True}


def test_a_program_far_over_its_time_gets_no_more_than_one(tight: Judge) -> None:
    verdict = judged(tight, f"{BURN}n = int(input())\nburn({3 * CPU} if n == 1 else 0)\nprint(n)")
    assert (verdict.error_type, verdict.extra) == ("Timeout", {"run_again": True})
    assert [test.outcome for test in verdict.tests] == [Outcome.PASSED_TEST, Outcome.RUNTIME_ERROR, Outcome.PASSED_TEST]
    assert verdict.tests[1].cpu_seconds >= 1.5 * CPU


HOPELESS = {
    "loops from the start": ("while True: pass", 1),
    "loops in every test": ("while True: pass", 3),
    "loops in two tests": ("n = int(input())\nwhile n: pass\nprint(n)", 3),
    "is wrong in another test": ("n = int(input())\nwhile n == 2: pass\nprint(0)", 3),
    "fails in another test": ("n = int(input())\nwhile n == 2: pass\nprint(0 // n * n)", 3),
}


@pytest.mark.parametrize("name", HOPELESS)
def test_a_hopeless_program_costs_one_run(tight: Judge, name: str) -> None:
    code, tests = HOPELESS[name]
    verdict = judged(tight, code, tests)
    assert verdict.outcome is Outcome.RUNTIME_ERROR and verdict.extra == {}
    assert verdict.cpu_seconds < 1.1 * CPU * tests


WAITING = {
    "only waits": ("import time\ntime.sleep(60)", 1),
    "only waits in one test": ("import time\nn = int(input())\nif n == 1: time.sleep(60)\nprint(n)", 3),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_program_that_waits_costs_one_run(hasty: Judge, name: str) -> None:
    code, tests = WAITING[name]
    verdict = judged(hasty, code, tests)
    assert (verdict.error_type, verdict.extra) == ("Timeout", {})


def test_a_program_that_the_machine_starved_is_run_again(hasty: Judge) -> None:
    """Stopped by wall time with a good part of its CPU time used. Here a moment plays the machine: until then there is nothing to be had."""
    moment = time.time() + 4.5
    verdict = judged(hasty, f"{BURN}burn({0.35 * CPU})\nwhile time.time() < {moment}: time.sleep(0.05)\nprint(input())", 1)
    assert verdict.is_pass and verdict.extra == {"run_again": True}


def test_an_exception_called_timeout_is_no_timeout_of_the_judge(tight: Judge) -> None:
    verdict = judged(tight, "class Timeout(Exception): pass\nn = int(input())\nif n == 1: raise Timeout\nprint(n)")
    assert (verdict.error_type, verdict.extra) == ("Timeout", {})


def test_who_is_alone_at_the_gate_is_alone() -> None:
    gate = Gate()
    inside: set[int] = set()
    together, alone = 0, []

    def work(number: int) -> None:
        nonlocal together
        for _ in range(20):
            with gate.together():
                inside.add(number)
                together = max(together, len(inside))
                time.sleep(0.001)
                inside.discard(number)
            with gate.alone():
                alone.append(len(inside))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert together > 1 and alone == [0] * 80
