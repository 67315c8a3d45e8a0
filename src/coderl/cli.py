"""The command line: `coderl STAGE [--config file.toml] [--field value]`.

A stage is a row of `STAGES`. Its module is imported when it is called and not before, so that help answers at once. The flags of a
stage come from its frozen `Config` through tyro; a config file (config_files.py) replaces defaults. What a stage raises ends here, as
one sentence and an exit code:

    0    done
    1    the stage failed: "coderl STAGE: what, the value seen, what is accepted, what to do"; --debug adds the traceback
    2    bad usage: unknown stage, flag or config key, or a value that cannot be read
    130  interrupted (Ctrl-C or SIGTERM); everything finished so far is kept
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from . import __version__
from .bounds import check_bounds
from .errors import CoderlError, UsageError


class Stage(NamedTuple):
    """Where a stage lives: `coderl.recipes.<module>`, the names of its config class and function there, and one line of help."""

    module: str
    config: str
    main: str
    help: str


STAGES: dict[str, Stage] = {
    "demo": Stage("demo", "Config", "main", "the whole method from nothing, on two CPU cores: problems, models, table, report"),
    "problems mini": Stage("problems", "Mini", "main_mini", "generate Mini, the embedded problem set"),
    "problems apps": Stage("problems", "Apps", "main_apps", "import APPS folders"),
    "problems mbpp": Stage("problems", "Mbpp", "main_mbpp", "import MBPP"),
    "problems humaneval": Stage("problems", "HumanEval", "main_humaneval", "import HumanEval"),
    "problems contests": Stage("problems", "Contests", "main_contests", "import CodeContests"),
    "problems jsonl": Stage("problems", "Jsonl", "main_jsonl", "check and copy problems of any JSON Lines or parquet file, by a map of its fields"),
    "problems overlap": Stage("overlap", "Config", "main", "near-duplicates between training and evaluation problems"),
    "validate": Stage("validate", "Config", "main", "run the reference solutions of problems; set aside those that fail"),
    "corpus collect": Stage("corpus_collect", "Config", "main", "code for pretraining: by licence, without secrets and duplicates"),
    "corpus tokenizer": Stage("corpus_tokenizer", "Config", "main", "train a tokenizer on a corpus, on problems, or on both"),
    "corpus encode": Stage("corpus_encode", "Config", "main", "a corpus as token ids on disk"),
    "new-model": Stage("new_model", "Config", "main", "a T5 with random weights for a tokenizer"),
    "pretrain spans": Stage("pretrain_spans", "Config", "main", "pretrain by masked span prediction"),
    "pretrain next": Stage("pretrain_next", "Config", "main", "pretrain by next-token prediction behind a pivot"),
    "show-prompt": Stage("show_prompt", "Config", "main", "print what the actor reads for a problem, and what would be cut"),
    "adopt": Stage("adopt", "Config", "main", "take over a model folder, CodeT5's or decoder-only: how it is asked"),
    "warm-start": Stage("warm_start", "Config", "main", "train an actor on reference solutions"),
    "sample": Stage("sample", "Config", "main", "write programs for problems with an actor"),
    "grade": Stage("grade", "Config", "main", "run programs against tests: verdicts"),
    "train-critic": Stage("train_critic", "Config", "main", "train a critic that predicts the verdict of a program"),
    "score": Stage("score", "Config", "main", "token values of programs, read by a critic"),
    "finetune coderl": Stage("finetune_coderl", "Config", "main", "fine-tune an actor by CodeRL: verdicts and token values as rewards"),
    "finetune reinforce": Stage("finetune_reinforce", "Config", "main", "by REINFORCE: greedy baseline, or leave-one-out"),
    "finetune expert": Stage("finetune_expert", "Config", "main", "by expert iteration: cross-entropy on programs that pass"),
    "finetune grpo": Stage("finetune_grpo", "Config", "main", "by GRPO: group-normalised, clipped"),
    "finetune ppo": Stage("finetune_ppo", "Config", "main", "by PPO: value head, GAE, clipped ratios, penalty for leaving the warm start"),
    "finetune rltf": Stage("finetune_rltf", "Config", "main", "by RLTF's finer feedback: share of tests passed, line of the error"),
    "bcoder value": Stage("bcoder_value", "Config", "main", "B-Coder, first stage: values of states for an actor, from judged programs"),
    "bcoder finetune": Stage("bcoder_finetune", "Config", "main", "B-Coder, second stage: the actor learns as a Q function"),
    "bcoder rank": Stage("bcoder_rank", "Config", "main", "B-Coder: score programs of any actor by their recovered reward"),
    "train-repair": Stage("train_repair", "Config", "main", "train a model that rewrites failed programs"),
    "critic-sample": Stage("critic_sample", "Config", "main", "sample, refine what passes the example tests, repair what fails"),
    "rounds": Stage("rounds", "Config", "main", "fine-tune in rounds, each on fresh samples of its own"),
    "diagnose": Stage("diagnose", "Config", "main", "what happened in a training run, what went wrong, what to do next"),
    "evaluate": Stage("evaluate", "Config", "main", "pass@k and n@k of verdicts"),
    "export": Stage("export", "Config", "main", "samples and verdicts as parquet, and a model card"),
    "released import": Stage("released", "Import", "main_import", "read the data files of the released CodeRL"),
    "released export": Stage("released", "Export", "main_export", "write the data files of the released CodeRL"),
    "released model": Stage("released", "Model", "main_model", "a checkpoint of the released CodeRL as a model folder"),
    "doctor": Stage("doctor", "Config", "main", "what this machine offers the judge: isolation, layer by layer"),
    "report": Stage("report", "Config", "main", "one HTML page of a run"),
}


class _Call(NamedTuple):
    """A command line, read as far as no stage is needed."""

    words: list[str]
    config: Path | None
    debug: bool


class _Failure(NamedTuple):
    """How a run ends: exit code, and the sentence for stderr ("" = say nothing)."""

    code: int
    message: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code. Never raises."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):  # a statement may hold characters that the terminal's encoding lacks
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    name = ""
    try:
        with _terminate_as_interrupt():
            call = _read(arguments)
            name, rest = _stage_of(call.words)
            code = _run(name, rest, call.config) if name else _without_stage(call.words)
            sys.stdout.flush()
            return code
    except SystemExit as exit:  # tyro has printed help or what is wrong
        return exit.code if isinstance(exit.code, int) else 0 if exit.code is None else 1
    except BaseException as error:
        failure = _explain(error)
        if "--debug" in arguments and failure.message:
            traceback.print_exc()
        _say(f"coderl {name}".rstrip(), failure.message)
        _drop_broken_stdout()
        return failure.code


def _read(arguments: Sequence[str]) -> _Call:
    """Take `--debug` and `--config FILE` out, wherever they stand."""
    words, config, debug = [], None, False
    rest = iter(arguments)
    for word in rest:
        if word == "--debug":
            debug = True
        elif word == "--config":
            file = next(rest, None)
            if file is None or file.startswith("--"):
                raise UsageError("--config needs a file behind it, e.g. --config run.toml")
            config = Path(file)
        elif word.startswith("--config="):
            config = Path(word.removeprefix("--config="))
        else:
            words.append(word)
    return _Call(words, config, debug)


def _stage_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """The stage's name ("" for a call of none, such as --help) and the words behind it."""
    for count in (1, 2):
        name = " ".join(words[:count])
        if len(words) >= count and name in STAGES:
            return name, list(words[count:])
    if not words or words[0].startswith("-"):
        return "", list(words)
    seconds = [name.split()[1] for name in STAGES if name.startswith(words[0] + " ")]
    if seconds and (len(words) == 1 or words[1].startswith("-")):
        return "", list(words)
    if seconds:
        raise UsageError(f"{words[0]} {words[1]!r} is unknown; {_meant(words[1], seconds)}give one of {', '.join(seconds)}")
    firsts = list(dict.fromkeys(name.split()[0] for name in STAGES))
    raise UsageError(f"stage {words[0]!r} is unknown; {_meant(words[0], firsts)}`coderl --help` lists the stages")


