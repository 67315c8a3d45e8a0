"""Parts of a task to several processes, results as they come: each process makes what it needs once and then works through parts.

The processes are forked when this one has no threads yet, which is quick, and spawned otherwise: what is passed must then be picklable.
Users: `sampling.writers`, whose workers write programs, and `critic-sample`, whose workers write, judge and read.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TypeVar, cast

from .errors import CoderlError

P = TypeVar("P")
R = TypeVar("R")
Start = Callable[[], AbstractContextManager[Callable[[P], Iterable[R]]]]
"""Makes what a worker needs (models, a judge) and gives a function from a part to its results."""


@contextmanager
def crew(start: Start[P, R], workers: int) -> Iterator[Callable[[Sequence[P]], Iterator[R]]]:
    """A function from parts to the results of all of them, in no order that means anything, from `workers` processes.

    The processes are started here and ended when the block is left; one that is in the middle of a part gets a second for it. Start them
    before displays, judges and other things with threads: then they are forked.

    Raises:
        CoderlError: a process died. What goes wrong in a process is raised here.
    """
    fork = forks()
    context = get_context("fork") if fork else get_context("spawn")
    processes, ends = [], []
    try:
        for _ in range(workers):
            here, there = context.Pipe()
            ends.append(here)
            process = context.Process(target=_serve, args=(there, tuple(ends) if fork else (), start), daemon=True)
            process.start()
            processes.append(process)
            there.close()
        yield lambda parts: _spread(ends, deque(parts))
    finally:
        for end in ends:  # a worker that waits ends what it has made, such as a judge, and itself
            end.close()
        deadline = time.monotonic() + 1.0
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))
            process.terminate()
        for process in processes:
            process.join()


def work(start: Start[P, R], parts: Sequence[P], workers: int) -> Iterator[R]:
    """The results of all parts from a crew of its own; with one worker in this process, part after part."""
    workers = min(workers, len(parts))
    if workers > 1:
        with crew(start, workers) as serve:
            yield from serve(parts)
    else:
        with start() as serve_here:
            for part in parts:
                yield from serve_here(part)


def forks() -> bool:
    """Whether processes are forked: a fork beside running threads may never wake up."""
    return len(os.listdir("/proc/self/task")) == 1


def _serve(connection: Connection, inherited: Sequence[Connection], start: Start[P, R]) -> None:
    """A worker: parts come in, results go out, None after each part. Ends when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # and ends a worker at once, also in the middle of a part
    for end in inherited:  # or a worker would keep the pipes of its sisters open when the parent has been killed
        end.close()
    try:
        with start() as serve:
            while True:
                _answer(connection, serve(connection.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:  # goes on in the parent
        connection.send(error)


def _answer(connection: Connection, results: Iterable[R]) -> None:
    for result in results:
        connection.send((result,))
    connection.send(None)


def _spread(ends: Sequence[Connection], parts: deque[P]) -> Iterator[R]:
    """Results from the workers behind `ends`, as they come; a worker that is through with its part gets the next one."""
    busy: set[Connection] = set()
    try:
        for end in ends[: len(parts)]:
            end.send(parts.popleft())
            busy.add(end)
        while busy:
            for end in cast(list[Connection], wait(list(busy))):
                got = end.recv()
                if isinstance(got, Exception):
                    raise got
                if got is not None:
                    yield got[0]
                elif parts:
                    end.send(parts.popleft())
                else:
                    busy.remove(end)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise CoderlError("a sampling process died (out of memory?); run the same command again, with fewer --workers or smaller batches") from None
