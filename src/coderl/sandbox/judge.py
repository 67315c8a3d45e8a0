"""Programs in, verdicts out: ordered, streaming, several sandbox processes at a time.

Each worker thread talks to one fork server. It looks at what a program gave, decides, and writes the verdict. A sandbox process that
fails is started again and the program is tried once more; if that fails too, the verdict says `harness_error` and has no outcome.
"""

from __future__ import annotations

import queue
import re
import secrets
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple, Self

from ..errors import SandboxError
from ..records import Outcome, Problem, Program, TestResult, Verdict, program_text
from .forkserver import Event, ForkServer, ServerGone, this_place
from .plan import Decision, Plan
from .prepare import make_plan
from .tiers import LAYERS, probe

MAX_PROGRAM_BYTES = 32 << 20
_WINDOW, _REMEMBERED, _PLANS = 16, 1024, 256
_NUMPY = re.compile(r"\bnumpy\b|\bnp\b")


@dataclass(frozen=True)
class Limits:
    """What one program may use. A problem's own `limits` (cpu_seconds, memory_mib) come first."""

    cpu_seconds: float = 4.0
    """CPU time for each test, seconds (the tester of APPS and CodeRL: 4 s of wall time)"""
    wall_factor: float = 3.0
    """wall time for each test: this times cpu_seconds, plus one second; ends programs that wait instead of computing"""
    memory_mib: int = 512
    """address space beyond the bare interpreter's, MiB"""
    output_bytes: int = 16 << 20
    """longest standard output or encoded result of one test, bytes"""

    @property
    def wall_seconds(self) -> float:
        return self.wall_factor * self.cpu_seconds + 1.0

    def of(self, problem: Problem) -> Limits:
        """With the problem's own limits in place."""
        own = problem.limits or {}
        return replace(self, cpu_seconds=float(own.get("cpu_seconds", self.cpu_seconds)), memory_mib=int(own.get("memory_mib", self.memory_mib)))


class _Trial(NamedTuple):
    """What a worker needs for one program."""

    problem: Problem
    plan: Plan
    code: str
    stop: bool


