"""Optimisation: one update, the learning rate, checkpoints, and the loop that every training stage shares.

A stage gives batches of examples and an objective; `fit` does the rest: updates until the planned number or the planned CPU time is
reached, metrics to `metrics.jsonl`, a checkpoint every so often, and a resume that goes on where the newest complete checkpoint was.

An update takes the next `accumulate` x processes batches of one global order, and its loss is the mean over all their tokens together,
however they are dealt out: micro-batches in turn, processes beside each other. Batches are a pure function of (seed, epoch) and the
random numbers of dropout one of (seed, update, process, micro-batch), so a resumed run repeats what the interrupted one would have
done, to the last bit, and no random state needs to be kept.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .errors import CoderlError, UsageError
from .machine import Machine
from .models.shards import Shards, like, take_states, whole_states, whole_tensor
from .muon import Muon
from .progress import progress
from .run_directory import RunDirectory
from .tokens import Batch, Example, collate


class Plan(NamedTuple):
    """How long and how fast to train.

    Fields:
        updates: number of optimiser steps; ignored when `cpu_seconds` is given.
        cpu_seconds: CPU seconds of all processes instead of a number of updates (the learning rate follows the time).
        learning_rate: peak; `warmup` is the share of the plan in which it rises from 0, then it falls to `final` x peak, linearly with `power` 1.
        betas, weight_decay: of AdamW. clip: bound on the gradient norm.
        muon: the matrices of linear layers learn by Muon (muon.py) instead of AdamW, at the same rate.
        accumulate: batches of a process in an update.
    """

    updates: int
    learning_rate: float
    cpu_seconds: float | None = None
    warmup: float = 0.03
    final: float = 0.1
    power: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    muon: bool = False
    accumulate: int = 1

    def done(self, at: Progressed) -> bool:
        return at.updates >= self.updates if self.cpu_seconds is None else at.cpu_seconds >= self.cpu_seconds

    def share(self, at: Progressed) -> float:
        """Where in the plan the next update is, in (0, 1]."""
        return (at.updates + 1) / self.updates if self.cpu_seconds is None else at.cpu_seconds / self.cpu_seconds


def learning_rate(plan: Plan, share: float) -> float:
    """The learning rate of the step that brings the plan to `share` in (0, 1]: linear rise to the peak, then fall to `final` x peak.

    The fall is (final + (1 - final) (1 - x)^power) x peak with x from 0 to 1 (CodeRL's warm start: power 0.5, final 0.5).
    """
    if share < plan.warmup:
        return plan.learning_rate * share / plan.warmup
    x = (min(share, 1.0) - plan.warmup) / (1 - plan.warmup)
    fallen = x if plan.power == 1 else 1 - (1 - x) ** plan.power
    return plan.learning_rate * (1 - (1 - plan.final) * fallen)


class Optimiser:
    """AdamW, or Muon for matrices and AdamW for the rest, with the plan's schedule and gradient clipping."""

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.plan = plan
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = matrices_of(model) if plan.muon else []
        known = {id(p) for p in matrices}
        rest = [p for p in self.parameters if id(p) not in known]
        rate, decay = plan.learning_rate, plan.weight_decay
        self.rules: list[torch.optim.Optimizer] = []
        if rest:
            self.rules.append(torch.optim.AdamW(rest, lr=rate, betas=plan.betas, weight_decay=decay, fused=True))
        if matrices:
            self.rules.append(Muon(matrices, rate, decay))

    def step(self, share: float) -> float:
        """One step along the gradients at hand, at the learning rate of `share`; returns the gradient norm before clipping.

        Raises:
            CoderlError: the gradient is not finite; the weights are those of the step before.
        """
        norm = float(whole_tensor(nn.utils.clip_grad_norm_(self.parameters, self.plan.clip)))
        if not math.isfinite(norm):
            raise CoderlError(f"the gradient norm is {norm}; lower the learning rate (now {self.plan.learning_rate}) and start again")
        for rule in self.rules:
            for group in rule.param_groups:
                group["lr"] = learning_rate(self.plan, share)
            rule.step()
            rule.zero_grad(set_to_none=True)
        return norm


def matrices_of(model: nn.Module) -> list[Tensor]:
    """Weights of the linear layers, the vocabulary head aside: what Muon is for."""
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear) and m is not head and m.weight.requires_grad]


