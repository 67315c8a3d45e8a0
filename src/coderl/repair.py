"""Failed programs and what became of them: the source text of the repair model, and its training pairs (CodeRL section 3.3.4, eq. 13).

    L_repair(ω) = - Σ_t log p_ω(w_t | w_{1:t-1}, D, W^fail, u, c)

The source is the problem's prompt, the failed program W^fail, the outcome u and the error c; the target W is a program that is right. The
paper gives neither the template nor which right program is paired; both are ours. Between `prompts` and the recipes; knows no model.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from .errors import DataError
from .examples import Judged
from .prompts import prompt, template_of
from .records import Outcome, Problem, Program, Verdict, program_text
from .tokens import Example, encode_program, surrounding

ERROR_CHARACTERS = 200  # of an error message; the judge itself keeps 500
_SPELLED = {
    Outcome.COMPILE_ERROR: "compile error",
    Outcome.RUNTIME_ERROR: "runtime error",
    Outcome.FAILED_TEST: "failed test",
    Outcome.PASSED_TEST: "passed",
}


def error_text(verdict: Verdict) -> str:
    """Outcome u and error c in one line: "runtime error: IndexError: list index out of range (line 3)"."""
    assert verdict.outcome is not None, "a program without a verdict has no error to tell of"
    message = " ".join((verdict.error_message or "").split())[:ERROR_CHARACTERS]
    parts = [_SPELLED[verdict.outcome], *([verdict.error_type] if verdict.error_type else []), *([message] if message else [])]
    return ": ".join(parts) + (f" (line {verdict.error_line})" if verdict.error_line is not None else "")


class Shares(NamedTuple):
    """How many tokens of the statement and of the program are kept."""

    statement: int
    program: int


def share_source(statement: int, program: int, room: int) -> Shares:
    """Share `room` tokens: the program first, as long as a quarter of the room is left to the statement; what is over goes to the other.

    So the statement is cut first. Only a program that is longer than three quarters of the room is cut too.

    Args:
        statement, program: tokens that each has. room: tokens for both.
    """
    if statement + program <= room:
        return Shares(statement, program)
    least = min(statement, room // 4)
    kept = min(program, room - least)
    return Shares(room - kept, kept)


def repair_source(
    tokenizer: PreTrainedTokenizerBase, problem: Problem, program: Program, verdict: Verdict, limit: int
) -> tuple[tuple[int, ...], bool]:
    """What the repair model reads, at most `limit` tokens, and whether something was cut: the middle of the statement, then that of the program.

    The error is never cut, nor the words between the parts.

    Raises:
        DataError: the limit does not even hold the error.
    """

    def encoded(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
        return ids

    front, back = surrounding(tokenizer)
    statement, code = encoded(prompt(problem, template_of(tokenizer))), encoded(program_text(problem, program)[: 64 * limit])
    before, after = encoded("\nFAILED PROGRAM:\n"), encoded(f"\nERROR:\n{error_text(verdict)}\nREPAIRED PROGRAM:\n") + back
    room = limit - len(front) - len(before) - len(after)
    if room < 8:
        raise DataError(f"a repair source of {limit} tokens has no room beside the error of {len(after)}; raise --max-source-tokens")
    shares = share_source(len(statement), len(code), room)
    cut = shares != (len(statement), len(code))
    return (*front, *_middle_out(statement, shares.statement), *before, *_middle_out(code, shares.program), *after), cut


def _middle_out(ids: Sequence[int], size: int) -> Sequence[int]:
    """The beginning and the end, without the middle."""
    front = -(-size // 2)
    return ids if len(ids) <= size else [*ids[:front], *ids[len(ids) - (size - front) :]]


class Pair(NamedTuple):
    """A failed program with its verdict, and a right program for the same problem."""

    problem: Problem
    failed: Program
    verdict: Verdict
    target: str


def repair_pairs(problems: Mapping[str, Problem], judged: Sequence[Judged], references: bool = True, samples: bool = False) -> Iterator[Pair]:
    """A pair for every failed program whose problem has a right one: the closest by text, so that there is little to change.

    The same failed text of a problem comes once. Programs that failed nothing, and problems without a right program, give no pair.

    Args:
        problems: by id.
        references: the problems' reference solutions count as right programs (the paper's targets).
        samples: programs of `judged` that passed count as such.

    Raises:
        DataError: a program answers a problem that is not there.
    """
    right: dict[str, list[str]] = defaultdict(list)
    for program, verdict in judged:
        if program.problem not in problems:
            raise DataError(f"a program answers problem {program.problem!r}, which the problems file lacks; give the file it was sampled from")
        if samples and verdict.is_pass:
            right[program.problem].append(program.code)
    if references:
        for problem in problems.values():
            right[problem.id] += problem.solutions
    right = {name: list(dict.fromkeys(codes)) for name, codes in right.items()}
    seen: set[tuple[str, str]] = set()
    for program, verdict in judged:
        if not verdict.is_pass and right.get(program.problem) and (program.problem, program.code) not in seen:
            seen.add((program.problem, program.code))
            yield Pair(problems[program.problem], program, verdict, closest(program.code, right[program.problem]))


def closest(code: str, candidates: Sequence[str]) -> str:
    """The candidate most like the code (difflib's ratio), of equals the first."""
    matcher = difflib.SequenceMatcher(autojunk=False)
    matcher.set_seq2(code)

    def likeness(candidate: str) -> float:
        matcher.set_seq1(candidate)
        return matcher.ratio()

    return max(candidates, key=likeness)


class RepairExamples(NamedTuple):
    """Examples to train on; of the `pairs`, `cut` sources lost a part, and `long` targets were too long and are left out."""

    examples: list[Example]
    pairs: int
    cut: int
    long: int


def repair_examples(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], source: int, program: int) -> RepairExamples:
    """One example for each pair: at most `source` tokens to read; a target of more than `program` tokens is left out, as half a program."""
    examples, cut, long = [], 0, 0
    for number, pair in enumerate(pairs):
        target, too_long = encode_program(tokenizer, pair.target, program)
        if too_long:
            long += 1
            continue
        ids, shortened = repair_source(tokenizer, pair.problem, pair.failed, pair.verdict, source)
        cut += shortened
        examples.append(Example(key=f"{pair.problem.id}#{number}", prompt=ids, program=target, label=Outcome.PASSED_TEST.label))
    return RepairExamples(examples, len(pairs), cut, long)
