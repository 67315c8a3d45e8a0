"""Stage `finetune grpo`: group-normalised advantages, clipped ratios, no critic (Shao et al. 2024, DeepSeekMath).

    A           = (r - mean) / std over the problem's samples; every token has the advantage of its program
    L_rl        = - mean over tokens of min(ratio A, clip(ratio, 1 - low, 1 + high) A) + kl_weight x KL to the actor that drew the program
    ratio       = p(w_t) / p_old(w_t); old: the actor that drew the programs, the one at the start or `--drawn-by`

Reads programs with verdicts; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/grpo.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes

from .finetuning import DEFAULT, OFTEN_SAVED, Policy, Tuning
from .training import Training

if TYPE_CHECKING:
    from torch import Tensor

    from ..tokens import Batch


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor with GRPO."""

    model: Path
    """actor to start from: the one that wrote the programs"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs, several for each problem (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    clip_low: float = 0.2
    """the ratio counts from 1 - this on"""
    clip_high: float = 0.2
    """the ratio counts up to 1 + this (DAPO: 0.28)"""
    kl_weight: float = 0.0
    """weight of the divergence from the actor that drew the program, nats a token (DeepSeekMath: 0.04)"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns"""
    training: Annotated[Training, OmitArgPrefixes] = OFTEN_SAVED
    """how the machine is used"""


def main(config: Config) -> None:
    from .. import signals
    from ..models.actor import with_old_log_probs, without_dropout
    from .finetuning import learn, material, sampler

    found = material(config)
    if found is None:
        return
    tuning = config.tuning
    signal = signals.weighted(found.actor.tokenizer, found.problems, found.judged, signals.over_group, signals.evenly, tuning.limits, tuning.scaled)
    without_dropout(found.actor.model)
    examples = with_old_log_probs(sampler(config, found), signal.examples, found.actor.tokenizer.pad_token_id)
    learn(config, found, signal._replace(examples=examples), policy(config), "finetune-grpo")


def policy(config: Config) -> Policy:
    """The clipped loss and the divergence, as sums over tokens."""

    def terms(log_probs: Tensor, batch: Batch, drawn: Tensor) -> Mapping[str, Tensor]:
        from ..formulas.ppo import clipped_loss, clipped_share, divergence_estimates

        count, low, high = drawn.sum(), config.clip_low, config.clip_high
        return {
            "loss_rl": clipped_loss(log_probs, batch.old_log_probs, batch.weights, drawn, low, high) * count,
            "kl": divergence_estimates(log_probs, batch.old_log_probs, drawn).sum(),
            "clipped": clipped_share(log_probs.detach(), batch.old_log_probs, drawn, low, high) * count,
        }

    weight = config.tuning.rl_weight
    return Policy(("loss_rl", "kl", "clipped"), terms, {"loss_rl": weight, "kl": weight * config.kl_weight})
