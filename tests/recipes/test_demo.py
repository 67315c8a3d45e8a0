"""The demo's chain before it runs: every command is one that the command line takes, and every file is written before it is read."""

import importlib
import itertools
from pathlib import Path

import pytest

from coderl import cli
from coderl.pipeline import StepCost
from coderl.recipes.demo import ARMS, CODERL_STEPS, FULL, QUICK, Chain, Config, Paths, arm_costs, difference, interval, print_table


def chain(scale):
    return Chain(scale, Config(), Paths(Path("out"))).steps()


@pytest.mark.parametrize("scale", [FULL, QUICK])
def test_every_command_is_one_that_its_stage_reads(scale):
    for step in chain(scale):
        words = [*step.command, *(("--cpu-seconds", "100") if step.budget_of else ())]
        name, rest = cli._stage_of(words)
        stage = cli.STAGES[name]
        kind = getattr(importlib.import_module(f"coderl.recipes.{stage.module}"), stage.config)
        assert cli._config(kind, name, rest, None) is not None


def test_steps_are_named_once_and_need_steps_that_stand_before_or_beside_them():
    steps = chain(FULL)
    names = [s.name for s in steps]
    assert len(set(names)) == len(names)
    done: set[str] = set()
    for _ in steps:  # runs to the end: no ring, no need that names nothing
        done |= {s.name for s in steps if {*s.needs, *s.budget_of} <= done}
    assert done == set(names)


def test_files_are_read_after_the_step_that_writes_them():
    steps = {s.name: s for s in chain(FULL)}
    before: dict[str, set[str]] = {}

    def ancestors(name):
        if name not in before:
            needs = {*steps[name].needs, *steps[name].budget_of}
            before[name] = needs.union(*(ancestors(n) for n in needs)) if needs else set()
        return before[name]

    writes = {}
    for step in steps.values():
        words = step.command
        for flag, value in itertools.pairwise(words):
            if flag in ("--out", "--greedy") and not (flag == "--greedy" and words[0] == "evaluate"):
                writes[value] = step.name
    checked = 0
    for step in steps.values():
        for flag, value in zip(step.command, step.command[1:]):
            makers = [name for path, name in writes.items() if flag.startswith("--") and value.startswith(path) and name != step.name]
            for maker in makers:
                assert maker in ancestors(step.name), (step.name, value)
                checked += 1
    assert checked > 40


def test_the_control_gets_what_all_of_coderl_cost():
    control = next(s for s in chain(FULL) if s.name == "control")
    assert set(control.budget_of) == {*CODERL_STEPS, "no-critic"}
    costs = {name: StepCost(name, (), 10.0, 1.0) for name in (*CODERL_STEPS, "no-critic", "control", "coderl", "expert", "warm-start")}
    assert arm_costs(costs) == {"warm-start": 10, "control": 10, "expert": 20, "no-critic": 30, "coderl": 50}


def test_the_papers_form_is_one_switch_away():
    ours, paper = ({s.name: s.command for s in Chain(FULL, Config(form=form), Paths(Path("f"))).steps()} for form in ("ours", "paper"))
    assert {name for name in ours if ours[name] != paper[name]} == {"no-critic", "coderl"}
    assert "--solutions" in ours["coderl"] and "--solutions" not in paper["coderl"]
    for commands in (ours, paper):
        assert set(commands["coderl"]) - set(commands["no-critic"]) == {"--scores", "f/samples/scores.jsonl", "f/coderl"}


def result(name, passes):
    problems = [f"p{i}" for i in range(4)]
    estimate = {"value": sum(passes) / 40, "low": 0.0, "high": 1.0}
    return {
        "name": name,
        "problems": 4,
        "samples": 40,
        "harness_errors": 0,
        "all": {"greedy": estimate, "pass@k": {"1": estimate, "5": estimate}},
        "by_difficulty": {"interview": {"pass@k": {"1": estimate}}},
        "per_problem": {p: {"n": 10, "c": c} for p, c in zip(problems, passes)},
    }


def test_the_table_shows_the_paired_difference(capsys):
    results = {arm: result(arm, [1, 2, 3, 4]) for arm in ARMS}
    results["coderl"] = result("coderl", [3, 4, 5, 6])  # two more of ten on every problem: +20 points, no spread
    print_table(results, dict.fromkeys(ARMS, 12.0), seed=0)
    shown = capsys.readouterr().out
    assert "+20.0 [+20.0, +20.0]" in shown and "interview" in shown and "45.0 [0.0, 100.0]" in shown
    assert "competition" not in shown


def test_numbers_are_shown_in_percent():
    assert interval({"value": 0.312, "low": 0.27, "high": 0.354}) == "31.2 [27.0, 35.4]"
    assert interval(None) == "-"

    class Compared:
        difference, low, high = -0.012, -0.03, 0.006

    assert difference(Compared) == "-1.2 [-3.0, +0.6]"
