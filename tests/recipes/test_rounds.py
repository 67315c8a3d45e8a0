"""Rounds: who gets which problems, the commands of a round, and two rounds run on a tiny model."""

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from coderl import cli
from coderl.errors import CoderlError, UsageError
from coderl.models.actor import load_actor, with_old_log_probs
from coderl.models.value_head import fresh_value_head, load_value_head
from coderl.pipeline import StepCost
from coderl.recipes import rounds
from coderl.recipes.finetuning import Tuning
from coderl.recipes.rounds import Config, Round, shares
from coderl.records import Verdict
from coderl.reuse import FILE, Learnt, earlier_examples
from coderl.run_directory import RunDirectory
from coderl.store import read_records

CONFIG = Config(Path("m"), Path("p.jsonl"), Path("out"), tuning=Tuning(references=Path("r.jsonl"), validation=Path("v.jsonl")))


def test_every_problem_comes_once_before_any_comes_twice():
    names = [f"p{i}" for i in range(10)]
    parts = shares(names, replace(CONFIG, rounds=7, problems_per_round=4))
    assert all(len(part) == len(set(part)) == 4 for part in parts)
    dealt = [name for part in parts for name in part]
    assert set(dealt[:10]) == set(names) and set(dealt[10:20]) == set(names)
    assert parts == shares(names, replace(CONFIG, rounds=7, problems_per_round=4))
    assert parts != shares(names, replace(CONFIG, rounds=7, problems_per_round=4, tuning=Tuning(seed=1)))
    assert parts[:3] == shares(names, replace(CONFIG, rounds=3, problems_per_round=4))
    assert shares(names, replace(CONFIG, rounds=2, problems_per_round=99))[1] != names


@pytest.mark.parametrize("algorithm", ["coderl", "reinforce", "leave-one-out", "expert", "grpo", "ppo", "rltf"])
@pytest.mark.parametrize("critic", ["refresh", "frozen"])
@pytest.mark.parametrize("variant", [None, "A", "changes"])
def test_every_command_is_one_that_its_stage_reads(algorithm, critic, variant):
    tuning = replace(CONFIG.tuning, scaled=False, alternate=True, reduction="program-sum")
    steps = [s for n in (1, 2) for s in Round(replace(CONFIG, algorithm=algorithm, critic=critic, variant=variant, tuning=tuning), n).steps()]
    for step in steps:
        name, rest = cli._stage_of([*step.command])
        stage = cli.STAGES[name]
        assert cli._config(getattr(importlib.import_module(f"coderl.recipes.{stage.module}"), stage.config), name, rest, None)
    names = [s.name for s in steps]
    assert all(need in names[: names.index(s.name)] for s in steps for need in s.needs)
    assert ("critic-1" in names, "critic-2" in names) == (
        algorithm == "coderl" and variant != "A",
        algorithm == "coderl" and variant != "A" and critic == "refresh",
    )


def test_a_round_starts_from_the_actor_of_the_one_before():
    assert Round(CONFIG, 1).start == Path("m") and Round(CONFIG, 2).start == Path("out/round-1/tuned/actor")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("rounds")
    sizes = ("--train", "16", "--tests-only", "12", "--validation", "6", "--heldout", "4")
    assert cli.main(["problems", "mini", "--out", str(root / "mini"), *sizes, "--sources", "words", "--hardest", "introductory"]) == 0
    small = ("--updates", "150", "--width", "32", "--layers", "1", "--vocabulary", "300", "--batch-tokens", "2048")
    assert cli.main(["warm-start", "--problems", str(root / "mini" / "train.jsonl"), "--out", str(root / "warm"), *small]) == 0
    return root


def test_the_value_head_of_ppo_goes_from_round_to_round(made, tmp_path):
    config = Config(made / "warm" / "actor", made / "mini" / "train_tests_only.jsonl", tmp_path, algorithm="ppo", rounds=2, problems_per_round=6)
    config = replace(config, samples=4, temperature=1.0, tuning=Tuning(max_program_tokens=24))
    rounds.main(config)
    first, second = (load_value_head(Round(config, n).actor, 32) for n in (1, 2))
    began = load_value_head(tmp_path / "round-2" / "tuned" / "value" / "head", 32)
    assert first is not None and second is not None and began is not None
    weights = [head.inner.weight for head in (first, began, second, fresh_value_head(32, 2))]
    assert (weights[0] - weights[1]).abs().max() < (weights[3] - weights[1]).abs().max() / 2  # gone on with, not begun anew
    assert load_value_head(tmp_path / "actor", 32) is not None


