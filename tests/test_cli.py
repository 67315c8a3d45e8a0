"""The command line: help without weight, config files, exit codes, one sentence for everything that goes wrong."""

import errno
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from coderl import __version__, cli
from coderl.errors import DataError, UsageError
from coderl.recipes import show_prompt
from coderl.records import Problem
from coderl.store import write_records

HEAVY = {"torch", "transformers", "tokenizers", "safetensors", "plotly", "scipy"}


def coderl(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "coderl", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    write_records(path, [Problem("a", "Say hello.", "stdin"), Problem("b", "Say bye.", "stdin")])
    return path


def imported(words: Sequence[str]) -> tuple[str, set[str], float]:
    """Run the command with -X importtime: its stdout, the packages it imported, and the CPU seconds it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-X", "importtime", "-m", "coderl", *words], capture_output=True, text=True, timeout=120)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr[-2000:]
    names = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")}
    return done.stdout, names, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_lists_every_stage_and_imports_next_to_nothing() -> None:
    text, names, cpu_seconds = imported(["--help"])
    assert all(f"  {name} " in text for name in cli.STAGES)
    assert not names & (HEAVY | {"tyro", "numpy", "rich"})
    assert cpu_seconds < 3  # measured: 0.04


@pytest.mark.parametrize("name", cli.STAGES)
def test_help_of_a_stage_is_light_and_explains_every_flag(name: str) -> None:
    text, names, cpu_seconds = imported([*name.split(), "--help"])
    assert f"usage: coderl {name} " in text and "--config" in text
    assert not names & HEAVY
    assert cpu_seconds < 5  # measured: 0.2


@pytest.mark.parametrize("words", [["problems", "--help"], ["finetune", "-h"]])
def test_help_of_a_group(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    text = capsys.readouterr().out
    shown = [name for name in cli.STAGES if f"  {name} " in text]
    assert shown == [name for name in cli.STAGES if name.startswith(words[0] + " ")]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"coderl {__version__}\n"


def test_done_is_0_and_results_go_to_stdout(problems: Path) -> None:
    done = coderl("show-prompt", "--problems", problems, "--id", "b")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Say bye." in done.stdout


@pytest.mark.parametrize(
    "words, message",
    [
        (["sampel"], "coderl: stage 'sampel' is unknown; did you mean 'sample'? `coderl --help` lists the stages"),
        (["xyzzy"], "coderl: stage 'xyzzy' is unknown; `coderl --help` lists the stages"),
        (["problems"], "coderl: problems needs to know which: give one of mini, apps, mbpp, humaneval, contests, jsonl, overlap"),
        (
            ["problems", "mbp"],
            "coderl: problems 'mbp' is unknown; did you mean 'mbpp'? give one of mini, apps, mbpp, humaneval, contests, jsonl, overlap",
        ),
        (["--workers", "3"], "coderl: flag '--workers' without a stage; `coderl --help` lists the stages, and flags come behind one"),
        (["grade", "--config"], "coderl: --config needs a file behind it, e.g. --config run.toml"),
    ],
)
def test_bad_usage_is_2_with_one_sentence(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", message + "\n")


def test_no_stage_at_all_shows_help_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "usage: coderl STAGE" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words, part",
    [
        (["--problmes", "x"], "--problmes"),
        (["--problems", "x", "--max-source-tokens", "many"], "many"),
        (["--problems", "x", "--max-source-tokens", "1.5"], "1.5"),
        (["--problems"], "--problems"),
        ([], "--problems"),
        (["--problems", "x", "stray"], "stray"),
    ],
)
def test_wrong_flags_are_2_without_traceback(words: list[str], part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["show-prompt", *words]) == 2
    captured = capsys.readouterr()
    assert part in captured.err and "Traceback" not in captured.err and captured.out == ""
    assert len(captured.err.splitlines()) < 20


def test_failure_is_1_with_one_sentence(tmp_path: Path) -> None:
    done = coderl("show-prompt", "--problems", tmp_path / "absent.jsonl")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"coderl show-prompt: {tmp_path}/absent.jsonl: no such file; check the path, or run the stage that writes it first\n"


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_is_accepted_anywhere_and_shows_the_traceback(place: int, tmp_path: Path) -> None:
    words = ["show-prompt", "--problems", str(tmp_path / "absent.jsonl")]
    done = coderl(*words[:place], "--debug", *words[place:])
    assert done.returncode == 1
    assert "Traceback" in done.stderr and done.stderr.splitlines()[-1].startswith("coderl show-prompt: ")


def raising(error: BaseException, monkeypatch: pytest.MonkeyPatch, problems: Path) -> int:
    def main(config: show_prompt.Config) -> None:
        raise error

    monkeypatch.setattr(show_prompt, "main", main)
    return cli.main(["show-prompt", "--problems", str(problems)])


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error, code, message",
    [
        (DataError("is wrong", "f.jsonl", 3), 1, "f.jsonl:3: is wrong"),
        (UsageError("--k is 0; it must be 1 or more"), 2, "--k is 0; it must be 1 or more"),
        (KeyboardInterrupt(), 130, "interrupted; everything finished so far is kept: the same command goes on from there"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "standard output: No space left on device; free space, then run the same command again",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "x.bin"), 1, "x.bin: Permission denied; check the path and its permissions"),
        (MemoryError(), 1, "out of memory (); use smaller batches, a smaller model or fewer workers"),
        (
            OutOfMemoryError("CUDA out of memory.\nmore"),
            1,
            "out of memory (CUDA out of memory.); use smaller batches, a smaller model or fewer workers",
        ),
    ],
    ids=lambda v: type(v).__name__ if isinstance(v, BaseException) else "",
)
def test_errors_by_contract(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, problems: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert raising(error, monkeypatch, problems) == code
    assert capsys.readouterr().err == f"coderl show-prompt: {message}\n"


def test_an_internal_error_is_one_line_that_says_where(monkeypatch: pytest.MonkeyPatch, problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert raising(ValueError("two\nlines"), monkeypatch, problems) == 1
    text = capsys.readouterr().err
    assert text.startswith("coderl show-prompt: internal error: ValueError: two at test_cli.py:") and "--debug" in text
    assert text.count("\n") == 1


def test_a_broken_pipe_of_something_else_is_not_silent(monkeypatch: pytest.MonkeyPatch, problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a reader of stdout that went away (| head) is no error worth a word."""
    assert raising(BrokenPipeError(errno.EPIPE, "Broken pipe"), monkeypatch, problems) == 1
    assert "internal error: BrokenPipeError" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_quiet(tmp_path: Path) -> None:
    write_records(tmp_path / "p.jsonl", [Problem("a", "word " * 200_000, "stdin")])
    command = [sys.executable, "-m", "coderl", "show-prompt", "--problems", str(tmp_path / "p.jsonl")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 1
    process.stderr.close()


def test_a_full_disk_under_stdout_is_one_sentence(problems: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is absent")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "coderl", "show-prompt", "--problems", str(problems)], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 1
    assert done.stderr == "coderl show-prompt: standard output: No space left on device; free space, then run the same command again\n"


def test_characters_that_the_terminal_lacks_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"id": "a", "statement": "\\ud800 \\u2264", "kind": "stdin"}\n')
    for encoding, shown in (("utf-8", "\\ud800 ≤"), ("ascii", "\\ud800 \\u2264")):
        done = coderl("show-prompt", "--problems", tmp_path / "p.jsonl", env={**os.environ, "PYTHONIOENCODING": encoding})
        assert done.returncode == 0 and shown in done.stdout


SLEEPER = """
    import sys, time
    from coderl import cli
    from coderl.progress import progress
    from coderl.recipes import show_prompt

    def main(config):
        with progress("waiting", total=100, unit="rounds") as advance:
            advance(1)
            print("ready", flush=True)
            time.sleep(60)

    show_prompt.main = main
    sys.exit(cli.main(["show-prompt", "--problems", "x"]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption_is_130(number: signal.Signals) -> None:
    stage = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SLEEPER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert stage.stdout is not None and stage.stderr is not None
    assert stage.stdout.readline() == "ready\n"
    stage.send_signal(number)
    _, errors = stage.communicate(timeout=30)
    assert stage.returncode == 130
    assert errors.splitlines()[-1] == "coderl show-prompt: interrupted; everything finished so far is kept: the same command goes on from there"
    assert "Traceback" not in errors and "stopped at 1/100 rounds" in errors


def test_a_forked_child_still_dies_of_sigterm(monkeypatch: pytest.MonkeyPatch, problems: Path) -> None:
    """Worker processes are ended with SIGTERM; they must not run the interruption of the stage that forked them."""

    def main(config: show_prompt.Config) -> None:
        ready, say = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(say, b"!")
            signal.pause()
            os._exit(7)
        os.read(ready, 1)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM

    monkeypatch.setattr(show_prompt, "main", main)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(["show-prompt", "--problems", str(problems)]) == 0
    assert signal.getsignal(signal.SIGTERM) is before


def configured(tmp_path: Path, toml: str, *words: str) -> int:
    (tmp_path / "run.toml").write_text(toml, encoding="utf-8")
    return cli.main(["show-prompt", "--config", str(tmp_path / "run.toml"), *words])


def test_a_config_file_gives_fields(tmp_path: Path, problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(tmp_path, f"problems = {str(problems)!r}\nid = 'b'\nmax-source-tokens = 10") == 0
    assert "Say bye." in capsys.readouterr().out


def test_flags_override_the_config_file(tmp_path: Path, problems: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(tmp_path, "problems = 'absent.jsonl'\nid = 'b'", "--problems", str(problems), "--id", "a") == 0
    assert "Say hello." in capsys.readouterr().out


def test_what_the_config_file_lacks_is_still_required(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(tmp_path, "id = 'b'") == 2
    assert "--problems" in capsys.readouterr().err


def test_help_shows_the_values_of_the_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(tmp_path, "max_source_tokens = 77", "--help") == 0
    assert "(default: 77)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "toml, message",
    [
        (
            "max_source_tokns = 3",
            "'max_source_tokns' is no setting of this stage; did you mean 'max_source_tokens'? it takes problems, id, tokenizer,",
        ),
        ("zzz = 3", "'zzz' is no setting of this stage; it takes problems, id, tokenizer, max_source_tokens"),
        ("max_source_tokens = 'many'", "'max_source_tokens' is 'many'; it must be a whole number"),
        ("max_source_tokens = true", "'max_source_tokens' is True; it must be a whole number"),
        ("max_source_tokens = 1.5", "'max_source_tokens' is 1.5; it must be a whole number"),
        ("problems = 3", "'problems' is 3; it must be a path (a string)"),
        ("id = 3", "'id' is 3; it must be a string or \"none\""),
        ("[problems]\nx = 1", "'problems' is {'x': 1}; it must be a path (a string)"),
        ("id = ", "not TOML"),
    ],
)
def test_a_wrong_config_file_is_2_with_file_and_key(tmp_path: Path, toml: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert configured(tmp_path, toml) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"coderl show-prompt: {tmp_path}/run.toml: {message}") and text.count("\n") == 1


def test_an_absent_unreadable_or_binary_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name, words in (("absent.toml", "no such config file"), (".", "cannot be read"), ("binary.toml", "not UTF-8 text")):
        assert cli.main(["show-prompt", f"--config={tmp_path / name}"]) == 2
        text = capsys.readouterr().err
        assert words in text and text.count("\n") == 1
