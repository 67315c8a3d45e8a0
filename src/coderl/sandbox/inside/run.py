"""One job of a forked child as the fork server sees it: watched from outside (CPU and wall time), its reports passed on, the child ended.

Reads what the child says as data that anybody may have written; decides nothing about right and wrong.
"""

import json
import os
import re
import select
import signal
import sys
import time

from . import channel
from .forked import KEPT_JOBS, KEPT_SECONDS
from .frames import receive_message

TRACE_SIGNAL = signal.SIGRTMIN + 5
_TRACE_LINE = re.compile(rb'File "<program>", line (\d+)')
_HEADER_LIMIT = 1 << 16
_SIZE = channel.HEADER.size
_EVENTS = {"compile": channel.COMPILED, "load": channel.LOADED, "test": channel.TESTED}
_NO_FIELDS: dict[str, object] = {}


class Run:
    """One forked child and its job, up to the last report. `first`: the test to begin with."""

    def __init__(self, server, job, fork, first):
        self.server, self.job, self.fork, self.clock, self.test, self.phase = server, job, fork, fork.clock, first, "compile"
        self.first, self.buffer, self.open = first, bytearray(), True
        self.kept, self.shared, self.again, self.held, self.cpu = False, False, False, False, 0.0
        self.pause, self.lined = channel.pause(job), "line" in job
        self.poll = select.poll()
        self.poll.register(fork.bell, select.POLLIN)
        self.poll.register(server.handle, select.POLLIN)

    def watch(self):
        """Until the program is over. Returns the test at which a new fork goes on, or None when the job is over. `kept` says then
        whether the child waits for another job; else it has ended."""
        try:
            following = self.loop()
            self.server.flush()
            return following
        finally:
            if not self.kept:
                self.end()
                self.fork.close()
            self.cpu = (self.clock.total() if self.kept else self.fork.cpu) - self.fork.before

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
                if self.fork.ended():
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
        if message.get("go") == number and self.held:
            self.go_on()
        if message.get("stop") == number and self.held and self.stays():
            self.fork.let_go()
        if message.get("expire") == number:
            self.give_up("Timeout", self.timeout_message(0.0))
        return number in (message.get("stop"), message.get("expire"))

    def go_on(self):
        """The first test has passed: the child may run the others. What it did while it was to wait counts as the second one's."""
        self.held = False
        self.clock.restart_wall()
        self.fork.go_on()

    def timeout_message(self, cpu):
        limit = self.job["cpu_seconds"]
        return f"more than {limit:g} s of CPU time" if cpu >= limit else f"more than {self.job['wall_seconds']:g} s of waiting"

    def rung(self):
        """The bell: there is something to read, or the child has ended or closed it."""
        self.open = bool(os.read(self.fork.bell, 4096))
        if not self.open:
            self.poll.unregister(self.fork.bell)
        return self.read(rang=self.open)

    def read(self, rang):
        """Take in what the child wrote. (True, next test or None) when the job or this fork is over. `rang`: the last report ended just
        now; else they all ended within the bell's pause, and the time since then belongs to what the child does now."""
        try:
            while data := os.read(self.fork.reports, 1 << 16):
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
                return True, self.first if self.again else None
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
        if self.fork.used and (status == "apart" or fields.get("type") == "MemoryLimit"):
            self.again = True  # it may not, or company may have to do with it: in a process of its own it is judged
            return True
        if phase == "compile":
            self.shared = fields.get("shared") is True
        if phase != "test":
            if status != "ok" or self.lined:  # that all is well is news only for who waits to make the first call
                self.server.say({"event": phase, "test": self.test, "status": status, "cpu": round(cpu, 6), **fields}, blob)
                if phase == "compile":
                    self.kept = fields.get("again") is True and self.fit()
                elif status != "ok" and fields["type"] not in channel.LIMITS:
                    self.stays()
            self.phase = "test" if phase == "load" or self.job["mode"] == "stdin" else "load"
            return status != "ok"
        self.server.say({"event": phase, "test": self.test, "status": status, "cpu": round(cpu, 6), **fields}, blob)
        self.test += 1
        self.held = self.job["waits"] and self.test == 1
        over = self.test >= self.job["tests"] or (self.job["stop"] and status != "ok")
        self.shared = self.shared and fields.get("type") not in channel.LIMITS
        return over and (self.stays() or True)

    def stays(self):
        """The program is over: does its process take another one? It has said so itself, before anything ran in it that is not tame."""
        self.kept = self.shared and self.job["more"] and self.fit()
        self.fork.used = self.fork.used or self.kept
        return self.kept

    def fit(self):
        return self.fork.jobs < KEPT_JOBS and self.fork.clock.total() - self.fork.before < KEPT_SECONDS

    def end(self):
        self.fork.end(self.server.secure or self.server.spaces)

    def classify(self):
        """The child ended by itself."""
        code = os.waitstatus_to_exitcode(self.fork.status or 0)
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
        """Report the failure of the current test; returns the test at which a new fork goes on, or None. Where other programs have run before,
        that is the first one again, and nothing is reported: time is measured for each program, but a crash could be due to company."""
        line = self.where() if kind == "Timeout" and self.fork.status is None else None
        cpu, _ = self.clock.used()
        self.end()
        if self.fork.used and kind != "Timeout":
            return self.first
        cpu = max(cpu, self.fork.cpu - self.clock.cpu_mark)
        fields = {"type": kind, "message": message, "line": line}
        self.server.say({"event": self.phase, "test": self.test, "status": "error", "cpu": cpu, **fields})
        if self.phase != "test" or self.job["stop"]:
            return None
        return self.test + 1

    def where(self):
        """Ask the child for its current line; a program that blocks the signal keeps it to itself."""
        try:
            os.kill(self.fork.pid, TRACE_SIGNAL)
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
        return str(header["status"]), {name: header.get(name) for name in ("type", "message", "line", "token", "again", "shared")}, blob
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "error", {"type": "BrokenReport", "message": "the program wrote into the judge's channel", "line": None}, b""
