"""What all fine-tuning stages share: their settings, how they read judged programs, and the loop. Not a stage.

A stage says how programs become token weights (signals.py) and what is minimised on them (`Policy`); cross-entropy on references is
added in the same step, with its own batches and its own mean, as CodeRL has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from .training import Training

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from ..examples import Judged, Limits
    from ..fitting import Objective, Progressed
    from ..machine import Machine
    from ..models.actor import Actor
    from ..records import Problem
    from ..run_directory import RunDirectory
    from ..signals import Signal
    from ..tokens import Batch, Example

SHARED = 8  # programs of one problem side by side in a step; they share one encoder pass
LOOKS = 4  # looks at the validation problems on the way, beside the one before
OFTEN_SAVED = Training(checkpoint_every=100)


@dataclass(frozen=True)
class Tuning:
    """How an actor learns from judged programs, the same for all algorithms."""

    references: Path | None = None
    """problems with reference solutions for the cross-entropy term (.jsonl); without them the term is left out"""
    validation: Path | None = None
    """problems to judge greedy programs on five times on the way (.jsonl); they choose the actor that is kept, nothing is trained on them"""
    keep: Literal["best", "last"] = "best"
    """OUT/actor: the actor of the best look at --validation (the start counts; of equals the last), or the last; without --validation the last"""
    reuse: Literal["none", "passing", "importance"] = "none"
    """passing: programs of --earlier runs that passed are learnt from again, unless a weight of theirs is below 0; importance: all of them, each
    token weighed by min(1, p / p_old). Both write OUT/learnt.jsonl for the runs behind; rounds hands it on"""
    earlier: tuple[Path, ...] = ()
    """run folders whose learnt.jsonl --reuse takes"""
    drawn_by: Path | None = None
    """actor that drew the programs, where it is not --model: p_old of the ratios p / p_old"""
    epochs: float = 1.0
    """passes over the sampled programs"""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """how weights follow the gradient; muon takes higher rates, such as 3e-3"""
    learning_rate: float = 5e-4
    """peak learning rate (falls linearly to a tenth)"""
    rl_weight: float = 1.0
    """weight of L_rl beside L_ce"""
    scaled: bool = True
    """divide token weights by their mean size; off: as the equations have them, so that a critic's small values shrink the step"""
    reduction: Literal["token-mean", "program-sum"] = "token-mean"
    """mean over all tokens (the released code), or the sum over a program's tokens, mean over programs (the paper)"""
    alternate: bool = False
    """steps of L_rl and of L_ce in turn (the released code) instead of both in each step (the paper)"""
    batch_tokens: int = 4096
    """tokens of sampled programs and their prompts in a step, padding included; a quarter as many of references come on top"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens"""
    allow_unsandboxed: bool = False
    """judge validation programs even where this machine offers no isolation"""
    seed: int = 0
    """seed of the batch order"""

    @property
    def limits(self) -> Limits:
        from ..examples import Limits

        return Limits(self.max_source_tokens, self.max_program_tokens)


DEFAULT = Tuning()


class Inputs(Protocol):
    """The fields that every fine-tuning Config has."""

    @property
    def model(self) -> Path: ...
    @property
    def problems(self) -> Path: ...
    @property
    def programs(self) -> Path: ...
    @property
    def verdicts(self) -> Path: ...
    @property
    def out(self) -> Path: ...
    @property
    def tuning(self) -> Tuning: ...
    @property
    def training(self) -> Training: ...


class Material(NamedTuple):
    """What a stage works on. `judged`: programs with verdicts; harness errors are left out."""

    actor: Actor
    problems: dict[str, Problem]
    judged: list[Judged]
    run: RunDirectory
    machine: Machine


class Beside(NamedTuple):
    """A module that learns beside the actor, from its decoder states: PPO's value head.

    Fields:
        module: trained at the actor's learning rate.
        loss: decoder states (N, d) of the batch's tokens, batch, mask of the sampled programs' tokens (B, T) -> a scalar, the sum over
            tokens of programs as they were drawn; logged as "loss_value".
        save: writes the module into a folder that holds the actor.
    """

    module: nn.Module
    loss: Callable[[Tensor, Batch, Tensor], Tensor]
    save: Callable[[Path], None]


