"""What verdicts say: outcomes, causes, line numbers, limits, order, and the ways in which programs read and write."""

import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from coderl.errors import ProblemError
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits
from coderl.sandbox.forkserver import ForkServer

ADD = "a, b = map(int, input().split())\nprint(a + b)\n"


def stdin_problem(*pairs: tuple[str, str], **fields: Any) -> Problem:
    return Problem(id="sum", statement="", kind="stdin", tests=tuple(Test(input=a, output=b) for a, b in pairs), **fields)


def call_problem(*pairs: tuple[list[Any], Any], **fields: Any) -> Problem:
    return Problem(id="f", statement="", kind="call", entry_point="f", tests=tuple(Test(input=a, output=b) for a, b in pairs), **fields)


SUM = stdin_problem(("1 2\n", "3\n"), ("4 5\n", "9\n"))
DOUBLE = call_problem(([1], 2), ([4], 8))


def one(judge: Judge, problem: Problem, code: str, **options: Any) -> Verdict:
    return judge.grade(problem, [Program(problem.id, code, 7)], **options)[0]


def test_a_right_program_passes_and_says_under_what(judge: Judge) -> None:
    verdict = one(judge, SUM, ADD)
    assert (verdict.outcome, verdict.passed, verdict.total, verdict.index) == (Outcome.PASSED_TEST, 2, 2, 7)
    assert (verdict.tier, verdict.trust, verdict.comparator, verdict.harness_error) == (judge.tier, "parent", "strict", None)
    assert 0 < verdict.cpu_seconds < 0.5


def test_a_wrong_answer_is_a_failed_test_and_shows_both(judge: Judge) -> None:
    verdict = one(judge, SUM, "print(3)")
    assert (verdict.outcome, verdict.passed, verdict.error_type) == (Outcome.FAILED_TEST, 1, None)
    assert verdict.error_message is not None and "test 2: expected '9\\n', got '3\\n'" in verdict.error_message


CAUSES = [
    ("x = 1\ny = (", "compile_error", "SyntaxError", 2),
    ("if 1:\nprint(1)", "compile_error", "IndentationError", 2),
    ("if 1:\n\tx = 1\n        y = 2", "compile_error", "TabError", 3),
    ("return 3", "compile_error", "SyntaxError", 1),
    ("a = 1\n\n1 / 0", "runtime_error", "ZeroDivisionError", 3),
    ("def g(x):\n    return x[3]\ng([])", "runtime_error", "IndexError", 2),
    ("import json\n\njson.loads('{')", "runtime_error", "JSONDecodeError", 3),
    ("def g(n):\n    return g(n + 1)\ng(0)", "runtime_error", "RecursionError", 2),
    ("while True:\n    pass", "runtime_error", "Timeout", None),
    ("import re\n\nre.match('(a+)+b', 'a' * 40)", "runtime_error", "Timeout", 3),
    ("x = 0\nx = bytearray(1 << 30)", "runtime_error", "MemoryLimit", 2),
    ("import sys\nsys.exit(3)", "runtime_error", "SystemExit", 2),
    ("raise KeyboardInterrupt", "runtime_error", "KeyboardInterrupt", 1),
    ("import nowhere", "runtime_error", "ModuleNotFoundError", 1),
    ("import os\nos.abort()", "runtime_error", "Killed", None),
    ("class E(Exception):\n    def __str__(self):\n        raise self\nraise E", "runtime_error", "E", 4),
    ("eval('(')", "runtime_error", "SyntaxError", 1),
]


@pytest.mark.parametrize(("code", "outcome", "kind", "line"), CAUSES, ids=[f"{kind}-{number}" for number, (_, _, kind, _) in enumerate(CAUSES)])
def test_a_failure_names_its_cause_and_the_programs_own_line(judge: Judge, code: str, outcome: str, kind: str, line: int | None) -> None:
    verdict = one(judge, SUM, code, stop_at_first_failure=True)
    assert (verdict.outcome, verdict.error_type) == (outcome, kind)
    if line is not None:
        assert verdict.error_line == line


def test_a_loop_is_stopped_in_one_of_its_lines(judge: Judge) -> None:
    verdict = one(judge, SUM, "x = 1\nwhile True:\n    x += 1\n", stop_at_first_failure=True)
    assert verdict.error_line in (2, 3)
    assert 0.5 <= verdict.tests[0].cpu_seconds < 0.7


