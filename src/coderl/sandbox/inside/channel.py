"""How the child reports to the fork server. A report is four numbers, a JSON header and a blob; it is only data: nothing here decides.

What a program writes into the pipes harms its own reports only.
"""

import json
import os
import struct
import time

from .frames import FRAME, Gone, receive

HEADER = struct.Struct("<IIII")  # event, test number, length of the JSON header, length of the blob
COMPILED, LOADED, TESTED = 1, 2, 3
RANG = 256  # added to the event of a report behind which the bell rings
LOST_CHANNEL = 97  # exit code of a child that cannot report
FINE = {"status": "ok"}
FINE_TEXT = json.dumps(FINE).encode()
SHARED = {"status": "ok", "shared": True}  # of a program that compiles and may share its process
LIMITS = "MemoryLimit", "OutputLimit"  # a process in which one was hit takes no other program
GO_ON, OVER = b"!", b"."
_QUIET = 1 << 14  # bytes


def pause(job):
    """Seconds for which a report may lie unread: none where it is waited for, 2 ms where the judge may stop the job at it, else 10 ms or
    a hundredth of the time limit, so that the tests that end within it are not told apart."""
    if "line" in job:
        return 0.0
    return 0.002 if job["stop"] else min(0.01, job["cpu_seconds"] / 100)


class Channel:
    """Writes reports to the fork server: the data into one pipe, and into another, the bell, a byte that wakes it.

    The bell rings only when the last time is longer ago than the `pause` (seconds), so that short tests cost no change of process. What
    was written is in the pipe and is read even if the child is dead by then; its end wakes the server too.
    """

    def __init__(self):
        """Everything but the pipes, once in the server: see `Child`."""
        self.write, self.read, self.dumps, self.exit, self.now = os.write, os.read, json.dumps, os._exit, time.monotonic

    def open(self, handle, bell, orders, pause):
        """`orders`: the pipe through which the child is told to go on, or to take another job."""
        self.handle, self.bell, self.orders, self.pause, self.pending = handle, bell, orders, pause, 0
        self.rung = self.now()

    def send(self, event, test, header, blob=b"", due=False):
        text = FINE_TEXT if header is FINE else self.dumps(header).encode("utf-8", "replace")
        self.pending += HEADER.size + len(text) + len(blob)
        now = self.now()
        due = due or self.pending > _QUIET or now - self.rung >= self.pause
        self.send_bytes(HEADER.pack(event | RANG if due else event, test, len(text), len(blob)) + text + blob, due)

    def send_bytes(self, data, due=True):
        """In pieces that fit into the pipe, each announced; a short report that is not due waits for the next bell."""
        view = memoryview(data)
        try:
            while view:
                view = view[self.write(self.handle, view[:_QUIET]) :]
                if due:
                    self.ring(self.now())
        except OSError:
            self.exit(LOST_CHANNEL)

    def go_on(self):
        """Wait until the judge has looked at the first test. True: it has passed. Where it has not, only a process that may be shared is told."""
        try:
            order = self.read(self.orders, 1)
        except OSError:
            order = b""
        if not order:
            self.exit(LOST_CHANNEL)
        return order == GO_ON

    def next_job(self):
        """The text of another job; None when the server is gone. Only for a child that has run nothing, or tame programs."""
        try:
            return receive(self.orders, FRAME.unpack(receive(self.orders, FRAME.size))[0])
        except Gone:
            return None

    def ring(self, now):
        self.write(self.bell, b"!")
        self.rung, self.pending = now, 0
