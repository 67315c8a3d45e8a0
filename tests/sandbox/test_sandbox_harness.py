"""When the judge itself fails: a verdict without outcome, never a pass; nothing left behind; tiers found by trying."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from coderl.errors import SandboxError
from coderl.records import Outcome, Problem, Program, Test
from coderl.sandbox import Judge, Limits, tiers
from coderl.sandbox import judge as judge_module
from coderl.sandbox.forkserver import Event, ServerGone

LIMITS = Limits(cpu_seconds=0.3, wall_factor=4.0, memory_mib=256)
ECHO = Problem(id="echo", statement="", kind="stdin", tests=(Test(input="x\n", output="x\n"),))
HONEST = Program("echo", "print(input())", 0)
SLOW = Program("echo", "import time\ntime.sleep(0.5)\nprint(input())", 0)


def below(pid: int) -> set[int]:
    """All processes below `pid`."""
    found: set[int] = set()
    for entry in os.listdir("/proc"):
        try:
            parent = int(Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1]) if entry.isdigit() else 0
        except OSError:
            continue
        if parent == pid:
            found |= {int(entry)} | below(int(entry))
    return found


def wait_until_gone(pids: set[int], seconds: float = 5.0) -> set[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(alive, pids)):
        time.sleep(0.05)
    return {pid for pid in pids if alive(pid)}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_server_that_is_killed_once_is_replaced_and_the_program_judged() -> None:
    with Judge(1, LIMITS) as judge:
        before = below(os.getpid())
        judge.grade(ECHO, [HONEST])
        servers = below(os.getpid()) - before

        def kill() -> None:
            for pid in servers:
                with contextlib.suppress(ProcessLookupError):  # the first one's end may take the others along
                    os.kill(pid, signal.SIGKILL)

        killer = threading.Timer(0.15, kill)
        killer.start()
        verdict = judge.grade(ECHO, [SLOW])[0]
        killer.join()
        assert verdict.is_pass and verdict.harness_error is None
        assert not any(map(alive, servers))


def test_a_server_that_is_killed_again_and_again_gives_no_verdict_and_no_pass() -> None:
    over = threading.Event()
    with Judge(1, LIMITS) as judge:

        def kill() -> None:
            while not over.wait(0.05):
                for server in list(judge._running):
                    server.interrupt()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            verdict = judge.grade(ECHO, [SLOW])[0]
        finally:
            over.set()
            killer.join()
        assert verdict.outcome is None and not verdict.is_pass
        assert verdict.harness_error is not None and "ended" in verdict.harness_error
        assert judge.grade(ECHO, [HONEST])[0].is_pass


class Fake:
    """Stands in for a fork server and gives the events it was told to."""

    events: ClassVar[list[Event]] = []
    started = 0

    def __init__(self, *_: Any) -> None:
        Fake.started += 1

    def run(self, job: dict[str, Any]) -> Iterator[Event]:
        yield from self.events

    def stop(self) -> None: ...
    def close(self) -> None: ...
    def interrupt(self) -> None: ...


TESTED = {"status": "ok", "test": 0, "cpu": 0.1}


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Event("end", {"cpu": 0.1}, b"")],
        [Event("test", TESTED, b"x\n")],
        [Event("test", {**TESTED, "test": 1}, b"x\n"), Event("end", {"cpu": 0.1}, b"")],
        [Event("compile", {"status": "ok"}, b""), Event("end", {"cpu": 0.1}, b"")],
    ],
    ids=["nothing", "no test", "no end", "another test", "only compiled"],
)
def test_a_server_that_leaves_something_out_is_a_harness_error(monkeypatch: pytest.MonkeyPatch, events: list[Event]) -> None:
    with Judge(1, LIMITS) as judge:
        monkeypatch.setattr(judge_module, "ForkServer", Fake)
        monkeypatch.setattr(Fake, "events", events)
        monkeypatch.setattr(Fake, "started", 0)
        verdict = judge.grade(ECHO, [HONEST])[0]
    assert verdict.outcome is None and verdict.harness_error
    assert Fake.started == 2


def test_a_server_that_cannot_be_started_is_a_harness_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ServerGone("no process to be had")

    with Judge(1, LIMITS) as judge:
        monkeypatch.setattr(judge_module, "ForkServer", refuse)
        verdict = judge.grade(ECHO, [HONEST])[0]
    assert (verdict.outcome, verdict.harness_error) == (None, "no process to be had")


def test_closing_the_judge_leaves_no_process() -> None:
    before = below(os.getpid())
    with Judge(2, LIMITS) as judge:
        assert all(verdict.is_pass for verdict in judge.grade(ECHO, [Program("echo", f"print(input())#{n}", n) for n in range(8)]))
        started = below(os.getpid()) - before
        assert started
    assert not wait_until_gone(started, 1.0)


def test_closing_the_judge_does_not_wait_for_programs() -> None:
    judge = Judge(1, Limits(cpu_seconds=30))
    stream = judge.grade_many((ECHO, Program("echo", f"while True: pass#{n}", n)) for n in range(3))
    closer = threading.Timer(0.3, judge.close)
    closer.start()
    start = time.monotonic()
    verdict = next(stream)
    assert time.monotonic() - start < 5
    assert verdict.outcome is None
    closer.join()


SCRIPT = """
import os, sys, threading
from coderl.records import Problem, Program, Test
from coderl.sandbox import Judge, Limits
judge = Judge(2, Limits(cpu_seconds=60, wall_factor=1))
problem = Problem(id="p", statement="", kind="stdin", tests=(Test(input="", output=""),))
print("started", flush=True)
judge.grade(problem, [Program("p", f"import time\\ntime.sleep(50)#{n}", n) for n in range(2)])
"""


def test_a_killed_judge_takes_its_sandboxes_with_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"started\n"
        time.sleep(0.7)
        started = below(process.pid)
        assert len(started) >= 4  # two servers, two programs
        process.kill()
        process.wait()
        assert not wait_until_gone(started)


def test_the_judge_works_beside_a_busy_torch() -> None:
    torch = pytest.importorskip("torch")
    a = torch.ones(400, 400)
    busy = threading.Thread(target=lambda: [a @ a for _ in range(20)])
    busy.start()
    with Judge(1, Limits(memory_mib=256)) as judge:
        assert all(verdict.is_pass for verdict in judge.grade(ECHO, [Program("echo", f"print(input())#{n}", n) for n in range(5)]))
    busy.join()


# tiers


def test_without_isolation_the_judge_refuses() -> None:
    with pytest.raises(SandboxError, match="allow unsandboxed runs"):
        Judge(1, LIMITS, tiers="")


def test_a_layer_that_does_not_hold_is_an_error_and_not_a_lower_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiers.LAYERS, "A", ())
    monkeypatch.setattr(tiers, "_ALWAYS", ("take 1 GiB", "open a socket"))
    with pytest.raises(SandboxError, match="does not hold here: the canary program could open a socket"):
        Judge(1, LIMITS, tiers="AB")


def test_a_layer_that_cannot_be_had_leads_to_the_next_tier_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiers.LAYERS, "A", ("namespaces", "moon dust"))
    with Judge(1, LIMITS) as judge:
        assert judge.tier > "A"
        assert "moon dust" in judge.reasons[0]
        assert judge.grade(ECHO, [HONEST])[0].tier == judge.tier


@pytest.fixture(scope="module", params=["B", "C"])
def lower(request: pytest.FixtureRequest) -> Iterator[Judge]:
    """A judge without namespaces, and one without Landlock too."""
    try:
        judge = Judge(1, LIMITS, tiers=request.param)
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        yield judge


def test_lower_tiers_judge_alike(lower: Judge) -> None:
    codes = ["print(input())", "print(open('/dev/stdin').read())", "print(1)", "1 / 0", "print(", "while True: pass"]
    verdicts = lower.grade(ECHO, [Program("echo", code, n) for n, code in enumerate(codes)])
    assert [verdict.outcome.label for verdict in verdicts if verdict.outcome is not None] == [3, 3, 2, 1, 0, 1]
    assert {verdict.tier for verdict in verdicts} == {lower.tier}


@pytest.mark.parametrize(
    "attack",
    [
        "os.fork()",
        "os.kill(os.getppid(), 9)",
        "os.kill(-1, 9)",
        "os.setsid()",
        "socket.socket()",
        "open({0!r}, 'w')",
        "os.unlink({0!r})",
        "os.rename({0!r}, {0!r} + 'x')",
        "os.chmod({0!r}, 0)",
        "os.mkdir({0!r} + 'x')",
        "os.execv('/bin/true', ['true'])",
    ],
)
def test_lower_tiers_hold_against_effects_outside(lower: Judge, attack: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("kept")
    verdict = lower.grade(ECHO, [Program("echo", f"import os, socket\n{attack.format(str(path))}\nprint(input())")])[0]
    assert (verdict.outcome, verdict.error_type) == (Outcome.RUNTIME_ERROR, "PermissionError")
    assert path.read_text() == "kept" and len(list(tmp_path.iterdir())) == 1
    assert lower.grade(ECHO, [HONEST])[0].is_pass


def test_tier_b_cannot_read_files(lower: Judge, tmp_path: Path) -> None:
    if lower.tier != "B":
        pytest.skip("tier C lets programs read what the user can read")
    path = tmp_path / "file"
    path.write_text("x")
    assert lower.grade(ECHO, [Program("echo", f"print(open({str(path)!r}).read())")])[0].error_type == "PermissionError"


def test_unsandboxed_runs_are_marked_and_leave_no_daemon() -> None:
    with Judge(1, LIMITS, allow_unsandboxed=True, tiers="") as judge:
        before = below(os.getpid())
        assert judge.grade(ECHO, [HONEST])[0].is_pass
        servers = below(os.getpid()) - before
        code = "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\nprint(input())"
        verdict = judge.grade(ECHO, [Program("echo", code)])[0]
        assert (verdict.tier, verdict.is_pass) == ("D", True)
        assert below(os.getpid()) - before == servers


def test_an_ordinary_user_gets_isolation_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    python, setpriv = shutil.which("python3", path="/usr/bin"), shutil.which("setpriv")
    if python is None or setpriv is None:
        pytest.skip("needs setpriv and a system Python that other users can run")
    if subprocess.run([python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]).returncode:
        pytest.skip("the system Python is older than 3.11")
    folder = Path("/tmp") / f"coderl-user-{os.getpid()}"
    source = Path(judge_module.__file__).parent.parent
    try:
        shutil.copytree(source / "sandbox", folder / "coderl" / "sandbox", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("__init__.py", "records.py", "errors.py"):
            shutil.copy(source / name, folder / "coderl" / name)
        folder.chmod(0o755)
        script = textwrap.dedent("""
            import os, sys
            sys.path.insert(0, sys.argv[1])
            from coderl.records import Problem, Program, Test
            from coderl.sandbox import Judge
            problem = Problem(id="p", statement="", kind="stdin", tests=(Test(input="x", output="x"),))
            with Judge(1) as judge:
                print(os.geteuid(), judge.tier, judge.grade(problem, [Program("p", "print(input())")])[0].is_pass)
        """)
        command = [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", python, "-B", "-c", script, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env={"PATH": "/usr/bin:/bin"})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    user, tier, passed = [*done.stdout.split(), "", "", ""][:3]
    assert (user, passed) == ("65534", "True"), done.stderr
    assert tier in "ABC"
