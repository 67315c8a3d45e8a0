"""Real data: the references of MBPP, HumanEval and APPS must pass, or the judge is wrong."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from coderl.problems import apps, humaneval, mbpp
from coderl.records import Problem, Program, Verdict, program_text
from coderl.sandbox import Judge, Limits
from coderl.sandbox.inside.tame import NOTHING, is_tame


@pytest.fixture(scope="module")
def patient() -> Iterator[Judge]:
    """Two workers and ordinary limits."""
    with Judge(2, Limits()) as judge:
        yield judge


def first_references(judge: Judge, problems: list[Problem], number: int = 0) -> list[Verdict]:
    return list(judge.grade_many(((p, Program(p.id, p.solutions[number], number, origin="reference")) for p in problems), stop_at_first_failure=True))


def test_all_974_references_of_mbpp_pass_and_nearly_all_are_decided_outside(patient: Judge, data_dir: Path) -> None:
    verdicts = first_references(patient, mbpp.load(data_dir / "mbpp" / "mbpp.jsonl"))
    assert [verdict.problem for verdict in verdicts if not verdict.is_pass] == []
    assert len(verdicts) == 974
    assert Counter(verdict.trust for verdict in verdicts) == {"parent": 969, "checker": 1, "child": 4}  # trees, pairs, and types as arguments


def test_all_164_references_of_humaneval_pass_and_none_is_decided_in_the_child(patient: Judge, data_dir: Path) -> None:
    verdicts = first_references(patient, humaneval.load(data_dir / "humaneval" / "HumanEval.jsonl.gz"))
    assert [verdict.problem for verdict in verdicts if not verdict.is_pass] == []
    assert len(verdicts) == 164
    assert Counter(verdict.trust for verdict in verdicts) == {"parent": 164}


def test_all_references_of_humaneval_but_three_may_share_a_process(data_dir: Path) -> None:
    problems = humaneval.load(data_dir / "humaneval" / "HumanEval.jsonl.gz")
    wild = {p.id for p in problems if not is_tame(program_text(p, Program(p.id, p.solutions[0])), NOTHING)}
    assert wild == {"HumanEval/91", "HumanEval/160", "HumanEval/162"}  # re, eval, hashlib


def test_nearly_every_problem_of_apps_has_a_passing_reference(patient: Judge, data_dir: Path) -> None:
    """All 153 of the data at hand; in the whole of APPS some need another Python or accept several answers."""
    problems = apps.load(data_dir / "apps" / "train")
    number, open_ones = 0, problems
    while open_ones and number < 10:
        passed = {verdict.problem for verdict in first_references(patient, open_ones, number) if verdict.is_pass}
        number += 1
        open_ones = [problem for problem in open_ones if problem.id not in passed and len(problem.solutions) > number]
    assert len(open_ones) <= 0.02 * len(problems), [problem.id for problem in open_ones]


def test_a_wrong_program_fails_every_problem_of_mbpp(patient: Judge, data_dir: Path) -> None:
    problems = mbpp.load(data_dir / "mbpp" / "mbpp.jsonl")[:100]
    wrong = (Program(p.id, f"def {p.entry_point}(*a, **k):\n    return 'certainly not this'", 0) for p in problems)
    verdicts = list(patient.grade_many(zip(problems, wrong, strict=True)))
    assert not any(verdict.is_pass for verdict in verdicts)