class Objective(NamedTuple):
    """What is minimised: Σ_term weights[term] · Σ sums[term] / Σ counts[term], both sums over all batches of an update.

    Fields:
        sums: batch -> the sum of each term over what it is counted in, a scalar tensor each.
        counts: examples of a batch -> how many that is (tokens, programs). From the examples alone, so that the counts of a whole
            update are known before its first batch is computed, in every process, and each batch can be weighed at once.
        weights: of the terms that are minimised; terms without a weight are only logged.
    """

    sums: Callable[[Batch], Mapping[str, Tensor]]
    counts: Callable[[Sequence[Example]], Mapping[str, int]]
    weights: Mapping[str, float]


def program_tokens(examples: Sequence[Example]) -> int:
    """How many tokens the programs have together: what losses of actors are a mean over."""
    return sum(len(e.program) for e in examples)


class Batches(NamedTuple):
    """Where batches come from.

    Fields:
        epoch: epoch number -> its batches; the same number must give the same batches.
        pad_id: of prompts. seed: of dropout.
        length: batches of every epoch, where all have equally many: a run that resumes then passes whole epochs by without making them.
    """

    epoch: Callable[[int], Iterator[list[Example]]]
    pad_id: int
    seed: int
    length: int | None = None

    def groups(self, skip: int, size: int) -> Iterator[list[list[Example]]]:
        """The batches of all epochs behind the first `skip`, `size` at a time: what one update takes."""
        epochs, batches = divmod(skip, self.length) if self.length else (0, skip)
        endless = itertools.islice(self._endless(epochs), batches, None)
        while True:
            yield list(itertools.islice(endless, size))

    def _endless(self, first: int) -> Iterator[list[Example]]:
        for number in itertools.count(first):
            empty = True
            for batch in self.epoch(number):
                empty = False
                yield batch
            if empty:
                raise CoderlError("there is nothing to train on: no example is left after reading the problems; check the files")


Evaluate = Callable[[int], Mapping[str, float]]


class Progressed(NamedTuple):
    """Where a training loop is: optimiser steps done, CPU seconds spent on them by all processes (evaluation not counted), batches used."""

    updates: int = 0
    cpu_seconds: float = 0.0
    batches: int = 0


class Watch(NamedTuple):
    """What a training loop does beside training.

    Fields:
        description: shown in the progress line and stored as `stage` in the metrics.
        log_every, evaluate_every, checkpoint_every: optimiser steps; 0 = never.
        evaluate: step -> numbers, logged; called every `evaluate_every` steps and at the end. Looked at in the lead process only.
        save: writes the model into a folder in a form that others load; called for every checkpoint.
    """

    description: str
    log_every: int = 20
    evaluate_every: int = 0
    checkpoint_every: int = 200
    evaluate: Evaluate | None = None
    save: Callable[[Path], None] | None = None


class _Losses(nn.Module):
    """A model with what is computed of it, as one module: the form in which accelerate distributes it."""

    def __init__(self, model: nn.Module, objective: Objective, machine: Machine) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        self.machine = machine

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        low = self.machine.dtype != torch.float32
        with torch.autocast(self.machine.accelerator.device.type, self.machine.dtype) if low else nullcontext():
            return dict(self.objective.sums(batch))


