"""One forked child as the fork server sees it: started, watched from outside (CPU and wall time), its reports passed on, ended.

Reads what the child says as data that anybody may have written; decides nothing about right and wrong.
"""

import gc
import json
import os
import re
import select
import signal
import sys
import time

from . import channel, kernel
from . import child as children
from .frames import receive_message

TRACE_SIGNAL = signal.SIGRTMIN + 5
_TRACE_LINE = re.compile(rb'File "<program>", line (\d+)')
_HEADER_LIMIT = 1 << 16
_SIZE = channel.HEADER.size
_EVENTS = {"compile": channel.COMPILED, "load": channel.LOADED, "test": channel.TESTED}
_NO_FIELDS: dict[str, object] = {}


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


class Run:
    """One forked child, from its start to its last report."""

    def __init__(self, server, job, names, first):
        self.server, self.job, self.test, self.phase, self.cpu = server, job, first, "compile", 0.0
        self.first, self.buffer, self.open = first, bytearray(), True
        self.status: int | None = None
        self.leave: int | None
        leave: int | None
        self.pause, self.lined, self.held = channel.pause(job), "line" in job, False
        streams = (os.memfd_create("in"), os.memfd_create("out")) if job["mode"] == "stdin" else None
        job.update(streams=streams, space=names)
        self.reports, writing = os.pipe()
        self.bell, ringing = os.pipe()
        leave, self.leave = os.pipe() if job["waits"] else (None, None)
        os.set_blocking(self.reports, False)
        os.ftruncate(server.trace, 0)
        os.lseek(server.trace, 0, os.SEEK_SET)
        gc.freeze()  # a collection in the child would look at, and so copy, all that was made since the last one
        self.pid = kernel.fork()
        if self.pid == 0:
            if not server.spaces:
                detach(server.secure)
            mine = (server.handle, self.reports, self.bell, server.statm, *((self.leave,) if job["waits"] else ()))
            children.start(job, first, (writing, ringing, self.pause, leave), mine)
        for handle in (writing, ringing, *(streams or ()), *((job["line"],) if self.lined else ()), *((leave,) if job["waits"] else ())):
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
            if self.leave is not None:
                os.close(self.leave)

    def loop(self):
        while True:
            cpu, wall = self.clock.used()
            if self.held or (self.lined and self.phase == "test"):
                wall = 0.0  # the judge knows who waits for whom, and for how long
            if cpu >= self.job["cpu_seconds"] or wall >= self.job["wall_seconds"]:
                where = (self.test, self.phase)
                done, result = self.read(rang=False)
                if done:
                    return result
                if where != (self.test, self.phase):
                    continue  # the message may be another one now
                return self.give_up("Timeout", self.timeout_message(cpu))
            wait = min(self.job["cpu_seconds"] - cpu, self.job["wall_seconds"] - wall)
            if not self.open:
                if self.ended():
                    done, result = self.read(rang=False)
                    return result if done else self.classify()
                wait = min(wait, 0.005)
            for handle, event in self.poll.poll(max(1.0, wait * 1000)):
                if handle == self.server.handle:
                    if self.told():
                        return None
                elif event:
                    done, result = self.rung()
                    if done:
                        return result

    def told(self):
        """What the judge says: True when the job is over."""
        message, _ = receive_message(self.server.handle)
        number = self.job["number"]
        if message.get("fresh") == number:
            self.clock.restart()
        if message.get("go") == number:
            self.go_on()
        if message.get("expire") == number:
            self.give_up("Timeout", self.timeout_message(0.0))
        return number in (message.get("stop"), message.get("expire"))

    def go_on(self):
        """The first test has passed: the child may run the others. What it did while it was to wait counts as the second one's."""
        self.held = False
        self.clock.restart_wall()
        try:
            if self.leave is not None:
                os.write(self.leave, b"!")
        except OSError:
            pass  # it has ended or closed its end, and that will be seen

    def timeout_message(self, cpu):
        limit = self.job["cpu_seconds"]
        return f"more than {limit:g} s of CPU time" if cpu >= limit else f"more than {self.job['wall_seconds']:g} s of waiting"

    def rung(self):
        """The bell: there is something to read, or the child has ended or closed it."""
        self.open = bool(os.read(self.bell, 4096))
        if not self.open:
            self.poll.unregister(self.bell)
        return self.read(rang=self.open)

    def read(self, rang):
        """Take in what the child wrote. (True, next test or None) when the job or this fork is over. `rang`: the last report ended just
        now; else they all ended within the bell's pause, and the time since then belongs to what the child does now."""
        try:
            while data := os.read(self.reports, 1 << 16):
                self.buffer += data
                done, result = self.take(rang)
                if done:
                    return True, result
        except BlockingIOError:
            pass
        finally:
            self.server.flush()
        return False, None

    def take(self, rang):
        """Pass on the whole reports. Few functions and few names here: each costs the server a page of memory, which it shares with its children."""
        buffer, reports, at = self.buffer, [], 0
        while len(buffer) >= at + _SIZE:
            event, test, header, blob = channel.HEADER.unpack_from(buffer, at)
            middle, end = at + _SIZE + header, at + _SIZE + header + blob
            reports.append((event, test, header, blob, middle, end))
            if len(buffer) < end:
                break  # of this one, what it says it will be can be looked at already
            at = end
        self.divide([report[0] & channel.RANG > 0 for report in reports if report[5] <= at], rang)
        for event, test, header, blob, middle, end in reports:
            if event == 0:
                sys.exit(f"the child could not start: {bytes(buffer[middle:])!r}")
            fed = "fed" in self.job and self.phase == "test"  # then results come by the line
            if event & ~channel.RANG != _EVENTS[self.phase] or test != self.test or header > _HEADER_LIMIT or fed:
                return True, self.give_up("BrokenReport", "the program wrote into the judge's channel")
            if blob > 2 * self.job["output_bytes"] + 4096:
                return True, self.give_up("OutputLimit", f"a result of more than {self.job['output_bytes']} bytes")
            if end <= at and self.report(bytes(buffer[middle - header : middle]), bytes(buffer[middle:end])):
                return True, None
        del buffer[:at]
        return False, None

    def divide(self, bells, rang):
        """CPU time of each report: those without a bell ended within its pause; the rest of the time is of those with one."""
        if not bells:
            return
        used, count, ringing = self.clock.used()[0], len(bells), sum(bells)
        short = min(used, self.pause) / count
        long = short + (used - short * count) / ringing if ringing else short
        self.shares = [long if bell else short for bell in bells]
        self.due = rang

    def report(self, text, blob):
        """Pass on one whole report; True when the job is over."""
        phase, status, fields = self.phase, "ok", _NO_FIELDS
        if text != channel.FINE_TEXT:
            status, fields, blob = read_header(text, blob)
        cpu = self.shares.pop(0)
        if self.due and not self.shares:
            self.clock.restart()
        if phase != "test":
            if status != "ok" or self.lined:  # that all is well is news only for who waits to make the first call
                self.server.say({"event": phase, "test": self.test, "status": status, "cpu": round(cpu, 6), **fields}, blob)
            self.phase = "test" if phase == "load" or self.job["mode"] == "stdin" else "load"
            return status != "ok"
        self.server.say({"event": phase, "test": self.test, "status": status, "cpu": round(cpu, 6), **fields}, blob)
        self.test += 1
        self.held = self.job["waits"] and self.test == 1
        return self.test >= len(self.job["tests"]) or (self.job["stop"] and status != "ok")

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
        cpu, _ = self.clock.used()
        self.end()
        cpu = max(cpu, self.cpu - self.clock.cpu_mark)
        fields = {"type": kind, "message": message, "line": line}
        self.server.say({"event": self.phase, "test": self.test, "status": "error", "cpu": cpu, **fields})
        if self.phase != "test" or self.job["stop"]:
            return None
        return self.test + 1

    def where(self):
        """Ask the child for its current line; a program that blocks the signal keeps it to itself."""
        try:
            os.kill(self.pid, TRACE_SIGNAL)
        except ProcessLookupError:
            return None
        for _ in range(20):
            time.sleep(0.001)
            found = _TRACE_LINE.search(os.pread(self.server.trace, 1 << 16, 0))
            if found:
                return int(found[1])
        return None


def read_header(text, blob):
    """Status, further fields and blob of a report that says more than that all is well."""
    try:
        header = json.loads(text)
        return str(header["status"]), {name: header.get(name) for name in ("type", "message", "line", "token")}, blob
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "error", {"type": "BrokenReport", "message": "the program wrote into the judge's channel", "line": None}, b""


def detach(secure):
    """Without a process space: an own session, so that the whole group can be ended."""
    if not secure:
        os.setsid()
