"""One attack per test, in tiers A, B and C each. After each: no pass, the right cause, soon enough, no process left, and the next
honest program passes (`attack_tools.attack`). What a tier does not promise is skipped with its reason. More in test_sandbox_attacks_more.py.
"""

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from attack_tools import CALL, ECHO, HONEST, SECRET, attack, needs, processes, pytest_generate_tests  # noqa: F401  (the last one is pytest's)

from coderl.records import Outcome, Problem, Program, Test
from coderl.sandbox import Judge

# ends that are no end


@pytest.mark.parametrize("end", ["import sys; sys.exit(0)", "raise SystemExit", "exit()", "quit()"])
def test_leaving_before_the_answer_is_a_failed_test(lonely: Judge, end: str) -> None:
    assert attack(lonely, end).outcome is Outcome.FAILED_TEST


@pytest.mark.parametrize(
    "end", ["import os; os._exit(0)", "import atexit, os; atexit.register(os._exit, 0)", "import ctypes; ctypes.CDLL(None)._exit(0)"]
)
def test_ending_the_process_is_an_error(lonely: Judge, end: str) -> None:
    assert attack(lonely, end).error_type == "Exit"


def test_ending_the_process_after_the_first_answer_does_not_carry_the_others(lonely: Judge) -> None:
    problem = Problem(id="two", statement="", kind="stdin", tests=(Test(input="x\n", output="x\n"), Test(input="y\n", output="y\n")))
    verdict = attack(lonely, "import os\nprint('x', flush=True)\nos._exit(0)", problem)
    assert verdict.passed == 0


@pytest.mark.parametrize(
    "end", ["import os; os._exit(0)", "import sys; sys.exit(0)", "raise SystemExit(0)", "import os, signal; os.kill(os.getpid(), 9)"]
)
def test_leaving_inside_a_call_is_an_error(lonely: Judge, end: str) -> None:
    assert attack(lonely, f"def f(x):\n    {end}", CALL).outcome is Outcome.RUNTIME_ERROR


# time


def test_a_loop(lonely: Judge) -> None:
    assert attack(lonely, "while True:\n    pass").error_type == "Timeout"


def test_a_loop_that_swallows_every_exception(lonely: Judge) -> None:
    assert (
        attack(lonely, "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass").error_type
        == "Timeout"
    )


def test_a_loop_that_ignores_all_signals(lonely: Judge) -> None:
    code = """
import signal
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
while True:
    pass
"""
    assert attack(lonely, code).error_type == "Timeout"


def test_sleep(lonely: Judge) -> None:
    assert attack(lonely, "import time\ntime.sleep(1000)").error_type == "Timeout"


def test_a_process_that_stops_itself(lonely: Judge) -> None:
    assert attack(lonely, "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)").error_type == "Timeout"


def test_waiting_for_a_thread_that_never_ends(lonely: Judge) -> None:
    assert attack(lonely, "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()").error_type == "Timeout"


def test_a_thread_that_outlives_its_test_ends_with_the_process(lonely: Judge) -> None:
    code = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nprint(input())"
    verdict = lonely.grade(HONEST, [Program("honest", code)])[0]
    assert verdict.is_pass and verdict.cpu_seconds < 0.3


def test_a_computation_inside_one_c_call(lonely: Judge) -> None:
    assert attack(lonely, "x = 10 ** 10 ** 8").error_type in ("Timeout", "MemoryLimit")


def test_a_program_that_is_slow_to_compile(lonely: Judge) -> None:
    verdict = attack(lonely, "\n".join(f"def f{n}(a, b=[{n}] * 3, *c, **d): return lambda x: [x for x in a if x]" for n in range(40_000)))
    assert (verdict.outcome, verdict.error_type) in ((Outcome.COMPILE_ERROR, "Timeout"), (Outcome.COMPILE_ERROR, "MemoryLimit"))


# memory and output