class _Loop:
    """The state of one training run, and its steps."""

    def __init__(self, model: nn.Module, batches: Batches, objective: Objective, plan: Plan, machine: Machine) -> None:
        if machine.sharded and plan.muon:
            raise UsageError("Muon needs whole matrices, and the launcher asks for sharded weights (FSDP); take --optimiser adamw, or launch without")
        device = machine.accelerator.device
        self.model, self.batches, self.objective, self.plan, self.machine = model, batches, objective, plan, machine
        self.shards = Shards(model, device, machine.processes) if machine.sharded else None
        losses = _Losses(model, objective, machine)
        if self.shards:
            self.shards.root(losses)
        self.losses = losses if self.shards else machine.accelerator.prepare_model(losses.to(device))
        self.model.train()
        self.optimiser = Optimiser(model, plan)
        self.at = Progressed()
        self.owed = 0.0  # CPU seconds of this process that the others have not been told of yet
        self.unlogged: dict[str, float] = {}

    def update(self, group: Sequence[list[Example]]) -> dict[str, float]:
        """One optimiser step on the batches of all processes; returns what is logged of it, the same in every process.

        Raises:
            CoderlError: loss or gradient is not finite; the weights are those of the step before.
        """
        began = time.process_time()
        share = self.plan.share(self.at)
        known = [self.objective.counts(examples) for examples in group]
        counts = {name: max(1, sum(one[name] for one in known)) for name in known[0]}
        means = self._backward(group[self.machine.rank :: self.machine.processes], counts)
        spent = time.process_time() - began + self.owed
        numbers = self.machine.summed(torch.tensor([spent, *means.values()], dtype=torch.float64, device=self.machine.accelerator.device)).tolist()
        means = dict(zip(means, numbers[1:], strict=True))
        loss = sum(weight * means[name] for name, weight in self.objective.weights.items())
        if not math.isfinite(loss):
            raise CoderlError(f"the loss is {loss}; lower the learning rate (now {self.plan.learning_rate}) and start again")
        began = time.process_time()
        norm = self.optimiser.step(share)
        self.owed = time.process_time() - began
        self.at = Progressed(self.at.updates + 1, self.at.cpu_seconds + numbers[0], self.at.batches + len(group))
        return means | {"loss": loss, "gradient_norm": norm, "gradient_clipped": float(norm > self.plan.clip)}

    def _backward(self, mine: Sequence[list[Example]], counts: Mapping[str, int]) -> dict[str, float]:
        """Gradients of this process's share of the update, and its share of each term's mean."""
        accelerator, means = self.machine.accelerator, dict.fromkeys(counts, 0.0)
        for turn, examples in enumerate(mine):
            place = (self.at.updates * self.machine.processes + self.machine.rank) * len(mine) + turn
            torch.manual_seed(self.batches.seed * 1_000_000_007 + place)
            batch = self.machine.here(collate(examples, self.batches.pad_id))
            # sharded gradients are put together in every batch: waiting with that would mean to hold whole ones
            with nullcontext() if self.shards or turn == len(mine) - 1 else accelerator.no_sync(self.losses):
                shares = {name: total / counts[name] for name, total in self.losses(batch).items()}
                loss = torch.stack([weight * shares[name] for name, weight in self.objective.weights.items()]).sum()
                accelerator.backward(loss * self.machine.processes)  # gradients are averaged over processes, and their sum is wanted
            for name, value in shares.items():
                means[name] += float(value.detach())
        return means

    def whole(self) -> AbstractContextManager[None]:
        """Inside, the model is whole in the lead process, sharded or not. For all processes together when it is."""
        return self.shards.whole(self.machine.lead) if self.shards else nullcontext()

    def states(self) -> list[dict[str, Any]]:
        """Of the optimiser, whole. For all processes together."""
        return [whole_states(rule, self.machine.lead) if self.shards else rule.state_dict() for rule in self.optimiser.rules]

    def save(self, folder: Path, save: Callable[[Path], None] | None, states: Sequence[Mapping[str, Any]]) -> None:
        """Everything that a resume needs, beside a model that others can load; inside `whole`, in the lead process.

        What is written does not depend on how many processes there are, nor on sharding.
        """
        if save:
            save(folder)
        state = {
            "weights": {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad},
            "rules": list(states),
            "at": tuple(self.at),
            "unlogged": self.unlogged,
        }
        try:
            torch.save(state, folder / "state.pt")
        except RuntimeError as error:  # what torch raises on a full disk
            raise CoderlError(f"{folder}: cannot be written ({error}); free space, then run the same command again") from None

    def load(self, folder: Path) -> None:
        """Back to where a checkpoint was written."""
        state: dict[str, Any] = torch.load(folder / "state.pt", weights_only=True, map_location="cpu")
        mine = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        if mine.keys() != state["weights"].keys():
            odd = min(mine.keys() ^ state["weights"].keys())
            raise CoderlError(f"{folder} is of a model that trains other weights (one has {odd}, the other not); remove the folder to start anew")
        with torch.no_grad():
            for name, p in mine.items():
                p.copy_(like(state["weights"][name], p))
        for rule, known in zip(self.optimiser.rules, state["rules"], strict=True):
            take_states(rule, known)
        self.at, self.unlogged = Progressed(*state["at"]), state["unlogged"]


