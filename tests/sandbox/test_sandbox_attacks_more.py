"""The rest of the attack list, and the list itself: which test holds which item. As an ordinary user too, in a process of its own."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from attack_tools import CALL, ECHO, HONEST, SECRET, attack, needs, pytest_generate_tests  # noqa: F401  (the last one is pytest's)

from coderl.records import Outcome, Problem, Program, Test
from coderl.sandbox import Judge

HERE = Path(__file__).resolve().parent
FILES = ("test_sandbox_attacks.py", "test_sandbox_attacks_more.py", "test_sandbox_judge.py")

LIST = {
    "loop": "test_a_loop",
    "loop swallowing BaseException": "test_a_loop_that_swallows_every_exception",
    "SIGALRM ignored": "test_a_loop_that_ignores_the_alarm",
    "all signals blocked": "test_a_loop_that_ignores_all_signals",
    "sleep": "test_sleep",
    "catastrophic regex": "test_a_regular_expression_without_end",
    "huge int to str, 10**10**8": "test_a_giant_number_as_text test_a_computation_inside_one_c_call",
    "compile bombs": "test_a_program_that_is_slow_to_compile test_parentheses_without_end test_constants_that_explode",
    "memory touched": "test_memory_little_by_little test_memory_in_one_piece test_memory_that_comes_back_after_each_refusal",
    "memory by recursion": "test_recursion_without_limit",
    "memory files, scratch folder": "test_a_memory_file test_filling_the_scratch_folder",
    "fork bomb": "test_a_fork_bomb",
    "thread bomb": "test_a_thread_bomb",
    "thread outliving": "test_a_thread_that_outlives_its_test_ends_with_the_process test_a_lasting_daemon_thread_is_gone",
    "setsid daemon": "test_a_raw_fork_and_a_session_of_its_own_leave_no_daemon",
    "double-fork zombie": "test_a_double_fork_leaves_no_zombie",
    "flood of stdout": "test_a_flood_of_output test_a_giant_hole_in_the_output",
    "flood of stderr": "test_a_flood_on_standard_error_is_nobodys_business",
    "flood of the control channel": "test_a_flood_in_the_judges_channel test_garbage_in_the_judges_channel",
    "flood with SIGXFSZ ignored": "test_a_flood_of_output_that_swallows_errors",
    "close all files": "test_closing_all_files",
    "dup2 over the control file": "test_replacing_the_judges_files",
    "os._exit(0) at load": "test_ending_the_process_is_an_error",
    "os._exit(0) in a test": "test_leaving_inside_a_call_is_an_error",
    "os._exit(0) after the first answer": "test_ending_the_process_after_the_first_answer_does_not_carry_the_others",
    "sys.exit and kin": "test_leaving_before_the_answer_is_a_failed_test test_leaving_by_an_exit_of_its_own_kind",
    "atexit": "test_ending_the_process_is_an_error",
    "kill others": "test_killing_others",
    "ptrace, memory of others, pidfd": "test_reaching_into_other_processes test_a_dangerous_system_call_is_refused",
    "objects that equal everything": "test_an_object_that_equals_everything test_an_object_that_equals_everything_in_an_assert",
    "evil __iter__, __len__, __class__, __reduce__": "test_an_object_with_a_false_class test_a_list_whose_methods_lie",
    "search in frames, code, objects": "test_no_expected_output_is_in_the_frames_or_objects_of_the_child",
    "poisoned modules": "test_poisoned_modules_are_gone test_replacing_the_runners_tools",
    "settrace, setprofile, audit hook": "test_tracing_the_runner test_an_audit_hook",
    "replaced sys.stdout": "test_replacing_the_streams",
    "test files, /proc, environment": "test_reading_the_tests_file test_reading_the_machine test_the_environment_is_clean test_open_files_of_others",
    "files outside": "test_changing_a_file_outside test_escaping_through_a_symbolic_link",
    "network": "test_opening_a_socket test_connecting_to_this_machine",
    "rare system calls": "test_a_dangerous_system_call_is_refused test_the_other_system_call_interface_is_deadly test_32_bit_system_calls_are_deadly",
    "crashes in C": "test_a_null_pointer test_recursion_in_c test_abort",
    "odd input": "test_odd_input_arrives_as_it_is test_a_large_input_arrives_whole test_input_that_nobody_reads",
    "odd output": "test_output_that_is_no_text test_one_endless_line",
    "odd programs": "test_top_level_return_passes_only_under_the_apps_rule test_a_call_that_gives_no_value_is_a_runtime_error",
    "interpreter settings, seeds": "test_hash_order_and_random_numbers_are_the_same_in_every_run test_settings_of_the_interpreter_do_not_last",
    "clocks, own source, leftover files": "test_setting_the_clock test_running_its_own_source_again test_leftover_files_are_gone",
}


def test_every_item_of_the_list_has_its_test() -> None:
    names = set()
    for file in FILES:
        names |= {node.name for node in ast.walk(ast.parse((HERE / file).read_text())) if isinstance(node, ast.FunctionDef)}
    assert len(LIST) == 45
    assert [name for tests in LIST.values() for name in tests.split() if name not in names] == []


# time and memory


def test_a_loop_that_ignores_the_alarm(lonely: Judge) -> None:
    code = "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\nsignal.alarm(0)\nsignal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass"
    assert attack(lonely, code).error_type == "Timeout"


def test_a_regular_expression_without_end(lonely: Judge) -> None:
    assert attack(lonely, "import re\nre.match('(a+)+b', 'a' * 60)").error_type == "Timeout"


def test_a_giant_number_as_text(lonely: Judge) -> None:
    code = "import sys\nsys.set_int_max_str_digits(0)\nstr((1 << 30_000_000) - 1)"
    assert attack(lonely, code).error_type in ("Timeout", "MemoryLimit")


def test_parentheses_without_end(lonely: Judge) -> None:
    assert attack(lonely, "x = " + "(" * 100_000 + ")" * 100_000).outcome is Outcome.COMPILE_ERROR


def test_constants_that_explode(lonely: Judge) -> None:
    verdict = attack(lonely, "x = " + "(" * 90 + "9" + "**9)" * 90)
    assert verdict.error_type in ("Timeout", "MemoryLimit")


def test_one_endless_line(lonely: Judge) -> None:
    assert attack(lonely, "import os\nline = b'x' * (1 << 20)\nfor _ in range(1024):\n    os.write(1, line)").error_type in ("OutputLimit", "OSError")


# processes


def test_a_double_fork_leaves_no_zombie(lonely: Judge) -> None:
    code = "import os\ntry:\n    if os.fork() == 0:\n        os.fork()\n        os._exit(0)\nexcept OSError:\n    print('no')"
    assert "got 'no" in str(attack(lonely, code).error_message)


REACH = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
word = (ctypes.c_char * 8)()
vector = (ctypes.c_void_p * 2)(ctypes.addressof(word), 8)
done = []
for pid in (os.getppid(), 1, JUDGE):
    done += [libc.ptrace(16, pid, 0, 0) != -1, libc.process_vm_writev(pid, vector, 1, vector, 1, 0) > 0, libc.syscall(438, 0, pid, 0) != -1]
    done.append(libc.syscall(434, pid, 0) != -1)
    try:
        open(f"/proc/{pid}/mem", "r+b", 0)
        done.append(True)
    except OSError:
        pass
print("reached" if any(done) else "nothing")
"""


