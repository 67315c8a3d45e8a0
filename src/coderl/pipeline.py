"""Run stages as a chain of `coderl` commands, each in a process of its own, as many at a time as there are cores.

Every step is a command line that can be run by hand. Here its process is forked from one that has imported torch and transformers
already (the standard library's fork server), which saves each step several CPU seconds. What it printed is in `logs/NAME.log`, what
it cost (CPU seconds of the process and all its children) in `steps.jsonl`, which is also what a second call resumes from: a step that
is there is not run again, and one that is there with another command is an error, since what it left behind would be mixed with the
new. What a step cost before it was interrupted is kept in `interrupted.json` and counts too. A step that fails ends the chain with the
last words of its log.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import runpy
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, NamedTuple

from .errors import CoderlError
from .records import Record
from .store import atomic_write, iterate_records, write_records

HEARTBEAT_SECONDS = 30.0
SPINS = "20000"
"""Turns that an OpenMP thread waits in a loop before it sleeps. With the default, hundreds of thousands, two threads were four times
slower when another job had one of the cores; with 3,000 a training step took 77 ms alone instead of 65 (docs/lab-log.md)."""


class Step(NamedTuple):
    """One stage of a chain.

    Fields:
        name: unique; names the log.
        title: what it is for, in words.
        command: arguments of `coderl`.
        needs: steps that must have finished.
        cores: how many cores it keeps busy.
        budget_of: the command gets `--cpu-seconds` with what these steps cost together, for an equal-time control.
    """

    name: str
    title: str
    command: tuple[str, ...]
    needs: tuple[str, ...] = ()
    cores: int = 1
    budget_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepCost(Record):
    """A finished step. Seconds of CPU (children included) and of wall time."""

    step: str
    command: tuple[str, ...]
    cpu_seconds: float
    wall_seconds: float
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return tuple(value) if name == "command" else value


class _Running(NamedTuple):
    step: Step
    command: tuple[str, ...]
    process: ForkServerProcess
    cost: Connection
    log: Path
    began: float


def run_steps(
    steps: Sequence[Step], folder: Path, cores: int, say: Callable[[str], None] = print, preload: Sequence[str] = ()
) -> dict[str, StepCost]:
    """Run the steps in order of their needs, up to `cores` cores at a time; returns what each cost.

    Args:
        preload: modules that are imported once, before the first step, for all of them. A program that calls this needs the usual
            `if __name__ == "__main__"`.

    Raises:
        CoderlError: a step failed; KeyboardInterrupt: passed on after the running steps have ended on it too.
    """
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    path = folder / "steps.jsonl"
    costs = finished_steps(steps, folder)
    own = {step.name for step in steps}
    others = [cost for cost in (iterate_records(path, StepCost) if path.exists() else ()) if cost.step not in own]  # of other chains in this folder
    if costs:
        say(f"{len(costs)} of {len(steps)} steps are there already: {', '.join(costs)}")
    began, running = time.monotonic(), list[_Running]()
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(preload))
    try:
        beat = began
        while len(costs) < len(steps):
            running += _start(context, steps, costs, running, cores, folder, say, began)
            ended = _wait_for_one(running, beat + HEARTBEAT_SECONDS)
            if ended is None:
                beat = time.monotonic()
                say(_heartbeat(running, began))
                continue
            one, seconds = ended
            running.remove(one)
            cost = costs[one.step.name] = _cost(one, seconds, folder)
            write_records(path, [*others, *costs.values()])
            say(f"{_clock(began)}  {one.step.name} done in {cost.wall_seconds:.0f} s, CPU {cost.cpu_seconds:.0f} s [{len(costs)}/{len(steps)}]")
    finally:
        _end(running)
        _keep_costs(running, folder)
    return costs


def finished_steps(steps: Sequence[Step], folder: Path) -> dict[str, StepCost]:
    """Steps that an earlier call finished in this folder.

    Raises:
        CoderlError: one of them was run with another command than it would have now.
    """
    path = folder / "steps.jsonl"
    known = {cost.step: cost for cost in iterate_records(path, StepCost)} if path.exists() else {}
    costs = {step.name: known[step.name] for step in steps if step.name in known}
    for step in steps:
        if step.name in costs and _command(step, costs) != costs[step.name].command:
            raise CoderlError(
                f"{path.parent} was made with other settings (step {step.name} was `coderl {' '.join(costs[step.name].command)}`); "
                "choose another --out, or remove that folder to start anew"
            )
    return costs


def _command(step: Step, costs: Mapping[str, StepCost]) -> tuple[str, ...]:
    if not step.budget_of:
        return step.command
    return (*step.command, "--cpu-seconds", f"{sum(costs[name].cpu_seconds for name in step.budget_of):.0f}")


def _start(
    context: ForkServerContext,
    steps: Sequence[Step],
    costs: Mapping[str, StepCost],
    running: Sequence[_Running],
    cores: int,
    folder: Path,
    say: Callable[[str], None],
    began: float,
) -> list[_Running]:
    """Start what can be started: in the order of the list, never more cores than there are."""
    started: list[_Running] = []
    names = set(costs) | {r.step.name for r in running}
    free = cores - sum(r.step.cores for r in running)
    for step in steps:
        ready = step.name not in names and all(n in costs for n in (*step.needs, *step.budget_of))
        if ready and (step.cores <= free or free == cores):
            command = _command(step, costs)
            say(f"{_clock(began)}  {step.name}: {step.title}")
            log = folder / "logs" / f"{step.name}.log"
            receiving, sending = context.Pipe(duplex=False)
            process = context.Process(target=_stage, args=(command, str(log), sending), name=step.name)
            process.start()
            sending.close()
            started.append(_Running(step, command, process, receiving, log, time.monotonic()))
            free -= step.cores
    if not started and not running:
        waiting = [s.name for s in steps if s.name not in costs]
        raise CoderlError(f"no step of {', '.join(waiting)} can start; their needs form a ring or name no step")
    return started


def _stage(command: tuple[str, ...], log: str, cost: Connection) -> None:
    """What `python -m coderl COMMAND >> LOG 2>&1` would do, in this fresh process; then its CPU seconds, with those of its children."""
    os.setsid()
    for target, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)):
        handle = os.open(path, flags, 0o644)
        os.dup2(handle, target)
        os.close(handle)
    os.dup2(1, 2)
    sys.argv = ["coderl", *command]
    try:
        runpy.run_module("coderl", run_name="__main__")
    finally:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cost.send(sum(usage.ru_utime + usage.ru_stime for usage in usages))


def _cost(one: _Running, seconds: float, folder: Path) -> StepCost:
    before = _interrupted(folder).get(one.step.name, 0.0)
    return StepCost(one.step.name, one.command, round(before + seconds, 1), round(time.monotonic() - one.began, 1))


def _interrupted(folder: Path) -> dict[str, float]:
    """CPU seconds of attempts at steps that did not come to their end."""
    path = folder / "interrupted.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _keep_costs(ended: Sequence[_Running], folder: Path) -> None:
    """Note what steps that did not finish have cost; one that was killed cannot say."""
    spent = _interrupted(folder)
    for one in ended:
        try:
            seconds = one.cost.recv() if one.cost.poll() else 0.0
        except EOFError:
            continue
        spent[one.step.name] = spent.get(one.step.name, 0.0) + seconds
    if ended:
        atomic_write(folder / "interrupted.json", json.dumps(spent) + "\n")


def _wait_for_one(running: Sequence[_Running], until: float) -> tuple[_Running, float] | None:
    """The next step that ends, with its CPU seconds; None when the time is over."""
    ended = wait([one.process.sentinel for one in running], max(0.0, until - time.monotonic()))
    for one in running:
        if one.process.sentinel in ended:
            one.process.join()
            if one.process.exitcode != 0:
                raise CoderlError(f"step {one.step.name} ended with exit code {one.process.exitcode}: {last_words(one.log)} (all of it: {one.log})")
            return one, float(one.cost.recv())
    return None


def _end(running: Sequence[_Running]) -> None:
    """End the steps that still run and wait until they are gone. SIGTERM, which a stage takes like Ctrl-C: SIGINT is ignored under nohup."""
    for kind, patience in ((signal.SIGTERM, 20.0), (signal.SIGKILL, 5.0)):
        for one in running:
            if one.process.is_alive():
                try:
                    os.killpg(one.process.pid or 0, kind)
                except ProcessLookupError:  # it has no group of its own yet
                    one.process.terminate()
        deadline = time.monotonic() + patience
        for one in running:
            one.process.join(max(0.0, deadline - time.monotonic()))


def last_words(log: Path) -> str:
    """The last line of a log that is not blank."""
    if not log.exists():
        return "it has not begun"
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 4096))
        lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"


def _clock(began: float) -> str:
    seconds = int(time.monotonic() - began)
    return f"{seconds // 60:3d}:{seconds % 60:02d}"


def _heartbeat(running: Sequence[_Running], began: float) -> str:
    return "\n".join(f"{_clock(began)}  ... {one.step.name}: {last_words(one.log)[:150]}" for one in running)
