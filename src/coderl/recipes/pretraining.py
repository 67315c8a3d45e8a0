"""What both pretraining stages share: their settings and the loop. Not a stage.

A stage says how pieces of the corpus become examples (`coderl.pretraining`); cross-entropy on their targets, AdamW with a linear rise and fall,
and checkpoints are the same. A killed run goes on at its place in the corpus, to the last bit on a CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..corpus.token_file import TokenFile
    from ..fitting import Evaluate, Plan
    from ..machine import Machine
    from ..models.actor import Actor
    from ..pretraining import Dealt, Samples
    from ..run_directory import RunDirectory
    from ..tokens import Batch

FALLING = Training(final_rate=0.0, weight_decay=0.05)  # CodeRL: 1,000 updates of warm-up, then linearly to 0
LOOKED_AT = 256  # held-out pieces of a look


@dataclass(frozen=True)
class Pretraining:
    """How a model learns from a corpus, the same for both objectives."""

    learning_rate: float
    """peak learning rate"""
    epochs: float = 1.0
    """passes over the corpus"""
    updates: int | None = None
    """optimiser steps instead of passes"""
    cpu_seconds: float | None = None
    """train for so many CPU seconds instead (looks at held-out code not counted)"""
    batch: int = 32
    """pieces of code in a batch; an optimiser step takes --accumulate of them in every process (CodeRL: 2,048 pieces masked, 256 next tokens)"""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """how weights follow the gradient (CodeRL: AdamW); muon takes higher rates, such as 3e-3, and is faster on small fresh models"""
    held_out: float = 0.01
    """share of the pieces, the last ones, that are never trained on; their loss is logged"""
    evaluate_every: int = 500
    """optimiser steps between looks at the held-out pieces"""
    seed: int = 0
    """seed of the order, of spans and pivots, and of dropout"""


class Inputs(Protocol):
    """The fields that both Configs have."""

    @property
    def model(self) -> Path: ...
    @property
    def tokens(self) -> Path: ...
    @property
    def out(self) -> Path: ...
    @property
    def pretraining(self) -> Pretraining: ...
    @property
    def training(self) -> Training: ...


def pretrain(config: Inputs, name: str, samples_of: Callable[[Actor, TokenFile], Samples]) -> None:
    """Run a stage: `samples_of` makes its pieces from the model and the tokens.

    Raises:
        CoderlError: the tokens are of another tokenizer, there is nothing to train on, or training fails.
    """
    from ..corpus.token_file import read_tokens, vocabulary_digest
    from ..errors import DataError
    from ..machine import this_machine
    from ..models.actor import load_actor, save_actor
    from ..pretraining import dealt
    from ..run_directory import RunDirectory, manifest
    from .training import finish

    p = config.pretraining
    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    actor, tokens = load_actor(config.model), read_tokens(config.tokens)
    if vocabulary_digest(actor.tokenizer) != tokens.tokenizer:
        raise DataError(f"was written with another tokenizer than that of {config.model}; run `coderl corpus encode` with that one", config.tokens)
    pieces = dealt(samples_of(actor, tokens), p.batch, p.held_out, p.seed)
    machine.say(
        f"{actor.parameters / 1e6:.2f} million parameters; {len(tokens.ids) / 1e6:.2f} million tokens: {pieces.first} pieces to train on, "
        f"{pieces.held_out} held out; seed {p.seed}"
    )
    if machine.lead:
        run.start(manifest(config, [config.tokens / "tokens.json"]))
    updates, seconds = learn(config, name, actor, pieces, run, machine)
    finish(run, machine, lambda folder: save_actor(actor, folder), "actor")
    machine.say(f"{updates} updates in {seconds:.0f} CPU s -> {run / 'actor'}")


def learn(config: Inputs, name: str, actor: Actor, pieces: Dealt, run: RunDirectory, machine: Machine) -> tuple[int, float]:
    """Train the actor in place; returns updates and CPU seconds."""
    from ..fitting import Batches, Objective, Watch, fit, program_tokens
    from ..formulas.policy_gradient import cross_entropy
    from ..models.actor import program_log_probs, save_actor
    from .training import prepared, while_merged

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        return {"loss": cross_entropy(program_log_probs(actor.model, batch), batch.mask) * batch.mask.sum()}

    p = config.pretraining
    objective = Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0})
    batches = Batches(pieces.alone, actor.tokenizer.pad_token_id, p.seed, length=1)
    look = while_merged(actor.model, held_out_loss(actor, pieces, machine)) if pieces.held_out else None
    with prepared(config.training, actor.model, p.seed):
        watch = Watch(name, 50, p.evaluate_every, config.training.checkpoint_every, look, lambda folder: save_actor(actor, folder))
        at = fit(actor.model, batches, objective, plan(config, pieces, machine), run, watch, machine)
    return at.updates, at.cpu_seconds


def plan(config: Inputs, pieces: Dealt, machine: Machine) -> Plan:
    """How long: CPU seconds, else updates, else passes over the pieces."""
    p, accumulate = config.pretraining, config.training.accumulate
    passes = math.ceil(p.epochs * pieces.first / (p.batch * accumulate * machine.processes))
    return config.training.plan(p.updates or passes, p.learning_rate, p.cpu_seconds, p.optimiser == "muon")._replace(betas=(0.9, 0.999))


def held_out_loss(actor: Actor, pieces: Dealt, machine: Machine) -> Evaluate:
    """step -> nats a target token on held-out pieces, the same pieces and spans at every look."""
    import torch

    from ..models.actor import program_log_probs
    from ..tokens import collate

    def look(step: int) -> Mapping[str, float]:
        total, count, training = 0.0, 0, actor.model.training
        actor.model.eval()
        with torch.inference_mode():
            for examples in pieces.held(LOOKED_AT):
                batch = machine.here(collate(examples, actor.tokenizer.pad_token_id))
                total -= float(program_log_probs(actor.model, batch)[batch.mask].sum())
                count += int(batch.mask.sum())
        actor.model.train(training)
        return {"held_out_loss": total / count}

    return look