def test_deep_nesting_is_a_compile_error(judge: Judge) -> None:
    assert one(judge, SUM, "x = " + "(" * 500 + ")" * 500).outcome is Outcome.COMPILE_ERROR


def test_a_null_byte_is_a_compile_error(judge: Judge) -> None:
    assert one(judge, SUM, "x = '\0'").outcome is Outcome.COMPILE_ERROR


def test_a_lone_surrogate_is_a_compile_error(judge: Judge) -> None:
    assert one(judge, SUM, "x = '\ud800'").outcome is Outcome.COMPILE_ERROR


def test_a_program_of_ten_megabytes_gets_a_verdict(judge: Judge) -> None:
    verdict = one(judge, SUM, "x = 1\n" * 1_700_000)
    assert verdict.outcome is not None and not verdict.is_pass


def test_a_program_beyond_all_measure_is_refused_unread(judge: Judge) -> None:
    verdict = one(judge, SUM, "#" * (40 << 20))
    assert (verdict.outcome, verdict.error_type) == (Outcome.COMPILE_ERROR, "TooLong")


def test_after_a_timeout_the_next_tests_still_run(judge: Judge) -> None:
    problem = stdin_problem(("0\n", "0\n"), ("1\n", "1\n"), ("0\n", "0\n"))
    verdict = one(judge, problem, "n = int(input())\nwhile n:\n    pass\nprint(n)")
    assert [test.error_type for test in verdict.tests] == [None, "Timeout", None]
    assert (verdict.outcome, verdict.passed) == (Outcome.RUNTIME_ERROR, 2)


def test_after_a_lack_of_memory_the_next_tests_still_run(judge: Judge) -> None:
    verdict = one(judge, stdin_problem(("0\n", "0\n"), ("1\n", "1\n"), ("0\n", "0\n")), "n = int(input())\nx = [0] * (n << 28)\nprint(n)")
    assert [test.error_type for test in verdict.tests] == [None, "MemoryLimit", None]


def test_stopping_at_the_first_failure_leaves_the_rest(judge: Judge) -> None:
    problem = stdin_problem(*[(f"{n}\n", f"{n}\n") for n in range(50)])
    verdict = one(judge, problem, "print(0)", stop_at_first_failure=True)
    assert (verdict.outcome, verdict.passed, len(verdict.tests), verdict.total) == (Outcome.FAILED_TEST, 1, 2, 50)


