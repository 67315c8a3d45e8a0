"""The judge for a long time: thousands of programs, a third of them hostile, servers killed at random moments. Linux only.

    python bench/judge_endurance.py [--programs 20000] [--kill-every 2.0] [--out bench/RESULTS.md]

Fails (exit code 1) when a verdict is lost, doubled or wrong, when a sandbox fails that was not killed, when a process, a file descriptor
or a temporary file is left, when memory grew by more than 32 MiB, when a program of the last quarter cost over 10 % more CPU time than
one of the first (nothing is killed in these two), or when Ctrl-C takes more than 2 s or loses what was done.
"""

import argparse
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cpu_meter import Meter, tree
from results_file import put_section

from coderl.records import Outcome, Problem, Program, Test
from coderl.run_directory import git_commit
from coderl.sandbox import Judge, Limits

HERE = Path(__file__).resolve().parent
TESTS = tuple(Test(input=f"{n} {n + 1}\n", output=f"{2 * n + 1}\n") for n in range(5))
PROBLEM = Problem(id="sum", statement="", kind="stdin", tests=TESTS)
HONEST = (
    ("a, b = map(int, input().split())\nprint(a + b)", Outcome.PASSED_TEST),
    ("import sys\nprint(sum(map(int, sys.stdin.read().split())))", Outcome.PASSED_TEST),
    ("print(sum(int(x) for x in open(0).read().split()))", Outcome.PASSED_TEST),
    ("a, b = map(int, input().split())\nprint(a - b)", Outcome.FAILED_TEST),
    ("a, b = map(int, input().split()\nprint(a + b)", Outcome.COMPILE_ERROR),
)
HOSTILE = (
    "while True: pass",
    "import os\nos._exit(0)",
    "import os\nos.closerange(0, 256)",
    "import os\nfor n in range(3, 64):\n    try:\n        os.write(n, os.urandom(1000))\n    except OSError:\n        pass",
    "import ctypes\nctypes.string_at(0)",
    "x = b'x' * (4 << 30)",
    "import os\nwhile True:\n    os.write(1, b'x' * 65536)",
    "import os\nos.kill(-1, 9)\nos.kill(os.getppid(), 9)",
    "import threading, time\nfor _ in range(20):\n    threading.Thread(target=time.sleep, args=(99,), daemon=True).start()\n1 / 0",
    "open('left', 'w').write('x' * 1000)\nimport os\nos.fork()",
    "import sys\nsys.setrecursionlimit(10**9)\nf = lambda n: f(n + 1)\nf(0)",
    "import json, os\njson.dumps = os.write = None\nraise SystemExit",
)


class Quarter(NamedTuple):
    """CPU-ms a program, programs a second, the judge process's own memory (MiB) and descriptors at its end, and verdicts that say
    `harness_error`: a program whose sandbox was killed twice."""

    cost: float
    rate: float
    memory: float
    descriptors: int
    errors: int


def work(start: int, count: int) -> list[tuple[Program, Outcome | None]]:
    """Programs and the outcome each must have; None: anything but a pass. Every third is hostile, every twelfth of these loops."""
    found: list[tuple[Program, Outcome | None]] = []
    for n in range(start, start + count):
        if n % 3 == 2:
            found.append((Program("sum", f"{HOSTILE[n // 3 % len(HOSTILE)]}\n#{n}", n), None))
        else:
            code, outcome = HONEST[n % len(HONEST)]
            found.append((Program("sum", f"{code}\n#{n}", n), outcome))
    return found


def memory() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def quarter(judge: Judge, meter: Meter, start: int, count: int) -> Quarter:
    """One part of the run. Raises AssertionError on a lost, doubled or wrong verdict."""
    items = work(start, count)
    cpu, wall = meter.seconds(), time.monotonic()
    indices, errors = [], 0
    verdicts = judge.grade_many(((PROBLEM, program) for program, _ in items), stop_at_first_failure=True)
    for (program, wanted), verdict in zip(items, verdicts, strict=True):
        indices.append(verdict.index)
        errors += verdict.harness_error is not None
        if verdict.harness_error is not None:
            assert verdict.outcome is None
            continue
        assert not verdict.is_pass if wanted is None else verdict.outcome is wanted, (program.code, verdict)
    assert indices == list(range(start, start + count)), "verdicts lost, doubled or out of order"
    cost, rate = (meter.seconds() - cpu) * 1000 / count, count / (time.monotonic() - wall)
    return Quarter(cost, rate, memory(), len(os.listdir("/proc/self/fd")), errors)


