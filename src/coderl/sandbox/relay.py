"""Test code in one sandboxed process, the program in another, the judge between them.

A test that is code asks for calls; the judge hands each to the program's process, and hands back what it gave, or the name and the
message of what it raised. Both sides see plain data only: the test's code and what it expects never enter the program's process, no
object of the program's enters the test's. The judge itself reads neither calls nor results. Also here: the checker function of a
problem with several right answers, which is called like a program, in the same kind of process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from .forkserver import Event, ForkServer, ServerGone
from .inside.values import Unsupported
from .line import Broken, Line, Said
from .plan import Answers, Decision, call, results
from .testcode import Apart

CHECKER = "check"
_FINAL = {"Timeout", "MemoryLimit", "OutputLimit", "Killed", "Exit", "LostChannel", "BrokenReport"}  # after these there is no program left to ask
_ENDED = {"status": "error", "type": "Exit", "message": "the process was ended between two calls", "line": None, "cpu": 0.0}


class Session:
    """A program that is loaded and waits for calls. `job` has its code and limits; `fresh`: how many of the calls will have all the time
    for themselves. Raises ServerGone, as everything here."""

    def __init__(self, server: ForkServer, job: dict[str, Any], fresh: int = 1) -> None:
        self._server, self._line = server, _line(job)
        self._events = server.run({**job, "mode": "call", "tests": [], "stop": False, "waits": False, "more": False, "fed": fresh}, self._line.theirs)
        self.cpu, self.before, self.over = 0.0, 0.0, False  # CPU seconds of all, and of that, until the first call
        self.failed: Event | None = None
        try:
            self._load()
        except BaseException:
            self.hang_up()
            raise

    def _load(self) -> None:
        for kind in ("compile", "load"):
            event = self._next()
            if event is None or event.kind != kind:
                raise ServerGone(f"the sandbox process reports {event} instead of {kind}")
            self.before += float(event.data["cpu"])
            if event.data["status"] != "ok":
                self.failed = event
                return

    def _next(self) -> Event | None:
        event = next(self._events)
        if event.kind == "end":
            self.cpu, self.over = float(event.data["cpu"]), True
            return None
        return event

    def call(self, request: bytes, fresh: bool = False) -> Event:
        """What a call gave, as an event of kind "test". `fresh`: this call has the whole time limit for itself."""
        if self.over:
            return Event("test", _ENDED, b"")
        if fresh:
            self._line.fresh()
            self._server.fresh()
        try:
            said = self._line.ask(request, self._server)
        except Broken as error:
            return _failure(error.kind, error.message)
        if said is not None:
            return _given(said)
        if not self._server.has_events() and self._line.left <= 0:
            self._server.expire()
        return self._next() or Event("test", _ENDED, b"")

    def hang_up(self) -> None:
        """Only the line: for when the server is gone."""
        self._line.close()

    def close(self) -> float:
        """End the process; its CPU time in seconds."""
        self.hang_up()
        if not self.over:
            self._server.stop()
            while self._next() is not None:
                pass
        return self.cpu


def _line(job: dict[str, Any]) -> Line:
    return Line(job["wall_seconds"], 2 * job["output_bytes"] + 4096)


def _failure(kind: str, message: str) -> Event:
    return Event("test", {"status": "error", "type": kind, "message": message, "line": None, "cpu": 0.0}, b"")


def _given(said: Said) -> Event:
    """What the program's process said of a call, as an event."""
    status = said.header.get("status")
    fields = {name: said.header.get(name) for name in ("type", "message", "line")}
    if status != "ok" and not (status == "error" and isinstance(fields["type"], str)):
        return _failure("BrokenReport", "the program wrote into the judge's channel")
    return Event("test", {"status": status, "cpu": 0.0, **fields}, said.blob)


def relay(program: ForkServer, checker: ForkServer, job: dict[str, Any], tests: Apart, over: Callable[[], bool]) -> Iterator[Event]:
    """The events of one program whose tests run apart, as if one process had given them. Each test has both processes for itself."""
    spent = 0.0
    own = {name: value for name, value in job.items() if name != "tests"}
    for number, test in enumerate(job["tests"]):
        session = Session(program, own)
        try:
            event = session.failed or _run_test(session, checker, {**own, "code": tests.helpers, "asks": list(tests.asks), "tests": [test]})
            spent += session.close()
        finally:
            session.hang_up()
        if session.failed is not None:
            yield session.failed
            break
        cpu = float(event.data["cpu"]) or max(session.cpu - session.before, 0.0)
        yield event._replace(data={**event.data, "test": number, "cpu": cpu})
        if over():
            break
    yield Event("end", {"cpu": spent}, b"")


