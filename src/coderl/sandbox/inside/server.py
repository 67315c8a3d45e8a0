"""The fork server: one per worker, one program at a time, a fork per program, a new fork after each test that killed the last one.

It takes jobs from the judge over a socket, watches the child from outside (CPU time, wall time, memory file sizes), passes on its
reports, and leaves nothing running and no file behind. It never sees an expected output (tests that must run as code excepted) and
decides nothing. Messages in both directions: length of a JSON object, length of a blob, the two.
"""

import _sitebuiltins
import builtins
import faulthandler
import gc
import importlib.util
import itertools
import json
import os
import random
import re
import resource
import select
import signal
import struct
import sys
import time

from . import channel, kernel, remote, seccomp
from . import child as children

FRAME = struct.Struct("<II")
_TRACE_SIGNAL = signal.SIGRTMIN + 5
_TRACE_LINE = re.compile(rb'File "<program>", line (\d+)')
_HEADER_LIMIT = 1 << 16
_APPS_NAMES = """
import sys, time, itertools, collections, math, fractions, random, heapq
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import List, Tuple
from heapq import *
"""
_LIMITED = (
    *(resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE),
    resource.RLIMIT_NPROC,  # counts by user: only where the user is the sandbox's own
)
_WARM = "bisect copy datetime decimal enum functools inspect operator queue re statistics string textwrap typing dataclasses contextlib"


class Gone(Exception):
    """The judge has closed its end."""


def receive(handle, size):
    parts = []
    while size:
        part = os.read(handle, min(size, 1 << 20))
        if not part:
            raise Gone
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def receive_message(handle):
    header, blob = FRAME.unpack(receive(handle, FRAME.size))
    message = json.loads(receive(handle, header))
    return message, receive(handle, blob)


def send_message(handle, message, blob=b""):
    text = json.dumps(message).encode()
    send_bytes(handle, FRAME.pack(len(text), len(blob)) + text + blob)


def send_bytes(handle, data):
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        raise Gone from None


def warm():
    """Import what programs import most, once, and make `exit` and `quit`; the names that the APPS tester gives every program."""
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    for name in _WARM.split():
        importlib.import_module(name)
    names: dict[str, object] = {}
    exec(_APPS_NAMES, names)
    del names["__builtins__"]
    return names


def load_numpy(folder):
    """Make `import numpy` work from its own folder alone, without the rest of site-packages."""
    if folder is None or "numpy" in sys.modules:
        return
    spec = importlib.util.spec_from_file_location("numpy", f"{folder}/__init__.py", submodule_search_locations=[folder])
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["numpy"] = module
    try:
        spec.loader.exec_module(module)
        importlib.import_module("numpy.random")
    except Exception:
        for name in [name for name in sys.modules if name.split(".")[0] == "numpy"]:
            del sys.modules[name]


class Watch:
    """CPU and wall time of a child, from outside, since the last event."""

    def __init__(self, pid):
        self.clock, self.spent = (~pid << 3) | 2, 0.0  # the kernel's number for "CPU time of that process"
        self.restart()

    def total(self):
        try:
            self.spent = time.clock_gettime(self.clock)
        except OSError:
            pass  # it is gone: its usage comes with its exit status
        return self.spent

    def restart(self):
        self.cpu_mark, self.wall_mark = self.total(), time.monotonic()

    def used(self):
        return self.total() - self.cpu_mark, time.monotonic() - self.wall_mark


