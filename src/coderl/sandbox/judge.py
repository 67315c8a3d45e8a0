"""Programs in, verdicts out: ordered, streaming, several sandbox processes at a time.

Each worker thread talks to one fork server. It looks at what a program gave, decides, and writes the verdict. A sandbox process that
fails is started again and the program is tried once more; if that fails too, the verdict says `harness_error` and has no outcome.
"""

from __future__ import annotations

import asyncio
import queue
import re
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from ..errors import SandboxError
from ..records import Outcome, Problem, Program, Verdict, program_text
from .forkserver import ForkServer, ServerGone, this_place
from .gate import Gate
from .limits import DEFAULT, Limits
from .plan import Plan
from .prepare import make_plan
from .relay import Checked, relay
from .sheet import Sheet, Trial, no_verdict
from .tiers import LAYERS, probe

MAX_PROGRAM_BYTES = 32 << 20
SECOND_CHANCE = 1.5  # times the CPU limit, for a program that is run again alone: a busy machine takes that much more CPU time
_WINDOW, _REMEMBERED, _PLANS = 16, 1024, 256
Pairs = Iterable[tuple[Problem, Program]]
_NUMPY = re.compile(r"\bnumpy\b|\bnp\b")


class Judge:
    """A pool of sandbox processes. Several threads may use one judge at once.

    Args:
        workers: programs judged at the same time.
        limits: what each program may use.
        allow_unsandboxed: go on without isolation where the machine gives none (tier D).
        tiers: isolation tiers to try, best first.
        tier: this tier and no other one.

    Raises:
        SandboxError: no isolation can be had, or it does not hold.
    """

    def __init__(
        self, workers: int = 2, limits: Limits = DEFAULT, allow_unsandboxed: bool = False, tiers: str = "ABC", tier: str | None = None
    ) -> None:
        if workers < 1:
            raise SandboxError(f"workers is {workers}; it must be 1 or more")
        if tier is not None:
            if tier not in tuple(LAYERS if allow_unsandboxed else "ABC"):
                raise SandboxError(f"tier is {tier!r}; it must be A, B or C, or, with unsandboxed runs allowed, D")
            tiers, allow_unsandboxed = tier, False
        self.workers, self.limits = workers, limits
        self._place = this_place()
        found = probe(self._place, tiers + ("D" if allow_unsandboxed else ""))
        self.tier, self.reasons = found.tier, found.reasons
        self._benches: queue.SimpleQueue[_Bench] = queue.SimpleQueue()
        for _ in range(workers):
            self._benches.put(_Bench(self._start, lambda: self._ahead > 0))
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="coderl-judge")
        self._plans: OrderedDict[tuple[int, str], tuple[Problem, Plan]] = OrderedDict()
        self._planning, self._gate, self._ahead = threading.Lock(), Gate(), 0
        self._running: set[_Bench] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all sandbox processes at once; what waits or is being judged is dropped."""
        if self._closed:
            return
        self._closed = True
        for running in list(self._running):
            running.interrupt()
        self._pool.shutdown(wait=True, cancel_futures=True)
        for _ in range(self.workers):
            self._benches.get().clear()

    def grade(self, problem: Problem, programs: Iterable[Program], tests: str = "hidden", stop_at_first_failure: bool = False) -> list[Verdict]:
        """Verdicts of one problem's programs, in their order. Raises ProblemError for a problem that cannot be judged."""
        return list(self.grade_many(((problem, program) for program in programs), tests, stop_at_first_failure))

    def grade_many(self, pairs: Pairs, tests: str = "hidden", stop_at_first_failure: bool = False) -> Iterator[Verdict]:
        """Verdicts in the order of the pairs, each as soon as it and all before it are there.

        At most 16 pairs for each worker are taken ahead of the verdicts. The same program text for the same problem (line ends and
        blank ends aside) is run once. Raises ProblemError at a problem that cannot be judged, after the verdicts of all pairs before it.
        """
        line = _Line(self, tests, stop_at_first_failure)
        failure: Exception | None = None
        source = iter(pairs)
        try:
            while failure is None:
                try:
                    line.add(*next(source))
                except StopIteration:
                    break
                except Exception as error:  # of the pairs, or a problem that cannot be judged: what is under way comes first
                    failure = error
                while line.ready():
                    yield line.take()
            while line.waiting:
                yield line.take()
        finally:
            line.cancel()
        if failure is not None:
            raise failure

    async def grade_stream(
        self, pairs: Pairs | AsyncIterable[tuple[Problem, Program]], tests: str = "hidden", stop_at_first_failure: bool = False
    ) -> AsyncIterator[Verdict]:
        """`grade_many` for who awaits: the event loop goes on while programs run. The pairs may come asynchronously too."""
        line = _Line(self, tests, stop_at_first_failure)
        failure: Exception | None = None
        source = aiter(pairs) if isinstance(pairs, AsyncIterable) else _awaited(pairs)
        try:
            while failure is None:
                try:
                    line.add(*await anext(source))
                except StopAsyncIteration:
                    break
                except Exception as error:
                    failure = error
                while line.ready():
                    yield await line.await_first()
            while line.waiting:
                yield await line.await_first()
        finally:
            line.cancel()
        if failure is not None:
            raise failure

    def check(self, problem: Problem, tests: str = "hidden") -> None:
        """Raises ProblemError, without running anything, for a problem that cannot be judged."""
        self._plan(problem, tests)

    def submit(self, trial: Trial) -> Future[Verdict]:
        """The verdict to come of a program with its plan, which may be one's own (behaviour.py)."""
        self._count(1)
        future = self._pool.submit(self._judge, trial)
        future.add_done_callback(lambda done: self._count(-1) if done.cancelled() else None)
        return future

    def _submit(
        self, problem: Problem, program: Program, tests: str, stop: bool, known: OrderedDict[tuple[int, str], tuple[Problem, Future[Verdict]]]
    ) -> Future[Verdict]:
        plan = self._plan(problem, tests)
        code = program_text(problem, program)
        key = (id(problem), _normalised(code))
        if key not in known:  # the problem is kept beside its verdict: while it is, no other one has its id
            known[key] = problem, self.submit(Trial(problem, plan, code, stop))
            if len(known) > _REMEMBERED:
                known.popitem(last=False)
        return known[key][1]

    def _count(self, change: int) -> None:
        """Programs that wait for a worker."""
        with self._planning:
            self._ahead += change

    def _plan(self, problem: Problem, tests: str) -> Plan:
        key = (id(problem), tests)
        with self._planning:
            known = self._plans.get(key)
        if known is not None and known[0] is problem:
            return known[1]
        plan = make_plan(problem, tests)
        with self._planning:
            self._plans[key] = (problem, plan)
            if len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        return plan

    def _start(self) -> ForkServer:
        server = ForkServer(LAYERS[self.tier], self._place)
        if self._closed:
            server.interrupt()
        return server

    def _judge(self, trial: Trial) -> Verdict:
        self._count(-1)
        bench = self._benches.get()
        self._running.add(bench)
        failure = "the judge was closed"
        try:
            for _ in range(2):
                if self._closed:
                    break
                try:
                    return self._attempt(bench, trial)
                except ServerGone as error:
                    failure = str(error)
                    bench.clear()
            return no_verdict(trial, self.tier, failure)
        except BaseException:  # a fault of the judge itself: the servers may be in the middle of a job
            bench.clear()
            raise
        finally:
            self._running.discard(bench)
            self._benches.put(bench)

    def _attempt(self, bench: _Bench, trial: Trial) -> Verdict:
        if len(trial.code) > MAX_PROGRAM_BYTES:
            message = f"the program has {len(trial.code)} characters; at most {MAX_PROGRAM_BYTES} are judged"
            return Sheet(trial, self.tier).verdict(Outcome.COMPILE_ERROR, {"type": "TooLong", "message": message})
        limits = self.limits.of(trial.problem)
        with self._gate.together():
            sheet = _run(trial, self.tier, bench, limits)
        if not sheet.borderline(limits):
            return sheet.close()
        with self._gate.alone():
            again = _run(trial, self.tier, bench, limits.times(SECOND_CHANCE)).close()
        return replace(again, extra={**again.extra, "run_again": True})


