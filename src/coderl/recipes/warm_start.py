"""Stage `warm-start`: train an actor on reference solutions with cross-entropy (CodeRL eq. 1), from nothing or from a model.

Reads problems with solutions; writes `OUT/actor` (a Hugging Face directory, tokenizer included), `metrics.jsonl` and `manifest.json`.
A killed run goes on from its newest checkpoint. With a validation file the actor's greedy programs are judged now and then, so that
a plateau can be seen; the stage does not choose by it.
"""

from __future__ import annotations

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
    from ..records import Problem
    from ..run_directory import RunDirectory


@dataclass(frozen=True)
class Config:
    """Train an actor on reference solutions (cross-entropy)."""

    problems: Path
    """problems with reference solutions (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    model: Path | None = None
    """start from this model directory (T5 family or decoder-only); without it a small one starts from random weights"""
    family: Literal["t5", "llama"] = "t5"
    """of the fresh model: an encoder-decoder, or a decoder-only one; only without --model"""
    validation: Path | None = None
    """problems to judge greedy programs on now and then (.jsonl); only looked at, never trained on"""
    vocabulary: int = 1024
    """entries of the tokenizer that is trained on the problems; only without --model"""
    width: int = 96
    """width of the fresh model (d_model)"""
    layers: int = 2
    """layers of the fresh model; a T5 has so many in the encoder and again in the decoder"""
    updates: int = 3000
    """optimiser steps"""
    cpu_seconds: float | None = None
    """train for so many CPU seconds instead of a number of steps (evaluation not counted)"""
    learning_rate: float = 3e-3
    """peak learning rate (falls linearly to a tenth)"""
    optimiser: Literal["muon", "adamw"] | None = None
    """how weights follow the gradient; without it muon for a fresh model (twice as fast) and adamw, the paper's, with --model"""
    batch_tokens: int = 1024
    """tokens in a batch, padding included"""
    shared: int = 4
    """programs of one problem side by side in a batch; they share one encoder pass"""
    max_source_tokens: int = 192
    """longest prompt in tokens; longer ones lose their middle"""
    max_program_tokens: int = 128
    """longest program in tokens; longer references are left out"""
    evaluate_every: int = 500
    """optimiser steps between looks at the validation problems"""
    training: Annotated[Training, OmitArgPrefixes] = USUAL
    """how the machine is used"""
    allow_unsandboxed: bool = False
    """judge validation programs even where this machine offers no isolation"""
    seed: int = 0
    """seed of weights and batch order"""


def main(config: Config) -> None:
    from ..errors import DataError
    from ..machine import this_machine
    from ..models.actor import load_actor, save_actor
    from ..records import Problem
    from ..run_directory import RunDirectory, manifest
    from ..store import read_records
    from .training import finish

    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    problems = read_records(config.problems, Problem)
    validation = read_records(config.validation, Problem) if config.validation and machine.lead else []
    if not any(p.solutions for p in problems):
        raise DataError("holds no reference solutions; a warm start needs problems with `solutions`", config.problems)
    actor = load_actor(config.model) if config.model else fresh_actor(config, problems)
    machine.say(f"actor: {actor.parameters / 1e6:.2f} million parameters, vocabulary {actor.model.config.vocab_size}, seed {config.seed}")
    if machine.lead:
        data = manifest(config, [path for path in (config.problems, config.validation) if path])
        run.start(data | {"validation_problems": len(validation)})
    result = warm_start(config, actor, problems, validation, run, machine)
    finish(run, machine, lambda folder: save_actor(actor, folder), "actor")
    machine.say(f"{result['updates']:.0f} updates in {result['cpu_seconds']:.0f} CPU s -> {run / 'actor'}")


def fresh_actor(config: Config, problems: Sequence[Problem]) -> Actor:
    """A small model with random weights and a tokenizer trained on these problems."""
    from ..models.actor import Actor, small_t5
    from ..models.causal import small_llama
    from ..prompts import prompt
    from ..tokens import train_tokenizer, vocabulary_size

    tokenizer = train_tokenizer((text for p in problems for text in (prompt(p), *p.solutions)), config.vocabulary)
    size, width, positions = vocabulary_size(tokenizer), config.width, config.max_source_tokens + config.max_program_tokens
    if config.family == "llama":
        return Actor(small_llama(size, config.seed, width=width, layers=config.layers, positions=positions), tokenizer)
    return Actor(small_t5(size, config.seed, width=width, layers=config.layers, feed_forward=4 * width), tokenizer)


def warm_start(
    config: Config, actor: Actor, problems: Sequence[Problem], validation: Sequence[Problem], run: RunDirectory, machine: Machine
) -> Mapping[str, float]:
    """Train the actor in place on the references of `problems`; returns updates and CPU seconds of training."""
    from ..engines.requests import Decoding
    from ..errors import DataError
    from ..examples import Limits, reference_examples
    from ..fitting import Batches, Objective, Watch, fit, program_tokens
    from ..formulas.policy_gradient import cross_entropy
    from ..models.actor import program_log_probs, save_actor
    from ..sampling import Settings
    from ..tokens import Batch, epoch_batches
    from ..trials import looking
    from .training import over_budget, prepared, while_merged

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        return {"loss": cross_entropy(program_log_probs(actor.model, batch), batch.mask) * batch.mask.sum()}

    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    examples, truncation = reference_examples(actor.tokenizer, problems, limits)
    if not examples:
        raise DataError(f"all {truncation.of} references are longer than {limits.program} tokens; raise --max-program-tokens", config.problems)
    machine.say(f"{len(examples)} references; {truncation.prompts} prompts cut, {truncation.programs} references left out as too long")
    machine.say(over_budget(examples, config.batch_tokens))
    muon = (config.optimiser or ("adamw" if config.model else "muon")) == "muon"
    plan = config.training.plan(config.updates, config.learning_rate, config.cpu_seconds, muon)
    settings = Settings(Decoding(temperature=0, max_tokens=config.max_program_tokens), config.seed, config.max_source_tokens)
    objective = Objective(sums, lambda part: {"loss": program_tokens(part)}, {"loss": 1.0})
    shared = config.shared if actor.shares_prompts else 1
    batches = Batches(
        lambda epoch: epoch_batches(examples, config.batch_tokens, config.seed * 1_000_003 + epoch, shared),
        actor.tokenizer.pad_token_id,
        config.seed,
    )
    with looking(actor, validation, settings, config.allow_unsandboxed) as look, prepared(config.training, actor.model, config.seed):
        evaluate = while_merged(actor.model, look) if look else None
        watch = Watch("warm-start", 50, config.evaluate_every, config.training.checkpoint_every, evaluate, lambda folder: save_actor(actor, folder))
        at = fit(actor.model, batches, objective, plan, run, watch, machine)
    return {"updates": at.updates, "cpu_seconds": at.cpu_seconds}
