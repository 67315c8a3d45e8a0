"""Stage `train-repair`: a model learns to rewrite failed programs (CodeRL section 3.3.4, eq. 13), for `critic-sample`.

Reads problems, graded programs and their verdicts; each failed program is paired with a right one for the same problem: a reference, or with
`--targets samples` (or `both`) a sample that passed. The model starts from the actor's weights and is trained with cross-entropy; it is
written to `OUT/actor` in an actor's form. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .training import USUAL, Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..machine import Machine
    from ..models.actor import Actor
    from ..repair import Pair
    from ..run_directory import RunDirectory
    from ..tokens import Example


@dataclass(frozen=True)
class Config:
    """Train a repair model on failed programs."""

    model: Path
    """actor whose weights and tokenizer it starts from"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    targets: Literal["references", "samples", "both"] = "references"
    """right programs to pair failures with: reference solutions (CodeRL), samples that passed, or both; the closest by text is taken"""
    updates: int = 600
    """optimiser steps"""
    learning_rate: float = 1e-3
    """peak learning rate (falls linearly to a tenth)"""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """how weights follow the gradient; muon takes higher rates, such as 3e-3"""
    batch_tokens: int = 4096
    """tokens in a batch, padding included"""
    held_out: float = 0.05
    """share of the problems whose pairs are kept for measuring, 0 to 0.5"""
    max_source_tokens: int = 384
    """longest source in tokens: the statement loses its middle first, the error nothing"""
    max_program_tokens: int = 128
    """longest target in tokens; longer ones are left out"""
    training: Annotated[Training, OmitArgPrefixes] = USUAL
    """how the machine is used"""
    seed: int = 0
    """seed of split and batch order"""


def main(config: Config) -> None:
    from ..errors import DataError
    from ..examples import join_verdicts
    from ..grading import programs_of
    from ..machine import this_machine
    from ..models.actor import load_actor, save_actor
    from ..records import Problem, Verdict
    from ..repair import repair_examples, repair_pairs
    from ..run_directory import RunDirectory, manifest
    from ..store import read_records
    from .training import finish, over_budget

    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    actor = load_actor(config.model)
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    pairs = list(repair_pairs(problems, judged, config.targets != "samples", config.targets != "references"))
    if not pairs:
        raise DataError(f"gives no pair of a failed and a right program with --targets {config.targets}; try --targets both", config.verdicts)
    train, held_out = (
        repair_examples(actor.tokenizer, part, config.max_source_tokens, config.max_program_tokens)
        for part in split(pairs, config.held_out, config.seed)
    )
    if not train.examples:
        raise DataError(f"all {train.pairs} targets are longer than {config.max_program_tokens} tokens; raise --max-program-tokens", config.programs)
    if machine.lead:
        run.start(manifest(config, [config.problems, config.programs, config.verdicts]))
    machine.say(f"{len(train.examples)} pairs to learn from, {len(held_out.examples)} of other problems to measure on, seed {config.seed}")
    machine.say(f"{train.cut} sources lost a part, {train.long} targets were too long and are left out")
    machine.say(over_budget(train.examples, config.batch_tokens))
    loss = train_repair(config, actor, train.examples, held_out.examples, run, machine)
    finish(run, machine, lambda folder: save_actor(actor, folder), "actor")
    machine.say(f"held-out loss {loss:.3f} nats a token -> {run / 'actor'}")


def split(pairs: Sequence[Pair], share: float, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Pairs to train on and pairs of other problems to measure on."""
    names = sorted({pair.problem.id for pair in pairs})
    random.Random(f"repair/{seed}").shuffle(names)
    kept = set(names[: round(share * len(names))])
    return [p for p in pairs if p.problem.id not in kept], [p for p in pairs if p.problem.id in kept]


def train_repair(config: Config, actor: Actor, train: Sequence[Example], held_out: Sequence[Example], run: RunDirectory, machine: Machine) -> float:
    """Train the model in place by eq. (13), mean over tokens; returns the loss on `held_out` (NaN without), nats a token."""
    from ..fitting import Batches, Objective, Watch, fit, program_tokens
    from ..formulas.policy_gradient import cross_entropy
    from ..models.actor import program_log_probs, save_actor
    from ..tokens import Batch, epoch_batches
    from .training import prepared

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        return {"loss": cross_entropy(program_log_probs(actor.model, batch), batch.mask) * batch.mask.sum()}

    def measure(step: int) -> Mapping[str, float]:
        return {"held_out/loss": held_out_loss(actor, held_out, config.batch_tokens)}

    objective = Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0})
    batches = Batches(
        lambda epoch: epoch_batches(train, config.batch_tokens, config.seed * 1_000_003 + epoch), actor.tokenizer.pad_token_id, config.seed
    )
    plan = config.training.plan(config.updates, config.learning_rate, muon=config.optimiser == "muon")
    with prepared(config.training, actor.model, config.seed):
        watch = Watch(
            "train-repair", 50, 0, config.training.checkpoint_every, measure if held_out else None, lambda folder: save_actor(actor, folder)
        )
        fit(actor.model, batches, objective, plan, run, watch, machine)
    return held_out_loss(actor, held_out, config.batch_tokens)


def held_out_loss(actor: Actor, examples: Sequence[Example], budget: int) -> float:
    """Mean cross-entropy of the targets, nats a token; NaN without examples."""
    import torch

    from ..models.actor import program_log_probs
    from ..tokens import Batch, collate, epoch_batches

    total, tokens = 0.0, 0
    with torch.inference_mode():
        for part in epoch_batches(examples, budget, seed=0):
            batch = Batch(*(tensor.to(actor.model.device) for tensor in collate(part, actor.tokenizer.pad_token_id)))
            total -= float(program_log_probs(actor.model, batch).sum())
            tokens += int(batch.mask.sum())
    return total / tokens if tokens else float("nan")