def test_memory_in_one_piece(lonely: Judge) -> None:
    assert attack(lonely, "x = b'x' * (4 << 30)").error_type == "MemoryLimit"


def test_memory_little_by_little(lonely: Judge) -> None:
    problem = replace(ECHO, limits={"cpu_seconds": 3.0})  # filling 256 MiB takes its time
    assert attack(lonely, "x = []\nwhile True:\n    x.append(bytearray(1 << 20))", problem).error_type == "MemoryLimit"


def test_memory_that_comes_back_after_each_refusal(lonely: Judge) -> None:
    code = "x = []\nwhile True:\n    try:\n        x.append(bytearray(1 << 16))\n    except MemoryError:\n        pass"
    assert attack(lonely, code).error_type == "Timeout"


def test_recursion_without_limit(lonely: Judge) -> None:
    code = "import sys\nsys.setrecursionlimit(10**9)\ndef g(n):\n    return g(n + 1)\ng(0)"
    assert attack(lonely, code).error_type in ("MemoryLimit", "RecursionError", "Timeout", "Killed")


def test_recursion_in_c(lonely: Judge) -> None:
    code = "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6):\n    x = [x]\nrepr(x)"
    assert attack(lonely, code).error_type in ("Killed", "MemoryLimit", "Timeout")


def test_a_memory_file(lonely: Judge) -> None:
    assert attack(lonely, "import os\nos.memfd_create('x')").error_type == "PermissionError"


def test_filling_the_scratch_folder(lonely: Judge) -> None:
    code = "n = 0\nwhile True:\n    n += 1\n    with open(f'file{n}', 'wb') as f:\n        f.write(bytes(1 << 19))"
    assert attack(lonely, code).error_type in ("OSError", "PermissionError", "Timeout")


@pytest.mark.parametrize("write", ["print('x' * 1000)", "os.write(1, b'x' * 1000)", "sys.stdout.buffer.write(b'x' * 1000)"])
def test_a_flood_of_output(lonely: Judge, write: str) -> None:
    assert attack(lonely, f"import os, sys\nwhile True:\n    {write}").error_type == "OutputLimit"


def test_a_flood_of_output_that_swallows_errors(lonely: Judge) -> None:
    code = """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for _ in range(3000):
    try:
        os.write(1, b'x' * 1000)
    except OSError:
        pass
"""
    assert attack(lonely, code).error_type == "OutputLimit"


def test_a_flood_on_standard_error_is_nobodys_business(lonely: Judge) -> None:
    assert attack(lonely, "import sys\nfor _ in range(3000):\n    sys.stderr.write('x' * 1000)").outcome is Outcome.FAILED_TEST


def test_a_giant_hole_in_the_output(lonely: Judge) -> None:
    assert attack(lonely, "import os\nos.ftruncate(1, 1 << 40)").error_type in ("OSError", "OutputLimit")


# processes


@pytest.mark.parametrize(
    "start",
    [
        "os.fork()",
        "os.forkpty()",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "__import__('subprocess').run(['true'])",
        "os.system('true') == 0 or 1 / 0",
        "os.execv('/bin/true', ['true'])",
        "__import__('multiprocessing').Process(target=print).start()",
    ],
)
def test_making_a_process(lonely: Judge, start: str) -> None:
    verdict = attack(lonely, f"import os\n{start}\nprint({SECRET!r})" if lonely.tier == "D" else f"import os\n{start}")
    assert verdict.error_type in ("PermissionError", "ZeroDivisionError", "FileNotFoundError", "OSError")


def test_a_fork_bomb(lonely: Judge) -> None:
    code = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    assert attack(lonely, code).error_type == "Timeout"


def test_a_raw_fork_and_a_session_of_its_own_leave_no_daemon(lonely: Judge) -> None:
    code = """
import ctypes, os, time
libc = ctypes.CDLL(None)
for attempt in (lambda: libc.syscall(57), lambda: libc.syscall(56, 17, 0, 0, 0, 0), lambda: libc.fork(), lambda: libc.vfork()):
    if attempt() == 0:
        libc.setsid()
        time.sleep(60)
        os._exit(0)
print("only one")
"""
    before = processes()
    assert attack(lonely, code).outcome is Outcome.FAILED_TEST
    assert processes() <= before