def fit(model: nn.Module, batches: Batches, objective: Objective, plan: Plan, run: RunDirectory, watch: Watch, machine: Machine) -> Progressed:
    """Train `model` in place until the plan is done, from the newest complete checkpoint in `run` if there is one.

    Returns: steps done, CPU seconds and batches spent on them.

    Raises:
        CoderlError: loss or gradient is not finite, there is no batch, or a checkpoint cannot be written.
    """
    loop = _Loop(model, batches, objective, plan, machine)
    newest = run.newest_checkpoint()
    if newest:
        loop.load(newest)
    if machine.lead:
        run.keep_metrics(lambda line: line.get("stage") != watch.description or line.get("step", 0) <= loop.at.updates)
    total, unit = (plan.updates, "updates") if plan.cpu_seconds is None else (round(plan.cpu_seconds), "CPU s")
    with progress(watch.description, total=total, unit=unit) if machine.lead else nullcontext(_silent) as advance:
        shown = 0
        for group in batches.groups(loop.at.batches, plan.accumulate * machine.processes):
            if plan.done(loop.at):
                break
            share = plan.share(loop.at)
            values = loop.update(group)
            now = loop.at.updates if plan.cpu_seconds is None else int(loop.at.cpu_seconds)
            advance(now - shown, note=f"loss {values['loss']:.3f}")
            shown = now
            _after_update(loop, values | {"learning_rate": learning_rate(plan, share)}, run, watch)
    if loop.shards:
        loop.shards.end()
    if machine.lead and watch.evaluate and (not watch.evaluate_every or loop.at.updates % watch.evaluate_every):
        _log(run, watch, loop.at, watch.evaluate(loop.at.updates))
    model.eval()
    return loop.at


def _silent(n: int = 1, note: str = "") -> None:
    """The progress of a process that does not speak."""


def _after_update(loop: _Loop, values: Mapping[str, float], run: RunDirectory, watch: Watch) -> None:
    """Metrics, a look at the model and a checkpoint, where they are due: the lead process's work, with a model that all put together."""
    lead, step = loop.machine.lead, loop.at.updates
    for name, value in values.items():
        loop.unlogged[name] = loop.unlogged.get(name, 0.0) + value
    if watch.log_every and step % watch.log_every == 0:
        if lead:
            means = {name: value / watch.log_every for name, value in loop.unlogged.items()}
            _log(run, watch, loop.at, means | {"learning_rate": values["learning_rate"]})
        loop.unlogged = {}
    look, save = (bool(every) and step % every == 0 for every in (watch.evaluate_every, watch.checkpoint_every))
    if not (look or save):
        return
    states = loop.states() if save else []
    with loop.whole():
        if lead and look and watch.evaluate:
            _log(run, watch, loop.at, watch.evaluate(step))
        if lead and save:
            run.write_checkpoint(step, lambda folder: loop.save(folder, watch.save, states))
    loop.model.train()


def _log(run: RunDirectory, watch: Watch, at: Progressed, values: Mapping[str, float]) -> None:
    numbers = {name: round(float(value), 6) for name, value in values.items() if math.isfinite(float(value))}
    run.log(stage=watch.description, step=at.updates, cpu_seconds=round(at.cpu_seconds, 2), **numbers)
