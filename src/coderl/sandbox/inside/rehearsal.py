"""Rehearsal: the server runs small programs of its own through the child's code, before it forks for the first time.

A forked child copies each page of memory that it writes to, and an interpreter that does something for the first time writes much: it
fills its table of methods, counts how often code runs, and rewrites it into a faster form. What is done here once, no child does again.
Nothing of these programs stays but the interpreter's memory of them.
"""

import json
import os
import sys

from . import channel, child, tame

ROUNDS = 20  # an interpreter has adapted all of the path by then (10 and 60 leave the same number of page faults)
_CALLS = """
import math
from typing import List
class Error(Exception):
    pass
def f(numbers: List[int], text: str = 'a', flag=False):
    total = {}
    for i, number in enumerate(sorted(numbers)):
        total[number] = total.get(number, 0) + i * 2
    return [(key, value / 2.0, text.upper(), flag) for key, value in total.items() if math.floor(value) >= 0]
"""
_STREAM = """
import sys
def main():
    n = int(input())
    for line in sys.stdin:
        a, b = map(int, line.split())
        print(a + b, n)
main()
"""


class _Over(Exception):
    """In place of the end of a process."""


def _end(code):
    raise _Over(code)


def rehearse(names, null):
    """`names`: those that the APPS tester gives.

    What a child sets for its program is as before when it returns: descriptors 0 to 2, streams, modules, recursion limit.
    """
    saved = [os.dup(handle) for handle in (0, 1, 2)]
    streams = sys.stdin, sys.stdout, sys.stderr
    modules = {name: sys.modules.get(name) for name in ("__main__", "program")}
    recursion = sys.getrecursionlimit()
    stage = child.Child()
    stage.exit, stage.null, stage.apps_names = _end, null, names
    try:
        for _ in range(ROUNDS):
            _perform(stage, _job(False, {"mode": "call", "tests": _call_tests(), "code": _CALLS}), None)
            files = os.memfd_create("in"), os.memfd_create("out")
            _perform(stage, _job(True, {"mode": "stdin", "tests": ["1\n2 3\n4 5\n"] * 2, "code": _STREAM}), files)
            tame.is_tame(_STREAM, tame.NOTHING)
            stage.leave_streams()
            for handle in files:
                os.close(handle)
    finally:
        sys.setrecursionlimit(recursion)
        sys.stdin, sys.stdout, sys.stderr = streams
        vars(sys).update(__stdin__=streams[0], __stdout__=streams[1], __stderr__=streams[2])
        for handle, copy in enumerate(saved):
            os.dup2(copy, handle)
            os.close(copy)
        for name, module in modules.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _call_tests():
    arguments = '[[3,1,2,3],"b",true]'
    return [{"calls": [{"name": "f", "args": arguments, "kwargs": '{"d":[]}'}]}, {"calls": [{"name": "f", "args": "[[0.5]]", "kwargs": '{"d":[]}'}]}]


def _job(names, rest):
    job = {"wrap": False, "any_exit": False, "stop": False, "waits": False, "more": False, "iterators": True, "names": names, "output_bytes": 1 << 20}
    return json.loads(json.dumps({**job, **rest}))


def _perform(stage, job, streams):
    reading, writing = os.pipe()
    listening, ringing = os.pipe()
    try:
        stage.take(job, _quiet_channel(writing, ringing), streams, None).run(0)
    except _Over:
        pass
    finally:
        for handle in (reading, writing, listening, ringing):
            os.close(handle)


def _quiet_channel(writing, ringing):
    quiet = channel.Channel()
    quiet.open(writing, ringing, -1, 0.01)
    quiet.exit = _end
    return quiet
