"""The stages `grade` and `validate`, through their files."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coderl.errors import CoderlError, DataError, UsageError
from coderl.recipes import grade, validate
from coderl.records import Outcome, Problem, Program, Test, TestResult, Verdict
from coderl.store import read_records, write_records

SUM = Problem(
    id="sum", statement="", kind="stdin", tests=(Test(input="1 2", output="3"),), solutions=("print(3 + 1)", "print(sum(map(int, input().split())))")
)
ODD = Problem(id="odd", statement="", kind="call", entry_point="odd", tests=(Test(input=[3], output=True),), solutions=("1 / 0",))
BARE = Problem(id="bare", statement="", kind="stdin", solutions=("print(1)",))
EMPTY = Problem(id="empty", statement="", kind="stdin", tests=(Test(input="", output=""),))


def files(folder: Path, problems: list[Problem], programs: list[Program]) -> grade.Config:
    write_records(folder / "problems.jsonl", problems)
    write_records(folder / "programs.jsonl", programs)
    return grade.Config(
        problems=folder / "problems.jsonl", programs=folder / "programs.jsonl", out=folder / "verdicts.jsonl", workers=2, cpu_seconds=0.5
    )


def test_grade_writes_a_verdict_for_each_program_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = files(
        tmp_path,
        [SUM, ODD],
        [Program("sum", "print(3)"), Program("odd", "def odd(n): return n % 2 == 1"), Program("sum", "print(4)"), Program("sum", "(")],
    )
    grade.main(config)
    verdicts = read_records(config.out, Verdict)
    assert [(v.problem, v.index, v.outcome) for v in verdicts] == [
        ("sum", 0, "passed_test"),
        ("odd", 0, "passed_test"),
        ("sum", 1, "failed_test"),
        ("sum", 2, "compile_error"),
    ]
    out = capsys.readouterr().out
    assert "isolation tier " in out
    assert re.search(r"^4 programs, 3 tests in [\d.]+ s: [\d.]+ programs/s, \d+ tests/s$", out, re.M)
    assert [line.split() for line in out.splitlines()[-5:]] == [
        ["compile_error", "1"],
        ["runtime_error", "0"],
        ["failed_test", "1"],
        ["passed_test", "2"],
        ["harness", "error", "0"],
    ]


def test_grade_reads_completions(tmp_path: Path) -> None:
    config = files(
        tmp_path, [Problem(id="T/0", statement="", kind="call", entry_point="f", starter_code="def f(x):\n", tests=(Test(input=[1], output=2),))], []
    )
    config.programs.write_text('{"task_id": "T/0", "completion": "    return x + 1"}\n{"task_id": "T/0", "completion": "    return x"}\n')
    grade.main(config)
    assert [(v.index, v.is_pass) for v in read_records(config.out, Verdict)] == [(0, True), (1, False)]


def test_a_second_run_judges_only_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    programs = [Program("sum", f"print(3)#{n}", n) for n in range(6)]
    config = files(tmp_path, [SUM], programs)
    grade.main(config)
    whole = config.out.read_bytes()
    lines = whole.splitlines(keepends=True)
    config.out.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # as a kill leaves it
    capsys.readouterr()
    grade.main(config)
    assert "4 programs are judged already" in capsys.readouterr().out
    assert [v.index for v in read_records(config.out, Verdict)] == list(range(6))
    assert config.out.read_bytes().splitlines()[:4] == whole.splitlines()[:4]


def test_a_killed_run_keeps_what_it_has_and_goes_on(tmp_path: Path) -> None:
    count = 40
    config = files(tmp_path, [SUM], [Program("sum", f"import time\ntime.sleep(0.05)\nprint(3)#{n}", n) for n in range(count)])
    flags = ["--problems", config.problems, "--programs", config.programs, "--out", config.out, "--workers", "1"]
    command = [sys.executable, "-m", "coderl", "grade", *map(str, flags)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(400):
            time.sleep(0.02)
            if config.out.exists() and config.out.read_bytes().count(b"\n") >= 5:
                break
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    kept = config.out.read_bytes().count(b"\n")
    assert 5 <= kept < count
    grade.main(config)
    verdicts = read_records(config.out, Verdict)
    assert [v.index for v in verdicts] == list(range(count)) and all(v.is_pass for v in verdicts)


def test_what_is_judged_before_an_unknown_problem_is_kept(tmp_path: Path) -> None:
    config = files(tmp_path, [SUM], [Program("sum", f"print(3)#{n}") for n in range(3)] + [Program("nowhere", "")])
    with pytest.raises(DataError, match="'nowhere'"):
        grade.main(config)
    assert len(read_records(config.out, Verdict)) == 3


def test_a_file_without_programs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no program records"):
        grade.main(files(tmp_path, [SUM], []))


def test_two_programs_with_one_index_are_refused(tmp_path: Path) -> None:
    config = files(tmp_path, [SUM], [Program("sum", "a", 1), Program("sum", "b", 1)])
    with pytest.raises(DataError, match="two programs 1 for problem 'sum'"):
        grade.main(config)


def test_a_problem_without_tests_is_named(tmp_path: Path) -> None:
    with pytest.raises(CoderlError, match="problem bare has no hidden tests"):
        grade.main(files(tmp_path, [BARE], [Program("bare", "")]))


@pytest.mark.parametrize("change", [{"cpu_seconds": 0.0}, {"memory_mib": 1}, {"workers": 0}])
def test_limits_without_sense_are_refused(tmp_path: Path, change: dict[str, float]) -> None:
    config = grade.Config(problems=tmp_path / "p", programs=tmp_path / "s", out=tmp_path / "v", **change)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"must|needs"):
        grade.main(config)


def test_validate_sets_aside_what_no_reference_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = tmp_path / "problems.jsonl"
    write_records(problems, [SUM, ODD, BARE, EMPTY])
    config = validate.Config(problems=problems, out=tmp_path / "verdicts.jsonl", quarantine=tmp_path / "quarantine.jsonl", workers=1, cpu_seconds=0.5)
    validate.main(config)
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 4 problems have a passing reference"
    assert [(v.problem, v.index, v.outcome) for v in read_records(config.out, Verdict)] == [
        ("sum", 0, "failed_test"),
        ("sum", 1, "passed_test"),
        ("odd", 0, "runtime_error"),
    ]
    assert config.quarantine is not None
    held = {problem["id"]: problem["reason"] for problem in map(json.loads, config.quarantine.read_text().splitlines())}
    assert set(held) == {"odd", "bare", "empty"}
    assert "ZeroDivisionError" in held["odd"] and "no hidden tests" in held["bare"] and "no reference" in held["empty"]
    assert {problem.id for problem in read_records(config.quarantine, Problem)} == set(held)


def test_validate_of_good_problems_sets_nothing_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = tmp_path / "problems.jsonl"
    write_records(problems, [SUM])
    config = validate.Config(problems=problems, out=tmp_path / "v.jsonl", quarantine=tmp_path / "q.jsonl", workers=1)
    validate.main(config)
    validate.main(config)  # again: nothing is run twice
    assert capsys.readouterr().out.splitlines()[-1] == "1 of 1 problems have a passing reference"
    assert (tmp_path / "q.jsonl").read_text() == ""
    assert len(read_records(config.out, Verdict)) == 2


CHEAP = "print(sum(map(int, input().split())))"
COSTLY = f"import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n{CHEAP}"
LOOP = "while True: pass"


def test_calibration_scales_limits_with_the_references_and_keeps_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0.4 s without: 0.1 s for a cheap problem (a quarter), 1.0 to 1.2 s for one of 0.1 s (ten times; at most three times 0.4 s)."""
    tests = (Test(input="1 2", output="3"),)
    problems = [
        Problem(id="cheap", statement="", kind="stdin", tests=tests, solutions=(CHEAP,)),
        Problem(id="costly", statement="", kind="stdin", tests=tests, solutions=("1 / 0", COSTLY, CHEAP)),
        Problem(id="own", statement="", kind="stdin", tests=tests, solutions=(CHEAP,), limits={"cpu_seconds": 0.3}),
        Problem(id="unsolved", statement="", kind="stdin", tests=tests, solutions=("1 / 0",)),
    ]
    config = files(tmp_path, problems, [Program(problem.id, LOOP) for problem in problems])
    config = dataclasses.replace(config, cpu_seconds=0.4, calibrate=True, workers=1)
    grade.main(config)
    assert "CPU limits of 2 of 4 problems scaled: 0.1 to 1" in capsys.readouterr().out
    verdicts = {verdict.problem: verdict for verdict in read_records(config.out, Verdict)}
    limits = {name: verdict.extra.get("cpu_limit") for name, verdict in verdicts.items()}
    assert limits["cheap"] == 0.1 and 1.0 <= limits["costly"] <= 1.2 and (limits["own"], limits["unsolved"]) == (None, None)
    for name, limit in {"cheap": 0.1, "costly": limits["costly"], "own": 0.3, "unsolved": 0.4}.items():
        assert limit <= verdicts[name].tests[0].cpu_seconds < limit + 0.1


def test_a_run_that_goes_on_keeps_the_limits_it_measured(tmp_path: Path) -> None:
    programs = [Program("sum", f"{LOOP}#{n}", n) for n in range(2)]
    config = dataclasses.replace(files(tmp_path, [SUM], programs), calibrate=True, workers=1)
    grade.main(config)
    first, _ = config.out.read_text().splitlines()
    config.out.write_text(json.dumps({**json.loads(first), "cpu_limit": 0.3}) + "\n")
    grade.main(config)
    again = read_records(config.out, Verdict)
    assert [verdict.extra["cpu_limit"] for verdict in again] == [0.3, 0.3]
    assert 0.3 <= again[1].tests[0].cpu_seconds < 0.4


def test_the_notes_beside_the_bar_count_tests_and_outcomes() -> None:
    pace = grade.Pace()
    tests = (TestResult(Outcome.PASSED_TEST),) * 3
    pace.add(Verdict("a", 0, Outcome.PASSED_TEST, tests=tests))
    note = pace.add(Verdict("a", 1, None, harness_error="gone"))
    assert re.fullmatch(r"\d+ tests/s  compile 0  runtime 0  failed 0  passed 1  harness error 1", note)
    assert pace.summary().startswith("2 programs, 3 tests in ")