def _meant(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}? " if close else ""


def _without_stage(words: Sequence[str]) -> int:
    """`--help`, `--version`, `problems --help`, or a call that lacks its stage."""
    if not words:
        print(overview(""), file=sys.stderr)
        return 2
    first = "" if words[0].startswith("-") else words[0]
    rest = words[1:] if first else words
    if not rest:
        names = [name.split()[1] for name in STAGES if name.startswith(first + " ")]
        raise UsageError(f"{first} needs to know which: give one of {', '.join(names)}")
    if rest[0] in ("-h", "--help"):
        print(overview(first))
        return 0
    if rest[0] == "--version" and not first:
        print(f"coderl {__version__}")
        return 0
    raise UsageError(f"flag {rest[0]!r} without a stage; `coderl --help` lists the stages, and flags come behind one")


def overview(first: str) -> str:
    """The text of `coderl --help`, or with the first word of two-word stages, of these."""
    rows = {name: stage.help for name, stage in STAGES.items() if not first or name.startswith(first + " ")}
    width = max(map(len, rows))
    lines = [f"usage: coderl {f'{first} ' if first else ''}STAGE [--config FILE.toml] [--FIELD VALUE ...]", ""]
    if not first:
        lines += ["Code models trained with reinforcement learning from unit tests.", ""]
    lines += [f"  {name:{width}}  {text}" for name, text in rows.items()]
    lines += ["", "`coderl STAGE --help` lists the fields of a stage. A config file gives fields as  name = value; flags override it.", _EVERYWHERE]
    return "\n".join([*lines, "Exit codes: 0 done, 1 the stage failed, 2 bad usage, 130 interrupted (everything finished is kept)."])


