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
import os
import random
import resource
import signal
import sys
import time

from . import child, kernel, rehearsal, seccomp
from .frames import receive_message, send_events
from .run import TRACE_SIGNAL, Run

_APPS_NAMES = """
import sys, time, itertools, collections, math, fractions, random, heapq
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import List, Tuple
from heapq import *
"""
_LIMITED = resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE  # of each child; what is the same for all, the server has too
_OPEN_FILES, _THREADS = 256, 256
_WARM = "bisect copy enum functools operator re string typing contextlib"  # what fewer than one program in fifty imports makes every fork slower


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


class Server:
    """State of one fork server. `settings`: see `__main__.py`."""

    def __init__(self, handle, settings, layers, statm):
        self.handle, self.settings, self.layers, self.statm = handle, settings, layers, statm
        self.secure, self.spaces = "seccomp" in layers, "namespaces" in layers
        self.folder = "/tmp" if self.spaces else settings["folder"]
        self.kept = frozenset(os.listdir(self.folder)) if self.folder else frozenset()  # mount points of an interpreter below /tmp
        self.null = os.open("/dev/null", os.O_RDWR)
        self.trace = os.memfd_create("trace")
        faulthandler.register(TRACE_SIGNAL, file=self.trace, all_threads=False)
        self.numpy_tried, self.outbox = False, []
        self.filter = seccomp.ChildFilter() if self.secure else None
        limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        limit(resource.RLIMIT_CORE, 0)
        if self.spaces:
            limit(resource.RLIMIT_NPROC, _THREADS)  # counts by user: only where the user is the sandbox's own
        self.hard = [resource.getrlimit(kind)[1] for kind in _LIMITED]
        self.page = resource.getpagesize()
        gc.disable()

    def rehearse(self, apps_names):
        """Before the first job; `apps_names`: see `warm`."""
        self.apps_names = apps_names
        rehearsal.rehearse(apps_names, self.null)
        child.CHILD.show_streams(*child.CHILD.quiet)  # now, or each child would have to drop those of the server
        random.seed(0)
        gc.collect()
        gc.freeze()

    def serve(self):
        """Jobs until the judge goes away."""
        while True:
            message, _ = receive_message(self.handle)
            if "code" in message:
                self.run(message)

    def say(self, message, blob=b""):
        """To the judge, with the next flush."""
        self.outbox.append((message, blob))

    def flush(self):
        events, self.outbox = self.outbox, []
        if events:
            send_events(self.handle, events)

    def run(self, job):
        if job["numpy"] and not self.numpy_tried:
            self.numpy_tried = True
            load_numpy(self.settings["numpy"])
            gc.collect()
            gc.freeze()
        names = dict(self.apps_names) if job["names"] else {}
        if job["names"] and "numpy" in sys.modules:
            names["np"] = sys.modules["numpy"]
        if "line" in job:
            job["line"] = kernel.receive_handle(self.handle)
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
        job.update(null=self.null, module="program", filter=self.filter)
        own = int(os.pread(self.statm, 64, 0).split(None, 1)[0]) * self.page
        cpu = int(job["cpu_seconds"] * (job.get("fed", len(job["tests"])) + 2)) + 2
        wanted = (own + job["memory_bytes"], cpu, job["file_bytes"])
        job["rlimits"] = [(kind, value if hard < 0 else min(value, hard)) for kind, value, hard in zip(_LIMITED, wanted, self.hard, strict=True)]

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


def limit(kind, value):
    """A limit of this process and of all that it forks, for good; one that is lower already stays."""
    hard = resource.getrlimit(kind)[1]
    value = value if hard < 0 else min(value, hard)
    resource.setrlimit(kind, (value, value))


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