def test_reaching_into_other_processes(lonely: Judge) -> None:
    assert "nothing" in str(attack(lonely, REACH.replace("JUDGE", str(os.getpid()))).error_message)


def test_open_files_of_others(lonely: Judge) -> None:
    needs(lonely, "B")
    code = "import os\nprint(os.listdir(f'/proc/{os.getppid()}/fd'))"
    assert attack(lonely, code).error_type in ("PermissionError", "FileNotFoundError")


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="32-bit calls are x86-64's")
def test_32_bit_system_calls_are_deadly(lonely: Judge) -> None:
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""
    verdict = attack(lonely, code)
    assert verdict.error_type in ("Killed", "PermissionError"), verdict


def test_abort(lonely: Judge) -> None:
    verdict = attack(lonely, "import ctypes\nctypes.CDLL(None).abort()")
    assert verdict.error_type == "Killed" and "SIGABRT" in str(verdict.error_message)


# ends, objects, tools


def test_leaving_by_an_exit_of_its_own_kind(lonely: Judge) -> None:
    code = "class Good(SystemExit):\n    code = 0\n    __eq__ = lambda *a: True\nraise Good(0)"
    assert attack(lonely, code).outcome in (Outcome.FAILED_TEST, Outcome.RUNTIME_ERROR)


