"""Tests that are code, run apart from the program: what programs attempt against them, and what the program cannot reach."""

import threading
import time
from typing import Any

import pytest

from coderl.errors import SandboxError
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits

SECRET = 918_273_645
CHECK = f"def check(candidate):\n    n = 0\n    while n < 3:\n        assert candidate(n) == {SECRET} + n, 'wrong'\n        n += 1"
HONEST = f"def f(n):\n    return {SECRET} + n"


def apart(judge: Judge, code: str, test: str = CHECK, **fields: Any) -> Verdict:
    problem = Problem(id="a", statement="", kind="assert", tests=(Test(code=test),), entry_point="f", **fields)
    verdict = judge.grade(problem, [Program("a", code, 0)])[0]
    assert verdict.trust == "checker"
    return verdict


ATTACKS = {
    "equal to all": ("class A:\n    def __eq__(self, other): return True\ndef f(n):\n    return A()", "UnsupportedResult"),
    "int equal to all": ("class A(int):\n    def __eq__(self, other): return True\ndef f(n):\n    return A(1)", None),
    "list that lies": ("class A(list):\n    def __eq__(self, other): return True\ndef f(n):\n    return A()", None),
    "never returns": ("def f(n):\n    while True: pass", "Timeout"),
    "swallows all": ("def f(n):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass", "Timeout"),
    "waits": ("import time\ndef f(n):\n    time.sleep(60)", "Timeout"),
    "waits a little each time": ("import time\ndef f(n):\n    time.sleep(1.5)\n    return 918_273_645 + n", "Timeout"),
    "floods": ("def f(n):\n    return 'a' * (40 << 20)", "OutputLimit"),
    "takes memory": ("def f(n):\n    return len(bytearray(4 << 30))", "MemoryLimit"),
    "ends well": ("import os\ndef f(n):\n    os._exit(0)", "Exit"),
    "ends while loading": ("import os\nos._exit(0)", "Exit"),
    "leaves by exception": ("def f(n):\n    raise SystemExit(0)", "SystemExit"),
    "says the test failed": ("def f(n):\n    raise AssertionError", "AssertionError"),
    "crashes": ("import ctypes\ndef f(n):\n    ctypes.string_at(0)", "Killed"),
    "ends between calls": (
        "import os, threading, time\ndef f(n):\n    threading.Thread(target=lambda: (time.sleep(0.01), os._exit(0))).start()\n"
        "    end = time.time() + (0.2 if n else 0)\n    while time.time() < end: time.sleep(0.01)\n    return 918_273_645 + n",
        "Exit",
    ),
    "closes all files": ("import os\ndef f(n):\n    os.closerange(0, 256)\n    return 918_273_645 + n", "LostChannel"),
    "writes into all files": (
        "import os\ndef f(n):\n    for h in range(3, 64):\n        try: os.write(h, b'x' * 100)\n        except OSError: pass\n    return 1",
        "BrokenReport",
    ),
    "nests deeply": ("def f(n):\n    x = []\n    for _ in range(100_000): x = [x]\n    return x", "UnsupportedResult"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_program_gains_nothing_against_a_test_that_runs_apart(lonely: Judge, name: str) -> None:
    code, kind = ATTACKS[name]
    start = time.monotonic()
    verdict = apart(lonely, code)
    assert not verdict.is_pass and verdict.harness_error is None
    assert verdict.outcome is (Outcome.FAILED_TEST if kind is None else Outcome.RUNTIME_ERROR)
    assert verdict.error_type == kind
    assert time.monotonic() - start < 10
    assert apart(lonely, HONEST).is_pass  # and the next one is judged as if nothing had been


FORGE = f"""
import os, struct, threading, time

def forge():
    time.sleep(0.1)
    for n in (1, 2):
        head, blob = b'{{"status": "ok"}}', b'[%d]' % ({SECRET} + n)
        for h in range(3, 64):
            try:
                os.write(h, struct.pack('<IIII', 3, n, len(head), len(blob)) + head + blob)
            except OSError:
                pass

def f(n):
    if n:
        time.sleep(60)
    threading.Thread(target=forge).start()
    return {SECRET}
"""


def test_an_answer_that_comes_before_its_question_is_none(lonely: Judge) -> None:
    test = f"import time\ndef check(candidate):\n    for n in range(3):\n        assert candidate(n) == {SECRET} + n\n        time.sleep(0.3)"
    assert apart(lonely, FORGE, test).error_type == "BrokenReport"


SEARCH = """
import gc, os, sys, types

def texts():
    for o in gc.get_objects():
        yield from (o.values() if type(o) is dict else o if type(o) in (list, tuple, set) else ())
    frame = sys._getframe()
    while frame:
        yield from (*frame.f_locals.values(), *frame.f_code.co_consts)
        frame = frame.f_back
    for h in range(64):
        try:
            yield os.pread(h, 1 << 20, 0)
        except OSError:
            pass

def f(n):
    for t in texts():
        if type(t) is int and 918_000_000 < t < 919_000_000 or type(t) in (str, bytes) and '372819'[::-1] in str(t):
            return 'found ' + repr(t)[:100]
    return 'nothing'
"""


def test_a_program_that_looks_for_the_expected_values_finds_none(lonely: Judge) -> None:
    assert str(SECRET) not in SEARCH  # or it would find itself
    test = f"import sys\ndef check(candidate):\n    sys.maxsize\n    got = candidate(0)\n    expected = {SECRET}\n    assert got == expected, got"
    verdict = apart(lonely, SEARCH, test)
    assert (verdict.outcome, verdict.error_message) == (Outcome.FAILED_TEST, "test 1: nothing")


def test_the_search_finds_what_there_is(lonely: Judge) -> None:
    """Beside the program, the same search does find it: the test above can fail."""
    test = f"class Mine: pass\ndef check(candidate):\n    expected = {SECRET}\n    got = candidate(0)\n    assert got == expected, got"
    verdict = lonely.grade(Problem(id="a", statement="", kind="assert", tests=(Test(code=test),), entry_point="f"), [Program("a", SEARCH, 0)])[0]
    assert verdict.trust == "child"
    assert verdict.error_message is not None and "found" in verdict.error_message


def test_helpers_come_from_the_problem_and_not_from_the_program(lonely: Judge) -> None:
    starter = "def double(x):\n    return 2 * x\n\ndef f(x):\n    '''half of x'''\n"
    test = "def check(candidate):\n    n = 0\n    while n < 5:\n        assert candidate(double(n)) == n\n        n += 1"
    assert apart(lonely, "def f(x):\n    return x // 2", test, starter_code=starter).is_pass
    assert apart(lonely, "def double(x):\n    return 0\ndef f(x):\n    return 0", test, starter_code=starter).outcome is Outcome.FAILED_TEST


def test_plain_data_of_every_kind_travel_both_ways(lonely: Judge) -> None:
    test = (
        "import math\ndef check(candidate):\n"
        "    for x in [None, True, -1, 2**200, 1.5, math.inf, 'é\\ud800', b'\\0', (1, [2]), {1: {2}}, {(1, 2): None}, frozenset('a'), 1j, [[]]]:\n"
        "        got = candidate(x)\n        assert got == x and type(got) == type(x), repr(got)\n"
        "    assert candidate(x=3) == 3"
    )
    assert apart(lonely, "def f(x):\n    return x", test).is_pass


def test_a_test_may_expect_an_exception(lonely: Judge) -> None:
    test = "def check(candidate):\n    for n in (0, 1):\n        try:\n            candidate(0)\n            assert False, 'no error'\n"
    test += "        except ValueError as error:\n            assert str(error) == 'zero'"
    assert apart(lonely, "def f(n):\n    raise ValueError('zero')", test).is_pass
    assert apart(lonely, "def f(n):\n    return 1", test).outcome is Outcome.FAILED_TEST
    verdict = apart(lonely, "def f(n):\n    raise KeyError('zero')", test)
    assert (verdict.outcome, verdict.error_type, verdict.error_line) == (Outcome.RUNTIME_ERROR, "KeyError", 2)
    slow = "def check(candidate):\n    for n in (0, 1):\n        try:\n            candidate(0)\n        except Exception:\n            pass"
    assert apart(lonely, "def f(n):\n    while True: pass", slow).error_type == "Timeout"  # no test can forgive that


def test_time_counts_for_a_whole_test_and_not_for_each_call(lonely: Judge) -> None:
    code = "import time\ndef f(n):\n    end = time.process_time() + 0.12\n    while time.process_time() < end: pass\n    return 918_273_645 + n"
    verdict = apart(lonely, code)
    assert (verdict.error_type, verdict.total) == ("Timeout", 1)
    assert 0.3 <= verdict.tests[0].cpu_seconds < 0.5


def test_a_result_made_to_hang_the_test_ends_with_its_time(lonely: Judge) -> None:
    test = "def check(candidate):\n    n = 0\n    while n < 2:\n        assert candidate(n) ** candidate(n) == 1"
    verdict = apart(lonely, "def f(n):\n    return 10 ** 7", test)
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "Timeout")
    assert verdict.error_message is not None and verdict.error_message.startswith("in the test's own code")


def test_each_test_has_the_program_for_itself_and_stopping_leaves_the_rest(lonely: Judge) -> None:
    code = "seen = []\ndef f(n):\n    seen.append(n)\n    return len(seen)"
    tests = tuple(Test(code=f"x, *_ = [{n}]\nassert f(x) == {1 if n != 1 else 2}") for n in range(4))
    problem = Problem(id="a", statement="", kind="assert", tests=tests, entry_point="f")
    whole = lonely.grade(problem, [Program("a", code, 0)])[0]
    assert [test.outcome is Outcome.PASSED_TEST for test in whole.tests] == [True, False, True, True]
    short = lonely.grade(problem, [Program("a", code, 0)], stop_at_first_failure=True)[0]
    assert (len(short.tests), short.total, short.outcome) == (2, 4, Outcome.FAILED_TEST)


def test_test_code_that_does_not_load_is_no_fault_of_the_program(lonely: Judge) -> None:
    verdict = apart(lonely, HONEST, starter_code="import math\nlost = math.nothing\n")
    assert verdict.outcome is None and verdict.harness_error is not None and "cannot be loaded" in verdict.harness_error


@pytest.mark.parametrize("tier", ["B", "C"])
def test_lower_tiers_run_tests_apart_too(tier: str) -> None:
    try:
        judge = Judge(1, Limits(cpu_seconds=0.3, memory_mib=256), tier=tier)
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        assert apart(judge, HONEST).is_pass
        assert apart(judge, "def f(n):\n    return 0").outcome is Outcome.FAILED_TEST
        for name in ("never returns", "floods", "ends well", "closes all files", "writes into all files"):
            code, kind = ATTACKS[name]
            assert apart(judge, code).error_type == kind
        assert apart(judge, HONEST).is_pass


@pytest.mark.parametrize("which", ["program", "checker"])
def test_either_server_may_be_killed_and_the_program_is_judged(which: str) -> None:
    """Killed in the middle of a test: both are replaced, the program is tried once more."""
    with Judge(1, Limits(cpu_seconds=2.0)) as judge:
        assert apart(judge, HONEST).is_pass
        bench = judge._benches.get()
        judge._benches.put(bench)
        server = bench._servers[which]
        killer = threading.Timer(0.3, server.interrupt)
        killer.start()
        verdict = apart(judge, f"import time\ndef f(n):\n    time.sleep(0.3)\n    return {SECRET} + n")
        killer.join()
        assert verdict.is_pass and verdict.harness_error is None
        assert bench._servers[which] is not server


def test_an_argument_that_is_no_plain_data_is_named(lonely: Judge) -> None:
    verdict = apart(lonely, HONEST, "def check(candidate):\n    things = [iter([1])]\n    assert candidate(things) == 1")
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "UnsupportedArgument")