class Judge:
    """A pool of sandbox processes.

    Args:
        workers: programs judged at the same time.
        limits: what each program may use.
        allow_unsandboxed: go on without isolation where the machine gives none (tier D).
        tiers: isolation tiers to try, best first.

    Raises:
        SandboxError: no isolation can be had, or it does not hold.
    """

    def __init__(self, workers: int = 2, limits: Limits = Limits(), allow_unsandboxed: bool = False, tiers: str = "ABC") -> None:
        if workers < 1:
            raise SandboxError(f"workers is {workers}; it must be 1 or more")
        self.workers, self.limits = workers, limits
        self._place = this_place()
        found = probe(self._place, tiers + ("D" if allow_unsandboxed else ""))
        self.tier, self.reasons = found.tier, found.reasons
        self._servers: queue.SimpleQueue[ForkServer | None] = queue.SimpleQueue()
        for _ in range(workers):
            self._servers.put(None)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="coderl-judge")
        self._plans: OrderedDict[tuple[int, str], tuple[Problem, Plan]] = OrderedDict()
        self._running: set[ForkServer] = set()
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
            server = self._servers.get()
            if server is not None:
                server.close()

    def grade(self, problem: Problem, programs: Iterable[Program], tests: str = "hidden", stop_at_first_failure: bool = False) -> list[Verdict]:
        """Verdicts of one problem's programs, in their order. Raises ProblemError for a problem that cannot be judged."""
        return list(self.grade_many(((problem, program) for program in programs), tests, stop_at_first_failure))

    def grade_many(self, pairs: Iterable[tuple[Problem, Program]], tests: str = "hidden", stop_at_first_failure: bool = False) -> Iterator[Verdict]:
        """Verdicts in the order of the pairs, each as soon as it and all before it are there.

        At most 16 pairs for each worker are taken ahead of the verdicts. The same program text for the same problem (line ends and
        blank ends aside) is run once. Raises ProblemError at a problem that cannot be judged, after the verdicts of all pairs before it.
        """
        waiting: deque[tuple[Program, Future[Verdict]]] = deque()
        known: OrderedDict[tuple[int, str], Future[Verdict]] = OrderedDict()
        failure: Exception | None = None
        source = iter(pairs)
        try:
            while failure is None:
                try:
                    problem, program = next(source)
                    waiting.append((program, self._submit(problem, program, tests, stop_at_first_failure, known)))
                except StopIteration:
                    break
                except Exception as error:  # of the pairs, or a problem that cannot be judged: what is under way comes first
                    failure = error
                while waiting and (waiting[0][1].done() or len(waiting) >= _WINDOW * self.workers):
                    yield _renumber(waiting.popleft())
            while waiting:
                yield _renumber(waiting.popleft())
        finally:
            for _, future in waiting:
                future.cancel()
        if failure is not None:
            raise failure

    def check(self, problem: Problem, tests: str = "hidden") -> None:
        """Raises ProblemError, without running anything, for a problem that cannot be judged."""
        self._plan(problem, tests)

    def _submit(
        self, problem: Problem, program: Program, tests: str, stop: bool, known: OrderedDict[tuple[int, str], Future[Verdict]]
    ) -> Future[Verdict]:
        plan = self._plan(problem, tests)
        code = program_text(problem, program)
        key = (id(problem), _normalised(code))
        if key not in known:
            known[key] = self._pool.submit(self._judge, _Trial(problem, plan, code, stop))
            if len(known) > _REMEMBERED:
                known.popitem(last=False)
        return known[key]

    def _plan(self, problem: Problem, tests: str) -> Plan:
        key = (id(problem), tests)
        if key not in self._plans or self._plans[key][0] is not problem:
            self._plans[key] = (problem, make_plan(problem, tests))
            if len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        return self._plans[key][1]

    def _judge(self, trial: _Trial) -> Verdict:
        server = self._servers.get()
        failure = "the judge was closed"
        try:
            for _ in range(2):
                if self._closed:
                    break
                try:
                    server = server or ForkServer(LAYERS[self.tier], self._place)
                    self._running.add(server)
                    if self._closed:
                        server.interrupt()
                    return self._attempt(server, trial)
                except ServerGone as error:
                    failure = str(error)
                    self._drop(server)
                    server = None
            return _no_verdict(trial, self.tier, failure)
        except BaseException:  # a fault of the judge itself: the server may be in the middle of a job
            self._drop(server)
            server = None
            raise
        finally:
            if server is not None:
                self._running.discard(server)
            self._servers.put(server)

    def _drop(self, server: ForkServer | None) -> None:
        if server is not None:
            self._running.discard(server)
            server.close()

    def _attempt(self, server: ForkServer, trial: _Trial) -> Verdict:
        limits = self.limits.of(trial.problem)
        code = trial.code
        if len(code) > MAX_PROGRAM_BYTES:
            message = f"the program has {len(code)} characters; at most {MAX_PROGRAM_BYTES} are judged"
            return _Sheet(trial, self.tier).verdict(Outcome.COMPILE_ERROR, {"type": "TooLong", "message": message})
        sheet = _Sheet(trial, self.tier)
        stopped = False
        for event in server.run(_job(trial, limits, sheet.tokens)):
            sheet.add(event)
            if trial.stop and sheet.failed and not stopped and event.kind == "test":
                stopped = True
                server.stop()
        return sheet.close()


def _job(trial: _Trial, limits: Limits, tokens: dict[int, str]) -> dict[str, Any]:
    shared = trial.plan.job
    longest = max((len(text) * 4 for text in shared["tests"]), default=0) if shared["mode"] == "stdin" else 0
    if tokens:
        shared = {**shared, "tests": [{**test, "token": tokens[i]} if i in tokens else test for i, test in enumerate(shared["tests"])]}
    return {
        **shared,
        "code": trial.code,
        "numpy": _NUMPY.search(trial.code) is not None,
        "stop": trial.stop,
        "cpu_seconds": limits.cpu_seconds,
        "wall_seconds": limits.wall_seconds,
        "memory_bytes": limits.memory_mib << 20,
        "output_bytes": limits.output_bytes,
        "file_bytes": max(limits.output_bytes + 1, longest),
    }


