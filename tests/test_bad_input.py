"""What goes wrong for users: for every stage and every file it reads, one clear sentence, the right exit code, no traceback.

Every stage is first run on good input (the fixture `files`), so that a failure here is due to the one thing that is broken.
"""

import dataclasses
import importlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from coderl import cli
from coderl.records import Problem, Program, Test, Verdict
from coderl.store import read_records, write_records
from decoder_only import qwen2_folder

Files = Mapping[str, Path]

# Every stage that reads files, with small settings; {name} is a file of the chain, {out} a fresh place.
COMMANDS: dict[str, str] = {
    "problems jsonl": "--source {problems} --out {out}",
    "problems overlap": "--training {problems} --evaluation {problems} --out {out}",
    "validate": "--problems {problems} --out {out} --workers 1",
    "show-prompt": "--problems {problems} --tokenizer {actor}",
    "adopt": "--model {chat} --out {out}",
    "corpus collect": "--sources {documents} --licences mit --out {out}",
    "corpus tokenizer": "--corpus {documents} --problems {problems} --vocabulary 300 --out {out}",
    "corpus encode": "--corpus {documents} --tokenizer {fresh} --out {out}",
    "new-model": "--tokenizer {fresh} --width 16 --layers 1 --out {out}",
    "pretrain spans": "--model {fresh} --tokens {tokens} --updates 1 --block-tokens 16 --out {out}",
    "pretrain next": "--model {fresh} --tokens {tokens} --updates 1 --out {out}",
    "warm-start": "--problems {problems} --validation {problems} --out {out} --updates 2 --width 16 --layers 1 --vocabulary 300 --model {actor}",
    "sample": "--model {actor} --problems {problems} --out {out} -n 2 --max-program-tokens 16 --workers 1",
    "grade": "--problems {problems} --programs {programs} --out {out} --workers 1",
    "train-critic": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --out {out} --updates 1 --held-out 0.3",
    "score": "--critic {critic} --problems {problems} --programs {programs} --verdicts {verdicts} --out {out}",
    "finetune coderl": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --baseline {baseline} "
    "--scores {scores} --references {problems} --out {out}",
    "finetune reinforce": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --baseline {baseline} --out {out}",
    "finetune expert": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --references {problems} --out {out}",
    "finetune grpo": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --out {out}",
    "finetune ppo": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --reference {actor} --out {out}",
    "finetune rltf": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --baseline {baseline} --out {out}",
    "bcoder value": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --references {problems} --out {out} "
    "--updates 1",
    "bcoder finetune": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --references {problems} --out {out} "
    "--updates 1",
    "train-repair": "--model {actor} --problems {problems} --programs {programs} --verdicts {verdicts} --targets both --updates 1 --out {out}",
    "critic-sample": "--model {actor} --problems {problems} --critic {critic} -n 2 --max-program-tokens 16 --workers 1 --out {out}",
    "evaluate": "--problems {problems} --verdicts {verdicts} --examples {verdicts} --greedy {baseline} --compare {results} --out {out}",
    "export": "--programs {programs} --verdicts {verdicts} --problems {problems} --out {out}",
    "released export": "--problems {problems} --programs {programs} --verdicts {verdicts} --greedy {programs} --greedy-verdicts {verdicts} "
    "--critic {critic} --out {out}",
    "report": "--results {results} --problems {problems} --programs {programs} --verdicts {verdicts} --scores {scores} --out {out}",
}
RECORD_FILES = ("problems", "programs", "verdicts", "baseline", "scores", "results", "documents")
MODEL_FOLDERS = ("actor", "critic", "fresh", "chat")
TOKENIZER_ALONE = ("show-prompt", "corpus encode", "new-model")

BREAK: dict[str, Callable[[Path], object]] = {
    "absent": lambda path: None,
    "empty": lambda path: path.touch(),
    "torn": lambda path: path.write_text('{"id": "a", "problem": "a", "index": '),
    "no-object": lambda path: path.write_text("[3]\n"),
    "no-field": lambda path: path.write_text("{}\n"),
    "binary": lambda path: path.write_bytes(b"\xff\xfe\x00\x80\n"),
    "folder": lambda path: path.mkdir(),
}
BREAK_MODEL: dict[str, Callable[[Path, Path], object]] = {
    "absent": lambda path, good: None,
    "file": lambda path, good: path.write_text("no folder"),
    "empty": lambda path, good: path.mkdir(),
    "no-weights": lambda path, good: (shutil.copytree(good, path), (path / "model.safetensors").unlink()),
    "torn-weights": lambda path, good: (shutil.copytree(good, path), os.truncate(path / "model.safetensors", 200)),
    "torn-config": lambda path, good: (shutil.copytree(good, path), (path / "config.json").write_text('{"model_type": ')),
    "odd-config": lambda path, good: (shutil.copytree(good, path), (path / "config.json").write_text('{"model_type": "nonesuch"}')),
    "no-tokenizer": lambda path, good: (shutil.copytree(good, path), (path / "tokenizer.json").unlink()),
    "torn-tokenizer": lambda path, good: (shutil.copytree(good, path), (path / "tokenizer.json").write_text('{"version": ')),
}


