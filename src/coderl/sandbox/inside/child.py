"""The forked process: limits itself, compiles the program, runs it on one test after the other, and reports each test.

It holds the program and the inputs; expected outputs never come here (except in tests that must run as code, whose verdicts say
"child"). What it reports is only data for the judge to look at: nothing here decides. A report is four numbers, a JSON header and a
blob (the encoded result, or the standard output as raw bytes).

The names that this module needs while a program runs are bound before it starts, so a program that replaces `os.write` or
`json.dumps` harms its own reports only.
"""

import ast
import atexit
import builtins
import gc
import io
import os
import random
import resource
import sys
import threading
import types
from typing import Any

from . import remote, tame, values
from .channel import COMPILED, FINE, FINE_TEXT, HEADER, LIMITS, LOADED, LOST_CHANNEL, RANG, SHARED, TESTED, Channel, pause
from .text import from_text

FILENAME = "<program>"
_CHUNK = 1 << 20
_WRAPPED = ("'return' outside function", "no binding for nonlocal", "nonlocal declaration not allowed at module level")
_IMPORTS = (ast.Import, ast.ImportFrom)
_REFUSALS = SyntaxError, IndentationError, TabError  # after which nothing is different: memory, say, may be short after others


class Failure(Exception):
    """A failure that has a name of its own instead of an exception type of the program's."""

    def __init__(self, kind, message):
        self.kind, self.message = kind, message


def describe(error):
    """Name, message and the program's own line of an exception. Calls the program's `__str__`: inside its limits, like all it does."""
    if type(error) is Failure:
        return {"type": error.kind, "message": error.message, "line": None}
    kind = type(error)
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILENAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    if issubclass(kind, SyntaxError) and type(error.lineno) is int and (line is None or error.filename == FILENAME):
        line = error.lineno
    name = "MemoryLimit" if issubclass(kind, MemoryError) else type.__getattribute__(kind, "__name__")
    try:
        message = (error.msg if line is not None and issubclass(kind, SyntaxError) else str(error))[:500] + ""
    except BaseException:
        message = ""
    return {"type": str.__str__(name), "message": message, "line": line}


def confine(limits, child_filter):
    """Limits of this process, from here on for good."""
    for kind, limit in limits:
        resource.setrlimit(kind, (limit, limit))
    if child_filter is not None:
        child_filter.install(os.getpid())


def compile_program(code, wrap):
    """The code object, and whether it must be called as `code()`.

    `wrap`: a program that is refused only for a `return` outside any function, or for a `nonlocal` that finds no function around it, is
    put into one, as the APPS tester does with every program (some of the references were written for that); its leading imports stay
    outside and its line numbers stay as they are.
    """
    try:
        return compile(code, FILENAME, "exec", dont_inherit=True), False
    except SyntaxError as error:
        if not wrap or not error.msg.startswith(_WRAPPED):
            raise
        tree = ast.parse(code, FILENAME)
    body = tree.body
    first = next((i for i, node in enumerate(body) if not isinstance(node, _IMPORTS)), len(body))
    arguments = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
    function = ast.FunctionDef(name="code", args=arguments, body=body[first:], decorator_list=[], returns=None, lineno=1, col_offset=0)
    tree.body = [*body[:first], ast.fix_missing_locations(function)]
    return compile(tree, FILENAME, "exec", dont_inherit=True), True