class Policy(NamedTuple):
    """What is minimised on sampled programs.

    Fields:
        names: of the terms, "loss_rl" among them; `--reduction` is about that one, the others are means over tokens.
        terms: log-probabilities (B, T), batch, mask of the sampled programs' tokens (B, T) -> one scalar for each name, a sum over tokens.
        weights: of the terms that are minimised; the others are logged.
        beside: a module with a loss of its own, or None.
    """

    names: tuple[str, ...]
    terms: Callable[[Tensor, Batch, Tensor], Mapping[str, Tensor]]
    weights: Mapping[str, float]
    beside: Beside | None = None

    def trained(self, actor: Actor) -> nn.Module:
        """Everything that has weights to learn."""
        from torch import nn

        return nn.ModuleList([actor.model, self.beside.module]) if self.beside else actor.model

    def save(self, actor: Actor, folder: Path) -> None:
        """Write all of it into a folder that loads as an actor."""
        from ..models.actor import save_actor

        save_actor(actor, folder)
        if self.beside:
            self.beside.save(folder)


def weighted_log_probs(tuning: Tuning) -> Policy:
    """L_rl = - Σ_t weight_t log p(w_t), times `--rl-weight`: every algorithm whose whole idea is in the token weights.

    With `--reuse importance` the weight of every token, fresh ones too, is times min(1, p(w_t) / p_old(w_t)).
    """
    corrected = tuning.reuse == "importance"

    def terms(log_probs: Tensor, batch: Batch, drawn: Tensor) -> Mapping[str, Tensor]:
        from ..formulas.importance import token_ratios
        from ..formulas.policy_gradient import policy_gradient_loss

        weights = batch.weights * token_ratios(log_probs, batch.old_log_probs, drawn, 1.0) if corrected else batch.weights
        return {"loss_rl": policy_gradient_loss(log_probs, weights, drawn) * len(log_probs)}

    return Policy(("loss_rl",), terms, {"loss_rl": tuning.rl_weight})


