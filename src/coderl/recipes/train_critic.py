"""Stage `train-critic`: a critic learns to predict what the unit tests say of a program (CodeRL section 3.3, eq. 9).

Reads sampled programs with verdicts and, with `--references`, reference solutions as programs that pass (as the paper does); writes `OUT/critic`,
`metrics.jsonl`, and its accuracy on problems that it was not trained on. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes

from .training import USUAL, Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..machine import Machine
    from ..models.critic import Critic
    from ..scoring import Accuracy
    from ..store import RunDirectory
    from ..tokens import Example


@dataclass(frozen=True)
class Config:
    """Train a critic to predict test outcomes."""

    model: Path
    """actor whose tokenizer the critic shares and whose weights it starts from"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/critic"""
    references: Path | None = None
    """problems whose reference solutions are learnt too, labelled as passing, as the paper does (.jsonl)"""
    from_actor: bool = True
    """start from the actor's weights; otherwise from random ones of the same shape"""
    updates: int = 600
    """optimiser steps"""
    learning_rate: float = 1e-3
    """peak learning rate (AdamW, falls linearly to a tenth)"""
    batch_tokens: int = 8192
    """tokens in a batch, padding included"""
    shared: int = 4
    """programs of one problem side by side in a batch; they share one encoder pass"""
    held_out: float = 0.1
    """share of the problems that is kept for measuring the critic, 0 to 0.5"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens; longer ones are cut"""
    training: Annotated[Training, OmitArgPrefixes] = USUAL
    """how the machine is used"""
    seed: int = 0
    """seed of weights, split and batch order"""


def main(config: Config) -> None:
    from ..errors import DataError, UsageError
    from ..examples import Limits, join_verdicts, judged_examples, reference_examples
    from ..grading import programs_of
    from ..machine import this_machine
    from ..models.actor import load_actor, t5_of
    from ..models.critic import PaperHead, critic_from_actor, critic_from_config, save_critic
    from ..records import Problem, Verdict
    from ..store import RunDirectory, manifest, read_records
    from .training import finish, over_budget

    if not 0 <= config.held_out <= 0.5:
        raise UsageError(f"--held-out is {config.held_out}; it must be from 0 to 0.5")
    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.complete:
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    actor = load_actor(config.model)
    model = t5_of(actor, "train-critic")
    problems = read_records(config.problems, Problem)
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    if not judged:
        raise DataError("holds no verdict that can be learnt from (all are harness errors); grade the programs again", config.verdicts)
    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    examples, truncation = judged_examples(actor.tokenizer, {p.id: p for p in problems}, judged, limits)
    train, held_out = split(examples, config.held_out, config.seed)
    if config.references:
        kept = {e.key for e in held_out}
        known = [p for p in read_records(config.references, Problem) if p.id not in kept]
        train += reference_examples(actor.tokenizer, known, limits).examples
    build = critic_from_actor if config.from_actor else lambda model, *rest: critic_from_config(model.config, *rest)
    critic = build(model, PaperHead, 4, config.seed)
    if machine.lead:
        run.start(manifest(config, [p for p in (config.problems, config.programs, config.verdicts, config.references) if p]))
    machine.say(f"{len(train)} programs to learn from, {len(held_out)} of other problems to measure on, seed {config.seed}")
    machine.say(f"{truncation.prompts} prompts and {truncation.programs} of {truncation.of} sampled programs were too long and are cut")
    machine.say(over_budget(train, config.batch_tokens))

    def save(folder: Path) -> None:
        save_critic(critic, folder)
        actor.tokenizer.save_pretrained(str(folder))

    result = train_critic(config, critic, train, held_out, run, machine, save)
    finish(run, machine, save, "critic")
    machine.say(
        f"held-out accuracy {result.accuracy:.3f} (always the most frequent outcome: {result.majority:.3f}), "
        f"AUC of passing {result.auc:.3f} -> {run / 'critic'}"
    )


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and examples of other problems to measure on; no problem is on both sides."""
    keys = sorted({e.key for e in examples})
    random.Random(f"critic/{seed}").shuffle(keys)
    kept = set(keys[: round(share * len(keys))])
    return [e for e in examples if e.key not in kept], [e for e in examples if e.key in kept]


def train_critic(
    config: Config,
    critic: Critic,
    train: Sequence[Example],
    held_out: Sequence[Example],
    run: RunDirectory,
    machine: Machine,
    save: Callable[[Path], None],
) -> Accuracy:
    """Train the critic in place; returns its accuracy on `held_out`. The loss is the mean over programs."""
    from ..fitting import Batches, Objective, Plan, Watch, fit
    from ..formulas.coderl import critic_loss
    from ..scoring import accuracy, read_batch, read_programs
    from ..tokens import Batch, epoch_batches
    from .training import prepared

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        logits = read_batch(critic, batch).logits
        right = (logits.argmax(-1) == batch.outcomes).float()
        return {"loss": critic_loss(logits, batch.outcomes) * len(right), "accuracy": right.sum()}

    def measure(step: int) -> Mapping[str, float]:
        found = accuracy(read_programs(critic, held_out), [e.label for e in held_out])
        return {"held_out/accuracy": found.accuracy, "held_out/majority": found.majority, "held_out/auc": found.auc}

    objective = Objective(sums, lambda part: {"loss": len(part), "accuracy": len(part)}, {"loss": 1.0})
    batches = Batches(
        lambda epoch: epoch_batches(train, config.batch_tokens, config.seed * 1_000_003 + epoch, config.shared), critic.pad_id, config.seed
    )
    plan = Plan(config.updates, config.learning_rate, accumulate=config.training.accumulate)
    with prepared(config.training, critic.body, config.seed):
        watch = Watch("train-critic", 50, 0, config.training.checkpoint_every, measure if held_out else None, save)
        fit(critic, batches, objective, plan, run, watch, machine)
    return accuracy(read_programs(critic, held_out), [e.label for e in held_out])
