"""Tame programs share a process. That must not be seen in any verdict: alone, in company, before and behind programs that attack."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from attack_tools import processes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits

SUM = Problem(id="sum", statement="", kind="stdin", tests=(Test(input="1 2\n", output="3\n"), Test(input="4 5\n", output="9\n")))
ADD = "a, b = map(int, input().split())\nprint(a + b)\n"
FUNCTION = Problem(id="f", statement="", kind="call", entry_point="f", tests=(Test(input=[1], output=2), Test(input=[5], output=6)))
LIMITS = Limits(cpu_seconds=0.5, wall_factor=60.0, memory_mib=256, output_bytes=1 << 20)  # none of these programs waits, but the machine may be busy
# What tries to reach the next program, or the last one; what is not tame gets a process of its own.
ATTACKS = [
    "x = []\nx.append(x)\nimport sys\nprint('left over')\n1 / 0",
    "def g():\n    try:\n        yield 1\n    finally:\n        print('late')\nx = [g()]\nx.append(x)\nnext(x[0])",
    "def g():\n    while True:\n        yield 1\nx = [g()]\nx.append(x)\nnext(x[0])",
    "import builtins\nbuiltins.input = lambda: '5 5'\nbuiltins.print = lambda *a: None",
    "__builtins__.input = lambda: '5 5'",
    "import math\nmath.sqrt = None\nimport sys\nsys.setrecursionlimit(50)",
    "import sys\nsys.stdout.close()\nsys.stdin.close()",
    "import sys\nsys.stdout.write('no end of line')\nraise BaseException",
    "exit()",
    "import os\nos._exit(0)",
    "import os\nos.close(0)\nos.close(1)",
    "def f(n):\n    return f(n + 1)\nf(0)",
    "try:\n    x = 'a' * (1 << 40)\nexcept:\n    print(3)",
    "x = [0] * (1 << 60)",
    "x = []\nwhile True:\n    x.append([0] * 100000)",
    "print('x' * (3 << 20))",
    "while True:\n    try:\n        while True:\n            pass\n    except:\n        pass",
    "x = [[] for _ in range(30000)]\nx.append(x)\nprint(3)",
    "x = ()\nfor _ in range(300000):\n    x = (x,)\nprint(hash(x) if 0 else 3)",
    "for _ in range(3):\n    input()",
    "print(int('9' * 5000))",
    "print('{0.__class__.__mro__[1].__subclasses__}'.format(1))",
    "print = 5\ninput = None\nint = str\nlen = 0",
    "from collections import Counter\nCounter.update = None",
    "def f(x, memo=[]):\n    memo.append(x)\n    return len(memo) + x\nprint(f(1), f(1))",
    "raise SystemExit(0)",
    "raise KeyboardInterrupt",
    "raise SystemExit('text')",
    "try:\n    1 / 0\nexcept Exception as e:\n    kept = e\n    raise",
    "def f(x):\n    return x + 1\nf.cache = 1",
    "lambda: (yield)\nprint((lambda: (yield))())",
    "x = 1\n" * 5000,
    "\uff50\uff52\uff49\uff4e\uff54(3)",
]
HONEST = [
    (SUM, ADD),
    (SUM, "import sys\nprint(sum(map(int, sys.stdin.read().split())))"),
    (SUM, "import math\nprint(math.floor(math.sqrt(9)) if input() == '1 2' else 9)"),
    (SUM, "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\na, b = map(int, input().split())\nprint(a + b + f(900) - 900)"),
    (SUM, "print(3)"),
    (SUM, "from collections import Counter\nc = Counter(input())\nprint(c[' '] + 2)"),
    (FUNCTION, "def f(x):\n    return x + 1"),
    (FUNCTION, "n = 0\ndef f(x):\n    global n\n    n += 1\n    return x + n"),
    (FUNCTION, "def f(x):\n    print(x)\n    input()"),
    (FUNCTION, "def f(x):\n    return len"),
    (FUNCTION, "def f(x):\n    return x + 1 if x < 2 else f(x)"),
    (FUNCTION, "g = 1"),
    (SUM, "x = ("),
]


@pytest.fixture(scope="module")
def keeper() -> Iterator[Judge]:
    """One worker, so that programs follow each other in one fork server."""
    with Judge(1, LIMITS) as judge:
        graded(judge, [(SUM, ADD)])  # its processes are there before any test counts them, whichever comes first
        yield judge


def graded(judge: Judge, pairs: list[tuple[Problem, str]], stop: bool = True) -> list[Verdict]:
    """Each text another one, since the same text is run once; the mark is a line of its own behind it."""
    programs = [(p, Program(p.id, f"{code}\n# {n}", n)) for n, (p, code) in enumerate(pairs)]
    return [told(verdict) for verdict in judge.grade_many(programs, stop_at_first_failure=stop)]


def alone(judge: Judge, pairs: list[tuple[Problem, str]], stop: bool = True) -> list[Verdict]:
    return [replace(graded(judge, [pair], stop)[0], index=n) for n, pair in enumerate(pairs)]


def told(verdict: Verdict) -> Verdict:
    """Without its times, and the line at which a time-out found it."""
    line = None if verdict.error_type == "Timeout" else verdict.error_line
    return replace(verdict, cpu_seconds=0.0, error_line=line, tests=tuple(replace(test, cpu_seconds=0.0) for test in verdict.tests))


@pytest.mark.parametrize("stop", [True, False])
def test_honest_programs_get_the_same_verdicts_in_company(keeper: Judge, stop: bool) -> None:
    expected = alone(keeper, HONEST, stop)
    for order in (HONEST, HONEST[::-1]):
        found = graded(keeper, order * 2, stop)
        for verdict, pair in zip(found, order * 2, strict=True):
            assert replace(verdict, index=0) == replace(expected[HONEST.index(pair)], index=0)
    assert {verdict.outcome for verdict in expected} == set(Outcome)


@pytest.mark.parametrize("number", range(len(ATTACKS)))
def test_an_attack_changes_no_verdict_before_or_behind_it(keeper: Judge, number: int) -> None:
    before, neighbours = processes(), [(SUM, ADD), (FUNCTION, HONEST[6][1])]
    for problem in (SUM, FUNCTION):
        attack = (problem, ATTACKS[number])
        expected = replace(alone(keeper, [attack])[0], extra={})
        found = graded(keeper, [*neighbours, attack, *neighbours, attack, *neighbours])
        assert [verdict.is_pass for n, verdict in enumerate(found) if n not in (2, 5)] == [True] * 6, found
        assert [replace(found[n], index=0, extra={}) for n in (2, 5)] == [expected] * 2
    assert processes() == before


@pytest.mark.parametrize("tier", "BC")
def test_attacks_change_no_verdict_in_lower_tiers(tier: str) -> None:
    neighbours = [(SUM, ADD), (FUNCTION, HONEST[6][1])]
    before = processes()
    with Judge(1, LIMITS, tiers=tier) as judge:
        pairs = [pair for attack in ATTACKS for pair in (*neighbours, (SUM, attack))]
        found = graded(judge, pairs)
        assert [verdict.is_pass for n, verdict in enumerate(found) if n % 3 < 2] == [True] * 2 * len(ATTACKS)
        assert [replace(v, index=0, extra={}) for v in found[2::3]] == [replace(alone(judge, [pair])[0], extra={}) for pair in pairs[2::3]]
    assert processes() == before


def test_tame_programs_share_a_process(keeper: Judge) -> None:
    costs = {}
    for name, code in (("tame", ADD), ("wild", "import os\n" + ADD)):
        programs = [Program("sum", f"{code}# {name} {n}", n) for n in range(15)]
        verdicts = list(keeper.grade_many([(SUM, program) for program in programs], stop_at_first_failure=True))
        assert all(verdict.is_pass for verdict in verdicts)
        costs[name] = sorted(verdict.cpu_seconds for verdict in verdicts[1:-1])[6]
    assert costs["tame"] < costs["wild"] / 2


def test_time_is_measured_for_each_program(keeper: Judge) -> None:
    slow = "x = 0\nwhile x < 300000:\n    x += 1\n"
    loops = "def f(x):\n    while True:\n        pass\n"
    verdicts = list(
        keeper.grade_many([(p, Program(p.id, f"{code}\n#{n}", n)) for n, (p, code) in enumerate([(SUM, ADD), (FUNCTION, loops), (SUM, ADD)] * 2)])
    )
    assert [v.error_type for v in verdicts] == [None, "Timeout", None] * 2
    assert all(1.0 <= v.cpu_seconds < 1.6 for v in verdicts if v.error_type), verdicts  # two tests of half a second each, and no third one
    many = graded(keeper, [(SUM, slow + ADD)] * 30)  # more than one limit together
    assert all(v.is_pass for v in many)


def test_a_time_out_leaves_no_other_to_share_with(keeper: Judge) -> None:
    found = graded(keeper, [(SUM, ADD), (SUM, "while True: pass"), (SUM, ADD), (SUM, "print(3)")], stop=False)
    assert [v.outcome for v in found] == [Outcome.PASSED_TEST, Outcome.RUNTIME_ERROR, Outcome.PASSED_TEST, Outcome.FAILED_TEST]


def test_memory_that_is_left_behind_is_no_other_programs_loss(keeper: Judge) -> None:
    leaves = "x = ['a' * (100 << 20)]\nx.append(x)\n"
    needs = "x = 'a' * (200 << 20)\n"
    found = graded(keeper, [(SUM, leaves + ADD), (SUM, needs + ADD)] * 3)
    assert all(verdict.is_pass for verdict in found), found


NAMES = st.sampled_from(["a", "b", "c", "data", "f", "n"])
NUMBERS = st.integers(-3, 50).map(str)
TERMS = st.recursive(
    NUMBERS | NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "//", "%", "<", "==", "and", "in"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(st.sampled_from(["len", "sum", "sorted", "str", "list", "max", "set", "repr", "int"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(inner, inner).map(lambda t: f"[n for n in {t[0]} if {t[1]}]"),
        st.tuples(inner, st.sampled_from(["append", "pop", "upper", "count", "keys"]), inner).map(lambda t: f"({t[0]}).{t[1]}({t[2]})"),
    ),
    max_leaves=6,
)
LINES = st.one_of(
    st.tuples(NAMES, TERMS).map(lambda t: f"{t[0]} = {t[1]}"),
    TERMS.map(lambda term: f"print({term})"),
    st.tuples(NAMES, TERMS, TERMS).map(lambda t: f"for {t[0]} in {t[1]}:\n    print({t[2]})"),
    st.tuples(TERMS, TERMS).map(lambda t: f"try:\n    print({t[0]})\nexcept Exception as e:\n    print(e, {t[1]})"),
    st.tuples(NAMES, TERMS).map(lambda t: f"def {t[0]}(n=[]):\n    n.append({t[1]})\n    return n"),
    st.sampled_from(["a = input()", "data = list(map(int, input().split()))", "raise ValueError('x')", "import math\nprint(math.pi)", "print(a"]),
)
PROGRAMS = st.lists(LINES, min_size=1, max_size=5).map("\n".join)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.sampled_from([SUM, FUNCTION]), PROGRAMS), min_size=3, max_size=10))
def test_generated_programs_get_the_same_verdicts_in_company(keeper: Judge, pairs: list[tuple[Problem, str]]) -> None:
    assert graded(keeper, pairs) == alone(keeper, pairs)
