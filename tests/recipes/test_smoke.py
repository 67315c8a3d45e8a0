"""Every stage of the loop once, on files, on a tiny model: each leaves what the next one reads, and equal seeds give equal bytes."""

import json
from pathlib import Path

import pytest

from coderl.cli import main
from coderl.models.actor import load_actor
from coderl.models.critic import load_critic
from coderl.records import Problem, Program, TokenScores, Verdict
from coderl.run_directory import RunDirectory, file_hash
from coderl.store import read_records


def run(*words):
    assert main([str(w) for w in words]) == 0, words


class Files:
    """Where the stages of one run put their outputs."""

    def __init__(self, root: Path) -> None:
        self.root, self.problems = root, root / "problems"
        self.train, self.tests_only = self.problems / "train.jsonl", self.problems / "train_tests_only.jsonl"
        self.warm, self.critic, self.tuned = root / "warm", root / "critic", root / "tuned"
        self.programs, self.verdicts, self.scores = root / "s.jsonl", root / "v.jsonl", root / "t.jsonl"
        self.greedy, self.greedy_verdicts = root / "g.jsonl", root / "gv.jsonl"


def warm_start(files, out):
    run("warm-start", "--problems", files.train, "--out", out, "--updates", 12, "--width", 16, "--layers", 1, "--vocabulary", 300, "--seed", 3)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The whole chain, run once."""
    f = Files(tmp_path_factory.mktemp("loop"))
    run("problems", "mini", "--out", f.problems, "--train", 24, "--tests-only", 12, "--validation", 6, "--heldout", 6)
    warm_start(f, f.warm)
    sampling = ("--model", f.warm / "actor", "--problems", f.tests_only, "--max-program-tokens", 24)
    run("sample", *sampling, "--out", f.programs, "--greedy", f.greedy, "-n", 3, "--workers", 1)
    mixed = read_records(f.programs, Program)
    problems = {p.id: p for p in read_records(f.train, Problem)}
    assert problems and mixed
    run("grade", "--problems", f.tests_only, "--programs", f.programs, "--out", f.verdicts, "--workers", 1, "--stop-at-first-failure")
    run("grade", "--problems", f.tests_only, "--programs", f.greedy, "--out", f.greedy_verdicts, "--workers", 1)
    of_samples = ("--problems", f.tests_only, "--programs", f.programs, "--verdicts", f.verdicts)
    run("train-critic", "--model", f.warm / "actor", *of_samples, "--out", f.critic, "--updates", 4, "--held-out", 0.3, "--references", f.train)
    run("score", "--critic", f.critic / "critic", *of_samples, "--out", f.scores)
    return f


def test_sampling_writes_all_programs_and_resumes(files):
    programs = read_records(files.programs, Program)
    assert {(p.problem, p.index) for p in programs} == {(p.id, i) for p in read_records(files.tests_only, Problem) for i in range(3)}
    assert all(p.origin == "sample" and p.seed == 0 and p.tokens == len(p.extra["token_ids"]) for p in programs)
    cut = files.root / "cut.jsonl"
    lines = files.programs.read_text().splitlines(keepends=True)
    cut.write_text("".join(lines[:10]) + lines[10][:20])  # killed in the middle of a line
    run("sample", "--model", files.warm / "actor", "--problems", files.tests_only, "--max-program-tokens", 24, "--out", cut, "-n", 3, "--workers", 2)
    assert sorted(cut.read_text().splitlines()) == sorted(files.programs.read_text().splitlines())


def test_verdicts_and_scores_belong_to_the_programs(files):
    programs = {(p.problem, p.index): p for p in read_records(files.programs, Program)}
    verdicts = read_records(files.verdicts, Verdict)
    assert {(v.problem, v.index) for v in verdicts} == set(programs) and not any(v.harness_error for v in verdicts)
    scores = read_records(files.scores, TokenScores)
    assert {(s.problem, s.index) for s in scores} == set(programs)
    for score in scores:
        program = programs[score.problem, score.index]
        assert len(score.values) == program.tokens and "".join(score.tokens) == program.code
        assert all(0 <= v <= 1 for v in score.values)


def test_a_critic_reports_how_good_it_is_on_problems_it_has_not_seen(files):
    report = json.loads((files.critic / "report.json").read_text())
    whole = report["held_out"]
    assert whole["problems"] == 4 and whole["programs"] == 12 == sum(part["programs"] for part in report["by_difficulty"].values())
    assert set(whole["auc_within_at"]) == {"25", "50", "75", "100"} and 0 <= whole["calibration_error"] <= 1
    logged = [line for line in RunDirectory(files.critic).metrics() if "held_out/accuracy" in line]
    assert len(logged) == 1 and logged[0]["step"] == 4 and logged[0]["held_out/brier"] == whole["brier"]


def test_a_critic_of_two_outcomes(files):
    out, scores = files.root / "two", files.root / "two.jsonl"
    of_samples = ("--problems", files.tests_only, "--programs", files.programs, "--verdicts", files.verdicts)
    model = ("--model", files.warm / "actor", "--outcomes", 2, "--prefix-weight", 1, "--references", files.train)
    run("train-critic", *model, *of_samples, "--out", out, "--updates", 4, "--held-out", 0.3)
    assert load_critic(out / "critic").outcomes == 2
    run("score", "--critic", out / "critic", *of_samples, "--out", scores)
    for score in read_records(scores, TokenScores):
        assert score.predicted in ("failed_test", "passed_test")
        expected = score.passed if score.outcome == "passed_test" else tuple(1 - p for p in score.passed)
        assert score.values == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("kind", ["constant", "oracle", "shuffled"])
def test_scores_of_a_critic_of_known_quality(files, kind, capsys):
    of_samples = ("--problems", files.tests_only, "--programs", files.programs, "--verdicts", files.verdicts)
    command = ("score", "--critic", files.critic / "critic", *of_samples, "--out", files.root / f"{kind}.jsonl")
    run(*command, "--instead", kind)
    scores, own = read_records(files.root / f"{kind}.jsonl", TokenScores), read_records(files.scores, TokenScores)
    assert [(s.problem, s.index, s.tokens) for s in scores] == [(s.problem, s.index, s.tokens) for s in own]
    values = [v for s in scores for v in s.values]
    assert all(s.extra == {"instead": kind} for s in scores)
    if kind == "oracle":
        assert set(values) == {1.0} and all(s.predicted == s.outcome for s in scores)
    mean = sum(v for s in own for v in s.values) / len(values)
    if kind == "constant":
        assert len(set(values)) == 1 and values[0] == pytest.approx(mean, abs=1e-3)
    if kind == "shuffled":
        assert sum(s.values != o.values for s, o in zip(scores, own)) > len(own) / 2
        assert sum(values) / len(values) == pytest.approx(mean, abs=0.1)
    # a killed run goes on; another kind of scores is not mixed in
    lines = (files.root / f"{kind}.jsonl").read_text().splitlines(keepends=True)
    (files.root / f"{kind}.jsonl").write_text("".join(lines[:10]))
    assert main([str(w) for w in command]) == 2
    assert f"holds scores of another kind (--instead {kind}, not the critic's own)" in capsys.readouterr().err
    run(*command, "--instead", kind)
    assert (files.root / f"{kind}.jsonl").read_text().splitlines(keepends=True) == lines


def test_models_load_and_runs_are_complete(files):
    assert load_actor(files.warm / "actor").model.config.d_model == 16
    assert load_critic(files.critic / "critic").outcomes == 4
    for folder in (files.warm, files.critic):
        run_directory = RunDirectory(folder)
        assert run_directory.complete and not list(folder.glob("checkpoint-*"))
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["versions"]["torch"] and manifest["inputs"] and "seed" in manifest["config"]


def test_two_warm_starts_are_equal_to_the_last_bit(files):
    again = files.root / "again"
    warm_start(files, again)
    assert file_hash(again / "actor" / "model.safetensors") == file_hash(files.warm / "actor" / "model.safetensors")


def test_fine_tuning_runs_on_the_files(files):
    # a model this small passes nothing: give one problem a greedy program that passes, so that there is a signal
    lines = [json.loads(line) for line in files.greedy_verdicts.read_text().splitlines()]
    for line in lines[:6]:
        line.update(outcome="passed_test", error_type=None, error_message=None)
    baseline = files.root / "baseline.jsonl"
    baseline.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = ("finetune", "coderl", "--model", files.warm / "actor", "--problems", files.tests_only, "--programs", files.programs)
    command += ("--verdicts", files.verdicts, "--baseline", baseline, "--references", files.train, "--out", files.tuned)
    run(*command, "--scores", files.scores, "--validation", files.problems / "validation.jsonl")
    before, after = load_actor(files.warm / "actor").model, load_actor(files.tuned / "actor").model
    assert any(not bool((a == b).all()) for a, b in zip(before.parameters(), after.parameters()))
    lines = RunDirectory(files.tuned).metrics()
    assert "signal" in {line["stage"] for line in lines}
    looks = [line for line in lines if "validation/greedy" in line]
    assert looks[0]["step"] == 0 and len(looks) > 1
    assert all(sum(v for k, v in line.items() if k.startswith("outcome/")) == pytest.approx(1, abs=1e-5) for line in looks)


@pytest.mark.parametrize("algorithm", ["reinforce", "reinforce --baseline", "expert", "grpo", "rltf", "ppo"])
def test_every_algorithm_runs_on_the_files(files, algorithm):
    # half of the programs pass, by decree, and all tests were run: every algorithm has a signal
    lines = [json.loads(line) for line in files.verdicts.read_text().splitlines()]
    for number, line in enumerate(lines):
        passed = "passed_test" if number % 2 else "failed_test"
        results = [{"outcome": passed, "error_type": None, "cpu_seconds": 0.0}] * line["total"]
        line.update(outcome=passed, error_type=None, error_message=None, error_line=None, tests=results, passed=line["total"] * (number % 2))
    name, *flags = algorithm.split()
    verdicts, out = files.root / "decreed.jsonl", files.root / algorithm.replace(" ", "")
    verdicts.write_text("".join(json.dumps(line) + "\n" for line in lines))
    command = (
        "finetune",
        name,
        "--model",
        files.warm / "actor",
        "--problems",
        files.tests_only,
        "--programs",
        files.programs,
        "--verdicts",
        verdicts,
    )
    baseline = ("--baseline", files.greedy_verdicts) if flags or name == "rltf" else ()
    run(*command, "--verdicts", verdicts, *baseline, "--references", files.train, "--out", out, "--learning-rate", 0.01)
    before, after = load_actor(files.warm / "actor").model, load_actor(out / "actor").model
    assert any(not bool((a == b).all()) for a, b in zip(before.parameters(), after.parameters()))
    assert RunDirectory(out).metrics()[0]["programs"] == 36


def test_prompts_that_are_too_long_are_counted(files, capsys):
    out = files.root / "short.jsonl"
    run("sample", "--model", files.warm / "actor", "--problems", files.tests_only, "--out", out, "-n", 1, "--max-source-tokens", 40, "--workers", 1)
    assert "12 prompts were longer than 40 tokens" in capsys.readouterr().out
    assert all(p.extra["prompt_cut"] for p in read_records(out, Program))


def test_a_complete_run_is_left_alone(files, capsys):
    stamp = (files.warm / "actor" / "model.safetensors").stat().st_mtime_ns
    warm_start(files, files.warm)
    assert "complete already" in capsys.readouterr().out
    assert (files.warm / "actor" / "model.safetensors").stat().st_mtime_ns == stamp