def problem(number: int) -> Problem:
    tests = (Test(input="1\n", output="2\n"), Test(input="5\n", output="6\n"))
    return Problem(
        f"t/{number}", "Read a number, print the next.", "stdin", tests, tests[:1], ("print(int(input()) + 1)\n",), difficulty="introductory"
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """One small good run of the chain; the programs are written by hand so that verdicts differ."""
    root = tmp_path_factory.mktemp("good")
    f = {name: root / f"{name}.jsonl" for name in RECORD_FILES} | {"actor": root / "warm" / "actor", "critic": root / "judge" / "critic"}
    f |= {"fresh": root / "fresh" / "actor", "tokens": root / "tokens"}
    f["documents"].write_text(
        "".join(json.dumps({"id": f"{n}", "text": f"def f_{n}(x):\n    return x + {n}\n" * 3, "license": "mit"}) + "\n" for n in range(9))
    )
    run("corpus tokenizer", f"--corpus {f['documents']} --vocabulary 300 --out {root / 'tokenizer'}")
    run("corpus encode", f"--corpus {f['documents']} --tokenizer {root / 'tokenizer'} --out {f['tokens']}")
    run("new-model", f"--tokenizer {root / 'tokenizer'} --width 16 --layers 1 --out {root / 'fresh'}")
    write_records(f["problems"], [problem(n) for n in range(6)])
    f["chat"] = qwen2_folder(root / "chat", [problem(0)])
    codes = ("print(int(input()) + 1)", "print(7)", "print(1 / 0)", "print(")
    write_records(f["programs"], [Program(f"t/{n}", code, i) for n in range(6) for i, code in enumerate(codes)])
    run("warm-start", f"--problems {f['problems']} --out {root / 'warm'} --updates 2 --width 16 --layers 1 --vocabulary 300")
    run("grade", f"--problems {f['problems']} --programs {f['programs']} --out {f['verdicts']} --workers 1")
    write_records(f["baseline"], [replace(v, index=0) for v in read_records(f["verdicts"], Verdict) if v.index == 1])
    run("train-critic", COMMANDS["train-critic"].format(**f, out=root / "judge"))
    run("score", COMMANDS["score"].format(**{**f, "out": f["scores"]}))
    run("evaluate", f"--problems {f['problems']} --verdicts {f['verdicts']} --out {f['results']}")
    return f


def run(stage: str, words: str) -> None:
    assert cli.main([*stage.split(), *words.split()]) == 0, (stage, words)


def failure(stage: str, words: str, capfd: pytest.CaptureFixture[str], code: int = 1) -> str:
    """Run a stage that must fail with `code`; returns its sentence."""
    capfd.readouterr()
    assert cli.main([*stage.split(), *words.split()]) == code, capfd.readouterr()
    errors = capfd.readouterr().err
    assert "Traceback" not in errors and "internal error" not in errors, errors
    told = [line for line in errors.splitlines() if line.startswith(f"coderl {stage}: ")]
    assert len(told) == 1 and errors.splitlines()[-1] == told[0], errors
    assert len(told[0]) < 600
    return told[0]


@pytest.mark.parametrize("stage", COMMANDS)
def test_the_same_commands_run_on_good_input(stage: str, files: Files, tmp_path: Path) -> None:
    run(stage, COMMANDS[stage].format(**files, out=tmp_path / "out"))


FILE_CASES = [pytest.param(s, n, how) for s, words in COMMANDS.items() for n in RECORD_FILES if f"{{{n}}}" in words for how in BREAK]


@pytest.mark.parametrize("stage, name, how", FILE_CASES, ids=lambda v: v.replace(" ", "-"))
def test_a_broken_file(stage: str, name: str, how: str, files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.jsonl"
    BREAK[how](bad)
    told = failure(stage, COMMANDS[stage].format(**{**files, name: bad}, out=tmp_path / "out"), capfd)
    if (name, how) == ("scores", "empty"):  # a critic that scored nothing: told by the first program that lacks its scores
        assert "coderl score" in told or str(bad) in told
        return
    assert str(bad) in told
    if how in ("torn", "no-object", "no-field", "binary") and name != "results" and stage != "problems jsonl":  # that one reads lists too
        assert f"{bad}:1: " in told


MODEL_CASES = [(s, n, how) for s, words in COMMANDS.items() for n in MODEL_FOLDERS if f"{{{n}}}" in words for how in BREAK_MODEL]


@pytest.mark.parametrize("stage, name, how", MODEL_CASES, ids=lambda v: v.replace(" ", "-"))
def test_a_broken_model_folder(stage: str, name: str, how: str, files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if (stage in TOKENIZER_ALONE and ("weights" in how or "config" in how)) or (stage == "adopt" and "weights" in how):
        pytest.skip(f"{stage} does not read that")
    bad = tmp_path / "bad"
    BREAK_MODEL[how](bad, files[name])
    assert str(bad) in failure(stage, COMMANDS[stage].format(**{**files, name: bad}, out=tmp_path / "out"), capfd)


Rows = list[dict[str, object]]


def first(**changes: object) -> Callable[[Rows], Rows]:
    return lambda rows: [{**rows[0], **changes}, *rows[1:]]


def every(**changes: object) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **changes} for row in rows]


LONG = "x = 1\n" * 1_700_000  # 10 MB
# stage, file, what is done to its lines, what the sentence says ("" = the stage copes and is done)
CONTENT: list[tuple[str, str, Callable[[Rows], Rows], str]] = [
    ("grade", "problems", first(tests=[]), "problem t/0 has no hidden tests; add tests or leave the problem out"),
    ("grade", "problems", first(kind="call"), "has no entry_point"),
    ("grade", "problems", first(kind="assert"), "test without code"),
    ("grade", "problems", first(comparator="fuzzy"), "comparator 'fuzzy' does not exist"),
    ("grade", "problems", first(tests=[{"input": 3, "output": "4"}]), "a stdin test needs text"),
    ("grade", "problems", first(limits={"cpu_seconds": "x"}), "bad.jsonl:1: problem field 'limits.cpu_seconds' is 'x'"),
    ("grade", "problems", lambda rows: rows[1:], "which is not among the 5 problems"),
    ("grade", "problems", lambda rows: [*rows, rows[0]], "bad.jsonl: holds two problem"),
    ("grade", "programs", lambda rows: [*rows, rows[0]], "bad.jsonl: holds two programs 0 for problem 't/0'"),
    ("grade", "programs", first(code=LONG), ""),
    ("validate", "problems", first(tests=[]), ""),
    ("validate", "problems", every(solutions=[]), ""),
    ("show-prompt", "problems", first(statement="word " * 200_000), ""),
    ("show-prompt", "problems", first(kind="assert"), "its example 0 has no 'code'"),
    ("sample", "problems", first(statement="word " * 200_000), ""),
    ("sample", "problems", lambda rows: [*rows, rows[0]], "bad.jsonl: holds two problem records for t/0"),
    ("warm-start", "problems", every(solutions=[]), "holds no reference solutions"),
    ("warm-start", "problems", every(solutions=[LONG]), "references are longer than 128 tokens; raise --max-program-tokens"),
    ("train-critic", "programs", first(code=LONG), "the verdict of program 0 of problem 't/0' was given to another text"),
    ("train-critic", "verdicts", lambda rows: rows[1:], "program 0 of problem 't/0' has no verdict; run `coderl grade`"),
    ("train-critic", "verdicts", every(outcome=None, harness_error="judge died"), "all are harness errors"),
    ("score", "programs", first(code=LONG), "the verdict of program 0 of problem 't/0' was given to another text"),
    ("score", "programs", lambda rows: [*rows, rows[0]], "bad.jsonl: holds two programs 0 for problem 't/0'"),
    ("score", "problems", lambda rows: rows[1:], "a program answers problem 't/0', which the problems file lacks"),
    ("finetune coderl", "baseline", lambda rows: rows[1:], "problem 't/0' has sampled programs but no greedy verdict"),
    ("finetune coderl", "scores", lambda rows: rows[1:], "run `coderl score` on these programs"),
    ("evaluate", "verdicts", lambda rows: rows[4:], "'t/0'"),
    ("evaluate", "verdicts", lambda rows: [*rows, rows[0]], "holds two verdict records for t/0 #0"),
    ("report", "programs", first(code=LONG), ""),
    ("report", "problems", lambda rows: rows[1:], "a program is for 't/0', which is not among the 5 problems"),
]


@pytest.mark.parametrize("case", CONTENT, ids=lambda case: f"{case[0].replace(' ', '-')}-{case[1]}-{CONTENT.index(case)}")
def test_well_formed_files_with_wrong_or_huge_content(
    case: tuple[str, str, Callable[[Rows], Rows], str], files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage, name, edit, message = case
    bad = tmp_path / "bad.jsonl"
    rows = edit([json.loads(line) for line in files[name].read_text().splitlines()])
    bad.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = COMMANDS[stage].format(**{**files, name: bad}, out=tmp_path / "out")
    if message:
        assert message in failure(stage, words, capfd)
    else:
        run(stage, words)


WRITERS = [stage for stage, words in COMMANDS.items() if "{out}" in words]


@pytest.mark.parametrize("stage", [stage for stage in WRITERS if stage != "problems overlap"])  # that one's file is smaller than 1 KiB here
def test_a_full_disk(stage: str, files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files can grow to 1 KiB and no further: as on a full disk, writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    words = COMMANDS[stage].format(**files, out=tmp_path / "out")
    sys.stdout.flush()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        code = cli.main([*stage.split(), *words.split()])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    errors = capfd.readouterr().err
    assert code == 1
    assert re.search(rf"^coderl {stage}: {tmp_path}/out\S*: cannot be written \(File too large\); what was finished is kept", errors, re.MULTILINE), (
        errors
    )
    capfd.readouterr()
    run(stage, words)  # with room again, the same command is enough


@pytest.mark.parametrize("stage", WRITERS)
def test_a_place_that_cannot_be_written(stage: str, files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    told = failure(stage, COMMANDS[stage].format(**files, out=tmp_path / "file" / "out"), capfd)
    assert "a file is where a folder is needed" in told
    assert (tmp_path / "file").read_text() == "in the way"


def numbers(stage: str) -> list[str]:
    """Names of a stage's number fields."""
    config = getattr(importlib.import_module(f"coderl.recipes.{cli.STAGES[stage].module}"), cli.STAGES[stage].config)
    hints = get_type_hints(config)
    for part in [hint for hint in hints.values() if dataclasses.is_dataclass(hint)]:
        hints |= get_type_hints(part)
    return [name for name, hint in hints.items() if {int, float} & {hint, *get_args(hint)}]


@pytest.mark.parametrize("stage, name", [(s, n) for s in cli.STAGES for n in numbers(s)], ids=lambda v: v.replace(" ", "-"))
def test_a_number_out_of_bounds(stage: str, name: str, files: Files, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Minus one is wrong for every number of every stage; it is told before anything is read or written."""
    least = {
        "rounds": "--model {actor} --problems {problems} --out {out}",
        "bcoder rank": "--model {actor} --problems {problems} --programs {programs} --out {out}",
    }
    needed = COMMANDS.get(stage, least.get(stage, "--out {out}")).format(**files, out=tmp_path / "out")
    if stage.startswith("problems ") and stage not in ("problems jsonl", "problems mini", "problems overlap"):
        needed += f" --source {tmp_path}"
    flag = "--" + name.replace("_", "-")
    told = failure(stage, f"{needed} {flag} -1", capfd, code=2)
    assert told.startswith(f"coderl {stage}: {flag} is -1; it must be ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_judged_before_an_interruption_is_kept(number: signal.Signals, tmp_path: Path) -> None:
    write_records(tmp_path / "p.jsonl", [problem(0)])
    write_records(tmp_path / "s.jsonl", [Program("t/0", f"while {i} >= 0: pass", i) for i in range(6)])
    command = [sys.executable, "-m", "coderl", "grade", "--problems", "p.jsonl", "--programs", "s.jsonl", "--out", "v.jsonl"]
    command += ["--workers", "1", "--cpu-seconds", "0.2"]
    stage = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    verdicts = tmp_path / "v.jsonl"
    patience = time.monotonic() + 60
    while (not verdicts.exists() or verdicts.read_bytes().count(b"\n") < 2) and time.monotonic() < patience:
        time.sleep(0.02)
    stage.send_signal(number)
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130), errors
    assert "Traceback" not in errors
    lines = verdicts.read_bytes()
    kept = lines[: lines.rfind(b"\n") + 1]
    assert 2 <= kept.count(b"\n") < 6
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert verdicts.read_bytes().startswith(kept)
    assert sorted(v.index for v in read_records(verdicts, Verdict)) == list(range(6))