def _run_test(session: Session, checker: ForkServer, job: dict[str, Any]) -> Event:
    """One test in the checker, its calls handed on. The cause of a failure is the program's where the program raised it."""
    raised: Event | None = None
    final = None
    with closing(_line(job)) as line:
        events = checker.run({**job, "numpy": "numpy" in json.dumps(job["tests"]), "names": False, "stop": True, "more": False}, line.theirs)
        for event in _with_asks(events, checker, line):
            if event.kind == "ask":
                given = session.call(event.blob)
                raised = given if given.data["status"] != "ok" else raised
                if given.data["status"] != "ok" and given.data["type"] in _FINAL:
                    final = given
                    checker.stop()
                else:
                    line.say(_answer(given))
            elif event.kind == "test" and final is None:
                final = _settled(event, raised)
            elif event.kind in ("compile", "load") and event.data["status"] != "ok":
                raise ServerGone(f"the problem's own code cannot be loaded for its tests: {event.data['type']}: {event.data['message']}")
    if final is None:
        raise ServerGone("the checker process ended without a word on the test")
    return final


def _with_asks(events: Iterator[Event], checker: ForkServer, line: Line) -> Iterator[Event]:
    """The events of a test, and between them those of kind "ask", which come by the line."""
    yield next(events)  # this sends the job
    late = False
    while True:
        try:
            said = None if late else line.hear(checker)
        except Broken as error:
            raise ServerGone(f"the checker process talks nonsense: {error}") from None
        if said is not None:
            yield Event("ask", said.header, said.blob)
            continue
        if not late and line.left <= 0 and not checker.has_events():
            late = True
            checker.expire()
        event = next(events)
        yield event
        if event.kind == "end":
            return


def _answer(given: Event) -> bytes:
    """What a call gave, for the test. The text of a result goes as it came; it is read in the checker's process."""
    if given.data["status"] == "ok":
        return json.dumps({"value": given.blob.decode("utf-8", "replace")}).encode()
    return json.dumps({"type": str(given.data["type"])[:100], "message": str(given.data["message"])[:500]}).encode()


def _settled(event: Event, raised: Event | None) -> Event:
    data = {**event.data, "cpu": 0.0, "line": None}
    if data["status"] == "error":
        if raised is not None and raised.data["type"] == data["type"]:
            return raised
        if data["type"] == "UnsupportedResult":
            data |= {"type": "UnsupportedArgument", "message": str(data["message"]).replace("the result holds", "the test hands over")}
        elif data["type"] in _FINAL:
            data["message"] = f"in the test's own code: {data['message']}"
    return event._replace(data=data)


class Checked:
    """Decides with the problem's own checker function, in a sandboxed process that lives as long as the program is judged."""

    def __init__(self, server: ForkServer, job: dict[str, Any], answers: Answers) -> None:
        self._server, self._answers = server, answers
        self._job = {**job, "code": answers.code, "wrap": False, "names": False, "numpy": "numpy" in answers.code, "iterators": False}
        self._session: Session | None = None

    def decide(self, number: int, got: Any) -> Decision:
        """Right or wrong. A checker that raises, or does not end, has not said that it is right."""
        if self._session is None:
            self._session = Session(self._server, self._job, len(self._answers.given))
            if (failed := self._session.failed) is not None:
                raise ServerGone(f"the problem's checker cannot be loaded: {failed.data['type']}: {failed.data['message']}")
        try:
            request = {"calls": [call(CHECKER, [*self._answers.given[number], got], {})]}
        except Unsupported:
            return Decision(False, "the result is nested too deeply for the checker")
        given = self._session.call(json.dumps(request).encode(), fresh=True)
        if given.data["status"] == "ok":
            return Decision(results(given.blob)[0] is True, "the checker does not accept it")
        if given.data["type"] in _FINAL:
            self.close()
        return Decision(False, f"the checker ended with {str(given.data['type'])[:100]}: {str(given.data['message'])[:300]}")

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    def hang_up(self) -> None:
        """For when a server is gone."""
        if self._session is not None:
            self._session.hang_up()