def test_quick_tests_before_a_sudden_end_keep_their_results(lonely: Judge) -> None:
    tests = tuple(Test(input=f"{n}\n", output=f"{n}\n") for n in range(8))
    problem = Problem(id="late", statement="", kind="stdin", tests=tests)
    code = "import os\nn = input()\nif n == '5':\n    os._exit(0)\nprint(n)"
    verdict = lonely.grade(problem, [Program("late", code)])[0]
    assert [test.outcome is Outcome.PASSED_TEST for test in verdict.tests] == [True] * 5 + [False] + [True] * 2
    assert verdict.error_type == "Exit"


def test_the_time_of_a_slow_test_is_its_own(lonely: Judge) -> None:
    tests = tuple(Test(input=f"{n}\n", output=f"{n}\n") for n in range(8))
    problem = Problem(id="slow", statement="", kind="stdin", tests=tests)
    code = "import time\nn = input()\nend = time.process_time() + 0.2\nwhile n == '5' and time.process_time() < end:\n    pass\nprint(n)"
    seconds = [test.cpu_seconds for test in lonely.grade(problem, [Program("slow", code)])[0].tests]
    assert 0.19 < seconds[5] < 0.3 and all(second < 0.05 for n, second in enumerate(seconds) if n != 5)


def test_a_limit_is_not_stretched_by_reports_that_wait(lonely: Judge) -> None:
    code = "import time\nend = time.process_time() + 0.45\nwhile time.process_time() < end:\n    pass\nprint(input())"
    assert lonely.grade(HONEST, [Program("honest", code)])[0].error_type == "Timeout"


def test_a_list_whose_methods_lie(lonely: Judge) -> None:
    code = f"""
class Lie(list):
    __iter__ = lambda self: iter([{SECRET[::-1]!r}])
    __len__ = lambda self: 10**9
    __reduce__ = __reduce_ex__ = lambda self, *a: (exec, ("import os; os._exit(0)",))
    __getitem__ = lambda self, i: 1 / 0
def f(x):
    return Lie([1])
"""
    assert attack(lonely, code, CALL).outcome is Outcome.FAILED_TEST


def test_an_audit_hook(lonely: Judge) -> None:
    code = f"import os, sys\nsys.addaudithook(lambda event, arguments: os._exit(0))\ndef f(x):\n    return {SECRET[::-1]!r}"
    assert attack(lonely, code, CALL).outcome in (Outcome.RUNTIME_ERROR, Outcome.FAILED_TEST)


def test_replacing_the_streams(lonely: Judge) -> None:
    code = "import io, sys\nsys.stdout = sys.__stdout__ = io.StringIO()\nsys.stdin = io.StringIO('forged')\nprint(input())"
    assert attack(lonely, code).outcome is Outcome.FAILED_TEST


def test_output_that_is_no_text(lonely: Judge) -> None:
    code = "import sys\nsys.stdout.buffer.write(b'\\0\\xff\\xed\\xa0\\x80')\nprint('\\udc80', float('nan'), -0.0, 1e-7)"
    assert attack(lonely, code).outcome is Outcome.FAILED_TEST