def test_two_rounds_run_and_are_left_alone_when_done(made, capsys):
    config = Config(
        made / "warm" / "actor",
        made / "mini" / "train_tests_only.jsonl",
        made / "out",
        tuning=Tuning(references=made / "mini" / "train.jsonl", validation=made / "mini" / "validation.jsonl", max_program_tokens=24),
        algorithm="grpo",
        rounds=2,
        problems_per_round=8,
        samples=8,
        temperature=1.0,
    )
    rounds.main(config)
    assert load_actor(made / "out" / "actor").model.config.d_model == 32
    lines = [line for line in RunDirectory(made / "out").metrics() if line["stage"] == "rounds"]
    assert [line["step"] for line in lines] == [0, 1, 2] and all("validation/greedy" in line for line in lines)
    assert lines[2]["cpu_seconds"] > lines[1]["cpu_seconds"] > 0
    for number in (1, 2):
        assert len(read_records(Round(config, number).file("verdicts"), Verdict)) == 64
    rounds.main(config)
    assert "complete already" in capsys.readouterr().out
    with pytest.raises(CoderlError, match="made with other settings"):
        rounds.main(replace(config, temperature=0.5))
    (made / "out" / RunDirectory.MARKER).unlink()  # as if it had been killed at the end
    with pytest.raises(CoderlError, match="problems_per_round was 8, now it is 5"):
        rounds.main(replace(config, problems_per_round=5))
    rounds.main(config)
    assert len([line for line in RunDirectory(made / "out").metrics() if line["stage"] == "rounds"]) == 3
    with pytest.raises(CoderlError, match=r"rounds is 1, .* holds a complete run of 2"):
        rounds.main(replace(config, rounds=1))
    stamp = Round(config, 2).file("programs").stat().st_mtime_ns
    rounds.main(replace(config, rounds=3))  # a complete run goes on too
    assert RunDirectory(made / "out").complete and len(read_records(Round(config, 3).file("verdicts"), Verdict)) == 64
    assert Round(config, 2).file("programs").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("algorithm", "reuse"), [("leave-one-out", "importance"), ("coderl", "importance"), ("grpo", "passing")])
def test_a_round_learns_from_earlier_ones_again(made, tmp_path, algorithm, reuse):
    tuning = Tuning(references=made / "mini" / "train.jsonl", max_program_tokens=24, reuse=reuse)
    config = Config(made / "warm" / "actor", made / "mini" / "train_tests_only.jsonl", tmp_path, algorithm=algorithm, variant="A", tuning=tuning)
    rounds.main(replace(config, rounds=2, problems_per_round=6, samples=6, temperature=1.0))
    first, second = (read_records(Round(config, n).folder / "tuned" / FILE, Learnt) for n in (1, 2))
    assert first and second and not {one.problem for one in first} & {one.problem for one in second}
    assert len(first[0].old_log_probs) == len(first[0].program)  # GRPO has them anyway
    expected = len(first) if reuse == "importance" else sum(one.passed for one in first)
    again = len(earlier_examples([Round(config, 1).folder / "tuned"], reuse, True))
    updates = [next(line for line in RunDirectory(Round(config, n).folder / "tuned").metrics() if line["stage"] == "signal") for n in (1, 2)]
    assert [line["earlier"] for line in updates] == [0, again] and again == expected