def test_a_thread_bomb(lonely: Judge) -> None:
    code = "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(100,), daemon=True).start()"
    assert attack(lonely, code).error_type in ("RuntimeError", "MemoryLimit", "Timeout")


@pytest.mark.parametrize("target", ["os.getppid()", "-1", "0", "1", "-os.getpgrp()"])
def test_killing_others(lonely: Judge, target: str) -> None:
    verdict = attack(lonely, f"import os\nos.kill({target}, 9)")
    assert verdict.error_type in ("PermissionError", "ProcessLookupError", "Killed"), verdict


def test_killing_itself(lonely: Judge) -> None:
    verdict = attack(lonely, "import os\nos.kill(os.getpid(), 9)")
    assert verdict.error_type == "Killed" and "SIGKILL" in (verdict.error_message or "")


def test_a_null_pointer(lonely: Judge) -> None:
    verdict = attack(lonely, "import ctypes\nctypes.string_at(0)")
    assert verdict.error_type == "Killed" and "SIGSEGV" in (verdict.error_message or "")


# the way to the judge


def test_closing_all_files(lonely: Judge) -> None:
    assert attack(lonely, "import os\nos.closerange(0, 256)").error_type == "LostChannel"


def test_replacing_the_judges_files(lonely: Judge) -> None:
    verdict = attack(lonely, "import os\nnull = os.open('/dev/null', os.O_RDWR)\nfor n in range(3, 200):\n    os.dup2(null, n)\nprint(1)")
    assert verdict.outcome in (Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST)


FORGE = """
import json, os, struct
header = json.dumps({"status": "ok"}).encode()
for handle in range(3, 64):
    for event in (1, 2, 3):
        try:
            os.write(handle, struct.pack("<IIII", event, 0, len(header), len(BLOB)) + header + BLOB)
        except OSError:
            pass
"""


def test_forged_reports_with_a_wrong_answer(lonely: Judge) -> None:
    assert attack(lonely, FORGE.replace("BLOB", "b'wrong'")).outcome in (Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR)


def test_forged_reports_from_inside_a_call(lonely: Judge) -> None:
    code = "def f(x):" + FORGE.replace("BLOB", "b'[1]'").replace("\n", "\n    ") + "os._exit(0)"
    assert attack(lonely, code, CALL).passed == 0


def test_garbage_in_the_judges_channel(lonely: Judge) -> None:
    code = "import os\nfor n in range(3, 64):\n    try:\n        os.write(n, os.urandom(1000))\n    except OSError:\n        pass"
    assert attack(lonely, code).error_type == "BrokenReport"


def test_a_flood_in_the_judges_channel(lonely: Judge) -> None:
    code = """
import os
while True:
    for n in range(3, 64):
        try:
            os.write(n, bytes([3]) * 65536)
        except OSError:
            pass
"""
    assert attack(lonely, code).outcome is Outcome.RUNTIME_ERROR


def test_replacing_the_runners_tools(lonely: Judge) -> None:
    code = "import os, json, sys\nos.write = os.read = json.dumps = json.loads = os._exit = lambda *a, **k: 0\nsys.modules.clear()\nprint('x')"
    assert attack(lonely, code).outcome in (Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR)


def test_tracing_the_runner(lonely: Judge) -> None:
    code = f"""
import sys
def trace(frame, event, argument):
    for name in frame.f_locals:
        if "status" in name:
            frame.f_locals[name] = {{"status": "ok"}}
    return trace
frame = sys._getframe()
while frame:
    frame.f_trace = trace
    frame = frame.f_back
sys.settrace(trace)
sys.setprofile(trace)
def f(x):
    return {SECRET[::-1]!r}
"""
    assert attack(lonely, code, CALL).outcome in (Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR)


