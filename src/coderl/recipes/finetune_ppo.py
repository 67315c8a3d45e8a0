"""Stage `finetune ppo`: PPO with a value head on the actor's decoder states (Schulman et al. 2017; for programs PPOCoder, Shojaee et al. 2023).

    reward_t = [t = T] r(W) - kl_weight (log p_old(w_t) - log p_ref(w_t))       r: CodeRL's return; old: the actor at the start of the stage
    A_t      = GAE(rewards, V_old)                                              once for the stage, before the actor learns
    L        = - mean of min(ratio A, clip(ratio) A) + value_weight x L_V + L_ce
    ref      = --reference, the warm start; by default the actor at the start. --kl-in loss takes the penalty out of the reward and adds
               kl_weight x KL(p || p_ref) to the loss

First the value head alone learns the returns of the programs (`--value-epochs`, decoder states as they are), then both learn together. The
head lies in the actor's folder (`value_head.safetensors`), and a next round that starts from that folder goes on with it.
Reads programs with verdicts; writes `OUT/value` (the head's first part), `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/ppo.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes

from .finetuning import DEFAULT, OFTEN_SAVED, SHARED, Beside, Material, Policy, Tuning
from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.value_head import ValueHead
    from ..tokens import Batch, Example


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor with PPO."""

    model: Path
    """actor to start from: the one that wrote the programs; a value head in its folder is gone on with"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; model and value head go to OUT/actor"""
    reference: Path | None = None
    """actor that this one is held to, the warm start; by default the one to start from"""
    kl_weight: float = 0.05
    """return that a nat of log p / p_ref costs (with --kl-in loss: weight of the divergence, nats a token); 0: nothing is held"""
    kl_in: Literal["reward", "loss"] = "reward"
    """where the penalty is: in the reward of each token, so that the value head knows of it, or a term of the loss"""
    clip_low: float = 0.2
    """the ratio counts from 1 - this on"""
    clip_high: float = 0.2
    """the ratio counts up to 1 + this"""
    gamma: float = 1.0
    """discount of a token's step, 0 to 1"""
    gae_lambda: float = 0.95
    """lambda of GAE, 0 to 1: 1 = return minus value, 0 = one-step differences of the value (PPOCoder: 0.95)"""
    value_weight: float = 0.1
    """weight of the value loss beside L_rl"""
    value_clip: float = 0.2
    """the value moves by at most this from its old one before its loss stops to fall (PPOCoder: 0.2)"""
    value_epochs: float = 2.0
    """passes over the programs in which the value head learns alone, before the advantages are computed"""
    value_learning_rate: float = 3e-3
    """peak learning rate of the value head alone"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from ..errors import UsageError
    from ..models.actor import load_actor, program_log_probs, read_by_token, with_old_log_probs, without_dropout
    from ..rollouts import as_signal, explained, rollouts, with_advantages
    from .finetuning import learn, material, sampler

    if config.tuning.reuse != "none":
        raise UsageError(f"--reuse is {config.tuning.reuse}: PPO's values and advantages belong to the actor that drew the programs; leave it out")
    found = material(config)
    if found is None:
        return
    actor, tuning, beta = found.actor, config.tuning, config.kl_weight if config.kl_in == "reward" else 0.0
    device, pad_id = found.machine.accelerator.device, actor.tokenizer.pad_token_id
    without_dropout(actor.model.to(device))
    drawn = rollouts(actor.tokenizer, found.problems, found.judged, tuning.limits)
    examples = with_old_log_probs(sampler(config, found), drawn.examples, pad_id)
    reference = [e.old_log_probs for e in examples]
    if config.reference:
        model = load_actor(config.reference).model.to(device)
        reference = [*read_by_token(lambda batch: program_log_probs(model, batch), examples, pad_id, device)]
    examples = [e._replace(reference_log_probs=row) for e, row in zip(examples, reference, strict=True)]
    head = fitted_head(config, found, with_advantages(examples, drawn.returns, beta, config.gamma, 1.0))
    values = read_by_token(lambda batch: head_values(head, found, batch), examples, pad_id, device)
    examples = [e._replace(old_values=row) for e, row in zip(examples, values, strict=True)]
    found.machine.say(f"values explain {explained(with_advantages(examples, drawn.returns, beta, config.gamma, 1.0)):.0%} of the returns' variance")
    signal = as_signal(drawn, with_advantages(examples, drawn.returns, beta, config.gamma, config.gae_lambda), tuning.scaled)
    learn(config, found, signal, policy(config, head), "finetune-ppo")


def head_values(head: ValueHead, found: Material, batch: Batch) -> Tensor:
    """V(s_t) of every program token: (B, T)."""
    from ..models.actor import program_states, spread

    return spread(head(program_states(found.actor.model, batch)), batch.mask)


def fitted_head(config: Config, found: Material, examples: Sequence[Example]) -> ValueHead:
    """The actor's value head, or a new one, after `value_epochs` on the examples' `value_targets`; the actor stays as it is.

    It is a run of its own in OUT/value, so that a killed stage does not fit it twice.
    """
    import torch

    from ..errors import ModelError
    from ..fitting import Batches, Objective, Watch, fit
    from ..formulas.ppo import clipped_value_loss
    from ..models.actor import program_states, spread
    from ..models.value_head import fresh_value_head, load_value_head, save_value_head
    from ..run_directory import RunDirectory, manifest
    from ..tokens import epoch_batches
    from .training import finish

    actor, tuning, machine = found.actor, config.tuning, found.machine
    width, run = actor.model.config.hidden_size, RunDirectory(config.out / "value")
    fitted = run.complete
    machine.accelerator.wait_for_everyone()  # all have looked before the lead takes the marker away
    if machine.lead:
        files = (config.problems, config.programs, config.verdicts)
        run.start(manifest(config, files), begun=fitted)
    if fitted:
        head = load_value_head(run / "head", width)
        if head is None:
            raise ModelError(f"{run / 'head'} holds no value head although it is marked complete; remove {config.out} to begin anew")
        if machine.lead:
            run.finish()
        return head.to(machine.accelerator.device)
    head = load_value_head(config.model, width) or fresh_value_head(width, tuning.seed)

    def sums(batch: Batch) -> Mapping[str, Tensor]:
        with torch.no_grad():
            states = program_states(actor.model, batch)
        values = spread(head(states), batch.mask)
        loss = clipped_value_loss(values, values, batch.value_targets, batch.mask, math.inf, batch.repeats)
        return {"loss_value": loss * (batch.repeats[:, None] * batch.mask).sum()}

    def epoch(number: int) -> list[list[Example]]:
        return list(epoch_batches(examples, tuning.batch_tokens, tuning.seed * 1_000_003 + number, SHARED if actor.shares_prompts else 1))

    updates = math.ceil(config.value_epochs * len(epoch(0)) / (config.training.accumulate * machine.processes))
    objective = Objective(sums, lambda part: {"loss_value": sum(e.repeats * len(e.program) for e in part)}, {"loss_value": 1.0})
    batches = Batches(lambda number: iter(epoch(number)), actor.tokenizer.pad_token_id, tuning.seed)
    watch = Watch("value-head", 10, 0, config.training.checkpoint_every, None, lambda folder: save_value_head(head, folder))
    plan = config.training.plan(updates, config.value_learning_rate)
    fit(head, batches, objective, plan, run, watch, machine)
    finish(run, machine, lambda folder: save_value_head(head, folder), "head")
    return head


def policy(config: Config, head: ValueHead) -> Policy:
    """The clipped loss, the divergence from the reference and the value loss, as sums over tokens."""
    from ..models.value_head import save_value_head

    def terms(log_probs: Tensor, batch: Batch, drawn: Tensor) -> Mapping[str, Tensor]:
        from ..formulas.ppo import clipped_loss, clipped_share, divergence_estimates

        count, low, high = drawn.sum(), config.clip_low, config.clip_high
        return {
            "loss_rl": clipped_loss(log_probs, batch.old_log_probs, batch.weights, drawn, low, high) * count,
            "kl": divergence_estimates(log_probs, batch.reference_log_probs, drawn).sum(),
            "clipped": clipped_share(log_probs.detach(), batch.old_log_probs, drawn, low, high) * count,
        }

    def value_loss(states: Tensor, batch: Batch, drawn: Tensor) -> Tensor:
        from ..formulas.ppo import clipped_value_loss
        from ..models.actor import spread

        values = spread(head(states), batch.mask)
        loss = clipped_value_loss(values, batch.old_values, batch.value_targets, drawn, config.value_clip, batch.repeats)
        return loss * (batch.repeats[:, None] * drawn).sum()

    weight = config.tuning.rl_weight
    weights = {"loss_rl": weight, "loss_value": weight * config.value_weight}
    weights |= {"kl": weight * config.kl_weight} if config.kl_in == "loss" else {}
    return Policy(("loss_rl", "kl", "clipped"), terms, weights, Beside(head, value_loss, lambda folder: save_value_head(head, folder)))
