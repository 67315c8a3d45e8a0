"""Speed, side by side with a peer in one run: `make bench`. CPU time per unit and ratios; writes bench/RESULTS.md.

    generation   see generation.py, which has a section of its own
    judging      the judge, one worker, all isolation on, against a fresh `python -I -S` for each program without any isolation

Training has a command of its own (training.py).
Machines differ and are shared: compare the two sides of a row, not rows of two files. One thread everywhere.
"""

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import generation
import torch
from results_file import put_head

from coderl.problems import mini
from coderl.records import Problem, Program
from coderl.run_directory import git_commit
from coderl.sandbox import Judge

HERE = Path(__file__).resolve().parent


class Row(NamedTuple):
    """Units done in a CPU second by us and by the peer."""

    what: str
    unit: str
    ours: float
    peer: float
    peer_name: str


def cpu() -> float:
    """CPU seconds of this process and of all children that it has waited for."""
    return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def rate(work: Callable[[], float], rounds: int = 3) -> float:
    """Units in a CPU second: the median of `rounds`."""
    rates = []
    for _ in range(rounds):
        began = cpu()
        units = work()
        rates.append(units / (cpu() - began))
    return sorted(rates)[rounds // 2]


def judging(problems: list[Problem]) -> Row:
    stdin = [p for p in problems if p.kind == "stdin"][:120]
    one = [Problem(p.id, p.statement, p.kind, tests=p.tests[:1]) for p in stdin]
    programs = [Program(p.id, p.solutions[0], 0) for p in stdin]

    def ours() -> float:
        with Judge(workers=1) as judge:
            return sum(v.is_pass for v in judge.grade_many(zip(one, programs, strict=True)))

    def theirs() -> float:
        passed = 0
        for problem, program in zip(one, programs, strict=True):
            done = subprocess.run([sys.executable, "-I", "-S", "-c", program.code], input=problem.tests[0].input, capture_output=True, text=True)
            passed += done.stdout.split() == problem.tests[0].output.split()
        return passed

    return Row("judging, one test a program, start of the judge included", "programs", rate(ours), rate(theirs), "python -I -S, not isolated")


def main() -> None:
    torch.set_num_threads(1)
    problems = mini.generate(0, train=150, tests_only=0, validation=0, heldout=0).train
    began = time.monotonic()
    rows = [judging(problems)]
    lines = [
        "# Speed",
        "",
        f"Command: `make bench` (`python bench/run.py`), commit {git_commit()}, {platform.platform()}, {os.cpu_count()} cores, "
        f"torch {torch.__version__}, Python {platform.python_version()}.",
        "Units in a CPU second (all processes), one thread, median of 3 rounds; the machine is shared: only the ratio within a row means something.",
        "",
        "| what | unit | ours | peer | ratio | peer is |",
        "|---|---|---|---|---|---|",
        *(f"| {r.what} | {r.unit} | {r.ours:,.0f} | {r.peer:,.0f} | {r.ours / r.peer:.1f} | {r.peer_name} |" for r in rows),
        "",
    ]
    put_head(HERE / "RESULTS.md", lines)
    generation.main()
    print("\n".join(lines), f"\n{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
