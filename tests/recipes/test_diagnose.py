"""`coderl diagnose RUN` on run folders made of numbers."""

import json

import pytest

from coderl.cli import main
from coderl.run_directory import RunDirectory

SHARES = ("compile_error", "runtime_error", "failed_test", "passed_test")


def look(step, greedy, kl=0.0, entropy=0.2):
    outcomes = dict(zip((f"outcome/{name}" for name in SHARES), (0.5 - greedy / 2, 0.1, 0.4 - greedy / 2, greedy)))
    return {
        "step": step,
        "cpu_seconds": 1.0,
        "validation/greedy": greedy,
        **outcomes,
        "actor/kl": kl,
        "actor/entropy": entropy,
        "actor/distinct": 0.8,
    }


def tuned(folder, last, merged, finished=True):
    """A run of 100 updates that began at 30 % and ends with this look."""
    run = RunDirectory(folder)
    config = {"learning_rate": 0.003, "epochs": 1.0, "negative_weight": 1.0}
    (folder / "manifest.json").write_text(json.dumps({"config": config, "validation_problems": 200}))
    run.log(stage="signal", programs=2000, zero=0.6, merged=merged, negative=0.6, value=0.3)
    run.log(stage="finetune-coderl", **look(0, 0.3))
    for step in range(10, 101, 10):
        run.log(stage="finetune-coderl", step=step, cpu_seconds=1.0, loss=1.0, loss_rl=-step / 20, gradient_norm=3.0, gradient_clipped=0.9)
    run.log(stage="finetune-coderl", **last)
    if finished:
        run.finish()
    return folder


def said(capsys, folder):
    assert main(["diagnose", str(folder)]) == 0
    return capsys.readouterr().out


def test_a_collapse_is_explained(tmp_path, capsys):
    out = said(capsys, tuned(tmp_path, look(100, 0.05, kl=0.5, entropy=0.9), merged=500))
    assert "Greedy pass@1 on 200 validation problems fell: 30.0 % before, 5.0 % after 100 updates (-25.0 points" in out
    went_wrong = out.partition("What went wrong:")[2]
    assert "1. The rate is too high for such small batches." in went_wrong and "about 5 programs in an update" in went_wrong
    assert "2. Programs that the actor no longer writes are pushed down without a floor." in went_wrong
    assert "L_rl went from -0.75 to -4.75, and has no floor" in went_wrong and went_wrong.count("Next: ") == 2


def test_a_healthy_run_gets_a_healthy_report(tmp_path, capsys):
    out = said(capsys, tuned(tmp_path, look(100, 0.4, kl=0.03), merged=20_000))
    assert "rose: 30.0 % before, 40.0 % after" in out and "Nothing looks wrong (10 rules: steps too large, negative weights" in out
    assert "not finished" not in out


def test_rounds_are_explained_by_what_happened_inside_them(tmp_path, capsys):
    run = RunDirectory(tmp_path)
    for number, greedy in enumerate((0.3, 0.35, 0.05)):
        run.log(stage="rounds", **look(number, greedy))
    tuned(tmp_path / "round-1" / "tuned", look(100, 0.35, kl=0.03), merged=20_000)
    tuned(tmp_path / "round-2" / "tuned", look(100, 0.05, kl=0.5), merged=500, finished=False)
    out = said(capsys, tmp_path)
    assert "after 2 rounds" in out and "1. round 2: The rate is too high for such small batches." in out and "round 1:" not in out


def test_a_run_without_looks_says_what_it_lacks(tmp_path, capsys):
    RunDirectory(tmp_path).log(stage="warm-start", step=50, cpu_seconds=1.0, loss=0.5)
    out = said(capsys, tmp_path)
    assert "had no --validation" in out and "most rules have nothing to go by" in out and "warm-start, not finished" in out


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert main(["diagnose", str(tmp_path)]) == 1
    assert "holds no metrics.jsonl; give the folder that a training stage wrote" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["a", "b"], ["--run", "a"]])
def test_it_takes_one_folder(words, capsys):
    assert main(["diagnose", *words]) == 2
