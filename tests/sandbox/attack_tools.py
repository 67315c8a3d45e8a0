"""What all attacks share: the problems under attack, the tiers, and the checks that hold after every one of them."""

import os
import time
from pathlib import Path

import pytest

from coderl.records import Problem, Program, Test, Verdict
from coderl.sandbox import Judge

SECRET = "s3cr3t-expected-0utput"
ECHO = Problem(id="echo", statement="", kind="stdin", tests=(Test(input="x\n", output=SECRET), Test(input="y\n", output="y\n")))
HONEST = Problem(id="honest", statement="", kind="stdin", tests=(Test(input="x\n", output="x\n"),))
CALL = Problem(id="call", statement="", kind="call", entry_point="f", tests=(Test(input=[1], output=SECRET), Test(input=[2], output=2)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a module that imports this runs in each tier, forced."""
    if "lonely" in metafunc.fixturenames:
        metafunc.parametrize("lonely", "ABC", indirect=True, scope="session", ids=["tierA", "tierB", "tierC"])


def slack() -> float:
    """Seconds: half a one, and on a machine that others use too, what its scheduler may take."""
    return 0.5 if os.getloadavg()[0] < 0.6 * (os.cpu_count() or 1) else 3.0


def attack(judge: Judge, code: str, problem: Problem = ECHO) -> Verdict:
    """The verdict, after the checks that hold for every attack."""
    assert judge.grade(HONEST, [Program("honest", "print(input())")])[0].is_pass
    before = processes()
    start = time.monotonic()
    verdict = judge.grade(problem, [Program(problem.id, code, 0)], stop_at_first_failure=True)[0]
    assert time.monotonic() - start < judge.limits.of(problem).wall_seconds + slack()
    assert verdict.outcome is not None and not verdict.is_pass, verdict
    assert processes() == before  # nothing left, and the sandbox process not even started again
    honest = judge.grade(HONEST, [Program("honest", "print(input())")])[0]
    assert honest.is_pass, honest
    return verdict


def needs(judge: Judge, tier: str) -> None:
    if judge.tier > tier:
        pytest.skip(f"tier {judge.tier} does not promise this; it is held from tier {tier} on")


def processes() -> set[int]:
    """Processes below this one, zombies included."""
    parents: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        try:
            fields = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split() if entry.isdigit() else None
        except OSError:
            continue
        if fields is not None:
            parents.setdefault(int(fields[1]), []).append(int(entry))
    found: set[int] = set()
    todo = [os.getpid()]
    while todo:
        children = parents.get(todo.pop(), [])
        found.update(children)
        todo += children
    return found
