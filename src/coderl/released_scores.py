"""Critic scores in the released CodeRL's form: theirs to token scores of ours, and a critic of ours to a file of theirs.

Theirs are the head's numbers at every position, before the token there is read; ours are probabilities of the outcome that the tests gave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from .errors import DataError
from .examples import Judged
from .formulas.coderl import passed_probabilities, token_values
from .formulas.masks import IGNORE
from .models.critic import Critic
from .problems.reindent import reindent
from .problems.released import PROGRAM, PROMPT, Scores
from .prompts import prompt, template_of
from .records import OUTCOMES, Problem, Program, TokenScores, code_digest
from .tokens import decode, encode_program, encode_prompt, token_texts

BATCH = 16
"""Programs that a critic reads at a time: problems have hundreds of them, each as wide as the released form."""


class Scored(NamedTuple):
    """A judged program as the critic read it (re-indented, with its token ids), and its token scores."""

    judged: Judged
    scores: TokenScores


def with_scores(tokenizer: PreTrainedTokenizerBase, judged: Sequence[Judged], scores: Scores) -> list[Scored]:
    """The judged programs of a problem with the released scores of each.

    Values are not rounded to four digits as ours are: a fine-tuning on either side is to see the same numbers.

    Raises:
        DataError: the scores are of other programs, or of other outcomes.
    """
    if len(judged) != len(scores.programs):
        where = judged[0].program.problem if judged else "a problem"
        raise DataError(f"{where} has {len(judged)} programs and scores of {len(scores.programs)}; they do not belong together")
    found = []
    for one, row, label, best, logits in zip(judged, scores.programs, scores.outcomes, scores.predicted, scores.logits, strict=True):
        outcome = one.verdict.outcome
        if outcome is None or outcome.label != label:
            raise DataError(f"program {one.program.index} of {one.program.problem} has the outcome {outcome}, its scores {OUTCOMES[label]}")
        ids = [int(i) for i in row[row != IGNORE]]
        states = torch.from_numpy(logits[: len(row)][row != IGNORE].astype(np.float32))[None]  # (1, T, 4)
        read = _as_read(tokenizer, one, ids)
        reading = TokenScores(
            problem=read.program.problem,
            index=read.program.index,
            tokens=token_texts(tokenizer, ids),
            values=tuple(round(v, 7) for v in token_values(states, torch.tensor([int(label)]))[0].tolist()),
            passed=tuple(round(v, 7) for v in passed_probabilities(states)[0].tolist()),
            predicted=OUTCOMES[int(best)],
            outcome=outcome,
        )
        found.append(Scored(read, reading))
    return found


def _as_read(tokenizer: PreTrainedTokenizerBase, one: Judged, ids: list[int]) -> Judged:
    """The program with the ids that the critic read, and with the text that these say where it differs by indentation only.

    Raises:
        DataError: the ids say another program.
    """
    text, program = decode(tokenizer, ids), one.program
    if text != program.code and reindent(program.code).startswith(text):  # cut at PROGRAM tokens, or re-indented
        program = replace(program, code=reindent(program.code))
    if not program.code.startswith(text):
        raise DataError(f"the scores of program {program.index} of {program.problem} are of another text; give the tokenizer of CodeT5")
    program = replace(program, tokens=len(ids), extra={**program.extra, "token_ids": ids})
    return Judged(program, replace(one.verdict, extra={**one.verdict.extra, "code_digest": code_digest(program)}))


@torch.inference_mode()
def scores_of(critic: Critic, tokenizer: PreTrainedTokenizerBase, problem: Problem, judged: Sequence[Judged]) -> Scores:
    """What a critic says of the judged programs of one problem, laid out as the released code's scores.

    Prompts and programs are cut and padded as there: 600 and 512 tokens, programs re-indented. The padding of a prompt is not attended to,
    unlike there, but for a released head, whose weights were taught so.

    Raises:
        DataError: the critic has two outcomes, where the released form has four.
    """
    if critic.outcomes != 4:
        raise DataError(f"the critic has {critic.outcomes} outcomes; the released scores are of four: train it with --outcomes 4")
    end = int(tokenizer.eos_token_id)
    source, _ = encode_prompt(tokenizer, prompt(problem, template_of(tokenizer)), PROMPT, tail=0)
    prompts = torch.full((1, PROMPT), end)
    prompts[0, : len(source)] = torch.tensor(source)
    seen = torch.ones_like(prompts, dtype=torch.bool)
    if critic.head.kind != "released":
        seen[0, len(source) :] = False
    labels = torch.full((len(judged), PROGRAM), IGNORE)
    for row, one in enumerate(judged):
        ids = _ids(tokenizer, one.program)
        labels[row, : len(ids)] = torch.tensor(ids)
    critic.eval()
    outputs = [critic(prompts, seen, part, part != IGNORE, torch.zeros(len(part), dtype=torch.long)) for part in labels.split(BATCH)]
    outcomes = [one.verdict.outcome.label for one in judged if one.verdict.outcome is not None]
    return Scores(
        programs=labels.numpy(),
        prompts=prompts.expand(len(judged), -1).numpy(),
        outcomes=np.array(outcomes, dtype=np.int64),
        predicted=torch.cat([output.logits.argmax(-1) for output in outputs]).numpy(),
        logits=torch.cat([output.token_logits.float() for output in outputs]).numpy(),
    )


def _ids(tokenizer: PreTrainedTokenizerBase, program: Program) -> tuple[int, ...]:
    return encode_program(tokenizer, reindent(program.code), PROGRAM)[0]
