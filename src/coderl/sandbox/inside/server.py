"""The fork server: one per worker, one program at a time, a fork per program, a new fork after each test that killed the last one.

It takes jobs from the judge over a socket, watches the child from outside (CPU time, wall time, memory file sizes), passes on its
reports, and leaves nothing running and no file behind. It never sees an expected output (tests that must run as code excepted) and
decides nothing. Messages in both directions: length of a JSON object, length of a blob, the two.
"""

import faulthandler
import gc
import itertools
import os
import random
import resource
import select
import signal
import sys
import time

from . import child, kernel, rehearsal, seccomp, tame
from .forked import KEPT_BYTES, LIMITED, Forked, need, serves
from .frames import receive_message, send_events
from .run import TRACE_SIGNAL, Run
from .warmth import load_numpy

_OPEN_FILES, _THREADS = 256, 256
_PATIENCE = 1000  # milliseconds for which a child waits for another program: the judge knows of one, but the machine may be busy


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
        self.spare: Forked | None = None  # a child that waits for another program
        self.ears = select.poll()
        self.ears.register(handle, select.POLLIN)
        child.CHILD.filter = seccomp.ChildFilter() if self.secure else None
        child.CHILD.null = self.null
        limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
        limit(resource.RLIMIT_CORE, 0)
        if self.spaces:
            limit(resource.RLIMIT_NPROC, _THREADS)  # counts by user: only where the user is the sandbox's own
        self.hard = [resource.getrlimit(kind)[1] for kind in LIMITED]
        self.page = resource.getpagesize()
        gc.disable()

    def rehearse(self, apps_names):
        """Before the first job; `apps_names`: see `warm`."""
        child.CHILD.apps_names = apps_names
        child.CHILD.found = tame.given({**apps_names, "stdin": sys.stdin, "stdout": sys.stdout})
        rehearsal.rehearse(apps_names, self.null)
        child.CHILD.show_streams(*child.CHILD.quiet)  # now, or each child would have to drop those of the server
        random.seed(0)
        gc.collect()
        gc.freeze()

    def serve(self):
        """Jobs until the judge goes away."""
        while True:
            if self.spare is not None and not self.ears.poll(_PATIENCE):
                self.drop()
            message, body = receive_message(self.handle)
            if "tests" in message:
                self.run(message, body)

    def say(self, message, blob=b""):
        """To the judge, with the next flush."""
        self.outbox.append((message, blob))

    def flush(self):
        events, self.outbox = self.outbox, []
        if events:
            send_events(self.handle, events)

    def run(self, job, body):
        """`job`: what this server needs to know of `body`, the job's text, which only the child reads."""
        if job["numpy"] and not self.numpy_tried:
            self.numpy_tried = True
            self.drop()
            load_numpy(self.settings["numpy"])
            gc.collect()
            gc.freeze()
        line = kernel.receive_handle(self.handle) if "line" in job else None
        spent, first = 0.0, 0
        forks = 1 if "fed" in job else job["tests"]  # calls that come one by one are made in one fork
        while first is not None and first < forks:
            os.ftruncate(self.trace, 0)
            os.lseek(self.trace, 0, os.SEEK_SET)
            run = Run(self, job, self.forked(need(job), body, first, line, job["more"]), first)
            first = run.watch()
            spent += run.cpu
            if run.kept:
                self.spare = run.fork
            else:
                self.clean()
        self.say({"event": "end", "cpu": spent})
        self.flush()

    def forked(self, wanted, body, first, line, more):
        """A child with that job: the one that was kept if it is fit for it, or a new one."""
        spare, self.spare = self.spare, None
        if spare is not None:
            if serves(spare.wanted, wanted) and line is None and len(body) <= KEPT_BYTES:
                try:
                    spare.tell(body)
                    return spare
                except OSError:
                    pass
            self.spare = spare
            self.drop()
        return Forked(self, wanted, body, first, line, more)

    def drop(self):
        """End the child that waits for another job."""
        if self.spare is not None:
            self.spare.end(True)
            self.spare.close()
            self.spare = None

    def limits(self, memory, cpu, file):
        """Those of a child, memory beyond the server's own in bytes."""
        own = int(os.pread(self.statm, 64, 0).split(None, 1)[0]) * self.page
        wanted = own + memory, cpu, file
        return [(kind, value if hard < 0 else min(value, hard)) for kind, value, hard in zip(LIMITED, wanted, self.hard, strict=True)]

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
