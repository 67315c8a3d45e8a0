"""B-Coder's step beside CodeRL's: CPU time and memory of the two methods' stages on the same programs.

    python bench/bcoder.py [--rounds 3]

Every way is its `coderl` command in a process of its own, one thread, in turns; a step is an optimiser step on at most 4,096 tokens of sampled
programs and their prompts, with as many of reference solutions beside them. Time of a step: CPU seconds between the first and the last line of
`metrics.jsonl`; memory: the process' largest resident set. The programs are Mini's references with verdicts dealt out in turn, since neither
method's step depends on what a program is worth.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from results_file import put_section

from coderl.problems import mini
from coderl.records import Outcome, Program, Verdict
from coderl.run_directory import git_commit
from coderl.store import write_records

HERE = Path(__file__).resolve().parent
UPDATES, PROBLEMS, EACH = 40, 200, 8


class Cost(NamedTuple):
    """Of one run: CPU seconds of a step and of the whole command, largest resident set in MiB."""

    step: float
    whole: float
    memory: float


def coderl(*words: object) -> tuple[float, float]:
    """Run a command; its CPU seconds and largest resident set in MiB."""
    process = subprocess.Popen([sys.executable, "-m", "coderl", *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"coderl {' '.join(map(str, words))} ended with {process.returncode}"
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def prepared(folder: Path) -> tuple[object, ...]:
    """Problems, programs and verdicts, and a small actor; the flags that every stage takes."""
    problems = mini.generate(0, train=PROBLEMS, tests_only=0, validation=0, heldout=0).train
    write_records(folder / "problems.jsonl", problems)
    programs = [Program(p.id, f"{p.solutions[i % len(p.solutions)]}\n# {i}", i) for p in problems for i in range(EACH)]  # equal texts would be one
    outcomes = list(Outcome)
    write_records(folder / "programs.jsonl", programs)
    write_records(folder / "verdicts.jsonl", [Verdict(p.problem, p.index, outcomes[p.index % len(outcomes)]) for p in programs])
    write_records(folder / "greedy.jsonl", [Verdict(p.id, 0, Outcome.FAILED_TEST) for p in problems])
    coderl("warm-start", "--problems", folder / "problems.jsonl", "--out", folder / "warm", "--updates", 20)
    judged = ("--programs", folder / "programs.jsonl", "--verdicts", folder / "verdicts.jsonl")
    files = ("--problems", folder / "problems.jsonl", *judged, "--references", folder / "problems.jsonl")
    return ("--model", folder / "warm" / "actor", *files, "--batch-tokens", 4096)


def cost(folder: Path, *words: object) -> Cost:
    """Of one command that writes a run folder."""
    cpu, memory = coderl(*words, "--out", folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    looks = [(line["step"], line["cpu_seconds"]) for line in lines if line.get("step")]
    (first, begun), (last, ended) = looks[0], looks[-1]
    return Cost((ended - begun) / (last - first), cpu, memory)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        flags = prepared(folder)
        ways: dict[str, tuple[object, ...]] = {
            "CodeRL, fine-tuning": ("finetune", "coderl", "--variant", "A", "--baseline", folder / "greedy.jsonl", "--epochs", 2, *flags),
            "B-Coder, values": ("bcoder", "value", "--updates", UPDATES, *flags),
            "B-Coder, fine-tuning": ("bcoder", "finetune", "--updates", UPDATES, *flags),
        }
        found: dict[str, list[Cost]] = {name: [] for name in ways}
        for number in range(rounds):
            for name, words in ways.items():
                found[name].append(cost(folder / f"{number}-{len(found[name])}-{name.replace(' ', '-')}", *words))
    middle = {name: Cost(*(statistics.median(values) for values in zip(*costs, strict=True))) for name, costs in found.items()}
    peer = middle["CodeRL, fine-tuning"]
    lines = [
        f"Command: `python bench/bcoder.py --rounds {rounds}`, commit {git_commit()}, {platform.platform()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}.",
        f"{PROBLEMS} problems x {EACH} programs, {UPDATES} steps of B-Coder's stages; medians of {rounds} rounds, in turns. "
        "A fine-tuning that begins at an actor makes the values' decoder as the value stage does.",
        "",
        "| stage | CPU-ms a step | to CodeRL's | largest resident set, MiB | to CodeRL's | CPU s of the whole command |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {1000 * c.step:.0f} | {c.step / peer.step:.2f} | {c.memory:.0f} | {c.memory / peer.memory:.2f} | {c.whole:.1f} |"
            for name, c in middle.items()
        ),
    ]
    put_section(HERE / "RESULTS.md", "B-Coder's step", lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