# objects that lie


@pytest.mark.parametrize("base", ["object", "int", "str", "list", "dict", "float", "tuple", "set", "bytes"])
def test_an_object_that_equals_everything(lonely: Judge, base: str) -> None:
    code = f"""
class Yes({base}):
    __eq__ = __ge__ = __le__ = __contains__ = lambda *a: True
    __ne__ = __lt__ = __gt__ = lambda *a: False
    __hash__ = lambda self: 0
def f(x):
    return Yes()
"""
    assert attack(lonely, code, CALL).outcome is (Outcome.RUNTIME_ERROR if base == "object" else Outcome.FAILED_TEST)


def test_an_object_with_a_false_class(lonely: Judge) -> None:
    code = "class Lie:\n    __class__ = str\n    __reduce__ = __str__ = __repr__ = lambda self: 'x'\ndef f(x):\n    return Lie()"
    assert attack(lonely, code, CALL).error_type == "UnsupportedResult"


ASSERT = Problem(id="a", statement="", kind="assert", tests=(Test(code="assert f(1) == 2"), Test(code="assert f(2) in [1, 2]")))


def test_an_object_that_equals_everything_in_an_assert(lonely: Judge) -> None:
    code = "class Yes(int):\n    __eq__ = lambda *a: True\n    __hash__ = int.__hash__\ndef f(x):\n    return Yes()"
    assert attack(lonely, code, ASSERT).outcome is Outcome.FAILED_TEST


CODE_TEST = Problem(
    id="code",
    statement="",
    kind="assert",
    entry_point="f",
    tests=(Test(code="class Mine: pass\ndef check(candidate):\n    for n in range(3):\n        assert candidate(n) == n + 1"),),  # not apart
)


@pytest.mark.parametrize(
    "end", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise SystemExit", "import atexit, os; atexit.register(os._exit, 0); return 5"]
)
def test_leaving_inside_a_test_that_runs_as_code(lonely: Judge, end: str) -> None:
    verdict = attack(lonely, f"def f(n):\n    {end}", CODE_TEST)
    assert verdict.trust == "child"


# looking for the answer


SEARCH = """
import gc, sys
found = []
def look(value, depth=0):
    if isinstance(value, (str, bytes)):
        if (SECRET if isinstance(value, str) else SECRET.encode()) in value:
            found.append(value)
    elif depth < 6 and isinstance(value, (list, tuple, set, frozenset)):
        for item in list(value):
            look(item, depth + 1)
    elif depth < 6 and isinstance(value, dict):
        for key, item in list(value.items()):
            look(key, depth + 1), look(item, depth + 1)
def search():
    frame = sys._getframe(2)
    while frame is not None:
        look(dict(frame.f_locals)), look(dict(frame.f_globals)), look(frame.f_code.co_consts)
        frame = frame.f_back
    for thing in gc.get_objects():
        look(thing, 4)
        look(getattr(thing, "__dict__", None), 4)
    gc.unfreeze()
    for thing in gc.get_objects():
        look(thing, 4)
    return found
"""


def backwards(word: str) -> str:
    """An expression for a word, so that the attack itself does not hold what it looks for."""
    return f'"".join(reversed({word[::-1]!r}))'


def looked_for(judge: Judge, search: str, word: str, known: str) -> int:
    """How often a searching program finds `word` in itself when `known` is among its inputs."""
    tests = (Test(input=[known], output=SECRET), Test(input=[1], output=2))
    problem = Problem(id="s", statement="", kind="call", entry_point="f", limits={"cpu_seconds": 5.0, "memory_mib": 400}, tests=tests)
    message = attack(judge, search.replace("SECRET", backwards(word)), problem).error_message or ""
    return int(message.rsplit("got ", 1)[1])


def test_no_expected_output_is_in_the_frames_or_objects_of_the_child(lonely: Judge) -> None:
    search = f"{SEARCH}\ndef f(x):\n    return len(search())\n"
    assert looked_for(lonely, search, SECRET, "nothing") == 0
    assert looked_for(lonely, search, "an-1nput-of-the-tests", "an-1nput-of-the-tests") > 0  # the search does find what is there