class Server:
    """State of one fork server. `settings`: see `__main__.py`."""

    def __init__(self, handle, settings, layers, statm):
        self.handle, self.settings, self.layers, self.statm = handle, settings, layers, statm
        self.secure, self.spaces = "seccomp" in layers, "namespaces" in layers
        self.folder = "/tmp" if self.spaces else settings["folder"]
        self.kept = frozenset(os.listdir(self.folder)) if self.folder else frozenset()  # mount points of an interpreter below /tmp
        self.null = os.open("/dev/null", os.O_RDWR)
        self.trace = os.memfd_create("trace")
        faulthandler.register(_TRACE_SIGNAL, file=self.trace, all_threads=False)
        self.numpy_tried, self.outbox = False, b""
        self.filter = seccomp.ChildFilter() if self.secure else None
        self.hard = {kind: resource.getrlimit(kind)[1] for kind in _LIMITED}
        self.page = resource.getpagesize()
        random.seed(0)
        gc.disable()
        gc.collect()
        gc.freeze()

    def serve(self, apps_names):
        """Jobs until the judge goes away."""
        self.apps_names = apps_names
        while True:
            message, _ = receive_message(self.handle)
            if "code" in message:
                self.run(message)

    def say(self, message, blob=b""):
        """To the judge, with the next flush."""
        text = json.dumps(message).encode()
        self.outbox += FRAME.pack(len(text), len(blob)) + text + blob

    def flush(self):
        data, self.outbox = self.outbox, b""
        send_bytes(self.handle, data)

    def run(self, job):
        if job["numpy"] and not self.numpy_tried:
            self.numpy_tried = True
            load_numpy(self.settings["numpy"])
            gc.collect()
            gc.freeze()
        names = dict(self.apps_names) if job["names"] else {}
        if job["names"] and "numpy" in sys.modules:
            names["np"] = sys.modules["numpy"]
        self.prepare(job)
        spent, first = 0.0, 0
        forks = 1 if "fed" in job else len(job["tests"])  # calls that come one by one are made in one fork
        while first is not None and first < forks:
            run = Run(self, job, names, first)
            first = run.watch()
            spent += run.cpu
            self.clean()
        self.say({"event": "end", "cpu": spent})
        self.flush()

    def prepare(self, job):
        job.update(null=self.null, folder=self.folder or "/", module="program", filter=self.filter)
        own = int(os.pread(self.statm, 64, 0).split(None, 1)[0]) * self.page
        cpu = int(job["cpu_seconds"] * (job.get("fed", len(job["tests"])) + 2)) + 2
        wanted = (own + job["memory_bytes"], cpu, job["file_bytes"], 256, 0, 256)
        limits = zip(_LIMITED, wanted) if self.spaces else zip(_LIMITED[:-1], wanted)
        job["rlimits"] = [(kind, value if (hard := self.hard[kind]) < 0 else min(value, hard)) for kind, value in limits]

    def clean(self):
        """End and reap every process that is left; empty the scratch folder."""
        if self.spaces and os.getpid() == 1:
            try:
                os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            while os.waitpid(-1, 0 if self.spaces else os.WNOHANG)[0] or end_orphans():
                pass
        except ChildProcessError:
            pass
        if self.folder is not None and not self.kept.issuperset(os.listdir(self.folder)):
            empty(self.folder, self.kept)


def end_orphans():
    """Without a process space, what a program left running has become this process's child: end it. True when there was any."""
    with open(f"/proc/self/task/{os.getpid()}/children") as stream:
        orphans = [int(pid) for pid in stream.read().split()]
    for pid in orphans:
        os.kill(pid, signal.SIGKILL)
    return bool(orphans)


def empty(folder, kept):
    """Remove everything below a folder but the `kept` names, however deep, following no links: what lies deeper is first moved up."""
    counter = itertools.count()
    while names := set(os.listdir(folder)) - kept:
        for name in names:
            path = f"{folder}/{name}"
            try:
                os.unlink(path)
                continue
            except (IsADirectoryError, PermissionError):
                pass
            os.chmod(path, 0o700)  # it may have been made unreadable
            for inner in os.listdir(path):
                os.rename(f"{path}/{inner}", f"{folder}/.{next(counter)}.{time.monotonic_ns()}")
            os.rmdir(path)


