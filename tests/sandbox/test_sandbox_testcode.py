"""Which tests that are code may run apart from the program."""

import pytest

from coderl.records import Problem
from coderl.sandbox.testcode import apart

MAY = [
    "for n in range(3):\n    assert f(n) == n",
    "x = [3, 1]\nassert f(x) == sorted(x)",
    "import random\nrng = random.Random(1)\nassert f(rng.randint(1, 3)) > 0",
    "assert f((1, 2)) == sys.getsizeof((1, 2))",
    "assert f(1).bit_length() == 1",
    "assert [y.upper() for y in f('a b')] == ['A']",
    "assert f(1) is None",
    "def close(a, b):\n    return abs(a - b) < 1\nassert close(f(1), 2)",
    "def check(candidate):\n    assert list(map(candidate, [1, 2])) == [1, 2]",
    "assert f(list(range(3))) == 3",
    "try:\n    f(0)\n    assert False\nexcept ValueError:\n    pass",
    "assert f(helper(1)) == 1",
]
MAY_NOT = [
    "root = Node(1)\nassert f(root) == 1",
    "class Node: pass\nassert f(1) == 1",
    "assert f(int) == 1",
    "assert f([1], key=len) == 1",
    "assert f(lambda x: x) == 1",
    "def g(x):\n    return x\nassert f(g) == 1",
    "assert f(range(3)) == 3",
    "assert f(n for n in [1]) == 1",
    "assert f(1).head == 1",
    "r = f(1)\ns = r[0]\nassert s.head == 1",
    "for r in f(1):\n    assert r.head == 1",
    "x = [3, 1]\nf(x)\nassert x == [1, 3]",
    "x = [3, 1]\nassert f(x) is x",
    "assert f(1) == other(1)",
    "import nowhere\nassert f(1) == 1",
    "assert f(sys) == 1",
    "assert f.cache == {}",
]


def problem(setup: str = "") -> Problem:
    return Problem(
        id="p", statement="", kind="assert", entry_point="f", setup=setup, starter_code="def helper(x):\n    return x\ndef f(x):\n    'doc'\n"
    )


@pytest.mark.parametrize("code", MAY)
def test_code_over_plain_data_may(code: str) -> None:
    assert apart(problem(), [code]) is not None


@pytest.mark.parametrize("code", MAY_NOT)
def test_code_that_needs_the_programs_objects_may_not(code: str) -> None:
    assert apart(problem(), [code]) is None
    assert apart(problem(setup=code), ["assert f(1) == 1"]) is None


def test_without_an_entry_point_nothing_is_known_of_the_names() -> None:
    assert apart(Problem(id="p", statement="", kind="assert"), ["assert f(1) == 1"]) is None


def test_helpers_are_what_the_problem_gives_and_never_the_function_to_write() -> None:
    found = apart(problem(), ["assert f((1, 2)) == sys.getsizeof((1, 2))"])
    assert found is not None
    assert found.asks == ("f",)
    assert "import sys" in found.helpers and "def helper" in found.helpers and "def f" not in found.helpers
