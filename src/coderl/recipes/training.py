"""What all training stages let their user choose about the machine, and how their runs begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

    from ..fitting import Plan
    from ..machine import Machine
    from ..run_directory import RunDirectory
    from ..tokens import Example


@dataclass(frozen=True)
class Training:
    """How a training stage uses the machine; docs/training.md."""

    threads: int = 1
    """CPU threads of torch, in each process"""
    checkpoint_every: int = 250
    """optimiser steps between checkpoints"""
    accumulate: int = 1
    """batches of each process in an optimiser step; the loss is the mean over all their tokens"""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """number format of matrix products; auto is bfloat16 on GPUs that have it and float32 elsewhere"""
    gradient_checkpointing: bool = False
    """compute activations a second time instead of keeping them: less memory for a third more work"""
    lora: int | None = None
    """rank of low-rank adapters on the q and v projections that are trained instead of the weights; merged into what is saved"""
    warmup: float = 0.03
    """share of the training in which the learning rate rises from 0 to its peak (CodeRL's warm start: 500 updates)"""
    final_rate: float = 0.1
    """share of the peak that the learning rate has at the end (CodeRL's warm start: 0.5)"""
    decay_power: float = 1.0
    """how it falls between: 1 = linearly, less = late (CodeRL's warm start: 0.5)"""
    weight_decay: float = 0.01
    """of the optimiser (CodeRL, B-Coder, the released scripts: 0.05)"""

    def plan(self, updates: int, learning_rate: float, cpu_seconds: float | None = None, muon: bool = False) -> Plan:
        """How long and how fast to train: the stage's numbers with these."""
        from ..fitting import Plan

        return Plan(
            updates,
            learning_rate,
            cpu_seconds,
            warmup=self.warmup,
            final=self.final_rate,
            power=self.decay_power,
            weight_decay=self.weight_decay,
            muon=muon,
            accumulate=self.accumulate,
        )


USUAL = Training()


@contextmanager
def prepared(training: Training, model: nn.Module, seed: int) -> Iterator[None]:
    """Inside, `model` has the adapters and the checkpointing that were asked for; behind, it is plain again, adapters merged."""
    from ..models.adapters import add_adapters, remove_adapters
    from ..models.t5_passes import recompute

    if training.lora:
        add_adapters(model, training.lora, seed)
    recompute(model, training.gradient_checkpointing)
    try:
        yield
    finally:
        recompute(model, False)
        if training.lora:
            remove_adapters(model)


def over_budget(examples: Sequence[Example], budget: int) -> str:
    """A line for the log: examples that are longer than a batch may be."""
    from ..tokens import longer_than

    return f"{longer_than(examples, budget)} of {len(examples)} examples are longer than a batch of {budget} tokens and make one of their own"


def while_merged(model: nn.Module, look: Callable[[int], Mapping[str, float]]) -> Callable[[int], Mapping[str, float]]:
    """`look`, seeing adapters as part of the weights: generation reads weights without asking the layers."""
    from ..models.adapters import merged

    def evaluate(step: int) -> Mapping[str, float]:
        with merged(model):
            return look(step)

    return evaluate


def finish(run: RunDirectory, machine: Machine, save: Callable[[Path], None], name: str) -> None:
    """The lead process writes the model to RUN/name and marks the run complete; checkpoints are not needed any more."""
    if machine.lead:
        save(run / name)
        run.finish()
        run.remove_checkpoints()