class Run:
    """One forked child, from its start to its last report."""

    def __init__(self, server, job, names, first):
        self.server, self.job, self.test, self.phase, self.cpu = server, job, first, "compile", 0.0
        self.first, self.buffer, self.open = first, bytearray(), True
        self.status: int | None = None
        self.fed, self.idle = "fed" in job, None
        self.letters = remote.Letters() if "fed" in job or "asks" in job else None
        streams = (os.memfd_create("in"), os.memfd_create("out")) if job["mode"] == "stdin" else None
        job.update(streams=streams, letters=self.letters, space=names)
        self.reports, writing = os.pipe()
        self.bell, ringing = os.pipe()
        os.set_blocking(self.reports, False)
        os.ftruncate(server.trace, 0)
        os.lseek(server.trace, 0, os.SEEK_SET)
        gc.freeze()  # a collection in the child would look at, and so copy, all that was made since the last one
        self.pid = kernel.fork()
        if self.pid == 0:
            if not server.spaces:
                detach(server.secure)
            children.start(job, first, (writing, ringing), (server.handle, self.reports, self.bell, server.statm))
        if self.letters is not None:
            self.letters.forked()
        for handle in (writing, ringing, *(streams or ())):
            os.close(handle)
        self.clock = Watch(self.pid)
        self.poll = select.poll()
        self.poll.register(self.bell, select.POLLIN)
        self.poll.register(server.handle, select.POLLIN)

    def watch(self):
        """Until the child has ended. Returns the test at which a new fork goes on, or None when the job is over."""
        try:
            following = self.loop()
            self.server.flush()
            return following
        finally:
            self.end()
            os.close(self.reports)
            os.close(self.bell)
            if self.letters is not None:
                self.letters.close()

    def loop(self):
        while True:
            cpu, wall = self.clock.used()
            if self.idle is not None:
                wall = 0.0  # it waits for the judge
            if cpu >= self.job["cpu_seconds"] or wall >= self.job["wall_seconds"]:
                where = (self.test, self.phase)
                done, result = self.read()  # tests that ended without ringing
                if done:
                    return result
                if where != (self.test, self.phase):
                    continue
                return self.give_up("Timeout", self.timeout_message(cpu))
            wait = min(self.job["cpu_seconds"] - cpu, self.job["wall_seconds"] - wall)
            if not self.open:
                if self.ended():
                    done, result = self.read()
                    return result if done else self.classify()
                wait = min(wait, 0.005)
            for handle, event in self.poll.poll(max(1.0, wait * 1000)):
                if handle == self.server.handle:
                    if self.stopped():
                        return None
                elif event:
                    done, result = self.rung()
                    if done:
                        return result

    def stopped(self):
        message, blob = receive_message(self.server.handle)
        if message.get("feed") == self.job["number"] and self.letters is not None:
            self.resume(message["fresh"])
            self.letters.deliver(blob)
        return message.get("stop") == self.job["number"]

    def resume(self, fresh):
        """What the child waited for is there. `fresh`: its time starts anew; else only the waiting does not count."""
        if fresh:
            self.clock.restart()
        elif self.idle is not None:
            self.clock.wall_mark += time.monotonic() - self.idle
        self.idle = None

    def timeout_message(self, cpu):
        limit = self.job["cpu_seconds"]
        return f"more than {limit:g} s of CPU time" if cpu >= limit else f"more than {self.job['wall_seconds']:g} s of waiting"

    def rung(self):
        """The bell: there is something to read, or the child has ended or closed it."""
        if not os.read(self.bell, 4096):
            self.open = False
            self.poll.unregister(self.bell)
        return self.read()

    def read(self):
        """Take in what the child wrote. (True, next test or None) when the job or this fork is over."""
        try:
            while data := os.read(self.reports, 1 << 16):
                self.buffer += data
                done, result = self.take()
                if done:
                    return True, result
        except BlockingIOError:
            pass
        finally:
            self.server.flush()
        return False, None

    def whole(self):
        """How many whole reports there are."""
        count, at, size = 0, 0, channel.HEADER.size
        while len(self.buffer) >= at + size:
            _, _, header, blob = channel.HEADER.unpack_from(self.buffer, at)
            at += size + header + blob
            count += len(self.buffer) >= at
        return count

    def take(self):
        """Pass on the whole reports. Tests that ended between two looks share their time equally."""
        count, size = self.whole(), channel.HEADER.size
        if count:
            cpu, wall = self.clock.used()
            self.share = (cpu / count, wall / count)
            if self.phase != "test" or not self.fed:
                self.clock.restart()
        while len(self.buffer) >= size:
            event, test, header, blob = channel.HEADER.unpack_from(self.buffer)
            if event == 0:
                sys.exit(f"the child could not start: {bytes(self.buffer[size:])!r}")
            expected = {"compile": channel.COMPILED, "load": channel.LOADED, "test": channel.TESTED}[self.phase]
            asks = event == channel.ASKED and self.phase == "test" and "asks" in self.job
            if not (event == expected or asks) or test != self.test or header > _HEADER_LIMIT or self.idle is not None:
                return True, self.give_up("BrokenReport", "the program wrote into the judge's channel")
            if blob > 2 * self.job["output_bytes"] + 4096:
                return True, self.give_up("OutputLimit", f"a result of more than {self.job['output_bytes']} bytes")
            if len(self.buffer) < size + header + blob:
                break
            text, rest = bytes(self.buffer[size : size + header]), bytes(self.buffer[size + header : size + header + blob])
            del self.buffer[: size + header + blob]
            over = self.ask(rest) if asks else self.report(text, rest)
            if over:
                return True, None
        return False, None

    def ask(self, blob):
        """Pass on a question of test code."""
        self.server.say({"event": "ask", "test": self.test}, blob)
        self.idle = time.monotonic()

    def report(self, text, blob):
        """Pass on one whole report; True when the job is over."""
        try:
            header = channel.FINE if text == channel.FINE_TEXT else json.loads(text)
            status = str(header["status"])
            fields = {name: header.get(name) for name in ("type", "message", "line", "token")}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            fields, status, blob = {"type": "BrokenReport", "message": "the program wrote into the judge's channel", "line": None}, "error", b""
        phase = self.phase
        cpu, wall = self.share
        self.server.say({"event": phase, "test": self.test, "status": status, "cpu": cpu, "wall": wall, **fields}, blob)
        if phase != "test":
            self.phase = "test" if phase == "load" or self.job["mode"] == "stdin" else "load"
            self.wait_if_fed()
            return status != "ok"
        self.test += 1
        self.wait_if_fed()
        if self.fed:
            return False
        return self.test >= len(self.job["tests"]) or (self.job["stop"] and status != "ok")

    def wait_if_fed(self):
        if self.fed and self.phase == "test":
            self.idle = time.monotonic()

    def ended(self):
        if self.status is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.status, self.cpu = status, usage.ru_utime + usage.ru_stime
        return self.status is not None

    def end(self):
        if self.status is None:
            self.clock.total()
            try:
                os.kill(self.pid, signal.SIGKILL)
                if not self.server.secure and not self.server.spaces:
                    os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            _, self.status, usage = os.wait4(self.pid, 0)
            self.cpu = usage.ru_utime + usage.ru_stime

    def classify(self):
        """The child ended by itself."""
        code = os.waitstatus_to_exitcode(self.status or 0)
        if code == 0 and self.test > self.first and self.phase == "test":
            return self.test  # it asked for a fresh fork, or left between two tests: the next test finds out
        if code == channel.LOST_CHANNEL:
            return self.give_up("LostChannel", "the program closed or replaced the files it was given")
        if code == -signal.SIGXCPU:
            return self.give_up("Timeout", f"more than {self.job['cpu_seconds']:g} s of CPU time")
        if code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = "unknown"
            return self.give_up("Killed", f"the process was ended by signal {-code} ({name})")
        return self.give_up("Exit", f"the program ended the process (exit code {code}) before the test was over")

    def give_up(self, kind, message):
        """Report the failure of the current test; returns the test at which a new fork goes on, or None."""
        line = self.where() if kind == "Timeout" and self.status is None else None
        cpu, wall = self.clock.used()
        self.end()
        cpu = max(cpu, self.cpu - self.clock.cpu_mark)
        fields = {"type": kind, "message": message, "line": line}
        self.server.say({"event": self.phase, "test": self.test, "status": "error", "cpu": cpu, "wall": wall, **fields})
        if self.phase != "test" or self.job["stop"]:
            return None
        return self.test + 1

    def where(self):
        """Ask the child for its current line; a program that blocks the signal keeps it to itself."""
        try:
            os.kill(self.pid, _TRACE_SIGNAL)
        except ProcessLookupError:
            return None
        for _ in range(20):
            time.sleep(0.001)
            found = _TRACE_LINE.search(os.pread(self.server.trace, 1 << 16, 0))
            if found:
                return int(found[1])
        return None


def detach(secure):
    """Without a process space: an own session, so that the whole group can be ended."""
    if not secure:
        os.setsid()