class _Sheet:
    """The verdict of one program while its events come in."""

    def __init__(self, trial: _Trial, tier: str) -> None:
        self.trial, self.tier = trial, tier
        self.tests: list[TestResult] = []
        self.first: dict[Outcome, dict[str, Any]] = {}
        self.broken: tuple[Outcome, dict[str, Any]] | None = None
        tests = trial.plan.job["tests"]
        self.tokens = {i: secrets.token_hex(16) for i, test in enumerate(tests) if isinstance(test, dict) and "check" in test}
        self.cpu = 0.0
        self.ended = False

    @property
    def failed(self) -> bool:
        return bool(self.first) or self.broken is not None

    def add(self, event: Event) -> None:
        data = event.data
        if event.kind == "end":
            self.cpu, self.ended = float(data["cpu"]), True
        elif event.kind == "test" and data["test"] == len(self.tests):
            if not (self.failed and self.trial.stop):  # tests that ran before the stop came through do not count
                self.add_test(data, event.blob)
        elif event.kind in ("compile", "load") and data["status"] != "ok" and self.broken is None:
            self.broken = (Outcome.COMPILE_ERROR if event.kind == "compile" else Outcome.RUNTIME_ERROR, data)

    def add_test(self, data: dict[str, Any], blob: bytes) -> None:
        outcome, detail = self.look(data, blob)
        if outcome is not Outcome.PASSED_TEST:
            self.first.setdefault(outcome, {**detail, "test": len(self.tests)})
        kind = detail.get("type") if outcome is Outcome.RUNTIME_ERROR else None
        self.tests.append(TestResult(outcome, kind, round(float(data["cpu"]), 6)))

    def look(self, data: dict[str, Any], blob: bytes) -> tuple[Outcome, dict[str, Any]]:
        """The outcome of one test, decided from what the program gave."""
        if data["status"] == "failed":
            return Outcome.FAILED_TEST, {"message": data["message"] or "the assertion does not hold", "line": None}
        if data["status"] != "ok":
            return Outcome.RUNTIME_ERROR, data
        try:
            decision = self.decide(data, blob)
        except (ValueError, TypeError, RecursionError, OverflowError) as error:
            return Outcome.RUNTIME_ERROR, {"type": "BrokenReport", "message": f"the result cannot be read ({type(error).__name__})"}
        if decision.error is not None:
            return Outcome.RUNTIME_ERROR, {"type": decision.error, "message": decision.message}
        return (Outcome.PASSED_TEST if decision.passed else Outcome.FAILED_TEST), {"message": decision.message}

    def decide(self, data: dict[str, Any], blob: bytes) -> Decision:
        number = len(self.tests)
        if number in self.tokens:
            return Decision(data.get("token") == self.tokens[number], "the test did not come to its end")
        return self.trial.plan.decide[number](blob)

    def close(self) -> Verdict:
        """The verdict. A program passes when every test was run and passed; nothing else is a pass."""
        if not self.ended:
            raise ServerGone("the sandbox process ended a job early")
        if self.broken is not None:
            return self.verdict(*self.broken)
        for outcome in (Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST):
            if outcome in self.first:
                return self.verdict(outcome, self.first[outcome])
        if not self.tests or len(self.tests) != len(self.trial.plan.decide):
            raise ServerGone(f"the sandbox process reported {len(self.tests)} of {len(self.trial.plan.decide)} tests")
        return self.verdict(Outcome.PASSED_TEST, {})

    def verdict(self, outcome: Outcome, detail: dict[str, Any]) -> Verdict:
        message = detail.get("message") or None
        if outcome is Outcome.FAILED_TEST:
            message = f"test {detail['test'] + 1}: {message}"
        line = detail.get("line")
        kind = detail.get("type")
        return Verdict(
            problem=self.trial.problem.id,
            index=-1,
            outcome=outcome,
            error_type=None if outcome in (Outcome.FAILED_TEST, Outcome.PASSED_TEST) or kind is None else str(kind)[:100],
            error_message=None if message is None else str(message)[:500],
            error_line=line if type(line) is int else None,
            tests=tuple(self.tests),
            passed=sum(test.outcome is Outcome.PASSED_TEST for test in self.tests),
            total=len(self.trial.plan.decide),
            cpu_seconds=round(self.cpu, 6),
            tier=self.tier,
            trust=self.trial.plan.trust,
            comparator=self.trial.plan.comparator,
        )


def _no_verdict(trial: _Trial, tier: str, why: str) -> Verdict:
    plan = trial.plan
    return Verdict(trial.problem.id, -1, None, total=len(plan.decide), tier=tier, trust=plan.trust, comparator=plan.comparator, harness_error=why)


def _renumber(item: tuple[Program, Future[Verdict]]) -> Verdict:
    program, future = item
    return replace(future.result(), index=program.index)


def _normalised(code: str) -> str:
    """Two programs with the same text here are the same program: line ends and blanks at line ends and at the end do not count."""
    return code.replace("\r\n", "\n").rstrip()
