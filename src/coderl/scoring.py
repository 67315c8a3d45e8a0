"""A critic reads judged programs: the value of every token, and what it holds of the whole program.

`token_values` is what fine-tuning multiplies with the relative return (CodeRL eq. 10); `token_scores` makes the records that the
report shows. The critic's accuracy is measured here too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.stats import mannwhitneyu
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
    """The critic on a batch: the encoder runs once per distinct prompt."""
    return critic(batch.prompts, batch.prompt_mask, batch.labels.masked_fill(batch.labels == IGNORE, critic.pad_id), batch.mask, batch.row_prompt)


@torch.inference_mode()
def read_programs(critic: Critic, examples: Sequence[Example], budget: int = 16_384) -> list[Reading]:
    """A reading of every example, in equal order; in batches as training has them, of at most `budget` tokens."""
    critic.eval()
    readings: dict[int, Reading] = {}
    for part in epoch_batches(examples, budget, seed=0, group=8):
        batch = Batch(*(tensor.to(critic.body.device) for tensor in collate(part, critic.pad_id)))
        output = read_batch(critic, batch)
        values = token_values(output.token_logits, batch.outcomes)
        passed = passed_probabilities(output.token_logits)
        whole = output.logits.softmax(-1)
        for row, example in enumerate(part):
            size = len(example.program)
            readings[id(example)] = Reading(tuple(values[row, :size].tolist()), tuple(passed[row, :size].tolist()), tuple(whole[row].tolist()))
    return [readings[id(example)] for example in examples]


class Accuracy(NamedTuple):
    """How good a critic is on judged programs.

    Fields:
        accuracy: share of programs whose most likely outcome is the true one.
        majority: what always saying the most frequent outcome would reach: the number to beat.
        auc: chance that a passing program has a higher p(passed) than one that does not pass; NaN when there is only one kind.
        programs: how many.
    """

    accuracy: float
    majority: float
    auc: float
    programs: int


def accuracy(readings: Sequence[Reading], labels: Sequence[int]) -> Accuracy:
    """Accuracy of the readings against labels 0..C-1; the last class is "passed"."""
    if not readings:
        return Accuracy(float("nan"), float("nan"), float("nan"), 0)
    probabilities = torch.tensor([r.probabilities for r in readings])
    truth = torch.tensor(labels)
    right = (probabilities.argmax(-1) == truth).float().mean()
    majority = torch.bincount(truth).max() / len(truth)
    return Accuracy(float(right), float(majority), _auc(probabilities[:, -1], truth == probabilities.shape[1] - 1), len(labels))


def _auc(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """Area under the ROC curve: the Mann-Whitney statistic over the number of pairs, ties counted half."""
    if bool(positive.all()) or not bool(positive.any()):
        return float("nan")
    above = mannwhitneyu(scores[positive].numpy(), scores[~positive].numpy()).statistic
    return float(above) / int(positive.sum() * (~positive).sum())


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