class Child:
    """One forked process and its job. `streams` are the memory files for standard input and output, or None for call tests; `line` is
    where calls of a job that is fed, and answers to a job that asks, come in."""

    def __init__(self):
        """Everything but the job, once in the server: what a fork makes anew is copied page by page."""
        self.set_seed = random.seed
        self.dup2, self.ftruncate, self.pwrite, self.pread, self.lseek, self.fstat = os.dup2, os.ftruncate, os.pwrite, os.pread, os.lseek, os.fstat
        self.open_file, self.collect = io.open, gc.collect
        self.main_thread, self.threads, self.exit_functions = threading.main_thread(), threading.enumerate, atexit._run_exitfuncs
        self.set_recursion = sys.setrecursionlimit
        self.encode, self.decode, self.exit = values.encode, values.decode, os._exit
        self.quiet = null_streams()
        self.filter, self.null, self.apps_names, self.found = None, -1, {}, tame.NOTHING  # set by the server
        self.depth, self.used = sys.getrecursionlimit(), False  # `used`: tame programs have run in this process

    def take(self, job, channel, streams, line):
        self.job, self.channel, self.streams = job, channel, streams
        self.fed, self.waits = "fed" in job, job["waits"]
        self.line: Any = None if line is None else remote.Line(line, lambda exit=os._exit: exit(LOST_CHANNEL))
        self.limit, self.draws = job["output_bytes"], "random" in job["code"]
        self.opens_files = "open(" in job["code"] or "FileIO(" in job["code"]
        self.recursion = self.depth + depth() + 2
        return self

    def names(self):
        """What the program finds besides the built-in names."""
        if not self.job["names"]:
            return {}
        return {**self.apps_names, "np": sys.modules["numpy"]} if "numpy" in sys.modules else self.apps_names

    def run(self, first):
        """All tests from number `first` on. Returns only when another program may come: this one did not compile, or was tame."""
        try:
            code, wrapped = compile_program(self.job["code"], self.job["wrap"])
        except BaseException as error:
            again = self.job["more"] and type(error) in _REFUSALS
            self.channel.send(COMPILED, first, {"status": "error", **describe(error), "again": again}, due=again)
            if again:
                return
            self.exit(0)
        self.shared = not wrapped and self.may_share()
        if self.used and not self.shared:
            self.channel.send(COMPILED, first, {"status": "apart"}, due=True)
            return  # and wait for the end
        self.channel.send(COMPILED, first, SHARED if self.shared else FINE)
        if self.streams is None:
            self.run_calls(code, first)
        else:
            self.run_streams(code, wrapped, first)
        self.leave()

    def may_share(self):
        """May other tame programs run in this process after this one, or before it?"""
        job = self.job
        if not (self.used or job["more"]) or job["numpy"] or self.line is not None:
            return False
        if self.streams is None and not all("calls" in test for test in job["tests"]):
            return False
        return tame.is_tame(job["code"], self.found if job["names"] else tame.NOTHING)

    def leave(self):
        """A program is over: so is its process, or what it left is dropped."""
        if not (self.shared and self.job["more"]):
            self.exit(0)
        self.used = True
        try:
            self.stdout.flush()  # type: ignore[union-attr]
            vars(sys.modules.pop("program" if self.streams is None else "__main__")).clear()
            bytes(self.job["memory_bytes"])  # is there as much to be had as at the start? Nothing is written to it
        except BaseException:
            self.exit(0)

    # programs that read standard input

    def run_streams(self, code, wrapped, first):
        tests = self.job["tests"]
        for number in range(first, len(tests)):
            status, size = self.run_once(code, wrapped, tests[number])
            if size > self.limit:  # also when the program stumbled over the limit: that is the cause
                status = {"status": "error", "type": "OutputLimit", "message": f"more than {self.limit} bytes of output", "line": None}
            size = size if status["status"] == "ok" else 0
            if size <= _CHUNK:
                self.channel.send(TESTED, number, status, self.output(size), self.awaited(number, status))
            else:
                header = self.channel.dumps(status).encode("utf-8", "replace")
                self.channel.send_bytes(HEADER.pack(TESTED | RANG, number, len(header), size) + header)
                self.send_output(size)
            if self.over(number, status):
                return

    def awaited(self, number, status):
        """Is this the report that the judge, or the server, waits for?"""
        last = number + 1 == len(self.job["tests"]) or (self.job["stop"] and status["status"] != "ok")
        return (self.waits and not number) or (self.shared and last)

    def over(self, number, status):
        """A failed test may be the last one, and where it is, the judge looks at the first one before the others are run."""
        if status.get("type") in LIMITS:
            self.shared = False
        if status["status"] != "ok" and (self.job["stop"] or status.get("type") == "MemoryLimit"):
            return True  # after MemoryLimit the rest goes on in a fresh fork
        return self.waits and not number and not self.channel.go_on()

    def output(self, size):
        """Short output in one piece; zeros for what a program has taken back meanwhile."""
        data = self.pread(self.streams[1], size, 0) if size else b""
        return data + bytes(size - len(data))

    def send_output(self, size):
        position = 0
        while position < size:
            part = self.pread(self.streams[1], min(_CHUNK, size - position), position)
            position += len(part)
            self.channel.send_bytes(part or bytes(size - position))
            if not part:
                return

    def run_once(self, code, wrapped, text):
        """One run from a fresh `__main__`; what happened and how many bytes were written."""
        try:
            self.set_streams(text)
        except OSError:
            self.exit(LOST_CHANNEL)
        module = types.ModuleType("__main__")
        space = module.__dict__
        space.update(self.names(), __builtins__=builtins)
        if self.job["names"]:
            space.update(stdin=sys.stdin, stdout=sys.stdout)
        sys.modules["__main__"] = module
        status = FINE
        try:
            try:
                exec(code, space)
                if wrapped:
                    space["code"]()
            except SystemExit as error:
                self.check_exit(error)
            self.finish(space)
        except BaseException as error:
            status = {"status": "error", **describe(error)}
            del error
        try:
            return status, self.fstat(self.streams[1]).st_size
        except OSError:
            self.exit(LOST_CHANNEL)

    def check_exit(self, error):
        """`sys.exit()` and `sys.exit(0)` end a program well; the APPS tester accepts any other exit code too."""
        if not (self.job["any_exit"] or error.code is None or (type(error.code) is int and error.code == 0)):
            raise error

    def finish(self, space):
        """What an interpreter does at its end: wait for threads, run exit functions, flush, drop what the program held."""
        while waiting := [thread for thread in self.threads() if thread is not self.main_thread and not thread.daemon]:
            waiting[0].join()
        self.exit_functions()
        for stream in (sys.stdout, self.stdout):
            try:
                stream.flush()  # type: ignore[union-attr]
            except Exception:
                pass  # gone, closed, replaced, or full: what was written counts
        space.clear()
        if self.opens_files:
            self.collect()  # files that were never closed write their last bytes now

    def set_streams(self, text):
        """Fresh input and output. What the last test left open goes first: a file object that dies later would close the new ones."""
        self.leave_streams()
        if self.opens_files:
            self.collect()
        source, target = self.streams
        for handle, content in ((source, text.encode("utf-8", "surrogatepass")), (target, b"")):
            self.ftruncate(handle, 0)
            position = 0
            while position < len(content):
                position += self.pwrite(handle, content[position:], position)
            self.lseek(handle, 0, 0)
        self.dup2(source, 0)
        self.dup2(target, 1)
        self.dup2(self.null, 2)
        self.open_streams()

    def leave_streams(self):
        sys.stdin = sys.stdout = sys.stderr = self.stdout = None
        vars(sys).update(__stdin__=None, __stdout__=None, __stderr__=None)

    def open_streams(self):
        self.use(self.stream(0, "r"), self.stream(1, "w"), self.stream(2, "w"))

    def use(self, source, target, errors):
        self.show_streams(source, target, errors)
        self.reset()

    def show_streams(self, source, target, errors):
        sys.stdin, sys.stdout, sys.stderr = source, target, errors
        self.stdout = target
        vars(sys).update(__stdin__=source, __stdout__=target, __stderr__=errors)

    def stream(self, handle, mode):
        return self.open_file(handle, mode, encoding="utf-8", errors="surrogateescape", closefd=False)

    def reset(self):
        sys.argv = [FILENAME]
        sys.settrace(None)
        sys.setprofile(None)
        self.set_recursion(self.recursion)
        if self.draws:  # the server has done it for the first test
            self.set_seed(0)

    # programs whose functions are called, and tests that are code

    def run_calls(self, code, first):
        for handle in (0, 1, 2):
            self.dup2(self.null, handle)
        self.use(*self.quiet)
        module = types.ModuleType("program")
        sys.modules["program"] = module
        space = module.__dict__
        space.update(self.names(), __builtins__=builtins)
        space.update({name: remote.stub(name, self.ask, self.limit, self.note) for name in self.job.get("asks", ())})
        status = FINE
        try:
            exec(code, space)
        except BaseException as error:
            status = {"status": "error", **describe(error)}
        self.channel.send(LOADED, first, status, due=self.shared and status["status"] != "ok")
        if status["status"] != "ok":
            self.shared = self.shared and status["type"] not in LIMITS
            return
        for number, test in self.tests(first):
            if self.run_call(space, number, test):
                return

    def tests(self, first):
        if not self.fed:
            yield from list(enumerate(self.job["tests"]))[first:]
            return
        while True:
            yield first, self.line.receive()

    def ask(self, call):
        """From test code: have the program called in the process where it lives, and wait for what it gives."""
        self.line.send(b"", call)
        return self.line.receive()

    def note(self, error):
        self.raised = error

    def run_call(self, space, number, test):
        self.reset()
        self.raised, blob = None, b""
        try:
            if "check" in test:
                status = self.run_check(space, test)
            else:
                results = [self.call(space, call) for call in test["calls"]]
                blob = ("[" + ",".join(results) + "]").encode()
                status = FINE
        except values.Unsupported as error:
            status = {"status": "error", "type": "UnsupportedResult", "message": f"the result holds {error}", "line": None}
        except values.TooLarge:
            status = {"status": "error", "type": "OutputLimit", "message": f"a result of more than {self.limit} bytes", "line": None}
        except BaseException as error:
            status = {"status": "error", **describe(error)}
            del error
        if self.fed:
            self.line.send(FINE_TEXT if status is FINE else self.channel.dumps(status).encode("utf-8", "replace"), blob)
        else:
            self.channel.send(TESTED, number, status, blob, self.awaited(number, status))
        return self.over(number, status)

    def call(self, space, call):
        function = find(space, call["name"])
        result = function(*self.decode(call["args"]), **self.decode(call["kwargs"]))
        if call.get("truth"):
            result = bool(result)
        return self.encode(result, self.limit, iterators=self.job["iterators"], plain=numpy_plain)

    def run_check(self, space, test):
        """A test that is code. That it ran to its end is shown by its token; that it failed, by its AssertionError."""
        try:
            exec(compile(test["check"], "<test>", "exec", dont_inherit=True), space)
            if test["entry"] is not None:
                space["check"](find(space, test["entry"]))
        except AssertionError as error:
            if innermost(error) == FILENAME or error is self.raised:
                raise  # the program's own assertion: an error like any other
            return {"status": "failed", **describe(error)}
        return {"status": "ok", "token": test["token"]}