@pytest.mark.parametrize("kind", ["stdin", "call"])
def test_no_test_is_run_behind_a_failing_first_one(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the judge is slow to say so: the program waits for its word."""
    burn = "import time\nstart = time.thread_time()\nwhile time.thread_time() < start + 0.05:\n    pass\n"
    texts = stdin_problem(*[(f"{n}\n", f"{n + 1}\n") for n in range(8)])
    values = call_problem(*[([n], n) for n in range(8)])
    function = "def f(x):\n" + "".join(f"    {line}\n" for line in burn.splitlines())
    stop = ForkServer.stop

    def late(self: ForkServer) -> None:
        time.sleep(0.5)
        stop(self)

    monkeypatch.setattr(ForkServer, "stop", late)
    with Judge(1, Limits(cpu_seconds=1.0)) as judge:
        verdict = (
            one(judge, texts, f"{burn}print(0)", stop_at_first_failure=True)
            if kind == "stdin"
            else one(judge, values, function, stop_at_first_failure=True)
        )
    assert verdict.outcome is Outcome.FAILED_TEST and len(verdict.tests) == 1
    assert verdict.cpu_seconds < 0.15


def test_waiting_for_the_judge_after_the_first_test_costs_a_program_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limits, go_on = Limits(cpu_seconds=0.2, wall_factor=1.0), ForkServer.go_on

    def late(self: ForkServer) -> None:
        time.sleep(limits.wall_seconds + 0.3)
        go_on(self)

    monkeypatch.setattr(ForkServer, "go_on", late)
    with Judge(1, limits) as judge:
        start = time.monotonic()
        assert one(judge, SUM, ADD, stop_at_first_failure=True).is_pass
    assert time.monotonic() - start > limits.wall_seconds


def test_a_program_that_takes_the_judges_word_for_itself_is_ended(judge: Judge) -> None:
    code = f"{ADD}import os\nfor handle in range(3, 30):\n    try:\n        os.close(handle)\n    except OSError:\n        pass\n"
    verdict = one(judge, SUM, code, stop_at_first_failure=True)
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "LostChannel")


def test_an_error_weighs_more_than_a_wrong_answer(judge: Judge) -> None:
    verdict = one(judge, stdin_problem(("1\n", "2\n"), ("0\n", "0\n")), "print(1 // int(input()))")
    assert [test.outcome for test in verdict.tests] == [Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR]
    assert verdict.outcome is Outcome.RUNTIME_ERROR


READERS = [
    "import sys\ntext = sys.stdin.read()",
    "import sys\ntext = ''.join(sys.stdin.readlines())",
    "import sys\ntext = ''.join(line for line in sys.stdin)",
    "import sys\ntext = sys.stdin.buffer.read().decode()",
    "text = open(0).read()",
    "text = open('/dev/stdin').read()",
    "import os\ntext = os.read(0, 1000).decode()",
    "text = ''\ntry:\n    while True:\n        text += input() + '\\n'\nexcept EOFError:\n    pass",
    "import io, os\ntext = io.BytesIO(os.read(0, os.fstat(0).st_size)).read().decode()",
    "import fileinput\ntext = ''.join(fileinput.input())",
    "import sys\nsys.stdin = open(0)\ntext = sys.stdin.read()",
    "import mmap\ntext = mmap.mmap(0, 0, access=mmap.ACCESS_READ)[:].decode()",
]


@pytest.mark.parametrize("reader", READERS, ids=range(len(READERS)))
def test_every_way_to_read_standard_input_works(judge: Judge, reader: str) -> None:
    verdict = one(judge, SUM, f"{reader}\nprint(sum(map(int, text.split())))")
    assert verdict.is_pass, verdict


WRITERS = [
    "import sys\nsys.stdout.write(f'{a + b}\\n')",
    "import sys\nsys.stdout.buffer.write(b'%d\\n' % (a + b))",
    "import os\nos.write(1, b'%d\\n' % (a + b))",
    "f = open(1, 'w')\nf.write(f'{a + b}\\n')",
    "print(a + b, file=open('/dev/stdout', 'w'))",
    "import sys, io\nreal, sys.stdout = sys.stdout, io.StringIO()\nprint(a + b)\nreal.write(sys.stdout.getvalue())",
    "import atexit\natexit.register(lambda: print(a + b))",
    "import threading\nthreading.Thread(target=lambda: print(a + b)).start()",
    "import threading, sys\nthreading.stack_size(1 << 26)\nt = threading.Thread(target=print, args=(a + b,))\nt.start()\nt.join()",
    "print(a + b)\nexit()",
    "print(a + b)\nimport sys\nsys.exit(0)",
    "if __name__ == '__main__':\n    print(a + b)",
    "import sys\nprint('noise', file=sys.stderr)\nprint(a + b)",
]


@pytest.mark.parametrize("writer", WRITERS, ids=range(len(WRITERS)))
def test_every_way_to_write_standard_output_works(judge: Judge, writer: str) -> None:
    verdict = one(judge, SUM, f"a, b = map(int, input().split())\n{writer}")
    assert verdict.is_pass, verdict


def test_odd_input_arrives_as_it_is(judge: Judge) -> None:
    text = "\x00é\ud800\r\nlast line without end"
    problem = stdin_problem((text, text.encode("utf-8", "surrogatepass").hex()))
    assert one(judge, problem, "import sys\nprint(sys.stdin.buffer.read().hex())").is_pass


def test_a_large_input_arrives_whole(judge: Judge) -> None:
    assert one(judge, stdin_problem(("1 " * 1_500_000, "1500000")), "print(len(input().split()))").is_pass


def test_a_program_may_recurse_as_deep_as_in_a_plain_interpreter(judge: Judge) -> None:
    code = """
def g(n):
    return n and 1 + g(n - 1)
for n in range(900, 1100):
    try:
        g(n)
    except RecursionError:
        break
print(n)
"""
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    deepest = (one(judge, stdin_problem(("", "no")), code).error_message or "").rsplit("'", 2)[1]
    assert abs(int(deepest.removesuffix("\\n")) - int(plain)) <= 3


def test_each_test_starts_with_fresh_globals(judge: Judge) -> None:
    code = "try:\n    seen\nexcept NameError:\n    seen = True\n    print('fresh')\nelse:\n    print('stale')\ninput()"
    assert one(judge, stdin_problem(("1\n", "fresh"), ("2\n", "fresh")), code).is_pass


def test_hash_order_and_random_numbers_are_the_same_in_every_run(judge: Judge) -> None:
    code = "import random\nprint(hash('a'), random.random(), list({'x', 'y', 'z'}))"
    first, second = (one(judge, stdin_problem(("", "no")), code + f"\n#{n}").error_message for n in range(2))
    assert first == second


CALLS = [
    "def f(x):\n    return 2 * x",
    "f = lambda x: 2 * x",
    "class Solution:\n    def f(self, x):\n        return 2 * x",
    "class Solution:\n    @staticmethod\n    def f(x):\n        return 2 * x",
    "print('noise')\ndef f(x):\n    print('more')\n    return 2.0 * x",
    "class Int(int):\n    pass\ndef f(x):\n    return Int(2 * x)",
    "def f(x):\n    import numpy\n    return numpy.int64(2 * x)",
]


@pytest.mark.parametrize("code", CALLS, ids=range(len(CALLS)))
def test_every_form_of_a_function_can_be_called(judge: Judge, code: str) -> None:
    verdict = one(judge, DOUBLE, code)
    assert verdict.is_pass, verdict


CALL_FAILURES = [
    ("def g(x):\n    return 2 * x", "MissingEntryPoint", None),
    ("f = 3", "MissingEntryPoint", None),
    ("import math", "MissingEntryPoint", None),
    ("def f():\n    return 2", "TypeError", None),
    ("def f(x):\n    return object()", "UnsupportedResult", None),
    ("def f(x):\n    return (2 * x for x in [x])", "UnsupportedResult", None),
    ("def f(x):\n    x = []\n    x.append(x)\n    return x", "UnsupportedResult", None),
    ("def f(x):\n    return 'a' * (17 << 20)", "OutputLimit", None),
    ("1 / 0\ndef f(x):\n    return 2 * x", "ZeroDivisionError", 1),
    ("def f(x):\n    raise SystemExit(0)", "SystemExit", 2),
    ("import sys\nsys.exit(0)", "SystemExit", 2),
]


@pytest.mark.parametrize(("code", "kind", "line"), CALL_FAILURES, ids=[f"{kind}-{number}" for number, (_, kind, _) in enumerate(CALL_FAILURES)])
def test_a_call_that_gives_no_value_is_a_runtime_error(judge: Judge, code: str, kind: str, line: int | None) -> None:
    verdict = one(judge, DOUBLE, code)
    assert (verdict.outcome, verdict.error_type, verdict.error_line) == (Outcome.RUNTIME_ERROR, kind, line)


def test_a_main_guard_is_not_entered_in_call_problems(judge: Judge) -> None:
    assert one(judge, DOUBLE, "def f(x):\n    return 2 * x\nif __name__ == '__main__':\n    f(input())").is_pass


def test_top_level_return_passes_only_under_the_apps_rule(judge: Judge) -> None:
    code = "import sys\na, b = map(int, input().split())\ndef add():\n    return a + b\nprint(add())\nreturn\n"
    assert one(judge, SUM, code).outcome is Outcome.COMPILE_ERROR
    lenient = stdin_problem(("1 2\n", "3\n"), comparator="apps")
    assert one(judge, lenient, code).is_pass
    assert one(judge, lenient, "print(3)\nreturn\nnonsense(").error_type == "SyntaxError"
    assert one(judge, lenient, "a = 1\nif a:\n    print(1 / 0)\nreturn").error_line == 3


def test_a_problems_own_limits_come_first(judge: Judge) -> None:
    code = "import time\nstart = time.process_time()\nwhile time.process_time() < start + 0.7:\n    pass\n" + ADD
    assert one(judge, stdin_problem(("1 2\n", "3\n")), code).error_type == "Timeout"
    assert one(judge, stdin_problem(("1 2\n", "3\n"), limits={"cpu_seconds": 2.0}), code).is_pass
    assert one(judge, stdin_problem(("1 2\n", "3\n"), limits={"memory_mib": 400, "cpu_seconds": 4.0}), "x = bytearray(300 << 20)\n" + ADD).is_pass


def test_examples_and_hidden_tests_can_be_chosen(judge: Judge) -> None:
    problem = stdin_problem(("4 5\n", "9\n"), examples=(Test(input="1 2\n", output="3\n"),))
    assert one(judge, problem, "print(3)", tests="example").is_pass
    assert not one(judge, problem, "print(3)").is_pass
    assert one(judge, problem, ADD, tests="both").total == 2


BROKEN = [
    (stdin_problem(), "has no hidden tests"),
    (Problem(id="x", statement="", kind="call", tests=(Test(input=[1], output=1),)), "no entry_point"),
    (Problem(id="x", statement="", kind="call", entry_point="f", tests=(Test(input=3, output=1),)), "list of arguments"),
    (stdin_problem((3, "")), "needs text"),  # type: ignore[arg-type]
    (stdin_problem(("", ""), comparator="fuzzy"), "does not exist"),
    (stdin_problem(("", ""), limits={"cpu_seconds": "many"}), "must be a number above 0"),
    (call_problem(([object()], 1)), "only plain values"),
    (Problem(id="x", statement="", kind="assert", tests=(Test(input=1, output=1),)), "without code"),
    (Problem(id="x", statement="", kind="assert", tests=(Test(code="assert ("),)), "not Python"),
]


@pytest.mark.parametrize(("problem", "words"), BROKEN, ids=[words for _, words in BROKEN])
def test_a_problem_that_cannot_be_judged_is_named(judge: Judge, problem: Problem, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        one(judge, problem, ADD)


def test_verdicts_keep_the_order_of_the_programs(judge: Judge) -> None:
    codes = [f"import time\ntime.sleep({0.05 if n % 3 == 0 else 0})\n{ADD}#{n}" if n % 2 else f"print({n})" for n in range(40)]
    verdicts = judge.grade(SUM, [Program("sum", code, n) for n, code in enumerate(codes)])
    assert [verdict.index for verdict in verdicts] == list(range(40))
    assert [verdict.is_pass for verdict in verdicts] == [bool(n % 2) for n in range(40)]


def test_pairs_are_taken_as_they_are_needed(judge: Judge) -> None:
    taken = 0

    def endless() -> Iterator[tuple[Problem, Program]]:
        nonlocal taken
        while True:
            taken += 1
            yield SUM, Program("sum", f"{ADD}#{taken}", taken)

    stream = judge.grade_many(endless())
    assert [next(stream).index for _ in range(3)] == [1, 2, 3]
    assert taken < 100
    stream.close()  # type: ignore[attr-defined]


def test_identical_programs_are_run_once(judge: Judge) -> None:
    code = f"import time\ntime.sleep(0.2)\n{ADD}"
    verdicts = judge.grade(SUM, [Program("sum", code + "\n" * n, n) for n in range(30)] + [Program("sum", code.replace("\n", "\r\n"), 30)])
    assert [verdict.index for verdict in verdicts] == list(range(31))
    assert all(verdict.is_pass for verdict in verdicts)
    assert len({verdict.cpu_seconds for verdict in verdicts}) == 1


def test_verdicts_under_way_come_before_an_error_in_the_pairs(judge: Judge) -> None:
    def pairs() -> Iterator[tuple[Problem, Program]]:
        for n in range(5):
            yield SUM, Program("sum", f"{ADD}#{n}", n)
        yield stdin_problem(), Program("sum", ADD)

    seen = []
    with pytest.raises(ProblemError):
        for verdict in judge.grade_many(pairs()):
            seen.append(verdict.index)
    assert seen == list(range(5))


def test_a_completion_is_put_behind_the_prompt(judge: Judge) -> None:
    problem = call_problem(([1], 2), starter_code="def f(x):\n")
    program = Program.from_json({"task_id": "f", "completion": "    return 2 * x\n"})
    assert judge.grade(problem, [program])[0].is_pass


def test_the_cpu_time_of_programs_counts_as_that_of_children() -> None:
    problem = Problem("p", "", "stdin", tests=(Test("", "1\n"),))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Judge(workers=1) as judge:
        verdict = judge.grade(problem, [Program("p", "x = 0\nfor i in range(4_000_000):\n    x += i\nprint(1)")])[0]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert verdict.is_pass and verdict.cpu_seconds > 0.05
    assert after.ru_utime - before.ru_utime > verdict.cpu_seconds * 0.9