class _Line:
    """Programs under way, in order. At most 16 for each worker; the same text for the same problem is run once."""

    def __init__(self, judge: Judge, tests: str, stop: bool) -> None:
        self.judge, self.tests, self.stop = judge, tests, stop
        self.waiting: deque[tuple[Program, Future[Verdict]]] = deque()
        self.known: OrderedDict[tuple[int, str], tuple[Problem, Future[Verdict]]] = OrderedDict()

    def add(self, problem: Problem, program: Program) -> None:
        self.waiting.append((program, self.judge._submit(problem, program, self.tests, self.stop, self.known)))

    def ready(self) -> bool:
        """Is the first verdict there, or the line full?"""
        return bool(self.waiting) and (self.waiting[0][1].done() or len(self.waiting) >= _WINDOW * self.judge.workers)

    def take(self) -> Verdict:
        program, future = self.waiting.popleft()
        return replace(future.result(), index=program.index)

    async def await_first(self) -> Verdict:
        arrived = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.waiting[0][1].add_done_callback(lambda _: loop.call_soon_threadsafe(arrived.set))
        await arrived.wait()
        return self.take()

    def cancel(self) -> None:
        for _, future in self.waiting:
            future.cancel()


async def _awaited(pairs: Pairs) -> AsyncIterator[tuple[Problem, Program]]:
    for pair in pairs:
        yield pair
        await asyncio.sleep(0)  # others may run: a long list of pairs must not hold up the event loop


