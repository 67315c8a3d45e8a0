"""Test code in one sandboxed process, the program in another, the judge between them.

A test that is code asks for calls; the judge hands each to the program's process, and hands back what it gave, or the name and the
message of what it raised. Both sides see plain data only: the test's code and what it expects never enter the program's process, no
object of the program's enters the test's. The judge itself reads neither calls nor results. Also here: the checker function of a
problem with several right answers, which is called like a program, in the same kind of process.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from .forkserver import Event, ForkServer, ServerGone
from .inside.values import Unsupported
from .plan import Answers, Decision, call, results
from .testcode import Apart

CHECKER = "check"
_FINAL = {"Timeout", "MemoryLimit", "OutputLimit", "Killed", "Exit", "LostChannel", "BrokenReport"}  # after these there is no program left to ask
_ENDED = {"status": "error", "type": "Exit", "message": "the process was ended between two calls", "line": None, "cpu": 0.0}


class Session:
    """A program that is loaded and waits for calls. `job` has its code and limits; `fresh`: how many of the calls will have all the time
    for themselves. Raises ServerGone, as everything here."""

    def __init__(self, server: ForkServer, job: dict[str, Any], fresh: int = 1) -> None:
        self._server, self._events = server, server.run({**job, "mode": "call", "tests": [], "stop": False, "fed": fresh})
        self.cpu, self.over = 0.0, False
        self.failed: Event | None = None
        for kind in ("compile", "load"):
            event = self._next()
            if event is None or event.kind != kind:
                raise ServerGone(f"the sandbox process reports {event} instead of {kind}")
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
        if not self.over:
            self._server.feed(request, fresh)
            event = self._next()
            if event is not None:
                return event
        return Event("test", _ENDED, b"")

    def close(self) -> float:
        """End the process; its CPU time in seconds."""
        if not self.over:
            self._server.stop()
            while self._next() is not None:
                pass
        return self.cpu


def relay(program: ForkServer, checker: ForkServer, job: dict[str, Any], tests: Apart, over: Callable[[], bool]) -> Iterator[Event]:
    """The events of one program whose tests run apart, as if one process had given them. Each test has both processes for itself."""
    spent = 0.0
    own = {name: value for name, value in job.items() if name != "tests"}
    for number, test in enumerate(job["tests"]):
        session = Session(program, own)
        event = session.failed or _run_test(session, checker, {**own, "code": tests.helpers, "asks": list(tests.asks), "tests": [test]})
        spent += session.close()
        if session.failed is not None:
            yield session.failed
            break
        yield event._replace(data={**event.data, "test": number})
        if over():
            break
    yield Event("end", {"cpu": spent}, b"")


def _run_test(session: Session, checker: ForkServer, job: dict[str, Any]) -> Event:
    """One test in the checker, its calls handed on. The cause of a failure is the program's where the program raised it."""
    events = checker.run({**job, "numpy": "numpy" in json.dumps(job["tests"]), "names": False, "stop": True})
    raised: Event | None = None
    spent, final = 0.0, None
    for event in events:
        if event.kind == "ask":
            given = session.call(event.blob)
            spent = float(given.data["cpu"])
            raised = given if given.data["status"] != "ok" else raised
            if given.data["status"] != "ok" and given.data["type"] in _FINAL:
                final = given
                checker.stop()
            else:
                checker.feed(_answer(given))
        elif event.kind == "test" and final is None:
            final = _settled(event, raised, spent)
        elif event.kind in ("compile", "load") and event.data["status"] != "ok":
            raise ServerGone(f"the problem's own code cannot be loaded for its tests: {event.data['type']}: {event.data['message']}")
    if final is None:
        raise ServerGone("the checker process ended without a word on the test")
    return final


def _answer(given: Event) -> bytes:
    """What a call gave, for the test. The text of a result goes as it came; it is read in the checker's process."""
    if given.data["status"] == "ok":
        return json.dumps({"value": given.blob.decode("utf-8", "replace")}).encode()
    return json.dumps({"type": str(given.data["type"])[:100], "message": str(given.data["message"])[:500]}).encode()


def _settled(event: Event, raised: Event | None, spent: float) -> Event:
    data = {**event.data, "cpu": spent, "line": None}
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
