"""Write programs for problems with an actor: greedy or sampled, in this process or spread over several.

Problems go in, `records.Program` come out as they finish. With the torch engine the same (seed, problem, index) gives the same program
whatever the number of processes, the order or a resume (engines/torch_engine.py; others: engines/choose.py). Judging is elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from .chat import is_chat, program_in
from .crew import crew, forks
from .engines.choose import Writer, foreign
from .engines.requests import Decoding, Generated, Request
from .engines.torch_engine import generate
from .machine import device_here
from .models.actor import Actor, load_actor
from .prompts import before_stop, prompt, template_of
from .records import Problem, Program
from .tokens import decode, encode_prompt, load_tokenizer

_BASELINE = -1  # index of a greedy program among the samples of one request key; it draws no random numbers


class Task(NamedTuple):
    """Which programs of a problem are still to be written; `baseline`: its greedy program as well, beside the samples."""

    problem: Problem
    indices: tuple[int, ...]
    baseline: bool = False


class Settings(NamedTuple):
    """How programs are written.

    `max_source_tokens` cuts prompts; `name` goes into `Program.model`; `rows` programs are written at a time in one process;
    `logprobs` keeps the log-probability of each token as it was drawn in `Program.extra["sampling_logprobs"]`.
    """

    decoding: Decoding
    seed: int
    max_source_tokens: int
    name: str = ""
    rows: int = 512
    logprobs: bool = False


def tasks_for(
    problems: Sequence[Problem],
    samples: int,
    done: Callable[[str, int], bool] = lambda problem, index: False,
    baseline: Callable[[str], bool] = lambda problem: False,
) -> list[Task]:
    """Tasks for `samples` programs of each problem without those that are done, and for the greedy program where `baseline` asks for it."""
    tasks = [Task(p, tuple(i for i in range(samples) if not done(p.id, i)), baseline(p.id)) for p in problems]
    return [task for task in tasks if task.indices or task.baseline]


def count(tasks: Sequence[Task]) -> int:
    """How many programs these are."""
    return sum(len(task.indices) + task.baseline for task in tasks)


class Author(NamedTuple):
    """Who writes: an engine with its model, and the tokenizer."""

    engine: Writer
    tokenizer: PreTrainedTokenizerBase


def sample(actor: Actor, tasks: Sequence[Task], settings: Settings) -> Iterator[Program]:
    """Programs for the tasks, as they finish, by the torch engine."""
    yield from written(Author(partial(generate, actor.model), actor.tokenizer), tasks, settings)


def written(author: Author, tasks: Sequence[Task], settings: Settings) -> Iterator[Program]:
    """Programs for the tasks, as they finish."""
    problems = {t.problem.id: t.problem for t in tasks}
    encoded = {
        t.problem.id: encode_prompt(author.tokenizer, prompt(t.problem, template_of(author.tokenizer)), settings.max_source_tokens) for t in tasks
    }
    requests = [Request(t.problem.id, encoded[t.problem.id][0], t.indices, settings.decoding) for t in tasks if t.indices]
    greedy = settings.decoding._replace(temperature=0.0)
    requests += [Request(t.problem.id, encoded[t.problem.id][0], (_BASELINE,), greedy) for t in tasks if t.baseline]
    for generated in author.engine(requests, settings.seed, settings.rows):
        yield _program(author.tokenizer, problems[generated.key], generated, settings, prompt_cut=encoded[generated.key][1])


def code_and_text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], problem: Problem) -> tuple[str, dict[str, str]]:
    """The program in what was generated, up to where the problem's prompt has it end, and the whole as the extra field `text` where that is
    more."""
    text = decode(tokenizer, ids)
    code = before_stop(problem, program_in(text, is_chat(tokenizer)))
    return code, {} if code == text else {"text": text}


def _program(tokenizer: PreTrainedTokenizerBase, problem: Problem, generated: Generated, settings: Settings, prompt_cut: bool) -> Program:
    greedy = settings.decoding.temperature == 0 or generated.sample == _BASELINE
    drawn = {"sampling_logprobs": [round(x, 5) for x in generated.sampling_logprobs]} if settings.logprobs and not greedy else {}
    code, text = code_and_text(tokenizer, generated.ids, problem)
    return Program(
        problem=generated.key,
        code=code,
        index=max(generated.sample, 0),
        origin="greedy" if greedy else "sample",
        seed=None if greedy else settings.seed,
        model=settings.name,
        logprob=round(sum(generated.logprobs), 4),
        tokens=len(generated.ids),
        extra={
            "token_ids": list(generated.ids),
            **text,
            **({"cut": True} if generated.cut else {}),
            **({"prompt_cut": True} if prompt_cut else {}),
            **drawn,
        },
    )


Write = Callable[[Sequence[Task]], Iterator[Program]]


@contextmanager
def writers(directory: Path, settings: Settings, workers: int, engine: str = "torch") -> Iterator[Write]:
    """A function like `sample`, with the model of a directory, in `workers` processes of one thread each; 1 = in this process, on its GPU if it
    has one.

    `engine` is a name that `engines.choose.choose` gave. vLLM spreads the work itself: give it one worker.

    The processes are started here, all with one copy of the weights in shared memory, and ended when the block is left. Start them
    before displays, judges and other things with threads: then they are forked, which is quick; beside threads they are spawned.

    Raises:
        ModelError: the directory holds no actor.
    """
    actor = load_actor(directory) if engine == "torch" else None
    author = Author(partial(generate, actor.model), actor.tokenizer) if actor else Author(foreign(engine, directory), load_tokenizer(directory))
    if workers <= 1:
        if actor:
            torch.nn.Module.to(actor.model, device_here())
        yield lambda tasks: written(author, tasks, settings)
        return
    if actor and not forks():
        actor.model.share_memory()
    with crew(partial(_author_at_work, author, settings), workers) as serve:
        yield lambda tasks: serve(_parts(tasks, settings.rows, workers))


@contextmanager
def _author_at_work(author: Author, settings: Settings) -> Iterator[Write]:
    torch.set_num_threads(1)
    yield lambda tasks: written(author, tasks, settings)


def _parts(tasks: Sequence[Task], rows: int, workers: int) -> list[list[Task]]:
    """The tasks in as many equal hands as there are workers, or a multiple of it, each with prompts of all lengths."""
    pieces = [
        task._replace(indices=task.indices[i : i + rows], baseline=task.baseline and i == 0)
        for task in tasks
        for i in range(0, len(task.indices) or 1, rows)
    ]
    pieces.sort(key=lambda t: (len(t.problem.statement), t.problem.id))
    hands = workers * -(-count(pieces) // (4 * rows * workers))
    return [hand for hand in (pieces[i::hands] for i in range(hands)) if hand]
