"""One sandbox process, seen from the judge: start it, feed it jobs, read what it reports, end it.

The process is a fresh interpreter (exec, never a fork of this one), so it shares no thread, no memory and no open file with the
process that trains. Everything that goes wrong with it is `ServerGone`: a failure of the harness, never of the program.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from .inside.frames import FRAME
from .inside.text import from_text, to_text

START_SECONDS, GRACE_SECONDS = 60.0, 15.0
SCRATCH_BYTES = 64 << 20
_ENTRY = Path(__file__).parent / "inside" / "__main__.py"
# What of a job the fork server must know; the rest is for the child alone.
_FOR_SERVER = ("mode", "stop", "waits", "more", "numpy", "fed", "cpu_seconds", "wall_seconds", "memory_bytes", "output_bytes", "file_bytes")
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "LD_BIND_NOW": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class ServerGone(Exception):
    """The sandbox process ended, hung or talked nonsense."""


class Event(NamedTuple):
    """One report: `kind` "ready", "compile", "load", "test" or "end"; its fields; the bytes that came with it."""

    kind: str
    data: dict[str, Any]
    blob: bytes


class Place(NamedTuple):
    """What the sandbox may see of this machine: folders it may read, and where numpy lies (None: programs have no numpy)."""

    readable: tuple[str, ...]
    numpy: str | None


def this_place() -> Place:
    """The standard library of this interpreter, the system's shared libraries, numpy without the rest of site-packages."""
    import importlib.util
    import sysconfig

    paths = {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib")}
    paths |= {
        os.path.join(sys.base_prefix, "lib"),
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/usr/local/lib",
        "/etc/ld.so.cache",
        "/usr/share/zoneinfo",
    }
    spec = importlib.util.find_spec("numpy")
    numpy = str(Path(spec.origin).parent) if spec is not None and spec.origin else None
    if numpy is not None:
        paths |= {numpy, f"{Path(numpy).parent}/numpy.libs"}
    return Place(tuple(_outermost(path for path in paths if os.path.exists(path))), numpy)


def _outermost(paths: Iterator[str]) -> list[str]:
    """Without those that lie below another one."""
    kept: list[str] = []
    for path in sorted(paths):
        if not any(path == other or path.startswith(f"{other}/") for other in kept):
            kept.append(path)
    return kept


class ForkServer:
    """A running sandbox process with the given layers. Not safe for two threads at once."""

    def __init__(self, layers: tuple[str, ...], place: Place) -> None:
        self.layers, self._jobs, self._came = layers, 0, bytearray()
        self._events: deque[Event] = deque()
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close())
        self._socket, theirs = socket.socketpair()
        settings = {
            "handle": theirs.fileno(),
            "layers": list(layers),
            "readable": list(place.readable),
            "numpy": place.numpy,
            "mountpoint": tempfile.gettempdir(),
            "folder": None,
            "scratch_bytes": SCRATCH_BYTES,
        }
        command = [sys.executable, "-S", "-s", "-P", "-B", "-X", "utf8", "-W", "ignore", str(_ENTRY), json.dumps(settings)]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    env=_ENVIRONMENT,
                    cwd="/",
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors,
                    start_new_session=True,
                )
        except OSError as error:
            self._socket.close()
            self._errors.close()
            raise ServerGone(f"the sandbox process cannot be started: {error}") from None
        try:
            self._socket.settimeout(START_SECONDS)
            ready = self._receive()
            if ready.kind != "ready" or tuple(ready.data["layers"]) != layers:
                raise ServerGone(f"the sandbox process reports {ready.data} instead of {layers}")
        except ServerGone:
            self.close()
            raise
        self.pid: int = self._process.pid

    def run(self, job: dict[str, Any], line: socket.socket | None = None) -> Iterator[Event]:
        """Send a job and give its events as they come; the last one has kind "end". `line`: an end of a socket pair for the program's
        process, closed here once it is sent. Raises ServerGone."""
        self._jobs += 1
        self._socket.settimeout(job["wall_seconds"] + GRACE_SECONDS)
        head = {name: job[name] for name in _FOR_SERVER if name in job} | {"number": self._jobs, "tests": len(job["tests"])}
        self._send(head if line is None else {**head, "line": True}, to_text(job if line is None else {**job, "line": True}).encode())
        if line is not None:
            self._hand_over(line)
        while True:
            event = self._receive()
            yield event
            if event.kind == "end":
                return

    def stop(self) -> None:
        """The current job need not go on; its "end" still comes."""
        self._send({"stop": self._jobs})

    def go_on(self) -> None:
        """The first test of a job that waits after it has passed."""
        self._send({"go": self._jobs})

    def expire(self) -> None:
        """The program of the current job has let the judge wait for too long; a report of that still comes, then the "end"."""
        self._send({"expire": self._jobs})

    def fresh(self) -> None:
        """The time of the current job's program starts anew."""
        self._send({"fresh": self._jobs})

    def fileno(self) -> int:
        return self._socket.fileno()

    def has_events(self) -> bool:
        """Have reports come that nobody has looked at?"""
        return bool(self._events or self._came)

    def _send(self, message: dict[str, Any], body: bytes = b"") -> None:
        text = to_text(message).encode()
        try:
            self._socket.sendall(FRAME.pack(len(text), len(body)) + text + body)
        except OSError as error:
            raise ServerGone(self._why(f"it took no message ({error})")) from None

    def _hand_over(self, line: socket.socket) -> None:
        try:
            socket.send_fds(self._socket, [b"!"], [line.fileno()])
        except OSError as error:
            raise ServerGone(self._why(f"it took no message ({error})")) from None
        line.close()

    def _receive(self) -> Event:
        while not self._events:
            header, size = FRAME.unpack(self._read(FRAME.size))
            try:
                reports = from_text(self._read(header).decode())
                blobs, at = self._read(size), 0
                for data, length in reports:
                    self._events.append(Event(str(data["event"]), data, blobs[at : at + length]))
                    at += length
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ServerGone(self._why(f"its report cannot be read ({error!r})")) from None
        return self._events.popleft()

    def _read(self, size: int) -> bytes:
        while len(self._came) < size:
            try:
                part = self._socket.recv(max(1 << 16, min(size - len(self._came), 1 << 20)))
            except TimeoutError:
                raise ServerGone(self._why("it did not answer in time")) from None
            except ConnectionResetError:  # it ended with something unread
                part = b""
            except OSError as error:
                raise ServerGone(self._why(f"its socket failed ({error})")) from None
            if not part:
                raise ServerGone(self._why("it ended"))
            self._came += part
        found = bytes(self._came[:size])
        del self._came[:size]
        return found

    def _why(self, what: str) -> str:
        try:
            self._errors.seek(0)
            lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        except (OSError, ValueError):
            lines = []
        return f"the sandbox process failed: {what}" + (f"; its last words: {lines[-1][:300]}" if lines else "")

    def interrupt(self) -> None:
        """End the process from another thread: who waits for it gets ServerGone."""
        self._process.kill()

    def close(self) -> None:
        """End the process and everything in it, and wait for it. It ends by itself when nobody speaks to it any more, so that the
        CPU time of all programs counts as that of children; what is still busy is killed."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=0.5)
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self._process.kill()
        self._process.wait()
        self._errors.close()
