"""Records to training examples: references for cross-entropy, judged programs for the critic, weighted programs for the actor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from .errors import DataError
from .prompts import prompt, template_of
from .records import Problem, Program, Verdict, answer_text, code_digest
from .tokens import Example, Truncation, decode, encode_program, encode_prompt


class Limits(NamedTuple):
    """Longest prompt and longest program, in tokens; what is longer is cut and counted."""

    source: int
    program: int


class Examples(NamedTuple):
    """Examples, and how many were cut."""

    examples: list[Example]
    truncation: Truncation


class _Prompts:
    """Encodes each problem's prompt once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int) -> None:
        self.tokenizer, self.limit, self.cut = tokenizer, limit, 0
        self.known: dict[str, tuple[int, ...]] = {}

    def __call__(self, problem: Problem) -> tuple[int, ...]:
        if problem.id not in self.known:
            self.known[problem.id], cut = encode_prompt(self.tokenizer, prompt(problem, template_of(self.tokenizer)), self.limit)
            self.cut += cut
        return self.known[problem.id]


def program_ids(tokenizer: PreTrainedTokenizerBase, program: Program, limit: int) -> tuple[tuple[int, ...], bool]:
    """The ids that the actor drew where they are known (`token_ids`) and say this text in this tokenizer, else those of the text; and whether
    they were cut. The text is the whole answer where the program is a part of it."""
    drawn = program.extra.get("token_ids")
    fits = isinstance(drawn, list) and all(isinstance(i, int) and 0 <= i < len(tokenizer) for i in drawn)
    if drawn and fits and decode(tokenizer, drawn) == answer_text(program):
        return tuple(drawn[:limit]), len(drawn) > limit
    return encode_program(tokenizer, program.code, limit)


def reference_examples(tokenizer: PreTrainedTokenizerBase, problems: Sequence[Problem], limits: Limits) -> Examples:
    """One example for each reference solution. A reference that is too long is left out: half a program teaches to stop half-way."""
    prompts, examples, long, count = _Prompts(tokenizer, limits.source), [], 0, 0
    for problem in problems:
        for solution in problem.solutions:
            ids, cut = encode_program(tokenizer, solution, limits.program)
            count, long = count + 1, long + cut
            if not cut:
                examples.append(Example(key=problem.id, prompt=prompts(problem), program=ids))
    return Examples(examples, Truncation(prompts.cut, long, count))


class Judged(NamedTuple):
    """A program with its verdict."""

    program: Program
    verdict: Verdict


def join_verdicts(programs: Iterable[Program], verdicts: Iterable[Verdict]) -> list[Judged]:
    """Programs with their verdicts, by (problem, index); programs without a verdict (harness errors) are left out.

    Raises:
        DataError: a program was not graded, or its verdict belongs to another text.
    """
    known = {(v.problem, v.index): v for v in verdicts}
    result = []
    for program in programs:
        verdict = known.get((program.problem, program.index))
        if verdict is None:
            raise DataError(f"program {program.index} of problem {program.problem!r} has no verdict; run `coderl grade` on these programs first")
        if verdict.extra.get("code_digest", code_digest(program)) != code_digest(program):
            raise DataError(
                f"the verdict of program {program.index} of problem {program.problem!r} was given to another text; "
                "the programs were drawn anew: remove the verdicts and run `coderl grade` again"
            )
        if verdict.outcome is not None:
            result.append(Judged(program, verdict))
    return result


def judged_examples(tokenizer: PreTrainedTokenizerBase, problems: Mapping[str, Problem], judged: Sequence[Judged], limits: Limits) -> Examples:
    """One example for each judged program, labelled with its outcome, in equal order.

    Raises:
        DataError: a program answers a problem that is not there.
    """
    examples, truncation = program_examples(tokenizer, problems, [one.program for one in judged], limits)
    labels = [verdict.outcome.label for _, verdict in judged if verdict.outcome is not None]
    assert len(labels) == len(examples)
    return Examples([example._replace(label=label) for example, label in zip(examples, labels, strict=True)], truncation)


def program_examples(tokenizer: PreTrainedTokenizerBase, problems: Mapping[str, Problem], programs: Sequence[Program], limits: Limits) -> Examples:
    """One example for each program, in equal order; no label says anything.

    Raises:
        DataError: a program answers a problem that is not there.
    """
    prompts, examples, long = _Prompts(tokenizer, limits.source), [], 0
    for program in programs:
        if program.problem not in problems:
            raise DataError(f"a program answers problem {program.problem!r}, which the problems file lacks; give the file it was sampled from")
        ids, cut = program_ids(tokenizer, program, limits.program)
        long += cut
        examples.append(Example(key=program.problem, prompt=prompts(problems[program.problem]), program=ids, supervised=False))
    return Examples(examples, Truncation(prompts.cut, long, len(programs)))


def labelled_for(examples: Sequence[Example], outcomes: int) -> list[Example]:
    """The examples with labels as a critic of so many outcomes has them: the four outcomes, or two, 1 for a pass and 0 for anything else."""
    assert outcomes in (2, 4), f"a critic has 2 or 4 outcomes, found {outcomes}"
    return list(examples) if outcomes == 4 else [e._replace(label=int(e.label == 3)) for e in examples]
