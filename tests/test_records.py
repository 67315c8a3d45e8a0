"""Records: what is read is written back, and what is wrong is told in one sentence."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coderl.errors import DataError
from coderl.records import OUTCOMES, Outcome, Problem, Program, Test, TestResult, TokenScores, Verdict, program_text

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
WHOLE = st.integers(0, 10**6)
RESULTS = st.builds(TestResult, outcome=st.sampled_from(OUTCOMES), error_type=st.none() | st.text(), cpu_seconds=st.floats(0, 100))
VERDICTS = st.builds(
    Verdict,
    problem=st.text(),
    index=WHOLE,
    outcome=st.sampled_from(OUTCOMES),
    error_message=st.none() | st.text(),
    error_line=st.none() | WHOLE,
    tests=st.lists(RESULTS, max_size=3).map(tuple),
    extra=st.dictionaries(st.text(min_size=1).map("x-{}".format), JSON, max_size=2),
)
TESTS = st.builds(Test, input=JSON, output=JSON) | st.builds(Test, code=st.text())
PROBLEMS = st.builds(
    Problem,
    id=st.text(),
    statement=st.text(),
    kind=st.sampled_from(["stdin", "call", "assert"]),
    tests=st.lists(TESTS, max_size=3).map(tuple),
    examples=st.lists(TESTS, max_size=2).map(tuple),
    solutions=st.lists(st.text(), max_size=2).map(tuple),
    entry_point=st.none() | st.text(),
    starter_code=st.text(),
    limits=st.none() | st.dictionaries(st.sampled_from(["cpu_seconds", "memory_mib"]), st.floats(0.1, 100)),
)

MINIMAL = {
    Problem: {"id": "p", "statement": "s", "kind": "stdin"},
    Program: {"problem": "p", "code": "c"},
    Verdict: {"problem": "p", "index": 0, "outcome": "passed_test"},
    TestResult: {"outcome": "failed_test"},
}


def through_json(record):  # type: ignore[no-untyped-def]
    return type(record).from_json(json.loads(json.dumps(record.to_json())))


@given(PROBLEMS)
def test_problem_round_trip(record: Problem) -> None:
    assert through_json(record) == record


@given(VERDICTS)
def test_verdict_round_trip(record: Verdict) -> None:
    assert through_json(record) == record


@given(st.builds(Program, problem=st.text(), code=st.text(), index=WHOLE, seed=st.none() | WHOLE, logprob=st.none() | st.floats(-1e6, 0)))
def test_program_round_trip(record: Program) -> None:
    assert through_json(record) == record


def test_token_scores_round_trip() -> None:
    names = {f.name for f in dataclasses.fields(TokenScores)}
    given_values = {
        "problem": "p",
        "index": 3,
        "tokens": ("a", "b"),
        "values": (0.25, 0.5),
        "outcome": Outcome.FAILED_TEST,
        "predicted": Outcome.PASSED_TEST,
        "passed": (0.1, 0.9),
    }
    record = TokenScores(**{k: v for k, v in given_values.items() if k in names})  # type: ignore[arg-type]
    assert through_json(record) == record


@pytest.mark.parametrize("record", list(MINIMAL), ids=lambda r: r.__name__)
def test_unknown_fields_are_kept(record: type) -> None:
    data = {**MINIMAL[record], "note_of_another_tool": {"deep": [1, None]}}
    written = record.from_json(data).to_json()  # type: ignore[attr-defined]
    assert written["note_of_another_tool"] == {"deep": [1, None]}


@pytest.mark.parametrize("record", list(MINIMAL), ids=lambda r: r.__name__)
def test_each_missing_required_field_is_named(record: type) -> None:
    for name in MINIMAL[record]:
        data = {key: value for key, value in MINIMAL[record].items() if key != name}
        with pytest.raises(DataError, match=f"lacks the required field '{name}'"):
            record.from_json(data)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"id": 7}, "problem field 'id' is 7; it must be a string"),
        ({"kind": "magic"}, "'kind' is 'magic'; it must be one of stdin, call, assert"),
        ({"tests": "none"}, "'tests' is 'none'; it must be a list"),
        ({"tests": [3]}, "a test must be a JSON object, found 3"),
        ({"solutions": ["ok", 3]}, "'solutions' is 3; it must be a list of strings"),
        ({"limits": [1]}, "'limits' is \\[1\\]; it must be an object or null"),
        ({"limits": {"cpu_seconds": "x"}}, "'limits.cpu_seconds' is 'x'; it must be a number more than 0"),
        ({"limits": {"cpu_seconds": -1}}, "'limits.cpu_seconds' is -1; it must be a number more than 0"),
        ({"limits": {"memory_mib": float("nan")}}, "'limits.memory_mib' is nan; it must be a number more than 0"),
        ({"statement": None}, "'statement' is None; it must be a string"),
    ],
)
def test_ill_typed_problem(changes: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        Problem.from_json({**MINIMAL[Problem], **changes})


@pytest.mark.parametrize("value", [True, 1.0, "1", None])
def test_index_must_be_a_whole_number(value: object) -> None:
    with pytest.raises(DataError, match=r"'index' is .*; it must be a whole number"):
        Verdict.from_json({**MINIMAL[Verdict], "index": value})


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_what_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(DataError, match="a program must be a JSON object"):
        Program.from_json(value)


def test_long_values_are_shortened_in_messages() -> None:
    with pytest.raises(DataError) as caught:
        Problem.from_json({**MINIMAL[Problem], "kind": "x" * 10**6})
    assert len(str(caught.value)) < 200


def test_unknown_outcome_and_origin() -> None:
    with pytest.raises(DataError, match="outcome is 'ok'; it must be one of compile_error, runtime_error, failed_test, passed_test"):
        Verdict.from_json({**MINIMAL[Verdict], "outcome": "ok"})
    with pytest.raises(DataError, match="'origin' is 'dream'; it must be one of sample, greedy, reference, refine, repair"):
        Program.from_json({**MINIMAL[Program], "origin": "dream"})


@pytest.mark.parametrize("outcome, reason", [(None, None), ("passed_test", "judge died")])
def test_a_verdict_has_an_outcome_or_a_harness_error(outcome: str | None, reason: str | None) -> None:
    with pytest.raises(DataError, match="exactly one of them must be null"):
        Verdict.from_json({"problem": "p", "index": 0, "outcome": outcome, "harness_error": reason})


def test_a_harness_error_is_never_a_pass() -> None:
    assert not Verdict("p", 0, None, harness_error="judge died").is_pass


def test_labels_are_those_of_the_released_code() -> None:
    """get_error_type of the released CodeRL: -2 -> 0 (compile), -1 -> 1 (runtime), False -> 2 (failed), True -> 3 (passed)."""
    assert [Outcome(name).label for name in ("compile_error", "runtime_error", "failed_test", "passed_test")] == [0, 1, 2, 3]


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Program("p", "c").code = "other"  # type: ignore[misc]


def test_humaneval_completion_continues_the_prompt() -> None:
    problem = Problem("HumanEval/0", "", "assert", starter_code="def f():\n")
    program = Program.from_json({"task_id": "HumanEval/0", "completion": "    return 1\n"})
    assert (program.problem, program.index) == ("HumanEval/0", -1)
    assert program_text(problem, program) == "def f():\n    return 1\n"
    assert program_text(problem, through_json(program)) == "def f():\n    return 1\n"


def test_evalplus_solution_stands_alone() -> None:
    problem = Problem("HumanEval/0", "", "assert", starter_code="def f():\n")
    program = Program.from_json({"task_id": "HumanEval/0", "solution": "def f(): return 1", "_identifier": "HumanEval/0_0"})
    assert program_text(problem, program) == "def f(): return 1"
    assert program.extra == {"_identifier": "HumanEval/0_0"}


def test_own_fields_win_over_task_id() -> None:
    program = Program.from_json({"problem": "p", "code": "c", "task_id": "other", "completion": "x"})
    assert (program.problem, program.code) == ("p", "c")
    assert program_text(Problem("p", "", "assert", starter_code="HEAD"), program) == "c"