def material(config: Inputs) -> Material | None:
    """Read what a stage needs; None when its run is complete already.

    Raises:
        DataError, ModelError: a file or folder does not hold what it should, or no program has a verdict.
    """
    from ..errors import DataError
    from ..examples import join_verdicts
    from ..grading import programs_of
    from ..machine import this_machine
    from ..models.actor import load_actor
    from ..records import Problem, Verdict
    from ..run_directory import RunDirectory
    from ..store import read_records

    machine = this_machine(config.training.precision, config.training.threads)
    run = RunDirectory(config.out)
    if run.is_done(config):
        machine.say(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return None
    actor = load_actor(config.model)
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    if not judged:
        raise DataError("holds no verdict that can be learnt from (all are harness errors); grade the programs again", config.verdicts)
    return Material(actor, problems, judged, run, machine)


def learn(
    config: Inputs,
    found: Material,
    signal: Signal,
    policy: Policy,
    name: str,
    inputs: Sequence[Path | None] = (),
    noted: Mapping[str, float] | None = None,
) -> None:
    """Train the actor on the signal, write it to OUT/actor, and say in plain words what happened.

    Args:
        policy: what is minimised on the signal's examples.
        name: of the stage, in metrics.
        inputs: files read beside those that every stage reads, for the manifest.
        noted: more about the signal, logged with it.

    Raises:
        DataError: no program has a weight.
    """
    from ..errors import DataError
    from ..evidence import negative_share, of_samples
    from ..examples import reference_examples
    from ..records import Problem
    from ..reuse import FILE
    from ..run_directory import manifest
    from ..store import read_records
    from .training import over_budget

    actor, _, _, run, machine = found
    tuning = config.tuning
    if not signal.examples:
        raise DataError(
            "holds no program that is better or worse than was to be expected; sample more programs, or at a higher temperature", config.verdicts
        )
    references = reference_examples(actor.tokenizer, read_records(tuning.references, Problem), tuning.limits).examples if tuning.references else []
    examples = with_earlier(config, found, signal.examples)
    again = len(examples) - len(signal.examples)
    earlier = [run / FILE for run in tuning.earlier]
    files = (config.problems, config.programs, config.verdicts, *inputs, tuning.references, tuning.validation, *earlier)
    validation = read_records(tuning.validation, Problem) if tuning.validation and machine.lead else []
    if machine.lead:
        data = manifest(config, [path for path in files if path])
        data["config"]["processes"] = machine.processes  # with the epochs it says how many updates there are
        data["validation_problems"] = len(validation)
        run.start(data)
        run.keep_metrics(lambda line: line.get("stage") != "signal")
        more = {"negative": negative_share(signal.examples), "earlier": again, **of_samples(found.judged), **(noted or {})}
        run.log(stage="signal", **(signal._asdict() | {"examples": len(signal.examples)} | {k: round(v, 6) for k, v in more.items()}))
    machine.say(
        f"{signal.programs} programs: {signal.zero:.0%} without a gradient, {signal.positive:.0%} better than expected; "
        f"{signal.merged} distinct ones to train on; mean token value {signal.value:.2f}; {len(references)} references"
    )
    machine.say(f"{signal.prompts_cut} prompts and {signal.programs_cut} programs were too long and are cut")
    machine.say(f"{again} programs of {len(earlier)} earlier runs are learnt from again")
    machine.say(over_budget(examples, tuning.batch_tokens))
    at = train(config, found, examples, references, validation, policy, name)
    end(config, found, policy, at)
    machine.say(f"{at.updates} updates in {at.cpu_seconds:.0f} CPU s -> {run / 'actor'}")


def sampler(config: Inputs, found: Material) -> PreTrainedModel:
    """The model that drew the programs, on the machine's device, without dropout: `--drawn-by`, or the actor that learns from them."""
    from ..models.actor import load_actor, without_dropout

    path = config.tuning.drawn_by
    model = load_actor(path).model if path else found.actor.model
    without_dropout(model.to(found.machine.accelerator.device))
    return model


def with_earlier(config: Inputs, found: Material, examples: list[Example]) -> list[Example]:
    """The examples and those of earlier runs that `--reuse` takes; writes the new ones to OUT/learnt.jsonl for the runs behind."""
    from .. import reuse
    from ..models.actor import with_old_log_probs, without_dropout

    tuning = config.tuning
    if tuning.reuse == "none":
        return examples
    if tuning.reuse == "importance":
        without_dropout(found.actor.model)  # p / p_old is 1 at the start
        if examples[0].old_log_probs is None:
            examples = with_old_log_probs(sampler(config, found), examples, found.actor.tokenizer.pad_token_id)
    if found.machine.lead:
        reuse.write_learnt(found.run / reuse.FILE, examples)
    return [*examples, *reuse.earlier_examples(tuning.earlier, tuning.reuse, ratios=examples[0].old_log_probs is not None)]


def end(config: Inputs, found: Material, policy: Policy, at: Progressed) -> None:
    """Write the actor that is kept to OUT/actor, and say what happened."""
    from ..diagnosis.facts import read_facts
    from ..diagnosis.words import what_happened
    from .keeping import copy_to, forget, kept
    from .training import finish

    actor, _, _, run, machine = found
    best = kept(run) if machine.lead and config.tuning.validation and config.tuning.keep == "best" else None
    if best:
        run.keep_metrics(lambda line: line.get("stage") != "kept")
        run.log(stage="kept", at=best.step, of=at.updates, greedy=round(best.greedy, 6))
    earlier = best if best and best.step != at.updates else None
    finish(run, machine, lambda folder: copy_to(folder, earlier) if earlier else policy.save(actor, folder), "actor")
    if machine.lead:
        forget(run)
        for sentence in what_happened(read_facts(run.path)):
            machine.say(sentence)


def train(
    config: Inputs,
    found: Material,
    sampled: Sequence[Example],
    references: Sequence[Example],
    validation: Sequence[Problem],
    policy: Policy,
    name: str,
) -> Progressed:
    """Train the actor in place; looks at the validation problems are not counted in what it says it cost."""
    from ..drift import copied
    from ..engines.requests import Decoding
    from ..errors import UsageError
    from ..fitting import Batches, Watch, fit
    from ..sampling import Settings
    from ..trials import looking
    from .keeping import forget, keeping
    from .training import prepared, while_merged

    actor, _, _, run, machine = found
    tuning, training = config.tuning, config.training
    per_update = training.accumulate * machine.processes
    if tuning.alternate and per_update > 1:
        raise UsageError(
            f"--alternate with {per_update} batches in an update: both losses would meet in it; leave it out, or take one process and --accumulate 1"
        )
    shared = SHARED if actor.shares_prompts else 1
    updates = max(1, round(tuning.epochs * sum(1 for _ in epoch(tuning, sampled, references, 0, shared)) / per_update))
    batches = Batches(lambda number: epoch(tuning, sampled, references, number, shared), actor.tokenizer.pad_token_id, tuning.seed)
    settings = Settings(Decoding(temperature=0, max_tokens=tuning.max_program_tokens), tuning.seed, tuning.max_source_tokens)
    start = copied(actor) if validation else None
    with looking(actor, validation, settings, tuning.allow_unsandboxed, start) as look, prepared(training, actor.model, tuning.seed):
        evaluate = while_merged(actor.model, look) if look else None
        if evaluate and not run.newest_checkpoint():
            forget(run)
            run.keep_metrics(lambda line: line.get("stage") != name)
        if evaluate and tuning.keep == "best":
            evaluate = keeping(evaluate, run, lambda folder: policy.save(actor, folder))
        if evaluate and not run.newest_checkpoint():
            run.log(stage=name, step=0, cpu_seconds=0.0, **evaluate(0))
        watch = Watch(name, 10, -(-updates // LOOKS), training.checkpoint_every, evaluate, lambda folder: policy.save(actor, folder))
        plan = training.plan(updates, tuning.learning_rate, muon=tuning.optimiser == "muon")
        return fit(policy.trained(actor), batches, objective(actor, policy, tuning.reduction), plan, run, watch, machine)


def objective(actor: Actor, policy: Policy, reduction: str) -> Objective:
    """The policy's terms over sampled programs and L_ce over references, each a mean of its own over the update."""
    from ..fitting import Objective, program_tokens
    from ..formulas.policy_gradient import cross_entropy
    from ..models.actor import program_log_probs, states_and_log_probs

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        drawn, supervised = batch.mask & ~batch.supervised[:, None], batch.mask & batch.supervised[:, None]
        value: dict[str, Tensor] = {}
        if policy.beside:
            states, log_probs = states_and_log_probs(actor.model, batch)  # one pass for all terms
            value["loss_value"] = policy.beside.loss(states, batch, drawn)
        else:
            log_probs = program_log_probs(actor.model, batch)
        return {**policy.terms(log_probs, batch, drawn), **value, "loss_ce": cross_entropy(log_probs, supervised) * supervised.sum()}

    def size(examples: Sequence[Example]) -> int:
        return program_tokens(examples) if reduction == "token-mean" else len(examples)

    def counts(part: Sequence[Example]) -> Mapping[str, int]:
        sampled, supervised = [e for e in part if not e.supervised], [e for e in part if e.supervised]
        value = {"loss_value": sum(e.repeats * len(e.program) for e in sampled)} if policy.beside else {}
        return {**dict.fromkeys(policy.names, program_tokens(sampled)), "loss_rl": size(sampled), **value, "loss_ce": size(supervised)}

    return Objective(sums, counts, {**policy.weights, "loss_ce": 1.0})


def epoch(tuning: Tuning, sampled: Sequence[Example], references: Sequence[Example], number: int, shared: int = SHARED) -> Iterator[list[Example]]:
    """Batches of one pass over the sampled programs, with references in each of them, or in turn with them.

    `shared`: at most so many programs of a prompt side by side; 1 for an actor that reads the prompt for each of them.
    """
    from ..tokens import epoch_batches

    def endless() -> Iterator[list[Example]]:
        turn = 0
        while True:
            yield from epoch_batches(references, tuning.batch_tokens // 4, tuning.seed * 1_000_003 + number * 1_009 + turn, min(2, shared))
            turn += 1

    supervised = endless() if references else None
    for batch in epoch_batches(sampled, tuning.batch_tokens, tuning.seed * 1_000_003 + number, shared):
        if tuning.alternate:
            yield batch
            if supervised:
                yield next(supervised)
        else:
            yield batch + (next(supervised) if supervised else [])
