"""Let an actor write programs for problems and judge them, in one go: what training stages call to see how they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from .drift import drift
from .grading import grade_programs
from .models.actor import Actor
from .records import OUTCOMES, Problem, Program, Verdict
from .sampling import Settings, Task, sample
from .sandbox import Judge


class Trial(NamedTuple):
    """Programs and their verdicts, in equal order."""

    programs: list[Program]
    verdicts: list[Verdict]


def try_out(actor: Actor, problems: Sequence[Problem], samples: int, settings: Settings, judge: Judge) -> Trial:
    """`samples` programs for each problem, judged on the hidden tests up to the first failure."""
    tasks = [Task(p, tuple(range(samples))) for p in problems]
    programs = list(sample(actor, tasks, settings))
    verdicts = list(grade_programs(judge, {p.id: p for p in problems}, programs, tests="hidden", stop_at_first_failure=True))
    return Trial(programs, verdicts)


def pass_share(verdicts: Sequence[Verdict]) -> float:
    """Share of programs that pass; programs without a verdict do not count. NaN when there is none."""
    judged = [v for v in verdicts if v.harness_error is None]
    return sum(v.is_pass for v in judged) / len(judged) if judged else float("nan")


def outcome_shares(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """`outcome/<name>` -> share of the programs that have a verdict."""
    judged = [v for v in verdicts if v.harness_error is None]
    return {f"outcome/{name}": sum(v.outcome is name for v in judged) / max(1, len(judged)) for name in OUTCOMES}


Look = Callable[[int], Mapping[str, float]]


@contextmanager
def looking(
    actor: Actor, problems: Sequence[Problem], settings: Settings, allow_unsandboxed: bool, start: Actor | None = None
) -> Iterator[Look | None]:
    """A judge and a function from the training step to numbers of the actor on `problems`; None without problems.

    The numbers: `validation/greedy`, the share of greedy programs that pass, the shares of their four outcomes, `actor/length`, their mean
    number of tokens, and what drift.py finds in a few drawn programs, the divergence from `start` where there is one.
    """
    if not problems:
        yield None
        return
    with Judge(workers=1, allow_unsandboxed=allow_unsandboxed) as judge:

        def look(step: int) -> Mapping[str, float]:
            programs, verdicts = try_out(actor, problems, 1, settings, judge)
            length = sum(p.tokens or 0 for p in programs) / len(programs)
            return {
                "validation/greedy": pass_share(verdicts),
                **outcome_shares(verdicts),
                "actor/length": length,
                **drift(actor, start, problems, settings),
            }

        yield look