_EVERYWHERE = "Everywhere: --config FILE.toml (defaults from a file), --debug (traceback of an error)."


def _run(name: str, words: list[str], config_file: Path | None) -> int:
    """Import the stage, make its config of file and flags, run it."""
    stage = STAGES[name]
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # coderl shows its own progress
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's own threads: never of use here, and they forbid to fork workers
    module = importlib.import_module(f"coderl.recipes.{stage.module}")
    config = _config(getattr(module, stage.config), name, words, config_file)
    check_bounds(config)
    getattr(module, stage.main)(config)
    return 0


def _config(kind: type, name: str, words: list[str], config_file: Path | None) -> Any:
    import dataclasses

    import tyro

    from .config_files import file_defaults

    about = f"{kind.__doc__ or STAGES[name].help}\n\n{_EVERYWHERE}"
    if config_file is None:
        return tyro.cli(kind, prog=f"coderl {name}", description=about, args=words)
    given = file_defaults(kind, config_file)
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING]
    defaults = kind(**{**dict.fromkeys(needed, tyro.MISSING), **given})
    return tyro.cli(kind, prog=f"coderl {name}", description=about, args=words, default=defaults)


def _explain(error: BaseException) -> _Failure:
    """Exit code and sentence for whatever a stage raised."""
    if isinstance(error, KeyboardInterrupt):
        return _Failure(130, "interrupted; everything finished so far is kept: the same command goes on from there")
    if isinstance(error, UsageError):
        return _Failure(2, str(error))
    if isinstance(error, CoderlError):
        return _Failure(1, str(error))
    if isinstance(error, BrokenPipeError) and _stdout_has_no_reader():
        return _Failure(1, "")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return _Failure(1, f"out of memory ({_first_line(error)}); use smaller batches, a smaller model or fewer workers")
    if isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        where = "standard output" if error.filename is None else error.filename
        advice = "free space, then run the same command again" if error.errno == errno.ENOSPC else "check the path and its permissions"
        return _Failure(1, f"{where}: {error.strerror}; {advice}")
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    advice = "run again with --debug for the traceback; finished work is kept"
    return _Failure(1, f"internal error: {type(error).__name__}: {_first_line(error)}{place}; {advice}")


def _first_line(error: BaseException) -> str:
    text = str(error).strip().split("\n")[0]
    return text if len(text) <= 300 else text[:297] + "..."


def _say(who: str, message: str) -> None:
    if message:
        try:
            print(f"{who}: {message}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody listens
            pass


def _stdout_has_no_reader() -> bool:
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return False
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _drop_broken_stdout() -> None:
    """Text that stdout can no longer take (full disk, no reader) would fail again when Python exits: send it nowhere."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM (a scheduler's or `kill`'s word) and SIGHUP (the terminal is gone) end a stage as Ctrl-C does.
    Forked children keep dying of it at once."""
    owner = os.getpid()

    def on_terminate(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, on_terminate)
        hung_up = signal.getsignal(signal.SIGHUP)
        if hung_up is signal.SIG_DFL:  # under nohup it is ignored, and stays so
            signal.signal(signal.SIGHUP, on_terminate)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hung_up)
