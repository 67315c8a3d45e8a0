"""Calls between two sandboxed processes that share nothing: what they say is passed on by their servers and by the judge.

The child's end is an `Inbox`: letters lie in a memory file, one at a time, and a pipe rings when there is one. The server's end is
`Letters`; it never waits for the child, which may be a program that does not read. What a program does to its own inbox harms its
own input only. In the process that runs test code, `stub` makes the functions that stand for those of the program.
"""

import builtins
import json
import os
import struct

from . import values

LENGTH = struct.Struct("<Q")


class Letters:
    """The server's end."""

    def __init__(self):
        self.file = os.memfd_create("letters")
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.writing, False)

    def deliver(self, blob):
        """Put a letter in and ring. A child that is gone, or filled the pipe, gets nothing: its server finds out why."""
        try:
            os.ftruncate(self.file, 0)
            position = 0
            while position < len(blob):
                position += os.pwrite(self.file, blob[position:], position)
            os.write(self.writing, LENGTH.pack(len(blob)))
        except OSError:
            pass

    def forked(self):
        """The parent has no use for the child's ends."""
        os.close(self.reading)

    def close(self):
        os.close(self.file)
        os.close(self.writing)


class Inbox:
    """The child's end. `lost` is called when the letters do not come as they should."""

    def __init__(self, letters, lost):
        os.close(letters.writing)
        self.bell, self.file, self.lost = letters.reading, letters.file, lost
        self.read, self.pread, self.loads = os.read, os.pread, json.loads

    def receive(self):
        """The next letter, read as JSON; waits for it."""
        try:
            (size,) = LENGTH.unpack(self.read(self.bell, LENGTH.size))
            parts, position = [], 0
            while position < size:
                part = self.pread(self.file, min(size - position, 1 << 24), position)
                if not part:
                    self.lost()
                parts.append(part)
                position += len(part)
            return self.loads(b"".join(parts))
        except (OSError, ValueError, struct.error):
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