class _Bench:
    """What one worker works with: a server for programs and, once they are needed, one for programs with numpy and one for the problems'
    own code."""

    def __init__(self, start: Callable[[], ForkServer], more: Callable[[], bool]) -> None:
        """`more`: do other programs wait?"""
        self._start, self.more = start, more
        self._servers: dict[str, ForkServer] = {}

    def program(self, numpy: bool) -> ForkServer:
        """Numpy makes a process three times as large, and every fork of it slower: programs that want it have a server of their own."""
        return self._get("numpy" if numpy else "program")

    def checker(self) -> ForkServer:
        return self._get("checker")

    def _get(self, name: str) -> ForkServer:
        if name not in self._servers:
            self._servers[name] = self._start()
        return self._servers[name]

    def interrupt(self) -> None:
        """End the servers' processes from another thread."""
        for server in list(self._servers.values()):
            server.interrupt()

    def clear(self) -> None:
        """End all servers."""
        servers = list(self._servers.values())
        self._servers.clear()
        for server in servers:
            server.close()


def _run(trial: Trial, tier: str, bench: _Bench, limits: Limits) -> Sheet:
    """Run the program and note every report."""
    if trial.plan.answers is None:
        return _noted(Sheet(trial, tier), bench, limits)
    checked = Checked(bench.checker(), limits.job(), trial.plan.answers)
    try:
        sheet = _noted(Sheet(trial, tier, checked.decide), bench, limits)
        checked.close()
    finally:
        checked.hang_up()
    return sheet


def _noted(sheet: Sheet, bench: _Bench, limits: Limits) -> Sheet:
    trial, apart = sheet.trial, sheet.trial.plan.apart
    job = _job(trial, limits, sheet.tokens, bench.more())
    server = bench.program(job["numpy"])
    if apart is not None:
        for event in relay(server, bench.checker(), job, apart, lambda: trial.stop and sheet.failed):
            sheet.add(event)
        return sheet
    told = False
    for event in server.run(job):
        sheet.add(event)
        if trial.stop and event.kind == "test":
            if sheet.failed and not told:
                told = True
                server.stop()
            elif job["waits"] and event.data["test"] == 0:
                server.go_on()
    return sheet


def _job(trial: Trial, limits: Limits, tokens: dict[int, str], more: bool) -> dict[str, Any]:
    """`more`: another program is likely to come at once, so a process that this one leaves as it was is of use."""
    shared = trial.plan.job
    longest = max((len(text) * 4 for text in shared["tests"]), default=0) if shared["mode"] == "stdin" else 0
    if tokens:
        shared = {**shared, "tests": [{**test, "token": tokens[i]} if i in tokens else test for i, test in enumerate(shared["tests"])]}
    return {
        **shared,
        "code": trial.code,
        "numpy": _NUMPY.search(trial.code) is not None,
        "stop": trial.stop,
        "more": more and not tokens,  # test code holds expected values, and the next program could find them in its memory
        "waits": trial.stop and trial.plan.apart is None and len(shared["tests"]) > 1,
        **limits.job(),
        "file_bytes": max(limits.output_bytes + 1, longest),
    }


def _normalised(code: str) -> str:
    """Two programs with the same text here are the same program: line ends and blanks at line ends and at the end do not count."""
    return code.replace("\r\n", "\n").rstrip()