def depth():
    """How many calls deep we are: a program may go as deep as if it had been started by itself."""
    frame, count = sys._getframe().f_back, 1
    while frame is not None:
        frame, count = frame.f_back, count + 1
    return count


def innermost(error):
    """The file in which an exception was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else trace.tb_frame.f_code.co_filename


def find(space, name):
    """The function `name` of the program, or that method of a new `Solution`."""
    function = space.get(name)
    if function is None and isinstance(space.get("Solution"), type) and hasattr(space["Solution"], name):
        return getattr(space["Solution"](), name)
    if not callable(function):
        raise Failure("MissingEntryPoint", f"the program defines no function {name!r}")
    return function


def numpy_plain(value):
    """A numpy scalar as a built-in number; anything else as it is."""
    numpy = sys.modules.get("numpy")
    generic = getattr(numpy, "generic", None)
    if isinstance(generic, type) and issubclass(type(value), generic):
        return getattr(generic, "item")(value)  # noqa: B009  (a subclass may override it)
    return value


def null_streams():
    """`sys.stdin`, `stdout` and `stderr` of programs whose functions are called; made once, before any fork."""
    return tuple(open(handle, mode, encoding="utf-8", errors="surrogateescape", closefd=False) for handle, mode in ((0, "r"), (1, "w"), (2, "w")))


CHILD, CHANNEL = Child(), Channel()  # one in the server, so one in each fork


def start(body, first, pipes, close, limits, streams, line):
    """Entry point in the forked process; never returns. `body`: the job as text. `pipes`: see `Channel.open`. `close`: the server's own handles."""
    reports, bell, orders = pipes
    try:
        for handle in close:
            os.close(handle)
        gc.enable()
        confine(limits, CHILD.filter)
        while body is not None:
            job = from_text(body.decode())
            CHANNEL.open(reports, bell, orders, pause(job))
            CHILD.take(job, CHANNEL, streams if job["mode"] == "stdin" else None, line).run(first)
            body, first = CHANNEL.next_job(), 0
    except BaseException as error:
        try:
            os.write(reports, HEADER.pack(0, 0, 0, 0) + repr(error).encode())
        except BaseException:
            pass
    finally:
        os._exit(LOST_CHANNEL)
