"""Chains of commands: order, resume, equal-time budgets, failures in one sentence, Ctrl-C reaches the steps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coderl.errors import CoderlError
from coderl.pipeline import Step, StepCost, _command, finished_steps, run_steps
from coderl.records import Problem
from coderl.store import read_records, write_records

P = Problem("p", "Print 1.", "stdin")


def copy_step(name, source, target, needs=()):
    return Step(name, f"copying to {target.name}", ("problems", "jsonl", "--source", str(source), "--out", str(target)), needs)


def chain(folder):
    write_records(folder / "a.jsonl", [P])
    return [
        copy_step("two", folder / "b.jsonl", folder / "c.jsonl", ("one",)),
        copy_step("one", folder / "a.jsonl", folder / "b.jsonl"),
    ]


def test_steps_run_after_what_they_need_and_are_not_run_again(tmp_path):
    said = []
    costs = run_steps(chain(tmp_path), tmp_path, 2, said.append)
    assert set(costs) == {"one", "two"} and all(c.cpu_seconds > 0 and c.wall_seconds > 0 for c in costs.values())
    assert read_records(tmp_path / "c.jsonl", Problem)[0].id == "p"
    stamp = (tmp_path / "c.jsonl").stat().st_mtime_ns
    again = run_steps(chain(tmp_path), tmp_path, 2, said.append)
    assert again == costs and (tmp_path / "c.jsonl").stat().st_mtime_ns == stamp
    assert "2 of 2 steps are there already" in said[-1]


def test_a_folder_made_with_other_settings_is_refused(tmp_path):
    run_steps(chain(tmp_path), tmp_path, 2, lambda line: None)
    changed = [chain(tmp_path)[0], copy_step("one", tmp_path / "a.jsonl", tmp_path / "b2.jsonl")]
    with pytest.raises(CoderlError, match="made with other settings"):
        run_steps(changed, tmp_path, 2, lambda line: None)
    assert not (tmp_path / "b2.jsonl").exists()


def test_a_killed_chain_goes_on_with_the_steps_that_are_left(tmp_path):
    run_steps(chain(tmp_path)[1:], tmp_path, 2, lambda line: None)
    said = []
    costs = run_steps(chain(tmp_path), tmp_path, 2, said.append)
    assert set(costs) == {"one", "two"} and not any("copying to b.jsonl" in line for line in said)


def test_another_chain_in_the_folder_leaves_what_the_first_noted(tmp_path):
    costs = run_steps(chain(tmp_path), tmp_path, 2, lambda line: None)
    run_steps([copy_step("three", tmp_path / "a.jsonl", tmp_path / "d.jsonl")], tmp_path, 2, lambda line: None)
    assert finished_steps(chain(tmp_path), tmp_path) == costs


def test_what_an_interrupted_attempt_cost_counts(tmp_path):
    (tmp_path / "interrupted.json").write_text('{"one": 100.0}')
    costs = run_steps(chain(tmp_path), tmp_path, 2, lambda line: None)
    assert 100 < costs["one"].cpu_seconds < 110 and costs["two"].cpu_seconds < 10


def test_a_failing_step_ends_the_chain_with_its_own_words(tmp_path):
    steps = [
        copy_step("bad", tmp_path / "absent.jsonl", tmp_path / "b.jsonl"),
        copy_step("after", tmp_path / "b.jsonl", tmp_path / "c.jsonl", ("bad",)),
    ]
    with pytest.raises(CoderlError, match=r"step bad ended with exit code 1: .*absent\.jsonl"):
        run_steps(steps, tmp_path, 2, lambda line: None)
    assert not (tmp_path / "c.jsonl").exists()


def test_a_budget_is_the_sum_of_what_the_named_steps_cost():
    costs = {name: StepCost(name, (), cpu, 1.0) for name, cpu in (("x", 10.4), ("y", 20.4), ("z", 99.0))}
    step = Step("control", "", ("warm-start", "--out", "o"), budget_of=("x", "y"))
    assert _command(step, costs) == ("warm-start", "--out", "o", "--cpu-seconds", "31")


def test_needs_that_form_a_ring_are_refused(tmp_path):
    steps = [Step("a", "", ("--version",), ("b",)), Step("b", "", ("--version",), ("a",))]
    with pytest.raises(CoderlError, match="a, b can start"):
        run_steps(steps, tmp_path, 2, lambda line: None)


def test_an_interrupt_ends_the_running_step(tmp_path):
    command = ("problems", "mini", "--out", str(tmp_path / "mini"), "--tests-only", "9000")
    script = (
        "from pathlib import Path; from coderl.pipeline import Step, run_steps\n"
        f"run_steps([Step('wait', 'waiting', {command!r})], Path({str(tmp_path)!r}), 2)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not list(Path(tmp_path).glob("logs/wait.log")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert json.loads((tmp_path / "interrupted.json").read_text())["wait"] > 0.1  # what the attempt cost is not forgotten
    alive = subprocess.run(["pgrep", "-f", str(tmp_path / "mini")], capture_output=True, text=True).stdout.split()
    assert [pid for pid in alive if int(pid) != os.getpid()] == []
