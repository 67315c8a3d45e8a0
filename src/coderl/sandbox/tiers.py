"""Which isolation does this machine give? Found out by trying: start a sandbox process, run a canary program, look at what it could do.

    A  namespaces, seccomp, Landlock, resource limits
    B  seccomp, Landlock, resource limits (an ordinary container)
    C  seccomp, resource limits (files can be read, not written)
    D  resource limits only: refused unless the caller insists

A layer that was put on but does not hold raises SandboxError: a tier is never lowered in silence.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, NamedTuple

from ..errors import SandboxError
from .forkserver import ForkServer, Place, ServerGone
from .inside import values

LAYERS = {"A": ("namespaces", "landlock", "seccomp"), "B": ("landlock", "seccomp"), "C": ("seccomp",), "D": ()}
_ALWAYS = ("take 1 GiB",)
_MUST_FAIL = {
    "namespaces": ("see the judge's process",),
    "landlock": ("read a file", "write a file", "list a folder"),
    "seccomp": ("fork", "open a socket", "write a file", "run a command", "signal another process"),
}
_CANARY = """
import os, socket, sys

def attempts(path, judge):
    def fork():
        if os.fork() == 0:
            os._exit(0)
    yield "fork", fork
    yield "open a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    yield "read a file", lambda: open(path).read()
    yield "write a file", lambda: open(path + ".new", "w")
    yield "list a folder", lambda: os.listdir(os.path.dirname(path))
    yield "run a command", lambda: os.execv("/bin/true", ["true"]) if os.path.exists("/bin/true") else 1 / 0
    yield "signal another process", lambda: os.kill(os.getppid(), 0)
    yield "see the judge's process", lambda: os.kill(judge, 0) if os.getppid() != 1 else os.stat("/proc/%d" % judge)
    yield "take 1 GiB", lambda: bytearray(1 << 30)

def canary(path, judge, forbidden):
    could = []
    for name, attempt in attempts(path, judge):
        try:
            if name in forbidden:
                attempt()
                could.append(name)
        except (OSError, ArithmeticError, MemoryError):
            pass
    return could
"""


class Found(NamedTuple):
    """The tier, and why each better one was not to be had."""

    tier: str
    reasons: tuple[str, ...]


def probe(place: Place, candidates: str) -> Found:
    """The first of the candidate tiers ("ABC") that can be put on, after checking that it holds.

    Raises:
        SandboxError: none can be put on, or one was put on and does not hold.
    """
    reasons: list[str] = []
    for tier in candidates:
        try:
            server = ForkServer(LAYERS[tier], place)
        except ServerGone as error:
            reasons.append(f"{tier}: {error}")
            continue
        try:
            _check(server, tier)
        finally:
            server.close()
        return Found(tier, tuple(reasons))
    raise SandboxError(
        "programs cannot be isolated on this machine (" + "; ".join(reasons) + "): run on Linux with seccomp (x86-64 or AArch64), "
        "or, at your own risk, allow unsandboxed runs (--allow-unsandboxed)"
    )


def _check(server: ForkServer, tier: str) -> None:
    with tempfile.TemporaryDirectory(prefix="coderl-canary-") as folder:
        bait = os.path.join(folder, "bait")
        with open(bait, "w") as stream:
            stream.write("bait")
        could = _canary(server, bait, [*_ALWAYS, *(attempt for layer in LAYERS[tier] for attempt in _MUST_FAIL[layer])])
    if could:
        raise SandboxError(f"isolation tier {tier} does not hold here: the canary program could {', '.join(could)}; programs are not run")


def _canary(server: ForkServer, path: str, forbidden: list[str]) -> list[str]:
    """Those of the forbidden attempts that succeeded."""
    call = {"name": "canary", "args": values.encode([path, os.getpid(), forbidden], 1 << 16), "kwargs": values.encode({}, 100)}
    job: dict[str, Any] = {
        "mode": "call",
        "code": _CANARY,
        "wrap": False,
        "names": False,
        "numpy": False,
        "any_exit": False,
        "iterators": False,
        "stop": True,
        "waits": False,
        "more": False,
        "tests": [{"calls": [call]}],
        "cpu_seconds": 10.0,
        "wall_seconds": 30.0,
        "memory_bytes": 512 << 20,
        "output_bytes": 1 << 20,
        "file_bytes": 1 << 20,
    }
    try:
        events = list(server.run(job))
    except ServerGone as error:
        raise SandboxError(f"the canary program ended the sandbox process: {error}") from None
    tests = [event for event in events if event.kind == "test"]
    if not tests or tests[0].data["status"] != "ok":
        raise SandboxError(f"the canary program could not run in the sandbox: {[event.data for event in events]}")
    return [str(name) for name in values.decode(tests[0].blob)[0]]
