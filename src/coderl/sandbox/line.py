"""The judge's end of its line to one sandboxed process: calls go out, what they gave comes back, as plain data.

A socket pair made for one job; the other end goes to the process, so no server has to pass on what is said. The judge is the one who
knows who waits for whom: it keeps the time of waiting here, while the server keeps that of computing. What comes may have been written
by anybody.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any, NamedTuple, Protocol

from .inside.frames import FRAME

_HEADER_LIMIT = 1 << 16


class Said(NamedTuple):
    """One message of the process: its JSON header, read, and the bytes that came with it."""

    header: dict[str, Any]
    blob: bytes


class Broken(Exception):
    """What came is no message, or came unasked: `kind` and `message` are those of a test's failure."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.message = kind, message


class Server(Protocol):
    """What the line must know of the process's server: where its reports come in, and whether some are there already."""

    def fileno(self) -> int: ...

    def has_events(self) -> bool: ...


class Line:
    """`seconds`: how long the process may let the judge wait, all messages together; `limit`: the most bytes of one message."""

    def __init__(self, seconds: float, limit: int) -> None:
        self.seconds, self.limit, self.left = seconds, limit, seconds
        self._mine, self.theirs = socket.socketpair()
        self._mine.setblocking(False)
        self._came, self._open = bytearray(), True
        self._poll, self._room = select.poll(), select.poll()
        self._poll.register(self._mine, select.POLLIN)
        self._room.register(self._mine, select.POLLOUT)

    def close(self) -> None:
        self._mine.close()
        self.theirs.close()

    def fresh(self) -> None:
        """All of the time again."""
        self.left = self.seconds

    def ask(self, request: bytes, server: Server) -> Said | None:
        """Send a request and wait for the answer. None and Broken: see `hear`; an answer that is there before its question is Broken."""
        if self._came or self._read():
            raise Broken("BrokenReport", "the program wrote into the judge's channel")
        self.say(request)
        return self.hear(server)

    def say(self, text: bytes) -> None:
        """Send a message. A process that is gone, or does not read, gets none: its server or its time says so."""
        start, view = time.monotonic(), memoryview(FRAME.pack(len(text), 0) + text)
        while view and self.left > 0:
            try:
                view = view[self._mine.send(view) :]
            except BlockingIOError:
                self._room.poll(1000 * self.left + 1)
                now = time.monotonic()
                self.left, start = self.left - (now - start), now
            except OSError:
                return

    def hear(self, server: Server) -> Said | None:
        """The next message; None: its server has something to say, or `left` is used up. Raises Broken."""
        start = time.monotonic()
        try:
            while (said := self._whole()) is None:
                left = self.left - (time.monotonic() - start)
                if left <= 0 or server.has_events() or not self._more(server, left):
                    return None
        finally:
            self.left -= time.monotonic() - start
        return said

    def _more(self, server: Server, seconds: float) -> bool:
        """Wait for either; False where there is nothing more to read here."""
        self._poll.register(server.fileno(), select.POLLIN)
        ready = {handle for handle, _ in self._poll.poll(1000 * seconds + 1)}
        return self._mine.fileno() in ready and (self._read() or server.fileno() not in ready)

    def _read(self) -> bool:
        """Take in what is there; False: nothing. A line that is cut is not listened to any more: the server will say why."""
        if not self._open:
            return False
        try:
            if part := self._mine.recv(1 << 18):
                self._came += part
                return True
        except BlockingIOError:
            return False
        except OSError:
            pass
        self._poll.unregister(self._mine)
        self._open = False
        return False

    def _whole(self) -> Said | None:
        if len(self._came) < FRAME.size:
            return None
        head, size = FRAME.unpack_from(self._came)
        if head > _HEADER_LIMIT:
            raise Broken("BrokenReport", "the program wrote into the judge's channel")
        if size > self.limit:
            raise Broken("OutputLimit", f"a result of more than {self.limit} bytes")
        end = FRAME.size + head + size
        if len(self._came) < end:
            return None
        text, blob = bytes(self._came[FRAME.size : FRAME.size + head]), bytes(self._came[FRAME.size + head : end])
        del self._came[:end]
        return Said(_header(text), blob)


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        header = None
    if type(header) is not dict:
        raise Broken("BrokenReport", "the program wrote into the judge's channel")
    return header
