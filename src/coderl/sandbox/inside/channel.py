"""How the child reports to the fork server. A report is four numbers, a JSON header and a blob; it is only data: nothing here decides.

What a program writes into the pipes harms its own reports only.
"""

import json
import os
import struct
import time

HEADER = struct.Struct("<IIII")  # event, test number, length of the JSON header, length of the blob
COMPILED, LOADED, TESTED, ASKED = 1, 2, 3, 4
RANG = 256  # added to the event of a report behind which the bell rings
LOST_CHANNEL = 97  # exit code of a child that cannot report
FINE = {"status": "ok"}
FINE_TEXT = json.dumps(FINE).encode()
PAUSE, _QUIET = 0.002, 1 << 14  # seconds, bytes


class Channel:
    """Writes reports to the fork server: the data into one pipe, and into another, the bell, a byte that wakes it.

    The bell rings at once where the server is waited for, else at most every 2 ms, so that short tests cost no change of process. What
    was written is in the pipe and is read even if the child is dead by then.
    """

    def __init__(self, handle, bell, eager):
        self.handle, self.bell, self.eager, self.pending = handle, bell, eager, 0
        self.write, self.dumps, self.exit, self.now = os.write, json.dumps, os._exit, time.monotonic
        self.rung = self.now()

    def send(self, event, test, header, blob=b""):
        text = FINE_TEXT if header is FINE else self.dumps(header).encode("utf-8", "replace")
        self.pending += HEADER.size + len(text) + len(blob)
        now = self.now()
        due = self.eager or self.pending > _QUIET or now - self.rung > PAUSE
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

    def ring(self, now):
        self.write(self.bell, b"!")
        self.rung, self.pending = now, 0
