"""A critic reads judged programs: the value of every token, and what it holds of the whole program.

`token_values` is what fine-tuning multiplies with the relative return (CodeRL eq. 10); `token_scores` makes the records that the
report shows. How good a critic is: `critic_quality`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import PreTrainedTokenizerBase

from .examples import Judged
from .formulas.coderl import passed_probabilities, token_values
from .models.critic import Critic, CriticOutput
from .records import OUTCOMES, TokenScores
from .tokens import IGNORE, Batch, Example, collate, epoch_batches, token_texts


class Reading(NamedTuple):
    """The critic's reading of one program of T tokens: values and p(passed) of length T, and the probabilities of the outcomes."""

    values: tuple[float, ...]
    passed: tuple[float, ...]
    probabilities: tuple[float, ...]


def read_batch(critic: Critic, batch: Batch) -> CriticOutput:
    """The critic on a batch: an encoder runs once per distinct prompt."""
    return critic(batch.prompts, batch.prompt_mask, batch.labels.masked_fill(batch.labels == IGNORE, critic.pad_id), batch.mask, batch.row_prompt)


@torch.inference_mode()
def read_programs(critic: Critic, examples: Sequence[Example], budget: int = 16_384) -> list[Reading]:
    """A reading of every example, in equal order; in batches as training has them, of at most `budget` tokens."""
    critic.eval()
    readings: dict[int, Reading] = {}
    for part in epoch_batches(examples, budget, seed=0, group=8 if critic.shares_prompts else 1):
        batch = Batch(*(tensor.to(critic.body.device) for tensor in collate(part, critic.pad_id)))
        output = read_batch(critic, batch)
        values = token_values(output.token_logits, batch.outcomes)
        passed = passed_probabilities(output.token_logits)
        whole = output.logits.softmax(-1)
        for row, example in enumerate(part):
            size = len(example.program)
            readings[id(example)] = Reading(tuple(values[row, :size].tolist()), tuple(passed[row, :size].tolist()), tuple(whole[row].tolist()))
    return [readings[id(example)] for example in examples]


def token_scores(tokenizer: PreTrainedTokenizerBase, judged: Judged, example: Example, reading: Reading) -> TokenScores:
    """The record of one reading, numbers to four digits. Of two outcomes "failed" is written as a failed test."""
    assert judged.verdict.outcome is not None
    names = OUTCOMES[-len(reading.probabilities) :]
    best = max(range(len(names)), key=lambda i: reading.probabilities[i])
    return TokenScores(
        problem=judged.program.problem,
        index=judged.program.index,
        tokens=token_texts(tokenizer, example.program),
        values=tuple(round(v, 4) for v in reading.values),
        passed=tuple(round(v, 4) for v in reading.passed),
        predicted=names[best],
        outcome=judged.verdict.outcome,
    )
