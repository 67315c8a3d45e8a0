"""What is read from a run folder, whole or not."""

import json
import math

import pytest

from coderl.diagnosis.facts import Facts, Look, facts_of, read_facts, read_rounds
from coderl.errors import DataError
from coderl.run_directory import RunDirectory

LINES = [
    {"stage": "signal", "programs": 80, "zero": 0.6, "merged": 30, "negative": 0.2},
    {"stage": "finetune-coderl", "step": 0, "cpu_seconds": 0.0, "validation/greedy": 0.3, "outcome/compile_error": 0.2, "actor/kl": 0.0},
    *[{"stage": "finetune-coderl", "step": s, "cpu_seconds": 1.0, "loss": 1.0, "gradient_norm": float(s)} for s in (10, 20, 30, 40, 50)],
    {"stage": "finetune-coderl", "step": 50, "cpu_seconds": 5.0, "validation/greedy": 0.4, "outcome/compile_error": 0.1, "actor/kl": 0.05},
    {"stage": "kept", "at": 50, "of": 50, "greedy": 0.4},
]


def run_folder(path, lines=LINES, **manifest):
    run = RunDirectory(path)
    for line in lines:
        run.log(**line)
    (path / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_a_run_is_read(tmp_path):
    warm = [{"stage": "warm-start", "step": s, "cpu_seconds": 1.0, "validation/greedy": g} for s, g in ((500, 0.1), (1000, 0.2))]
    run_folder(tmp_path / "warm", warm)
    folder = run_folder(tmp_path / "tuned", config={"model": str(tmp_path / "warm" / "actor"), "epochs": 5.0}, validation_problems=100)
    facts = read_facts(folder)
    assert (facts.stage, facts.problems, facts.kept, facts.complete) == ("finetune-coderl", 100, 50, False)
    assert [look.greedy for look in facts.looks] == [0.3, 0.4] and facts.looks[1].kl == 0.05 and facts.looks[1].entropy is None
    assert facts.looks[0].share("compile_error", "failed_test") == 0.2
    assert [look.greedy for look in facts.origin] == [0.1, 0.2]
    assert facts.mean("gradient_norm") == 30 and facts.ends("gradient_norm") == (10, 50) and facts.mean("loss_ce") is None
    assert facts.programs_per_update == 3  # 30 distinct programs, 5 passes, 50 updates
    RunDirectory(folder).finish()
    assert read_facts(folder).complete


def test_steps_in_turn_hold_twice_as_many_programs():
    config = {"epochs": 5.0, "alternate": True, "references": "r.jsonl"}
    assert facts_of({"config": config}, LINES).programs_per_update == 6
    assert facts_of({"config": config | {"references": None}}, LINES).programs_per_update == 3


def test_noise_by_hand():
    # looks at 0.3 and 0.5: p = 0.4, and 200 problems: the root of 2 * 0.4 * 0.6 / 200
    facts = Facts("finetune-coderl", looks=(Look(0, 0.3, {}), Look(9, 0.5, {})), problems=200)
    assert facts.noise == pytest.approx(math.sqrt(0.0024)) and facts.change == pytest.approx(0.2)
    assert facts._replace(problems=0).noise == facts.noise  # not known: 200


def test_rounds_are_found_in_their_order(tmp_path):
    for number in (1, 2, 10):
        run_folder(tmp_path / f"round-{number}" / "tuned", validation_problems=7)
    run_folder(tmp_path / "x", [{"stage": "rounds", "step": 0, "validation/greedy": 0.1}])
    (tmp_path / "x" / "metrics.jsonl").rename(tmp_path / "metrics.jsonl")
    assert list(read_rounds(tmp_path)) == ["round 1", "round 2", "round 10"]
    assert (read_facts(tmp_path).stage, read_facts(tmp_path).problems) == ("rounds", 7)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no metrics.jsonl; give the folder"):
        read_facts(tmp_path)
    run_folder(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="manifest is JSON"):
        read_facts(tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert read_facts(tmp_path).looks  # a folder of an earlier version, or a copy of the metrics
