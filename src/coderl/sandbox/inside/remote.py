"""Calls between two sandboxed processes that share nothing: what they say is passed on by the judge.

Each of the two has a line of its own, a socket pair made for this one job, whose other end the judge holds: the servers watch the time
and stay out of the way. What a program does to its line harms its own input only. In the process that runs test code, `stub` makes the
functions that stand for those of the program.
"""

import builtins
import json
import os

from . import values
from .frames import FRAME


class Line:
    """The child's end of its line to the judge. `lost` is called when it is cut or carries nonsense."""

    def __init__(self, handle, lost):
        self.handle, self.lost = handle, lost
        self.read, self.write, self.loads = os.read, os.write, json.loads
        self.pack, self.unpack, self.size = FRAME.pack, FRAME.unpack, FRAME.size

    def receive(self):
        """The next message, read as JSON; waits for it."""
        try:
            text, blob = self.unpack(self.take(self.size))
            return self.loads(self.take(text + blob))
        except (OSError, ValueError):
            self.lost()

    def take(self, size):
        parts = []
        while size:
            part = self.read(self.handle, min(size, 1 << 20))
            if not part:
                self.lost()
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, text, blob):
        view = memoryview(self.pack(len(text), len(blob)) + text + blob)
        try:
            while view:
                view = view[self.write(self.handle, view) :]
        except OSError:
            self.lost()


class Relayed(Exception):
    """What the program raised, where Python has no exception of that name."""


def stub(name, ask, limit, raised):
    """A function that stands for the program's `name`.

    `ask` sends the call out and gives the answer: {"value": text} or {"type": .., "message": ..}. What the program raised is raised
    here as the built-in exception of the same name, if there is one; `raised` is told of it.
    """

    def function(*arguments, **named):
        call = {"name": name, "args": values.encode(list(arguments), limit), "kwargs": values.encode(named, limit)}
        answer = ask(json.dumps({"calls": [call]}).encode())
        if "value" in answer:
            return values.decode(answer["value"])[0]
        error = exception(answer["type"], answer["message"])
        raised(error)
        raise error

    function.__name__ = name
    return function


def exception(name, message):
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(message)
        except TypeError:
            pass  # those of Unicode and of groups want more than a message
    return type(name, (Relayed,), {})(message)