def test_with_overlap_a_round_draws_while_the_one_before_learns(made, tmp_path):
    tuning = Tuning(references=made / "mini" / "train.jsonl", max_program_tokens=24, reuse="importance")
    config = Config(made / "warm" / "actor", made / "mini" / "train_tests_only.jsonl", tmp_path, algorithm="grpo", overlap=True, tuning=tuning)
    config = replace(config, rounds=3, problems_per_round=4, samples=6, temperature=1.0)
    steps = {step.name: step for step in rounds.steps_of(config, 3)}
    assert [steps[f"sample-{n}"].needs for n in (1, 2, 3)] == [(), (), ("tune-1",)]
    assert set(steps["tune-3"].needs) == {"tune-2", "sample-3"} and steps["sample-1"].cores == 1
    assert "--drawn-by" not in steps["tune-1"].command
    assert str(Round(config, 1).actor) == steps["tune-3"].command[steps["tune-3"].command.index("--drawn-by") + 1]
    rounds.main(config)
    examples = earlier_examples([Round(config, 2).folder / "tuned"], "importance", True)
    drew, learns = (with_old_log_probs(load_actor(path).model, examples, 0) for path in (config.model, Round(config, 1).actor))

    def apart(others):
        return max(abs(a - b) for e, o in zip(examples, others, strict=True) for a, b in zip(e.old_log_probs, o.old_log_probs, strict=True))

    assert apart(drew) < 1e-3 < apart(learns)  # the second round's programs are of the start, not of the actor that learns
    with pytest.raises(UsageError, match="leave one of them out"):
        rounds.main(replace(config, cpu_seconds=100.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"algorithm": "ppo", "tuning": replace(CONFIG.tuning, reuse="passing")}, "--reuse is passing"),
        ({"variant": "changes", "solutions": 3.0}, "--solutions is 3 with variant changes"),
    ],
)
def test_what_the_last_step_would_refuse_is_refused_before_the_first(change, message):
    with pytest.raises(UsageError, match=message):
        rounds.main(replace(CONFIG, **change))


def test_greedy_samples_have_no_greedy_baseline():
    with pytest.raises(UsageError, match="--temperature is 0"):
        rounds.main(replace(CONFIG, temperature=0.0))


def test_the_best_round_is_kept(made, tmp_path):
    config = replace(CONFIG, out=tmp_path, rounds=2)
    for number, looks in ((1, (0.1, 0.4)), (2, (0.4, 0.3))):
        run = RunDirectory(Round(config, number).folder / "tuned")
        run.log(stage="signal", zero=0.5, positive=0.2, value=1.0)
        for step, look in enumerate(looks):
            run.log(**{"stage": "finetune-coderl", "step": step, "validation/greedy": look})
    assert rounds.summary(config, 2, RunDirectory(tmp_path), {}) == 1
    kept = RunDirectory(Round(config, 2).folder / "tuned")
    kept.log(stage="kept", at=0, of=1, greedy=0.4)  # its best look was its first: the next round would start from there
    assert rounds.summary(config, 2, RunDirectory(tmp_path), {}) == 2
    assert RunDirectory(tmp_path).metrics()[-1]["validation/greedy"] == 0.4
    shutil.rmtree(tmp_path / "round-1")
    (tmp_path / "round-1" / "tuned").mkdir(parents=True)
    assert rounds.summary(config, 1, RunDirectory(tmp_path), {}) == 1  # no look at all: the last round


def test_a_budget_ends_before_a_round_that_does_not_fit(monkeypatch):
    def run_steps(steps, folder, cores, preload):
        return {s.name: StepCost(s.name, s.command, 10.0, 1.0) for s in steps}

    monkeypatch.setattr("coderl.pipeline.run_steps", run_steps)
    config = replace(CONFIG, algorithm="expert", rounds=9)  # sample and tune: 20 s a round
    assert rounds.run_rounds(replace(config, cpu_seconds=79.0))[0] == 3
    assert rounds.run_rounds(replace(config, cpu_seconds=80.0))[0] == 4
    assert rounds.run_rounds(replace(config, cpu_seconds=1.0))[0] == 1
    critic = replace(config, algorithm="coderl", critic="frozen")  # five steps of 10 s in the first round, four in each of the others
    assert rounds.run_rounds(replace(critic, cpu_seconds=89.0))[0] == 1
    assert rounds.run_rounds(replace(critic, cpu_seconds=90.0))[0] == 2
    done, costs = rounds.run_rounds(replace(config, rounds=2, cpu_seconds=1e9))
    assert done == 2 and len(costs) == 4
