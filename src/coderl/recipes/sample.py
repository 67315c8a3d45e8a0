"""Stage `sample`: an actor writes programs for problems (nucleus sampling, or greedy with `--temperature 0`).

Programs are appended to OUT as they come; the same command goes on after a kill and leaves out what is there. The same (seed,
problem, index) gives the same program whatever the number of workers, with the torch engine (`--engine`). With `--verdicts` the
programs are judged while the next ones are being written: the same verdicts that `coderl grade` would give with its default limits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import tyro

if TYPE_CHECKING:
    from ..progress import Advance
    from ..records import Problem, Program, Verdict
    from ..sampling import Task, Write
    from ..store import AppendStore


@dataclass(frozen=True)
class Config:
    """Write programs for problems with an actor."""

    model: Path
    """actor: a Hugging Face directory"""
    problems: Path
    """problems to write programs for (.jsonl)"""
    out: Path
    """programs to write (.jsonl); an unfinished file is completed"""
    samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """programs for each problem; 1 when greedy"""
    temperature: float = 0.6
    """sampling temperature; 0 = greedy (CodeRL: 0.6)"""
    top_p: float = 0.95
    """nucleus mass (CodeRL: 0.95)"""
    max_program_tokens: int = 128
    """longest program in tokens (CodeRL on APPS: 512)"""
    max_source_tokens: int = 192
    """longest prompt in tokens; longer ones lose their middle (CodeRL on APPS: 600)"""
    greedy: Path | None = None
    """also write each problem's greedy program here (.jsonl): the baseline of CodeRL, or greedy accuracy"""
    verdicts: Path | None = None
    """also judge the programs of OUT, while the next are being written, and append their verdicts here (.jsonl)"""
    tests: Literal["hidden", "example", "both"] = "hidden"
    """with --verdicts: which tests to run"""
    stop_at_first_failure: bool = False
    """with --verdicts: leave a program's other tests alone once one has failed"""
    allow_unsandboxed: bool = False
    """with --verdicts: go on where the machine gives no isolation; programs can then do what you can do"""
    logprobs: bool = False
    """keep each token's log-probability as drawn (`sampling_logprobs`): what on-policy training needs; files grow by more than half"""
    engine: Literal["auto", "torch", "ctranslate2", "ctranslate2-int8", "vllm"] = "auto"
    """what writes the programs; auto = torch, or vllm for a decoder-only model on a GPU (docs/engines.md)"""
    workers: int = os.cpu_count() or 1
    """processes, one thread each, with one copy of the weights; with a GPU one process writes, and these are the judge's"""
    rows: int = 512
    """programs written at the same time in one process"""
    seed: int = 0
    """seed of the random streams"""


def main(config: Config) -> None:
    import torch

    from ..engines.requests import Decoding
    from ..errors import UsageError
    from ..models.hub import local_folder
    from ..records import Problem
    from ..sampling import Settings, count, tasks_for, writers
    from ..store import read_records

    if config.temperature == 0 and config.greedy:
        raise UsageError("--greedy writes the same programs as --temperature 0; leave out one of them")
    torch.set_num_threads(1)  # more cores: more workers
    decoding = Decoding(config.temperature, config.top_p, config.max_program_tokens)
    problems = read_records(config.problems, Problem)
    settings = Settings(decoding, config.seed, config.max_source_tokens, str(config.model), config.rows, config.logprobs)
    with ExitStack() as stack:
        stores = open_stores(config, stack)
        samples = 1 if config.temperature == 0 else config.samples
        tasks = tasks_for(problems, samples, stores.holds, stores.lacks_greedy)
        write: Write | None = None
        if tasks:  # before the judge and the display, which have threads
            folder = local_folder(config.model)
            engine = choose_engine(config, folder)
            workers = 1 if engine == "vllm" or torch.cuda.is_available() else min(config.workers, count(tasks))
            write = stack.enter_context(writers(folder, settings, workers, engine))
        judging = stack.enter_context(judge_alongside(config, problems)) if config.verdicts else None
        write_programs(config, tasks, write, stores, judging)


def choose_engine(config: Config, folder: Path) -> str:
    """The engine's name; says which and why.

    Raises:
        UsageError: it cannot be had, or does not know the log-probabilities that --logprobs asks for.
    """
    import torch

    from ..engines.choose import choose
    from ..errors import UsageError

    choice = choose(config.engine, folder, torch.cuda.is_available())
    if choice.engine == "vllm" and config.logprobs and (config.temperature, config.top_p) != (1, 1):
        raise UsageError("--logprobs with engine vllm needs --temperature 1 --top-p 1: for others vLLM does not tell them; or take --engine torch")
    print(f"engine {choice.engine}: {choice.why}")
    return choice.engine


class Stores(NamedTuple):
    """Where programs go: greedy ones that are written beside samples have a file of their own."""

    out: AppendStore
    greedy: AppendStore | None

    def holds(self, problem: str, index: int) -> bool:
        return (problem, index) in self.out

    def lacks_greedy(self, problem: str) -> bool:
        return self.greedy is not None and (problem, 0) not in self.greedy

    def append(self, program: Program) -> bool:
        """Keep a program; is it one of OUT?"""
        apart = self.greedy is not None and program.origin == "greedy"
        (self.greedy if self.greedy is not None and apart else self.out).append(program)
        return not apart