def test_input_that_nobody_reads(lonely: Judge) -> None:
    problem = Problem(id="big", statement="", kind="stdin", tests=(Test(input="x" * (4 << 20), output="no"),))
    assert attack(lonely, "print('done')", problem).outcome is Outcome.FAILED_TEST


# the next program


def test_settings_of_the_interpreter_do_not_last(lonely: Judge) -> None:
    code = "import locale, random, sys\nsys.setrecursionlimit(10**8)\nsys.set_int_max_str_digits(0)\nrandom.seed(5)\nlocale.setlocale(0, 'C')"
    asks = Program("echo", "import random, sys\nprint(sys.getrecursionlimit() < 5000, sys.get_int_max_str_digits(), random.random())")

    def answer() -> str:
        return str(lonely.grade(ECHO, [asks])[0].error_message)

    before = answer()
    assert "True 4300" in before
    attack(lonely, code)
    assert answer() == before


def test_setting_the_clock(lonely: Judge) -> None:
    assert attack(lonely, "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)").error_type == "PermissionError"
    code = "import time\ntime.time = time.monotonic = time.perf_counter = time.process_time = lambda: 0\nwhile True: pass"
    assert attack(lonely, code).error_type == "Timeout"


def test_running_its_own_source_again(lonely: Judge) -> None:
    code = 'import sys\nsource = \'exec(compile(source, "<program>", "exec"))\'\nexec(source)'
    assert attack(lonely, code).error_type == "RecursionError"
    assert attack(lonely, "print(open(__file__).read())").error_type in ("NameError", "FileNotFoundError")


# as an ordinary user

_PURE = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
@pytest.mark.parametrize("tier", "ABC")
def test_all_attacks_are_held_for_an_ordinary_user(tier: str) -> None:
    python, setpriv = shutil.which("python3", path="/usr/bin"), shutil.which("setpriv")
    if python is None or setpriv is None:
        pytest.skip("needs setpriv and a system Python that other users can run")
    version = json.loads(subprocess.run([python, "-c", "import sys; print(list(sys.version_info[:2]))"], capture_output=True).stdout)
    if tuple(version) != sys.version_info[:2]:
        pytest.skip("the system Python is of another version than this one")
    folder = Path("/tmp") / f"coderl-attacks-{os.getpid()}-{tier}"
    try:
        copy_suite(folder)
        command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", python, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-k", f"tier{tier}", f"--basetemp={folder}/tests/tmp", f"--rootdir={folder}/tests"]
        command += [f"{folder}/tests/{name}" for name in FILES[:2]]
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(folder), "HOME": str(folder / "tests")}
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=folder / "tests", env=environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    assert done.returncode == 0 and " passed" in last and int(last.split(" passed")[0].split()[-1]) > 100, done.stdout[-3000:] + done.stderr[-1000:]


def copy_suite(folder: Path) -> None:
    """What the attacks need, where every user can read it: the judge, these tests, pytest."""
    import coderl.sandbox

    source = Path(coderl.sandbox.__file__).parent.parent
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source / "sandbox", folder / "coderl" / "sandbox", ignore=skip)
    for name in ("__init__.py", "records.py", "errors.py"):
        shutil.copy(source / name, folder / "coderl" / name)
    for name in _PURE:
        spec = importlib.util.find_spec(name)
        assert spec is not None and spec.origin is not None
        if spec.submodule_search_locations is None:
            shutil.copy(spec.origin, folder)
        else:
            shutil.copytree(Path(spec.origin).parent, folder / name, ignore=skip)
    (folder / "tests").mkdir()
    for name in ("conftest.py", "attack_tools.py", *FILES):
        shutil.copy(HERE / name, folder / "tests" / name)
    os.chown(folder / "tests", 65534, 65534)
    folder.chmod(0o755)
