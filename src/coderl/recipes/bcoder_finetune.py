"""Stage `bcoder finetune`: the actor learns as a Q function (B-Coder section 4.2 and 4.3, eq. 8, 15 to 17).

    Q_θ(s, a) = α (l_θ(s, a) - max l_θ(s, ·)) + V(s)        V = R_max - softabs(raw_φ + V^r_θ), V^r_θ = h1 - h2 = 0 at the start
    L_Q       = (1/T) Σ_t [r_t + γ SG(Q_θ(s_{t+1}, â_{t+1})) - Q_θ(s_t, a_t)]²        â: the greedy token of the frozen checkpoint
    loss      = L_Q + advantage_weight * L_adv + ce_weight * L_ce        the last two on reference solutions alone, token means

θ's decoder and h1 learn; the encoder, φ and h2 do not. The checkpoint's greedy tokens and raw_φ are computed once and stored. `--model` is
the folder that `bcoder value` wrote; an actor's folder does too, its values then begin untrained. `--no-conservative` is plain
Q-learning, eq. 13. Writes `OUT/model`: an actor's folder, loaded by everything that loads actors, with the Q model beside it.
A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .bcoder import DEFAULT, Learning
from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..frozen import Frozen
    from ..models.bcoder import FrozenEncoder, LoadedQ
    from ..tokens import Batch

LOOKS = 4  # looks at the validation problems on the way, beside the one before
FALLING = Training(checkpoint_every=100, warmup=0.0, final_rate=0.0, weight_decay=0.05)  # B-Coder: linear decay, no warm-up


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor as a Q function (B-Coder)."""

    model: Path
    """folder that `bcoder value` wrote (OUT/model); an actor's folder begins with untrained values"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """programs sampled from the same checkpoint (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    references: Path
    """problems with reference solutions, the ground truth (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/model"""
    validation: Path | None = None
    """problems to judge greedy programs on five times on the way (.jsonl); only looked at, never trained on"""
    updates: int = 400
    """optimiser steps (B-Coder: 10,000 of 128 programs)"""
    learning_rate: float = 5e-4
    """peak learning rate, falls linearly to 0 (B-Coder: 3e-5, for CodeT5)"""
    optimiser: Literal["adamw", "muon"] = "adamw"
    """how weights follow the gradient (B-Coder: adamw); muon takes higher rates, such as 3e-3"""
    advantage_weight: float = 0.1
    """β_adv, weight of L_adv (B-Coder: 0.1)"""
    ce_weight: float = 0.5
    """β_ce, weight of L_ce (B-Coder: 0.5)"""
    conservative: bool = True
    """bootstrap from the checkpoint's greedy token; off: from the best token of Q itself, plain Q-learning"""
    allow_unsandboxed: bool = False
    """judge validation programs even where this machine offers no isolation"""
    learning: Annotated[Learning, OmitArgPrefixes] = DEFAULT
    """how the model learns"""
    training: Annotated[Training, OmitArgPrefixes] = FALLING
    """how the machine is used"""


def main(config: Config) -> None:
    from ..engines.requests import Decoding
    from ..fitting import Watch
    from ..models.actor import Actor
    from ..models.bcoder import FrozenEncoder, save_q_model
    from ..records import Problem
    from ..sampling import Settings
    from ..store import read_records
    from ..trials import looking
    from .bcoder import begin, computed_once, end, fit_stage, read_data, start, td_weights

    begun = begin(config)
    if begun is None:
        return
    machine, run = begun
    loaded = beginning(config)
    data = read_data(config, loaded, 0.0, machine)
    start(config, run, machine, (config.validation,))
    encoder = FrozenEncoder(loaded.model.actor)
    frozen = computed_once(loaded, encoder, data, run, machine)
    loaded.model.learn_policy()
    learning, name = config.learning, "bcoder-finetune"
    weights = {**td_weights(learning), "loss_adv": config.advantage_weight, "loss_ce": config.ce_weight}
    validation = read_records(config.validation, Problem) if config.validation and machine.lead else []
    settings = Settings(Decoding(temperature=0, max_tokens=learning.max_program_tokens), learning.seed, learning.max_source_tokens)
    save = lambda folder: save_q_model(loaded.model, loaded.tokenizer, folder)  # noqa: E731
    with looking(Actor(loaded.model.actor, loaded.tokenizer), validation, settings, config.allow_unsandboxed) as look:
        if look and not run.newest_checkpoint():
            run.keep_metrics(lambda line: line.get("stage") != name)
            run.log(stage=name, step=0, cpu_seconds=0.0, **look(0))
        watch = Watch(name, 10, -(-config.updates // LOOKS), config.training.checkpoint_every, look, save)
        sums = policy_sums(loaded, encoder, frozen, config.conservative)
        plan = config.training.plan(config.updates, config.learning_rate, muon=config.optimiser == "muon")
        at = fit_stage(config, loaded, data, sums, weights, plan, watch, run, machine)
    end(loaded, run, machine, "model")
    machine.say(f"{at.updates} updates in {at.cpu_seconds:.0f} CPU s -> {run / 'model'}")


def beginning(config: Config) -> LoadedQ:
    """The Q model of the value stage, or an actor whose values have not learnt."""
    from ..models.actor import load_actor
    from ..models.bcoder import Constants, LoadedQ, is_q_model, load_q_model, q_model_from_actor

    if is_q_model(config.model):
        return load_q_model(config.model)
    actor = load_actor(config.model)
    return LoadedQ(q_model_from_actor(actor, Constants(), config.learning.seed), actor.tokenizer)


def policy_sums(loaded: LoadedQ, encoder: FrozenEncoder, frozen: Frozen, conservative: bool) -> Callable[[Batch], Mapping[str, Tensor]]:
    """L_Q as sums over programs; L_adv and L_ce as sums over tokens of ground truth."""
    from ..formulas.bcoder import action_advantages, advantage_loss
    from ..formulas.masks import token_log_probs
    from ..formulas.policy_gradient import cross_entropy
    from ..models.bcoder import read_policy, spread
    from .bcoder import td_terms

    model = loaded.model

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        mask, alpha = batch.mask, model.constants.alpha
        policy = read_policy(model, batch, encoder.memory(batch))
        labels = batch.labels[mask]
        taken = spread(action_advantages(policy.logits, labels, alpha), mask)
        values = model.values(frozen.rows(frozen.raw, batch) + spread(policy.residuals, mask))
        greedy_values = values
        if conservative:
            greedy = frozen.rows(frozen.greedy, batch)[mask]
            greedy_values = values + spread(action_advantages(policy.logits, greedy, alpha), mask)
        real = mask & batch.supervised[:, None]
        log_probs = spread(token_log_probs(policy.logits[None], labels[None])[0], mask)
        return {
            **td_terms(taken + values, greedy_values, batch, model.constants.discount),
            "loss_adv": advantage_loss(taken, real) * real.sum(),
            "loss_ce": cross_entropy(log_probs, real) * real.sum(),
        }

    return sums