MEMORY = """
import ctypes
def f(x):
    word = bytearray(SECRET.encode())
    half = len(word) // 2
    first, second = bytes(word[:half]), bytes(word[half:])
    hits = 0
    for line in open("/proc/self/maps").read().splitlines():
        low, high = (int(part, 16) for part in line.split()[0].split("-"))
        if line.split()[1][0] == "r" and "[v" not in line and high - low < 100 << 20:
            data = ctypes.string_at(low, high - low)
            at = data.find(first)
            while at >= 0:
                hits += data[at + half : at + len(word)] == second
                at = data.find(first, at + 1)
            del data
    return hits
"""


def test_no_expected_output_is_in_the_memory_of_the_child(lonely: Judge) -> None:
    needs(lonely, "A")
    traces = looked_for(lonely, MEMORY, "a-w0rd-that-is-nowhere", "nothing")  # of the attack's own making
    assert looked_for(lonely, MEMORY, SECRET, "nothing") == traces
    assert looked_for(lonely, MEMORY, "an-1nput-of-the-tests", "an-1nput-of-the-tests") > traces


@pytest.fixture
def bait(tmp_path: Path) -> Iterator[Path]:
    """A readable file outside the sandbox that holds the expected output."""
    path = tmp_path / "tests.jsonl"
    path.write_text(SECRET)
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    yield path


@pytest.mark.parametrize(
    "read", ["open({0!r}).read()", "os.read(os.open({0!r}, os.O_RDONLY), 100).decode()", "ctypes.CDLL(None).open({0!r}.encode(), 0) >= 0 or 1 / 0"]
)
def test_reading_the_tests_file(lonely: Judge, bait: Path, read: str) -> None:
    needs(lonely, "B")
    verdict = attack(lonely, f"import os, ctypes\nprint({read.format(str(bait))})")
    assert verdict.error_type in ("FileNotFoundError", "PermissionError", "ZeroDivisionError")


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/1/environ", "/proc/1/mem", "/home"])
def test_reading_the_machine(lonely: Judge, path: str) -> None:
    needs(lonely, "B")
    verdict = attack(lonely, f"import os\nprint(os.listdir({path!r}) if os.path.isdir({path!r}) else open({path!r}, 'rb').read(10))")
    assert verdict.error_type in ("FileNotFoundError", "PermissionError")


def test_the_environment_is_clean(lonely: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "abc")
    with Judge(1, lonely.limits, tiers=lonely.tier) as judge:
        verdict = attack(judge, "import os\nprint('API_TOKEN' in os.environ, sorted(os.environ))")
    assert 'got "False' in (verdict.error_message or "")


# effects outside


@pytest.mark.parametrize(
    "change",
    [
        "open(p, 'w')",
        "os.symlink('x', p + '.l')",
        "os.link(p, p + '.l')",
        "os.rename(p, p + '.r')",
        "os.unlink(p)",
        "os.chmod(p, 0)",
        "os.mkdir(p + '.d')",
        "os.truncate(p, 0)",
    ],
)
def test_changing_a_file_outside(lonely: Judge, bait: Path, change: str) -> None:
    verdict = attack(lonely, f"import os\np = {str(bait)!r}\n{change}")
    assert verdict.error_type in ("FileNotFoundError", "PermissionError", "OSError")
    assert bait.read_text() == SECRET
    assert [path.name for path in bait.parent.iterdir()] == [bait.name]


def test_escaping_through_a_symbolic_link(lonely: Judge, bait: Path) -> None:
    needs(lonely, "B")
    verdict = attack(lonely, f"import os\nos.chdir('/tmp')\nos.symlink({str(bait)!r}, 'l')\nprint(open('l').read())")
    assert verdict.error_type in ("FileNotFoundError", "PermissionError")


