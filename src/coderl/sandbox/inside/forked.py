"""A forked child as a process: its pipes, its clock, its end. What it says and how long it may take is for `run.py`.

It is made for one program. When that one does not compile, nothing of it has run; when it is tame (`tame.py`), it has left nothing behind.
Then the child can take the next one instead: a fork, and the pages that both sides copy after it, are most of what such a program costs.
"""

import gc
import math
import os
import resource
import signal
import time

from . import channel, kernel
from . import child as children
from .frames import FRAME

LIMITED = resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE  # of each child; what is the same for all, the server has too
KEPT_BYTES = 1 << 15  # longest job that is written to a child: half of what a pipe takes
KEPT_SECONDS = 0.02  # of CPU time: a text that takes longer to refuse may have left much behind
KEPT_JOBS = 100
SLACK_BYTES = 8 << 20  # of memory that a program may leave behind where others come after it
_STEP = 32


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
        self.cpu_mark = self.total()
        self.restart_wall()

    def restart_wall(self):
        self.wall_mark = time.monotonic()

    def used(self):
        return self.total() - self.cpu_mark, time.monotonic() - self.wall_mark


def need(job):
    """What a child must have got at its fork to be fit for a job: files, and limits that nobody can change later. The limit on CPU time is
    the last resort only (`run.py` holds to the second), so it is the same for about as many tests."""
    tests = _STEP * math.ceil((job.get("fed", job["tests"]) + 2) / _STEP)
    cpu = int(job["cpu_seconds"] * tests + KEPT_JOBS * KEPT_SECONDS) + 2
    return job["mode"] == "stdin" or job["more"], job["memory_bytes"], cpu, job["file_bytes"]


def serves(made, wanted):
    """Is a child that was made for one `need` fit for another? It may have files that it does not use."""
    return made[0] >= wanted[0] and made[1:] == wanted[1:]


class Forked:
    """A child that runs the tests of `body`, a job as text, from number `first` on. `line`: a descriptor for it alone, closed here."""

    def __init__(self, server, wanted, body, first, line, more):
        with_streams, memory, cpu, file = self.wanted = wanted
        streams = (os.memfd_create("in"), os.memfd_create("out")) if with_streams else None
        self.reports, writing = os.pipe()
        self.bell, ringing = os.pipe()
        hearing, self.orders = os.pipe()
        os.set_blocking(self.reports, False)
        limits = server.limits(memory + 3 * len(body) + (SLACK_BYTES if more else 0), cpu, file)
        gc.freeze()  # a collection in the child would look at, and so copy, all that was made since the last one
        self.pid = kernel.fork()
        if self.pid == 0:
            if not server.spaces:
                detach(server.secure)
            mine = server.handle, self.reports, self.bell, self.orders, server.statm
            children.start(body, first, (writing, ringing, hearing), mine, limits, streams, line)
        for handle in (writing, ringing, hearing, *(streams or ()), *(() if line is None else (line,))):
            os.close(handle)
        self.clock, self.cpu, self.jobs, self.before = Watch(self.pid), 0.0, 1, 0.0
        self.used = False  # tame programs have run in it
        self.status: int | None = None

    def tell(self, body):
        """Give it another job, whose time begins now. Raises OSError when it is gone."""
        self.jobs += 1
        self.clock.restart()
        self.before = self.clock.spent
        os.write(self.orders, FRAME.pack(len(body), 0) + body)

    def go_on(self):
        """Let it run the tests behind the first one."""
        self.order(channel.GO_ON)

    def let_go(self):
        """It waits behind the first test: the others are not to be run."""
        self.order(channel.OVER)

    def order(self, what):
        try:
            os.write(self.orders, what)
        except OSError:
            pass  # it has ended or closed its end, and that will be seen

    def ended(self):
        if self.status is None:
            self.note(*os.wait4(self.pid, os.WNOHANG))
        return self.status is not None

    def note(self, pid, status, usage):
        if pid:
            self.status, self.cpu = status, usage.ru_utime + usage.ru_stime

    def end(self, alone):
        """Kill it and wait for it. `alone`: it could not make processes."""
        if self.status is None:
            self.clock.total()
            try:
                os.kill(self.pid, signal.SIGKILL)
                if not alone:
                    os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.note(*os.wait4(self.pid, 0))

    def close(self):
        for handle in (self.reports, self.bell, self.orders):
            os.close(handle)


def detach(secure):
    """Without a process space: an own session, so that the whole group can be ended."""
    if not secure:
        os.setsid()