@contextmanager
def killing(every: float, kills: list[int]) -> Iterator[None]:
    """SIGKILL to a random process of a sandbox, server or program, at random moments, on average `every` seconds."""
    over, draw = threading.Event(), random.Random(0)

    def kill() -> None:
        while not over.wait(draw.uniform(0.5, 1.5) * every):
            below = sorted(tree(os.getpid()) - {os.getpid()})
            servers = [pid for pid in below if parent(pid) == os.getpid()]
            if servers:
                os.kill(draw.choice(servers), signal.SIGKILL)
                kills.append(1)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


def endure(programs: int, every: float, meter: Meter) -> tuple[list[Quarter], int]:
    """Quiet, killing, killing, quiet."""
    count, kills, found = programs // 4, [], []
    limits = Limits(cpu_seconds=0.2, wall_factor=4.0, memory_mib=128, output_bytes=1 << 18)
    with Judge(2, limits) as judge:
        quarter(judge, meter, 0, 48)  # warm
        for part in range(4):
            if part in (1, 2):
                with killing(every, kills):
                    found.append(quarter(judge, meter, part * count, count))
            else:
                found.append(quarter(judge, meter, part * count, count))
            print(f"quarter {part + 1}: {found[-1]}", flush=True)
    return found, len(kills)


_INTERRUPTED = """
import sys
from judge_endurance import PROBLEM, work
from coderl.sandbox import Judge, Limits
with Judge(2, Limits(cpu_seconds=30)) as judge, open(sys.argv[1], "w", buffering=1) as out:
    for verdict in judge.grade_many((PROBLEM, program) for program, _ in work(0, 10**6)):
        print(verdict.index, file=out)
        print(verdict.index, flush=True)
"""


def interrupt() -> tuple[float, int]:
    """Ctrl-C in the middle: seconds until the process and all below it are gone, and the verdicts that were written."""
    with tempfile.NamedTemporaryFile("r") as kept:
        command = [sys.executable, "-c", _INTERRUPTED, kept.name]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
            time.sleep(1.0)  # by now one worker is in a loop of half a minute, which holds back all later verdicts
            below = tree(process.pid)
            start = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait()
            while any(Path(f"/proc/{pid}").exists() for pid in below):
                assert time.monotonic() - start < 60, "processes are left after Ctrl-C"
                time.sleep(0.01)
            taken = time.monotonic() - start
            shown = len(process.stdout.read().splitlines()) + 1
        written = [int(line) for line in kept.read().splitlines()]
    assert written == list(range(shown)), "Ctrl-C lost what was done"
    return taken, shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=20_000, help="programs to judge")
    parser.add_argument("--kill-every", type=float, default=2.0, help="seconds between two kills, on average")
    parser.add_argument("--out", type=Path, default=None, help="results file whose section is replaced")
    asked = parser.parse_args()
    temporary = set(os.listdir(tempfile.gettempdir()))
    meter = Meter()
    try:
        processes, descriptors = tree(os.getpid()), len(os.listdir("/proc/self/fd"))
        parts, kills = endure(asked.programs, asked.kill_every, meter)
        left = tree(os.getpid()) - processes
        open_now = len(os.listdir("/proc/self/fd"))
    finally:
        meter.close()
    seconds, kept = interrupt()
    files = sorted(name for name in set(os.listdir(tempfile.gettempdir())) - temporary if name.startswith(("tmp", "coderl-canary")))
    growth = parts[-1].memory - parts[0].memory
    slower = parts[-1].cost / parts[0].cost - 1
    lines = [
        f"Command: `python bench/judge_endurance.py --programs {asked.programs} --kill-every {asked.kill_every:g}`, commit {git_commit()}, "
        f"{platform.platform()}, load {os.getloadavg()[0]:.1f}.",
        f"{asked.programs} programs, a third hostile, two workers; {kills} sandbox processes killed at random in the second and third quarter.",
        "",
        "| quarter | CPU-ms a program | programs a second | judge's memory, MiB | open files | harness errors |",
        "|---|---|---|---|---|---|",
        *(f"| {n + 1} | {p.cost:.2f} | {p.rate:.0f} | {p.memory:.1f} | {p.descriptors} | {p.errors} |" for n, p in enumerate(parts)),
        "",
        "Each program has one verdict, in order; each is right, or says that its sandbox was killed twice (harness error). "
        f"Left: {len(left)} processes, {open_now - descriptors} "
        f"descriptors, {len(files)} temporary files; memory {growth:+.1f} MiB; cost {slower:+.1%} from the first to the last quarter.",
        f"Ctrl-C beside an endless program: {seconds:.2f} s until nothing is left; all {kept} verdicts that were shown are kept.",
    ]
    print("\n".join(lines))
    if asked.out is not None:
        put_section(asked.out, "The judge: endurance", lines)
    if left or open_now != descriptors or files or growth > 32 or slower > 0.1 or parts[0].errors + parts[3].errors or seconds > 2:
        sys.exit("endurance: a bound is missed, see above")


if __name__ == "__main__":
    main()
