"""Stage `bcoder value`: values of states for a checkpoint that stays as it is (B-Coder section 4.1, eq. 12).

    Q_φ(s, a) = A_ckpt(s, a) + V_φ(s)        V_φ = R_max - softabs(linear head on a decoder of its own), the only thing that learns
    L_V       = (1/T) Σ_t [r_t + γ SG(V_φ(s_{t+1})) - Q_φ(s_t, a_t)]²        A_ckpt(s, â) = 0 for the checkpoint's greedy token â

Learns from programs that the checkpoint wrote, with verdicts, and from reference solutions. A_ckpt of all tokens is computed once and
stored. Writes `OUT/model`, an actor's folder (the checkpoint: softmax(Q_φ / α) is its policy) with the values beside it,
`metrics.jsonl`, `manifest.json`. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes

from .bcoder import DEFAULT, Learning
from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..frozen import Frozen
    from ..models.bcoder import FrozenEncoder, LoadedQ
    from ..tokens import Batch, Example

CONSTANT = Training(warmup=0.0, final_rate=1.0, weight_decay=0.05)  # B-Coder: a constant rate


@dataclass(frozen=True)
class Config:
    """Train B-Coder's values for an actor that stays as it is."""

    model: Path
    """actor to start from, the checkpoint: the one that wrote the programs"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    references: Path
    """problems with reference solutions, the ground truth (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/model"""
    updates: int = 400
    """optimiser steps (B-Coder: 18,000 of 256 programs)"""
    learning_rate: float = 1e-3
    """constant learning rate of AdamW (B-Coder: 1e-5, for CodeT5; a small model made from nothing needs a larger one)"""
    alpha: float = 1.0
    """α of Q = α (l - max l) + V (B-Coder: 1)"""
    discount: float = 0.999
    """γ, the discount by token (B-Coder: 0.999)"""
    highest: float = 1.0
    """R_max, the cap of values: the return of a program that passes"""
    printed_softabs: bool = False
    """the cap as the paper prints it, which holds every value below R_max - 1.39; off: with the sign that reaches R_max"""
    held_out: float = 0.1
    """share of the sampled problems that is kept for measuring, 0 to 0.5"""
    learning: Annotated[Learning, OmitArgPrefixes] = DEFAULT
    """how the model learns"""
    training: Annotated[Training, OmitArgPrefixes] = CONSTANT
    """how the machine is used"""


def main(config: Config) -> None:
    from ..fitting import Watch
    from ..models.actor import load_actor
    from ..models.bcoder import Constants, FrozenEncoder, LoadedQ, q_model_from_actor, save_q_model
    from .bcoder import begin, computed_once, end, fit_stage, read_data, start, td_weights

    begun = begin(config)
    if begun is None:
        return
    machine, run = begun
    actor = load_actor(config.model)
    constants = Constants(config.alpha, config.discount, config.highest, config.printed_softabs)
    loaded = LoadedQ(q_model_from_actor(actor, constants, config.learning.seed), actor.tokenizer)
    data = read_data(config, loaded, config.held_out, machine)
    start(config, run, machine)
    encoder = FrozenEncoder(loaded.model.actor)
    frozen = computed_once(loaded, encoder, data, run, machine)
    loaded.model.learn_values()
    measure = measuring(loaded, encoder, data.held_out) if data.held_out else None
    save = lambda folder: save_q_model(loaded.model, loaded.tokenizer, folder)  # noqa: E731
    watch = Watch("bcoder-value", 20, max(1, config.updates // 4), config.training.checkpoint_every, measure, save)
    sums = value_sums(loaded, encoder, frozen)
    weights = td_weights(config.learning)
    plan = config.training.plan(config.updates, config.learning_rate)
    at = fit_stage(config, loaded, data, sums, weights, plan, watch, run, machine)
    end(loaded, run, machine, "model")
    machine.say(f"{at.updates} updates in {at.cpu_seconds:.0f} CPU s -> {run / 'model'}")


def value_sums(loaded: LoadedQ, encoder: FrozenEncoder, frozen: Frozen) -> Callable[[Batch], Mapping[str, Tensor]]:
    """L_V of a batch, as sums over programs."""
    from ..models.bcoder import read_values, spread
    from .bcoder import td_terms

    model = loaded.model

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        values = model.values(spread(read_values(model, batch, encoder.memory(batch)), batch.mask))
        return td_terms(frozen.rows(frozen.advantages, batch) + values, values, batch, model.constants.discount)

    return sums


def measuring(loaded: LoadedQ, encoder: FrozenEncoder, held_out: list[Example]) -> Callable[[int], Mapping[str, float]]:
    """TD loss on programs of problems that are not learnt from, and how well the recovered return tells passing ones from others there."""
    from ..ranking import passing_auc, read_returns

    def measure(step: int) -> Mapping[str, float]:
        found = read_returns(loaded.model, encoder, held_out, loaded.tokenizer.pad_token_id)
        labels = [e.label for e in held_out]
        return {
            "held_out/loss_q": sum(r.td_loss for r in found) / len(found),
            "held_out/auc": passing_auc([r.score for r in found], labels),
        }

    return measure
