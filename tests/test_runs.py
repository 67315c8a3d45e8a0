"""The recipes at paper scale: every command is one that its stage reads, the arithmetic of their costs, and each of them as a dry run."""

import importlib
import itertools
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coderl import cli
from coderl.records import Problem, Program, Test
from coderl.run_directory import RunDirectory
from coderl.store import read_records, write_records

RUNS = Path(__file__).resolve().parent.parent / "runs"
RECIPES = sorted(path.stem for path in RUNS.glob("*.sh") if path.stem != "recipe")
sys.path.insert(0, str(RUNS))
costs, pick, ranked_table = (importlib.import_module(name) for name in ("costs", "pick", "ranked_table"))


def bash(recipe: str, *words: object, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": sys.executable, "WORKERS": "1", **more}
    return subprocess.run(["bash", str(RUNS / f"{recipe}.sh"), *map(str, words)], capture_output=True, text=True, env=environment, timeout=600)


@pytest.mark.parametrize("gpus", ["1", "8"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_command_is_one_that_its_stage_reads(recipe, gpus):
    told = bash(recipe, "--print", GPUS=gpus)
    assert told.returncode == 0, told.stderr
    stages = set()
    for line in told.stdout.splitlines():
        words = shlex.split(line)
        if "coderl" not in words:
            continue
        name, rest = cli._stage_of(words[words.index("coderl") + 1 :])
        kind = getattr(importlib.import_module(f"coderl.recipes.{cli.STAGES[name].module}"), cli.STAGES[name].config)
        cli.check_bounds(cli._config(kind, name, rest, None))
        stages.add(name)
    assert len(stages) > 1
    assert ("accelerate" in told.stdout) == (gpus == "8" and recipe != "mbpp_zero_shot")  # it trains nothing


def batches(recipe, gpus):
    """Of each training command, by its OUT: what all processes put into an update, in tokens or rows."""
    found = {}
    for line in bash(recipe, "--print", GPUS=gpus, VARIANTS="D").stdout.splitlines():
        words = shlex.split(line)
        value = {a: b for a, b in itertools.pairwise(words) if a.startswith("--")}
        if size := value.get("--batch-tokens") or value.get("--batch"):
            found[value["--out"]] = int(size) * int(value.get("--accumulate", 1)) * int(value.get("--num_processes", 1))
    return found


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "mbpp_zero_shot"])
def test_an_update_is_as_large_on_any_number_of_gpus(recipe):
    alone = batches(recipe, "1")
    assert len(alone) >= 2
    assert all(batches(recipe, gpus) == alone for gpus in ("2", "4", "8"))


def test_other_numbers_of_gpus_are_bad_usage():
    told = bash("coderl_apps", "--print", GPUS="3")
    assert told.returncode == 2 and "GPUS is 3; it must be 1, 2, 4 or 8" in told.stderr


def test_critic_sampling_needs_row_d():
    one, all_rows = (bash("coderl_apps", "--print", VARIANTS=rows) for rows in ("A", "A B C D"))
    assert one.returncode == 0 and "coderl-D" not in one.stdout and "critic2" not in one.stdout and "step 7" in one.stderr
    assert all_rows.stdout.count("finetune coderl") == 4 and "critic-sample" in all_rows.stdout and all_rows.stderr == ""
    wrong = bash("coderl_apps", "--print", VARIANTS="A X")
    assert wrong.returncode == 2 and "VARIANTS names X" in wrong.stderr


def test_the_number_of_ranked_programs_is_read():
    told = bash("bcoder_apps", "--print", RANKED="2500", KS="1 5 1000").stdout
    assert "-n 2500" in told and told.count("2500-T0.6-r.jsonl 1 5 1000") == 2


WRITER = """#!/usr/bin/env bash
# in place of python: deals with the real one, and writes the id of each problem where `coderl sample` would write programs
[ "$2" = deal ] && exec {python} "$@"
while [ $# -gt 0 ]; do case $1 in --problems) problems=$2 ;; --out) out=$2 ;; esac; shift; done
echo $$ >> {folder}/writers
if [ -e {folder}/slow ]; then exec sleep 60; fi
[ "$CUDA_VISIBLE_DEVICES" = "$(cat {folder}/broken)" ] && exit 1
sleep 0.3
grep -o '"id":"[^"]*"' "$problems" > "$out"
"""


@pytest.fixture
def writers(tmp_path):
    """Starts `write_programs` on so many GPUs, for 16 problems, with a stand-in for python; `broken` names the GPU that fails."""
    write_records(tmp_path / "p.jsonl", [problem(f"p{i}") for i in range(16)])
    stand_in = tmp_path / "python"
    stand_in.write_text(WRITER.format(python=sys.executable, folder=tmp_path))
    stand_in.chmod(0o755)

    def start(gpus, broken=""):
        (tmp_path / "broken").write_text(broken)
        script = f"source {RUNS / 'recipe.sh'}; begin {tmp_path}; write_programs {tmp_path / 'p.jsonl'} {tmp_path / 's.jsonl'}"
        environment = {**os.environ, "PYTHON": str(stand_in), "GPUS": gpus}
        return subprocess.Popen(["bash", "-c", script], stderr=subprocess.PIPE, text=True, env=environment)

    return start


def test_writing_goes_on_with_another_number_of_gpus(writers, tmp_path):
    """One of 8 fails: the others are waited for, there is no file of programs, and 4 GPUs then make it whole, each problem once."""
    first = writers("8", broken="3")
    assert "has failed" in first.communicate(timeout=60)[1] and first.returncode == 1
    assert not (tmp_path / "s.jsonl").exists()
    assert len(list((tmp_path / "s.jsonl.parts").glob("programs-*.jsonl"))) == 7
    second = writers("4")
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert sorted((tmp_path / "s.jsonl").read_text().split()) == sorted(f'"id":"p{i}"' for i in range(16))


def test_writers_end_with_their_recipe(writers, tmp_path):
    (tmp_path / "slow").touch()
    recipe = writers("4")
    started = tmp_path / "writers"
    deadline = time.monotonic() + 60
    while not (started.exists() and len(started.read_text().split()) == 4):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    recipe.terminate()
    recipe.communicate(timeout=30)
    alive = [
        one for one in started.read_text().split() if Path(f"/proc/{one}/cmdline").exists() and b"sleep" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    assert alive == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_number_says_where_it_comes_from(recipe):
    """In its own line, or in the comment above it."""
    lines = (RUNS / f"{recipe}.sh").read_text().partition("# ---- numbers\n")[2].partition("# ----")[0].splitlines()
    settings = [(a, b) for a, b in itertools.pairwise(["", *lines]) if re.match(r"[A-Z_]+\+?=", b) and not b.startswith(("KS=", "SEED="))]
    assert len(settings) >= 2
    source = re.compile(r"\[(paper|script|author|RLTF|ours)|: ours")
    assert [b for a, b in settings if not source.search(b) and not (a.startswith("#") and source.search(a))] == []


def test_a_wrong_option_is_bad_usage():
    told = bash(RECIPES[0], "--dryrun", 3)
    assert told.returncode == 2 and "--dryrun is no option" in told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_dry_run(recipe, data_dir, tmp_path):
    """All commands on real problems, two steps of each training."""
    done = bash(recipe, "--dry-run", 2, "--out", tmp_path, CODERL_DATA=str(data_dir))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    trained = [folder.parent for folder in tmp_path.glob("*/metrics.jsonl") if folder.parent.name != "search"]
    for folder in trained:
        assert RunDirectory(folder).complete, folder
    told = [line for line in done.stdout.splitlines() if " updates in " in line and "CPU s" in line]
    assert all(line.startswith("2 updates") for line in told), told
    assert bool(told) == (recipe != "mbpp_zero_shot")


def test_the_authors_two_measurements_agree():
    """By hand: 302.0 million weights in the encoder, 402.7 in the decoder, 32.9 in the table. A pair of 600 and 512 tokens costs
    6 x (302.0 x 600 + 435.5 x 512) million = 2.425 TFLOP, and 1.16 million of them 2.813e18 in 108,000 s: 26.0 TFLOP/s of 312."""
    assert costs.LARGE.encoder == pytest.approx(302.0e6, rel=1e-3) and costs.LARGE.decoder == pytest.approx(402.7e6, rel=1e-3)
    assert costs.measured_share() == pytest.approx(26.0 / 312, rel=0.01)
    assert costs.measured_share_of_pretraining() == pytest.approx(costs.measured_share(), rel=0.1)


def test_the_arithmetic_by_hand():
    gpu = costs.Gpu("of round numbers", 100.0, 1.0, 16)
    # what takes 30 hours at the measured share of an A100 takes 30 x 3.12 at the same share of a third of it
    paper = costs.training_flops(costs.LARGE, 10 * costs.PAIRS, costs.SOURCE, costs.TARGET)
    assert costs.training_hours(paper, costs.A100) == pytest.approx(30) and costs.training_hours(paper, gpu) == pytest.approx(93.6)
    # a step is held up by its kernels: 128 programs of 190 tokens take 190 steps of 0.02 s
    assert costs.writing_hours(128, costs.A100) == pytest.approx(190 * 0.02 / 3600)
    # 16 bytes a weight are 11.8 GB, and a batch keeps less when layers are computed twice
    small, large = (costs.training_memory(costs.LARGE, 4250, 3250, checkpointing) for checkpointing in (True, False))
    assert 11.8 < small < large
    for recipe in RECIPES:
        rows = costs.rows_of(costs.steps_of(recipe))
        sums = [sum(float(row[i].replace(",", "")) for row in rows[1:-1]) for i in range(1, 6)]
        assert [float(cell.replace(",", "")) for cell in rows[-1][1:]] == pytest.approx(sums, abs=0.5)


def problem(name, **more):
    return Problem(name, "s", "stdin", solutions=("print(1)", "print(22)", "print(333)"), **more)


def test_problems_are_dealt_out_and_held_out_once(tmp_path):
    path = tmp_path / "p.jsonl"
    write_records(path, [problem(f"p{i}") for i in range(7)])
    pick.main(["deal", "3", str(path), str(tmp_path)])
    hands = [[p.id for p in read_records(tmp_path / f"problems-{i}.jsonl", Problem)] for i in range(3)]
    assert hands == [["p0", "p3", "p6"], ["p1", "p4"], ["p2", "p5"]]
    pick.main(["hold-out", "3", str(path), str(tmp_path / "rest.jsonl"), str(tmp_path / "taken.jsonl")])
    taken, rest = ([p.id for p in read_records(tmp_path / f"{name}.jsonl", Problem)] for name in ("taken", "rest"))
    assert taken == ["p2", "p5"] and rest == ["p0", "p1", "p3", "p4", "p6"]
    pick.main(["first", "2", str(path)])
    assert len(read_records(path, Problem)) == 2


def test_references_stand_beside_samples_once(tmp_path):
    problems, programs = tmp_path / "p.jsonl", tmp_path / "s.jsonl"
    write_records(problems, [problem("a")])
    write_records(programs, [Program("a", "x", 0), Program("a", "y", 1)])
    for _ in range(2):  # a dry run that goes on does it again
        pick.main(["references", str(problems), str(programs)])
        found = read_records(programs, Program)
        assert [(p.index, p.code, p.origin) for p in found][2:] == [(2, "print(1)", "reference"), (3, "print(22)", "reference")]


def test_programs_of_problems_without_examples_are_left_out(tmp_path):
    files = [tmp_path / f"{name}.jsonl" for name in ("p", "s", "out")]
    write_records(files[0], [problem("a", examples=(Test(input="1", output="2"),)), problem("b")])
    write_records(files[1], [Program("a", "x", 0), Program("b", "y", 0), Program("a", "z", 1)])
    pick.main(["with-examples", *map(str, files)])
    assert [p.code for p in read_records(files[2], Program)] == ["x", "z"]


def test_the_split_of_mbpp(tmp_path):
    write_records(tmp_path / "all.jsonl", [problem(f"mbpp/{i}", extra={"split": split}) for i, split in enumerate(("prompt", "test", "train"))])
    pick.main(["mbpp-test", str(tmp_path / "all.jsonl"), str(tmp_path / "test.jsonl")])
    assert [p.id for p in read_records(tmp_path / "test.jsonl", Problem)] == ["mbpp/1"]


def test_the_ranked_table_by_hand():
    """Two programs: the score puts the wrong one first, the log-probability the right one; only the right one passes the examples."""
    score = ranked_table.ProgramScore
    wrong = ranked_table.Judged("w", score("a", 0, 2.0, 2.0, 0.0, -9.0, 3), False, False)
    right = ranked_table.Judged("r", score("a", 1, 1.0, 1.0, 0.0, -3.0, 3), True, True)
    rows = ranked_table.table([problem("a", difficulty="interview")], {"a": [wrong, right]})
    found = {row[:3]: row[3:] for row in rows}
    assert rows[0] == ("ranked by", "k", "rows", "interview", "all")
    assert found["recovered reward", "1", "plain"] == ("0.00", "0.00") and found["recovered reward", "1", "filtered"] == ("100.00", "100.00")
    assert found["mean log-probability", "1", "plain"] == ("100.00", "100.00") and found["recovered reward", "5", "plain"] == ("100.00", "100.00")
    assert found["hidden verdict (bound)", "1", "plain"] == ("100.00", "100.00")
    asked = ranked_table.table([problem("a", difficulty="interview")], {"a": [wrong, right]}, [2])
    assert {row[1] for row in asked[1:]} == {"2"} and asked[1][3:] == ("100.00", "100.00")
    with pytest.raises(SystemExit, match="each K at least 1"):
        ranked_table.main(["p", "s", "v", "e", "r", "5", "0"])


def test_the_page_has_the_table_that_the_script_prints():
    page = (RUNS.parent / "docs" / "reproduce.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        for row in [*costs.rows_of(costs.steps_of(recipe))[1:], *costs.memory_rows()]:
            assert f"| {' | '.join(row)} |" in page, row