@pytest.mark.parametrize(
    "kind",
    [
        "socket.AF_INET, socket.SOCK_STREAM",
        "socket.AF_INET, socket.SOCK_DGRAM",
        "socket.AF_UNIX, socket.SOCK_STREAM",
        "socket.AF_INET6, socket.SOCK_STREAM",
        "16, 3",
    ],
)
def test_opening_a_socket(lonely: Judge, kind: str) -> None:
    assert attack(lonely, f"import socket\nsocket.socket({kind})").error_type == "PermissionError"


def test_connecting_to_this_machine(lonely: Judge) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        verdict = attack(lonely, f"import socket\nsocket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 1)")
    assert verdict.error_type == "PermissionError"


CALLS = {"ptrace": 101, "process_vm_readv": 310, "io_uring_setup": 425, "bpf": 321, "unshare": 272, "setns": 308, "mount": 165, "keyctl": 250}
CALLS |= {
    "kexec_load": 246,
    "userfaultfd": 323,
    "perf_event_open": 298,
    "chroot": 161,
    "init_module": 175,
    "setuid": 105,
    "personality": 135,
    "shmget": 29,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
def test_a_dangerous_system_call_is_refused(lonely: Judge, name: str) -> None:
    code = f"""
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
print(libc.syscall({CALLS[name]}, 0, 0, 0, 0, 0), errno.errorcode[ctypes.get_errno()])
"""
    assert "got '-1 EPERM" in (attack(lonely, code).error_message or "")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the x32 interface is x86-64's")
def test_the_other_system_call_interface_is_deadly(lonely: Judge) -> None:
    verdict = attack(lonely, "import ctypes\nctypes.CDLL(None).syscall(0x40000000 + 39)")
    assert verdict.error_type == "Killed" and "SIGSYS" in (verdict.error_message or "")


@pytest.mark.parametrize("kind", ["RLIMIT_CPU", "RLIMIT_AS", "RLIMIT_FSIZE"])
def test_raising_a_limit(lonely: Judge, kind: str) -> None:
    code = f"import resource\nresource.setrlimit(resource.{kind}, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))"
    assert attack(lonely, code).error_type in ("PermissionError", "ValueError")


# the next program


def next_sees(judge: Judge, first: str, second: str) -> str:
    """What the second program prints after the first has run in the same server."""
    judge.grade(ECHO, [Program("echo", first)])
    return str(judge.grade(ECHO, [Program("echo", second)], stop_at_first_failure=True)[0].error_message)


DEBRIS = """
import os
open('left', 'w').write('x')
os.symlink('/', 'link')
os.mkdir('shut', 0)
os.mkdir('blind', 0o300)
open('blind/file', 'w').write('x')
for n in range(200):
    os.mkdir('d' * 50)
    os.chdir('d' * 50)
open('deep', 'w').write('x')
"""


def test_leftover_files_are_gone(lonely: Judge) -> None:
    needs(lonely, "A")
    # an interpreter that lives below /tmp leaves its own folders there: ask for what the program made
    seen = f"import os\nmade = {DEBRIS!r}\nprint([n for n in os.listdir('/tmp') + os.listdir('.') if n in made])"
    assert "got '[]" in next_sees(lonely, DEBRIS, seen)


def test_poisoned_modules_are_gone(lonely: Judge) -> None:
    poison = "import sys, builtins, json, math\nmath.sqrt = lambda x: 'bad'\nbuiltins.print = None\nsys.modules['json'] = None\njson.dumps = None"
    assert "got '2.0 [1]" in next_sees(lonely, poison, "import math, json\nprint(math.sqrt(4), json.dumps([1]))")


def test_a_lasting_daemon_thread_is_gone(lonely: Judge) -> None:
    assert "got '1 1" in next_sees(
        lonely,
        "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
        "import threading, os\nalone = 1 if os.getppid() != 1 else len(os.listdir('/proc/self/task'))\nprint(threading.active_count(), alone)",
    )
