"""Honest programs and their results survive the way through the sandbox exactly: generated values, generated input and output."""

import math
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_sandbox_values import plain, same

from coderl.records import Outcome, Problem, Program, Test
from coderl.sandbox import Judge

FEW = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5),
    max_leaves=20,
)


@FEW
@given(st.lists(json_like, min_size=1, max_size=4))
def test_what_a_function_gets_and_gives_is_what_was_sent(judge: Judge, values: list[Any]) -> None:
    tests = tuple(Test(input=[value], output=value) for value in values)
    problem = Problem(id="same", statement="", kind="call", entry_point="f", tests=tests)
    verdict = judge.grade(problem, [Program("same", "def f(x):\n    return x")])[0]
    assert verdict.is_pass, verdict


def expression(value: Any) -> str:
    """Python that makes the value: what `repr` writes is none for infinities, least of all inside a complex number."""
    if isinstance(value, complex):
        return f"complex({expression(value.real)}, {expression(value.imag)})"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"float('{value}')"
    if isinstance(value, (list, tuple)):
        items = "".join(f"{expression(item)}, " for item in value)
        return f"[{items}]" if isinstance(value, list) else f"({items})"
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}([{', '.join(map(expression, value))}])"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{expression(key)}: {expression(item)}" for key, item in value.items()) + "}"
    return repr(value)


@FEW
@given(plain)
@example(complex(0.0, math.inf))
@example([complex(-math.inf, 1.0), {-math.inf: (-0.0,)}])
@example(bytearray(b"ab"))
def test_a_literal_is_the_value_that_the_program_made(judge: Judge, value: Any) -> None:
    """Both ways: the right value passes, and the same value in a list of its own does not."""
    literal = expression(value)
    assert same(eval(literal), value)
    problem = Problem(id="made", statement="", kind="assert", tests=(Test(code=f"assert f() == {literal}"),))
    programs = [Program("made", f"def f():\n    return {literal}"), Program("made", f"def f():\n    return [{literal}]")]
    right, wrong = judge.grade(problem, programs)
    assert right.is_pass, right
    assert wrong.outcome is Outcome.FAILED_TEST, wrong


@FEW
@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4))
def test_every_byte_of_input_and_output_arrives(judge: Judge, inputs: list[bytes]) -> None:
    """Input is text; the program turns its escapes into bytes and writes these, and they come back as they were written."""
    tests = tuple(Test(input=data.hex(), output=data.decode("utf-8", "surrogateescape") + "|") for data in inputs)
    code = "import sys\ndata = bytes.fromhex(sys.stdin.read())\nsys.stdout.buffer.write(data + b'|')"
    verdict = judge.grade(Problem(id="bytes", statement="", kind="stdin", tests=tests), [Program("bytes", code)])[0]
    assert verdict.is_pass, verdict


@FEW
@given(st.lists(text, min_size=1, max_size=4))
def test_every_text_arrives_as_it_was_sent(judge: Judge, inputs: list[str]) -> None:
    tests = tuple(Test(input=line, output=line.encode().hex()) for line in inputs)
    code = "import sys\nprint(sys.stdin.buffer.read().hex())"
    verdict = judge.grade(Problem(id="text", statement="", kind="stdin", tests=tests), [Program("text", code)])[0]
    assert verdict.is_pass, verdict
