"""The programs that the page carries: which ones are taken when there are too many, and how they are packed for `browser.js`.

A log of a hundred thousand programs must not make a page that no browser opens: at most `limit` programs are taken, spread over
outcome and difficulty in proportion (every combination keeps some), and the page says how many were left out.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..errors import DataError, UsageError
from ..records import Problem, Program, TokenScores, Verdict, program_text

LIMIT = 2000
MOST_CHARACTERS = 20_000  # of one statement, one program or one error message; longer ones are cut, and say so


@dataclass(frozen=True)
class BrowserData:
    """What the program browser shows.

    Fields:
        problems: of the programs; others may be among them.
        programs: what was written; without any, problems and verdicts have nothing to show.
        verdicts: of these programs, joined by (problem, index); a program without one is shown as "not graded".
        scores: the critic's token values, joined the same way; may cover some programs only.
        limit: programs that are embedded at most.
    """

    problems: Sequence[Problem]
    programs: Sequence[Program]
    verdicts: Sequence[Verdict] = ()
    scores: Sequence[TokenScores] = ()
    limit: int = LIMIT


class Entry(NamedTuple):
    """A program with all that is known of it; `number` is its index within its problem."""

    problem: Problem
    program: Program
    number: int
    verdict: Verdict | None
    scores: TokenScores | None

    @property
    def outcome(self) -> str:
        if self.verdict is None:
            return "not graded"
        return "harness error" if self.verdict.outcome is None else str(self.verdict.outcome)


class Packed(NamedTuple):
    """JSON for the page, and the counts that it states."""

    data: dict[str, Any]
    shown: int
    total: int


def pack(browser: BrowserData) -> Packed:
    """Choose and pack the programs.

    Raises:
        DataError: a program names an unknown problem.
        UsageError: the limit is below 1.
    """
    entries = join(browser)
    chosen = select(entries, browser.limit)
    problems = {entry.problem.id: entry.problem for entry in chosen}
    places = {id_: place for place, id_ in enumerate(problems)}
    data = {
        "problems": [{"id": p.id, "difficulty": p.difficulty or "unknown", "statement": _cut(p.statement)} for p in problems.values()],
        "programs": [_packed(entry, places[entry.problem.id]) for entry in chosen],
    }
    return Packed(data, len(chosen), len(entries))


def join(browser: BrowserData) -> list[Entry]:
    """Programs with problem, verdict and scores, in the order of the programs."""
    problems = {problem.id: problem for problem in browser.problems}
    verdicts = {(verdict.problem, verdict.index): verdict for verdict in browser.verdicts}
    scores = {(score.problem, score.index): score for score in browser.scores}
    entries = []
    for index, program in _numbered(browser.programs):
        if program.problem not in problems:
            raise DataError(
                f"a program is for {program.problem!r}, which is not among the {len(problems)} problems; use the problems that were sampled"
            )
        key = (program.problem, index)
        entries.append(Entry(problems[program.problem], program, index, verdicts.get(key), scores.get(key)))
    return entries


def _numbered(programs: Iterable[Program]) -> Iterable[tuple[int, Program]]:
    """Programs without an index (-1) are numbered within their problem, as the judge does."""
    following: dict[str, int] = defaultdict(int)
    for program in programs:
        index = following[program.problem] if program.index < 0 else program.index
        following[program.problem] += 1
        yield index, program


def select(entries: Sequence[Entry], limit: int) -> list[Entry]:
    """At most `limit` entries, in their old order.

    Each combination of outcome and difficulty gets its share of the places, rounded up for the rare ones first; inside it, programs
    with token scores come first, and the rest is taken at even steps.
    """
    if limit < 1:
        raise UsageError(f"the limit of programs is {limit}; it must be 1 or more")
    if len(entries) <= limit:
        return list(entries)
    strata: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, entry in enumerate(entries):
        strata[entry.outcome, entry.problem.difficulty].append(place)
    chosen: list[int] = []
    left, waiting = limit, len(entries)
    for places in sorted(strata.values(), key=len):
        share = min(left, -(-left * len(places) // waiting))  # rounded up: a rare outcome keeps at least one
        chosen += _spread(places, entries, share)
        left, waiting = left - share, waiting - len(places)
    return [entries[place] for place in sorted(chosen)]


def _spread(places: Sequence[int], entries: Sequence[Entry], count: int) -> list[int]:
    ordered = [p for p in places if entries[p].scores is not None]
    if len(ordered) < count:
        rest = [p for p in places if entries[p].scores is None]
        return ordered + _even(rest, count - len(ordered))
    return _even(ordered, count)


def _even(places: Sequence[int], count: int) -> list[int]:
    return [places[i * len(places) // count] for i in range(min(count, len(places)))]


def _packed(entry: Entry, problem: int) -> dict[str, Any]:
    program, verdict, scores = entry.program, entry.verdict, entry.scores
    packed: dict[str, Any] = {
        "problem": problem,
        "index": entry.number,
        "origin": program.origin,
        "outcome": entry.outcome,
        "code": _cut(program_text(entry.problem, program)),
    }
    if program.model:
        packed["model"] = program.model
    if verdict is not None:
        packed |= {"passed": verdict.passed, "total": verdict.total, "seconds": round(verdict.cpu_seconds, 3), "trust": verdict.trust}
        told = {"error": verdict.error_type, "message": verdict.error_message, "line": verdict.error_line, "harness": verdict.harness_error}
        packed |= {key: _cut(value) if isinstance(value, str) else value for key, value in told.items() if value is not None}
    if scores is not None:
        packed |= {
            "tokens": scores.tokens,
            "values": _per_mille(scores.values),
            "chances": _per_mille(scores.passed),
            "predicted": str(scores.predicted),
        }
    return packed


def _per_mille(probabilities: Iterable[float]) -> list[int | None]:
    """Whole per mille are a third shorter than decimals; None where there is no number."""
    return [round(1000 * float(p)) if math.isfinite(p) else None for p in probabilities]


def _cut(content: str) -> str:
    if len(content) <= MOST_CHARACTERS:
        return content
    return f"{content[:MOST_CHARACTERS]}\n... ({len(content) - MOST_CHARACTERS} more characters are not shown)"