def open_stores(config: Config, stack: ExitStack) -> Stores:
    """The files to write, each with what it holds already."""
    from ..records import Program
    from ..store import AppendStore

    opened = [stack.enter_context(AppendStore(path, Program, lambda p: (p.problem, p.index))) for path in (config.out, config.greedy) if path]
    for store in opened:
        if len(store):
            print(f"{store.path} holds {len(store)} programs")
    return Stores(opened[0], opened[1] if config.greedy else None)


def write_programs(config: Config, tasks: Sequence[Task], write: Write | None, stores: Stores, judging: Judging | None) -> None:
    """Write what is left, and have it judged when there is a judge."""
    from ..progress import progress
    from ..sampling import count

    tokens = cut = 0
    long: set[str] = set()
    began = monotonic()
    with progress("sampling", total=count(tasks), unit="programs") as advance:
        for program in write(tasks) if write else ():
            if stores.append(program) and judging:
                judging.add(program)
            tokens += program.tokens or 0
            cut += bool(program.extra.get("cut"))
            if program.extra.get("prompt_cut"):
                long.add(program.problem)
            pace = f"{tokens / max(1e-9, monotonic() - began):.0f} tokens/s"
            advance(1, note=f"{pace}  {judging.note()}" if judging else pace)
        if judging:
            judging.finish(advance)
    files = " and ".join(str(store.path) for store in stores if store is not None)
    print(f"{count(tasks)} programs, {tokens} tokens, {cut} cut at {config.max_program_tokens} tokens, seed {config.seed} -> {files}")
    if long:
        print(f"{len(long)} prompts were longer than {config.max_source_tokens} tokens and lost their middle (--max-source-tokens)")
    if judging:
        print(f"{judging.judged} verdicts, {judging.note()} -> {config.verdicts}")


STOP_SECONDS = 1.0  # for programs under way after an interruption; longer ones are dropped with their judge


class Judging:
    """Judges programs in a thread of its own, in the order in which they are added."""

    def __init__(self, grade: Callable[[Iterable[Program]], Iterator[Verdict]], store: AppendStore) -> None:
        self.grade, self.store = grade, store
        self.judged = self.passed = self.errors = 0
        self.waiting: SimpleQueue[Program | None] = SimpleQueue()
        self.failure: Exception | None = None
        self.stopped = False
        self.thread = threading.Thread(target=self._run, name="coderl-verdicts", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for verdict in self.grade(self._programs()):
                if self.stopped:
                    return
                self.store.append(verdict)
                self.judged += 1
                self.passed += verdict.is_pass
                self.errors += verdict.harness_error is not None
        except Exception as error:  # raised in the main thread, at the next program
            self.failure = error

    def _programs(self) -> Iterator[Program]:
        while not self.stopped and (program := self.waiting.get()) is not None:
            yield program

    def stop(self) -> None:
        """Take no more programs and wait for those under way; what is behind them has no verdict yet."""
        self.stopped = True
        self.waiting.put(None)
        self.thread.join(STOP_SECONDS)

    def add(self, program: Program) -> None:
        """One more program to judge. Raises what has gone wrong in the thread."""
        if self.failure:
            raise self.failure
        self.waiting.put(program)

    def note(self) -> str:
        """How many pass of those that have a verdict."""
        known = self.judged - self.errors
        share = f"{100 * self.passed / known:.1f} % pass" if known else "no verdict yet"
        return share + (f", {self.errors} harness errors" if self.errors else "")

    def finish(self, advance: Advance) -> None:
        """Wait for the verdicts of all programs."""
        self.waiting.put(None)
        while self.thread.is_alive():
            self.thread.join(0.5)
            advance(0, note=f"{self.judged} judged  {self.note()}")
        if self.failure:
            raise self.failure


@contextmanager
def judge_alongside(config: Config, problems: Sequence[Problem]) -> Iterator[Judging]:
    """A judge for the programs of OUT: those that are there and have no verdict yet wait already.

    Raises:
        ProblemError: a problem cannot be judged; nothing has been written then.
    """
    from ..grading import grade_programs, numbered
    from ..records import Verdict
    from ..sandbox import Judge
    from ..store import AppendStore
    from . import grade

    assert config.verdicts
    by_id: Mapping[str, Problem] = {p.id: p for p in problems}
    grade.drop_unjudged(grade.Config(config.problems, config.out, config.verdicts))
    with AppendStore(config.verdicts, Verdict, grade.verdict_key) as store:
        with Judge(config.workers, allow_unsandboxed=config.allow_unsandboxed) as judge:
            for problem in problems:
                judge.check(problem, config.tests)
            print(f"isolation tier {judge.tier}" + (f"; {len(store)} programs are judged already" if len(store) else ""))
            judging = Judging(lambda programs: grade_programs(judge, by_id, programs, config.tests, config.stop_at_first_failure), store)
            try:
                for program in numbered(config.out):
                    if (program.problem, program.index) not in store:
                        judging.add(program)
                yield judging
            finally:
                judging.stop()  # before the judge: it would end programs that are under way
