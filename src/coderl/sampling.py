"""Write programs for problems with an actor: greedy or sampled, in this process or spread over several.

Problems go in, `records.Program` come out, in the order of the problems' chunks. The same (seed, problem, index) gives the same
program whatever the number of processes, the chunk or a resume (see engines/torch_engine.py). Grading is elsewhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

import torch

from .engines.torch_engine import Decoding, Generated, Request, generate
from .errors import CoderlError
from .models.actor import Actor, load_actor
from .prompts import prompt
from .records import Problem, Program
from .tokens import decode, encode_prompt


class Task(NamedTuple):
    """Which programs of a problem are still to be written."""

    problem: Problem
    indices: tuple[int, ...]


class Settings(NamedTuple):
    """How programs are written. `max_source_tokens` cuts prompts; `name` goes into `Program.model`."""

    decoding: Decoding
    seed: int
    max_source_tokens: int
    name: str = ""


def tasks_for(problems: Sequence[Problem], samples: int, done: Callable[[str, int], bool] = lambda problem, index: False) -> list[Task]:
    """Tasks for `samples` programs of each problem, without those that are done."""
    tasks = [Task(p, tuple(i for i in range(samples) if not done(p.id, i))) for p in problems]
    return [task for task in tasks if task.indices]


def _program(actor: Actor, generated: Generated, settings: Settings, prompt_cut: bool) -> Program:
    greedy = settings.decoding.temperature == 0
    return Program(
        problem=generated.key,
        code=decode(actor.tokenizer, generated.ids),
        index=generated.sample,
        origin="greedy" if greedy else "sample",
        seed=None if greedy else settings.seed,
        model=settings.name,
        logprob=round(sum(generated.logprobs), 4),
        tokens=len(generated.ids),
        extra={"token_ids": list(generated.ids), **({"cut": True} if generated.cut else {}), **({"prompt_cut": True} if prompt_cut else {})},
    )


def sample(actor: Actor, tasks: Sequence[Task], settings: Settings) -> Iterator[Program]:
    """Programs for the tasks, as they finish."""
    encoded = {t.problem.id: encode_prompt(actor.tokenizer, prompt(t.problem), settings.max_source_tokens) for t in tasks}
    requests = [Request(t.problem.id, encoded[t.problem.id][0], t.indices) for t in tasks]
    for generated in generate(actor.model, requests, settings.decoding, settings.seed):
        yield _program(actor, generated, settings, prompt_cut=encoded[generated.key][1])


_worker: tuple[Actor, Settings] | None = None  # one per worker process, set when it starts


def _start_worker(directory: Path, settings: Settings) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it ends the pool
    torch.set_num_threads(1)
    _worker = (load_actor(directory), settings)


def _run_chunk(tasks: list[Task]) -> list[Program]:
    assert _worker is not None
    actor, settings = _worker
    return list(sample(actor, tasks, settings))


def chunks(tasks: Sequence[Task], rows: int) -> list[list[Task]]:
    """Tasks in chunks of about `rows` programs, prompts of similar length together (padding is the enemy)."""
    ordered = sorted(tasks, key=lambda t: (len(t.indices), len(t.problem.statement), t.problem.id))
    result: list[list[Task]] = []
    count = 0
    for task in ordered:
        if not result or count + len(task.indices) > rows:
            result.append([])
            count = 0
        result[-1].append(task)
        count += len(task.indices)
    return result


def sample_directory(directory: Path, tasks: Sequence[Task], settings: Settings, workers: int) -> Iterator[Program]:
    """As `sample`, with the model of a directory, in `workers` processes of one thread each; 1 = in this process."""
    parts = chunks(tasks, settings.decoding.rows)
    if workers <= 1 or len(parts) == 1:
        actor = load_actor(directory)
        for part in parts:
            yield from sample(actor, part, settings)
        return
    load_actor(directory)  # a folder that is no model is told here, in one sentence
    # forked workers need no imports of their own, but a fork beside running threads may never wake up
    context = multiprocessing.get_context("fork" if len(os.listdir("/proc/self/task")) == 1 else "spawn")
    with ProcessPoolExecutor(min(workers, len(parts)), context, _start_worker, (directory, settings)) as pool:
        try:
            for programs in pool.map(_run_chunk, parts):
                yield from programs
        except BrokenProcessPool:
            raise CoderlError("a sampling process died (out of memory?); run the same command again, with fewer --workers or --rows") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
