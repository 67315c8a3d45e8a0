"""Programs of many problems to verdicts."""

from collections.abc import Iterator

import pytest

from coderl.errors import DataError
from coderl.grading import grade_programs
from coderl.records import Problem, Program, Test
from coderl.sandbox import Judge, Limits


@pytest.fixture(scope="module")
def small() -> Iterator[Judge]:
    with Judge(1, Limits(cpu_seconds=0.5, memory_mib=256)) as judge:
        yield judge


def problem(name: str, output: str) -> Problem:
    return Problem(id=name, statement="", kind="stdin", tests=(Test(input="", output=output),), examples=(Test(input="", output="example"),))


PROBLEMS = {name: problem(name, name) for name in ("a", "b", "c")}


def test_every_program_is_judged_by_the_tests_of_its_own_problem(small: Judge) -> None:
    programs = [Program(name, f"print({word!r})", n) for n, (name, word) in enumerate([("a", "a"), ("b", "a"), ("a", "b"), ("c", "c")])]
    verdicts = list(grade_programs(small, PROBLEMS, programs))
    assert [(verdict.problem, verdict.index, verdict.is_pass) for verdict in verdicts] == [
        ("a", 0, True),
        ("b", 1, False),
        ("a", 2, False),
        ("c", 3, True),
    ]


def test_the_choice_of_tests_is_passed_on(small: Judge) -> None:
    assert next(grade_programs(small, PROBLEMS, [Program("a", "print('example')")], tests="example")).is_pass


def test_a_program_of_an_unknown_problem_is_named(small: Judge) -> None:
    verdicts = grade_programs(small, PROBLEMS, [Program("a", "print('a')", 0), Program("aa", "", 5)])
    assert next(verdicts).is_pass
    with pytest.raises(DataError, match="program 5 is for problem 'aa', which is not among the 3 problems"):
        next(verdicts)


def test_programs_are_taken_lazily(small: Judge) -> None:
    taken = []

    def programs() -> Iterator[Program]:
        for n in range(1000):
            taken.append(n)
            yield Program("a", f"print('a')#{n}", n)

    verdicts = grade_programs(small, PROBLEMS, programs())
    assert next(verdicts).is_pass
    assert len(taken) < 50


def test_a_verdict_names_the_text_that_it_judged_and_other_texts_are_refused(tmp_path):
    from coderl.errors import DataError
    from coderl.recipes import grade
    from coderl.records import Problem, Program, Test, Verdict, code_digest
    from coderl.store import read_records, write_records

    problems, programs, out = tmp_path / "p.jsonl", tmp_path / "s.jsonl", tmp_path / "v.jsonl"
    write_records(problems, [Problem("p", "Print 1.", "stdin", tests=(Test("", "1\n"),))])
    write_records(programs, [Program("p", "print(1)", 0)])
    config = grade.Config(problems=problems, programs=programs, out=out, workers=1)
    grade.main(config)
    (verdict,) = read_records(out, Verdict)
    assert verdict.is_pass and verdict.extra["code_digest"] == code_digest(Program("p", "print(1)", 0))
    write_records(programs, [Program("p", "print(2)", 0)])
    with pytest.raises(DataError, match="another text of program 0"):
        grade.main(config)


def test_programs_that_had_no_verdict_are_tried_again(tmp_path):
    from coderl.recipes import grade
    from coderl.records import Problem, Program, Test, Verdict
    from coderl.store import read_records, write_records

    problems, programs, out = tmp_path / "p.jsonl", tmp_path / "s.jsonl", tmp_path / "v.jsonl"
    write_records(problems, [Problem("p", "Print 1.", "stdin", tests=(Test("", "1\n"),))])
    write_records(programs, [Program("p", "print(1)", 0)])
    write_records(out, [Verdict("p", 0, None, harness_error="server gone")])
    grade.main(grade.Config(problems=problems, programs=programs, out=out, workers=1))
    assert [v.is_pass for v in read_records(out, Verdict)] == [True]
