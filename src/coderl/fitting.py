"""Optimisation: one update, the learning rate, checkpoints, and the loop that every training stage shares.

A stage gives batches of examples and a loss; `fit` does the rest: updates until the planned number or the planned CPU time is
reached, metrics to `metrics.jsonl`, a checkpoint every so often, and a resume that goes on where the newest checkpoint was. Batches
are a pure function of (seed, epoch), so a resumed run sees the same ones. One process, one device; distribution is a later piece.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .errors import CoderlError
from .muon import Muon
from .progress import progress
from .store import RunDirectory, write_failure
from .tokens import Batch, Example, collate


class Plan(NamedTuple):
    """How long and how fast to train.

    Fields:
        updates: number of optimiser steps; ignored when `cpu_seconds` is given.
        cpu_seconds: CPU seconds of this process instead of a number of updates (the learning rate follows the time).
        learning_rate: peak; `warmup` is the share of the plan in which it rises from 0, then it falls linearly to `final` x peak.
        betas, weight_decay: of AdamW. clip: bound on the gradient norm.
        muon: the matrices of linear layers learn by Muon (muon.py) instead of AdamW, at the same rate.
    """

    updates: int
    learning_rate: float
    cpu_seconds: float | None = None
    warmup: float = 0.03
    final: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    muon: bool = False


def learning_rate(plan: Plan, share: float) -> float:
    """The learning rate of the step that brings the plan to `share` in (0, 1]: linear rise to the peak, then fall to `final` x peak."""
    if share < plan.warmup:
        return plan.learning_rate * share / plan.warmup
    return plan.learning_rate * (1 - (1 - plan.final) * (min(share, 1.0) - plan.warmup) / (1 - plan.warmup))


class Optimiser:
    """AdamW, or Muon for matrices and AdamW for the rest, with the plan's schedule and gradient clipping."""

    def __init__(self, model: nn.Module, plan: Plan) -> None:
        self.plan = plan
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = matrices_of(model) if plan.muon else []
        known = {id(p) for p in matrices}
        rest = [p for p in self.parameters if id(p) not in known]
        rate, decay = plan.learning_rate, plan.weight_decay
        self.rules: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=rate, betas=plan.betas, weight_decay=decay, fused=True)]
        if matrices:
            self.rules.append(Muon(matrices, rate, decay))

    def update(self, loss: Tensor, share: float) -> float:
        """One step on `loss` at the learning rate of `share`; returns the gradient norm before clipping.

        Raises:
            CoderlError: the loss or the gradient is not finite; the weights are those of the step before.
        """
        if not torch.isfinite(loss):
            raise CoderlError(f"the loss is {float(loss.detach())}; lower the learning rate (now {self.plan.learning_rate}) and start again")
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.parameters, self.plan.clip))
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


Loss = Callable[[Batch], Mapping[str, Tensor]]  # "loss" is minimised, the rest is logged
Evaluate = Callable[[int], Mapping[str, float]]


class Progressed(NamedTuple):
    """Where a training loop is: optimiser steps done, and CPU seconds spent on them (evaluation not counted)."""

    updates: int = 0
    cpu_seconds: float = 0.0


def save_checkpoint(path: Path, model: nn.Module, optimiser: Optimiser, at: Progressed) -> None:
    """Model, optimiser and position in one file, put in place in one step."""
    temporary = path.with_suffix(".tmp")
    try:
        torch.save({"model": model.state_dict(), "rules": [rule.state_dict() for rule in optimiser.rules], "at": tuple(at)}, temporary)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        temporary.unlink(missing_ok=True)
        raise CoderlError(write_failure(path, error) if isinstance(error, OSError) else f"{path}: cannot be written ({error})") from None


def load_checkpoint(path: Path, model: nn.Module, optimiser: Optimiser) -> Progressed:
    """Put model and optimiser back to a checkpoint; without one, the beginning."""
    if not path.exists():
        return Progressed()
    state: dict[str, Any] = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for rule, known in zip(optimiser.rules, state["rules"], strict=True):
        rule.load_state_dict(known)
    return Progressed(*state["at"])


