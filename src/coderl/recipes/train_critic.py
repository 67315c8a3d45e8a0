"""Stage `train-critic`: a critic learns to predict what the unit tests say of a program (CodeRL section 3.3, eq. 9).

Reads sampled programs with verdicts and, with `--references`, reference solutions as programs that pass (as the paper does); writes `OUT/critic`,
`metrics.jsonl`, and how good the critic is on problems that it was not trained on (`OUT/report.json`, `critic_quality`). With `--outcomes 2` it is
the critic of critic sampling, which tells programs that pass from all others. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .training import USUAL, Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..critic_quality import Quality
    from ..machine import Machine
    from ..models.critic import Critic
    from ..run_directory import RunDirectory
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
    outcomes: Literal[2, 4] = 4
    """4: compile error, runtime error, failed test, passed; 2: failed or passed, the critic of critic sampling"""
    head: Literal["paper", "released"] = "paper"
    """paper: maximum over the program's states, then one layer; released: the authors' code, two layers, then the maximum, padding included"""
    template: Literal["generation", "training"] | None = None
    """which of the released code's two prompts the critic reads; without it, the actor's own"""
    from_actor: bool = True
    """start from the actor's weights; otherwise from random ones of the same shape"""
    prefix_weight: float = 0.0
    """weight of predicting the outcome from every prefix, beside predicting it from the whole program; 0: as in the paper"""
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
    from ..examples import Limits, join_verdicts, judged_examples, labelled_for, reference_examples
    from ..grading import programs_of
    from ..machine import this_machine
    from ..models.actor import load_actor
    from ..models.critic import PaperHead, ReleasedHead, critic_from_actor, critic_from_config, save_critic
    from ..prompts import keep_template
    from ..records import Problem, Verdict
    from ..run_directory import RunDirectory, manifest
    from ..store import read_records
    from .training import finish, over_budget

    if not 0 <= config.held_out <= 0.5:
        raise UsageError(f"--held-out is {config.held_out}; it must be from 0 to 0.5")
    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    actor = load_actor(config.model)
    if config.template:
        keep_template(actor.tokenizer, config.template)
    problems = read_records(config.problems, Problem)
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    if not judged:
        raise DataError("holds no verdict that can be learnt from (all are harness errors); grade the programs again", config.verdicts)
    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    examples, truncation = judged_examples(actor.tokenizer, {p.id: p for p in problems}, judged, limits)
    train, held_out = split(labelled_for(examples, config.outcomes), config.held_out, config.seed)
    if config.references:
        kept = {e.key for e in held_out}
        known = [p for p in read_records(config.references, Problem) if p.id not in kept]
        train += labelled_for(reference_examples(actor.tokenizer, known, limits).examples, config.outcomes)
    build = critic_from_actor if config.from_actor else lambda model, *rest: critic_from_config(model.config, *rest)
    critic = build(actor.model, PaperHead if config.head == "paper" else ReleasedHead, config.outcomes, config.seed)
    critic.width = config.max_program_tokens if config.head == "released" else 0
    if machine.lead:
        run.start(manifest(config, [p for p in (config.problems, config.programs, config.verdicts, config.references) if p]))
    machine.say(f"{len(train)} programs to learn from, {len(held_out)} of other problems to measure on, seed {config.seed}")
    machine.say(f"{truncation.prompts} prompts and {truncation.programs} of {truncation.of} sampled programs were too long and are cut")
    machine.say(over_budget(train, config.batch_tokens))

    def save(folder: Path) -> None:
        save_critic(critic, folder)
        actor.tokenizer.save_pretrained(str(folder))

    train_critic(config, critic, train, run, machine, save)
    if machine.lead and held_out:
        difficulty = {p.id: p.difficulty for p in problems}
        machine.say(measure(critic, held_out, difficulty, config.updates, run).sentence())
    finish(run, machine, save, "critic")
    machine.say(f"-> {run / 'critic'}")


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and examples of other problems to measure on; no problem is on both sides."""
    keys = sorted({e.key for e in examples})
    random.Random(f"critic/{seed}").shuffle(keys)
    kept = set(keys[: round(share * len(keys))])
    return [e for e in examples if e.key not in kept], [e for e in examples if e.key in kept]


def train_critic(config: Config, critic: Critic, train: Sequence[Example], run: RunDirectory, machine: Machine, save: Callable[[Path], None]) -> None:
    """Train the critic in place. Both losses are means over programs."""
    from ..fitting import Batches, Objective, Watch, fit
    from ..formulas.coderl import critic_loss, prefix_loss
    from ..scoring import read_batch
    from ..tokens import Batch, epoch_batches
    from .training import prepared

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        output, programs = read_batch(critic, batch), len(batch.outcomes)
        return {
            "loss_whole": critic_loss(output.logits, batch.outcomes) * programs,
            "loss_prefix": prefix_loss(output.token_logits, batch.outcomes, batch.mask) * programs,
            "accuracy": (output.logits.argmax(-1) == batch.outcomes).float().sum(),
        }

    weights = {"loss_whole": 1.0} | ({"loss_prefix": config.prefix_weight} if config.prefix_weight else {})
    objective = Objective(sums, lambda part: dict.fromkeys(("loss_whole", "loss_prefix", "accuracy"), len(part)), weights)
    shared = config.shared if critic.shares_prompts else 1
    batches = Batches(lambda epoch: epoch_batches(train, config.batch_tokens, config.seed * 1_000_003 + epoch, shared), critic.pad_id, config.seed)
    plan = config.training.plan(config.updates, config.learning_rate)
    with prepared(config.training, critic.body, config.seed):
        watch = Watch("train-critic", 50, 0, config.training.checkpoint_every, None, save)
        fit(critic, batches, objective, plan, run, watch, machine)


def measure(critic: Critic, held_out: Sequence[Example], difficulty: Mapping[str, str], step: int, run: RunDirectory) -> Quality:
    """How good the critic is on problems that it was not trained on: a line of metrics, and RUN/report.json."""
    from ..critic_quality import by_difficulty, quality
    from ..scoring import read_programs
    from ..store import atomic_write

    readings = read_programs(critic, held_out)
    whole, parts = quality(readings, held_out), by_difficulty(readings, held_out, difficulty)
    numbers = {name: round(value, 6) for name, value in whole.metrics("held_out").items() if math.isfinite(value)}
    run.log(stage="train-critic", step=step, **numbers)
    report = {"held_out": whole.to_json(), "by_difficulty": {level: part.to_json() for level, part in parts.items()}}
    atomic_write(run / "report.json", json.dumps(report, indent=1) + "\n")
    return whole
