"""The judge from several threads, from an event loop, and with a tier that is forced."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator

import pytest

from coderl.errors import ProblemError, SandboxError
from coderl.records import Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits
from coderl.sandbox.judge import _Line

ECHO = Problem(id="echo", statement="", kind="stdin", tests=(Test(input="x\n", output="x\n"),))
BARE = Problem(id="bare", statement="", kind="stdin")


def programs(count: int) -> list[Program]:
    return [Program("echo", f"import time\ntime.sleep({0.02 if n % 3 == 0 else 0})\nprint({'input()' if n % 2 else n})#{n}", n) for n in range(count)]


async def collected(stream: AsyncIterator[Verdict]) -> list[Verdict]:
    return [verdict async for verdict in stream]


def test_a_stream_gives_what_grade_gives_in_order(judge: Judge) -> None:
    pairs = [(ECHO, program) for program in programs(50)]
    verdicts = asyncio.run(collected(judge.grade_stream(pairs)))
    assert [verdict.index for verdict in verdicts] == list(range(50))
    assert [verdict.is_pass for verdict in verdicts] == [verdict.is_pass for verdict in judge.grade_many(pairs)]


def test_the_event_loop_goes_on_while_programs_run(judge: Judge) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    async def main() -> list[Verdict]:
        heart = asyncio.create_task(beat())
        try:
            slow = Program("echo", "import time\ntime.sleep(0.5)\nprint(input())", 0)
            return await collected(judge.grade_stream([(ECHO, slow)]))
        finally:
            heart.cancel()

    assert asyncio.run(main())[0].is_pass
    assert beats >= 10


def test_pairs_may_come_asynchronously_and_their_errors_come_last(judge: Judge) -> None:
    async def pairs() -> AsyncIterator[tuple[Problem, Program]]:
        for program in programs(5):
            await asyncio.sleep(0)
            yield ECHO, program
        yield BARE, Program("bare", "", 0)

    seen: list[int] = []

    async def main() -> None:
        async for verdict in judge.grade_stream(pairs()):
            seen.append(verdict.index)

    with pytest.raises(ProblemError, match="no hidden tests"):
        asyncio.run(main())
    assert seen == list(range(5))


def test_a_stream_that_is_left_drops_what_waits(judge: Judge) -> None:
    taken = 0

    def endless() -> Iterator[tuple[Problem, Program]]:
        nonlocal taken
        while True:
            taken += 1
            yield ECHO, Program("echo", f"print(input())#{taken}", taken)

    async def main() -> list[int]:
        found = []
        stream = judge.grade_stream(endless())
        async for verdict in stream:
            found.append(verdict.index)
            if len(found) == 3:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(main()) == [1, 2, 3]
    assert taken < 100
    assert judge.grade(ECHO, programs(2))[1].is_pass


def test_several_threads_share_a_judge(judge: Judge) -> None:
    """Each with problems of its own, more than the judge remembers plans for."""
    found: dict[int, list[bool]] = {}

    def work(number: int) -> None:
        pairs = []
        for n in range(100):
            problem = Problem(id=f"{number}/{n}", statement="", kind="stdin", tests=(Test(input="", output=f"{number} {n}"),))
            pairs.append((problem, Program(problem.id, f"print({number}, {n if n % 5 else 'None'})", n)))
        found[number] = [verdict.is_pass for verdict in judge.grade_many(pairs)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [n % 5 != 0 for n in range(100)] for number in range(4)}


@pytest.mark.parametrize("tier", ["B", "C"])
def test_a_tier_can_be_forced(tier: str) -> None:
    try:
        judge = Judge(1, Limits(cpu_seconds=0.5), tier=tier)
    except SandboxError as error:
        pytest.skip(str(error))
    with judge:
        verdict = judge.grade(ECHO, [Program("echo", "print(input())", 0)])[0]
    assert (verdict.tier, verdict.is_pass) == (tier, True)


def test_a_tier_that_is_none_is_refused() -> None:
    for tier in ("E", "AB", "", "D"):
        with pytest.raises(SandboxError, match="it must be A, B or C"):
            Judge(1, tier=tier)
    with Judge(1, Limits(cpu_seconds=0.5), allow_unsandboxed=True, tier="D") as judge:
        assert judge.tier == "D"


def test_a_problem_lives_as_long_as_a_verdict_of_it_is_remembered(judge: Judge) -> None:
    """Verdicts are remembered by the problem's identity: were it gone, another problem could take its place in memory, and its verdicts."""
    line = _Line(judge, "hidden", False)
    problem = Problem("gone", "", "call", entry_point="f", tests=(Test(input=[], output=1),))
    alive = weakref.ref(problem)
    line.add(problem, Program("gone", "def f(): return 1", 0))
    assert line.take().is_pass
    judge._plans.clear()
    del problem
    gc.collect()
    assert alive() is not None
    line.known.clear()
    gc.collect()
    assert alive() is None