class Watch(NamedTuple):
    """What a training loop does beside training.

    Fields:
        description: shown in the progress line and stored as `stage` in the metrics.
        log_every, evaluate_every, checkpoint_every: optimiser steps; 0 = never.
        evaluate: step -> numbers, logged; called every `evaluate_every` steps and at the end.
    """

    description: str
    log_every: int = 20
    evaluate_every: int = 0
    checkpoint_every: int = 200
    evaluate: Evaluate | None = None


def fit(
    model: nn.Module, epochs: Callable[[int], Iterator[list[Example]]], loss: Loss, plan: Plan, run: RunDirectory, watch: Watch, pad_id: int
) -> Progressed:
    """Train `model` until the plan is done, from the newest checkpoint in `run` if there is one.

    Args:
        epochs: epoch number -> its batches; the same number must give the same batches.
        loss: batch -> {"loss": scalar to minimise, other names: scalars to log}.

    Returns: steps done and CPU seconds spent on them.
    """
    optimiser = Optimiser(model, plan)
    checkpoint = run / "checkpoint.pt"
    at = load_checkpoint(checkpoint, model, optimiser)
    run.keep_metrics(lambda line: line.get("stage") != watch.description or line.get("step", 0) <= at.updates)
    model.train()
    total = plan.updates if plan.cpu_seconds is None else round(plan.cpu_seconds)
    sums: dict[str, float] = {}
    with progress(watch.description, total=total, unit="updates" if plan.cpu_seconds is None else "CPU s") as advance:
        advance(at.updates if plan.cpu_seconds is None else int(at.cpu_seconds))
        for batch in _endless(epochs, at.updates):
            if at.updates >= plan.updates if plan.cpu_seconds is None else at.cpu_seconds >= plan.cpu_seconds:
                break
            share = (at.updates + 1) / plan.updates if plan.cpu_seconds is None else at.cpu_seconds / plan.cpu_seconds
            began = time.process_time()
            losses = loss(collate(batch, pad_id))
            norm = optimiser.update(losses["loss"], share)
            before = at
            at = Progressed(at.updates + 1, at.cpu_seconds + time.process_time() - began)
            values = {name: float(value.detach()) for name, value in losses.items()} | {"gradient_norm": norm}
            for name, value in values.items():
                sums[name] = sums.get(name, 0.0) + value
            advance(1 if plan.cpu_seconds is None else int(at.cpu_seconds) - int(before.cpu_seconds), note=f"loss {values['loss']:.3f}")
            if watch.log_every and at.updates % watch.log_every == 0:
                _log(run, watch, at, {name: value / watch.log_every for name, value in sums.items()} | {"learning_rate": learning_rate(plan, share)})
                sums = {}
            if watch.evaluate and watch.evaluate_every and at.updates % watch.evaluate_every == 0:
                _log(run, watch, at, watch.evaluate(at.updates))
                model.train()
            if watch.checkpoint_every and at.updates % watch.checkpoint_every == 0:
                save_checkpoint(checkpoint, model, optimiser, at)
    if watch.evaluate and (not watch.evaluate_every or at.updates % watch.evaluate_every):
        _log(run, watch, at, watch.evaluate(at.updates))
    model.eval()
    return at


def _endless(epochs: Callable[[int], Iterator[list[Example]]], skip: int) -> Iterator[list[Example]]:
    epoch = 0
    while True:
        empty = True
        for batch in epochs(epoch):
            empty = False
            if skip:
                skip -= 1
                continue
            yield batch
        if empty:
            raise CoderlError("there is nothing to train on: no example is left after reading the problems; check the files")
        epoch += 1


def _log(run: RunDirectory, watch: Watch, at: Progressed, values: Mapping[str, float]) -> None:
    numbers = {name: round(float(value), 6) for name, value in values.items() if math.isfinite(float(value))}
    run.log(stage=watch.description, step=at.updates, cpu_seconds=round(at.cpu_seconds, 2), **numbers)
