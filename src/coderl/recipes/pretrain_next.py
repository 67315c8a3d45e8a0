"""Stage `pretrain next`: next-token prediction behind a pivot (CodeRL section 3.2).

Each document by itself is cut at a pivot, uniform between 10 % and 90 % of it; the encoder reads what is before, the decoder writes what follows.
Decoder-only models read the first part and learn to write the second. Reads a model and tokens; writes `OUT/actor`, `metrics.jsonl`,
`manifest.json`. docs/algorithms/pretraining.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes

from .pretraining import FALLING, Pretraining
from .training import Training

if TYPE_CHECKING:
    from ..corpus.token_file import TokenFile
    from ..models.actor import Actor
    from ..pretraining import Samples

DEFAULT = Pretraining(learning_rate=1e-4)


@dataclass(frozen=True)
class Config:
    """Pretrain a model by next-token prediction behind a pivot."""

    model: Path
    """model to start from: of `pretrain spans` (CodeRL), of `new-model`, or any actor"""
    tokens: Path
    """folder of `corpus encode`, by this model's tokenizer"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    max_source_tokens: int = 768
    """tokens of the encoder's part; of more, those next to the pivot (CodeRL: 768)"""
    max_target_tokens: int = 600
    """tokens of the decoder's part; of more, those next to the pivot (CodeRL: 600)"""
    pretraining: Annotated[Pretraining, OmitArgPrefixes] = DEFAULT
    """how the model learns (CodeRL: peak rate 1e-4)"""
    training: Annotated[Training, OmitArgPrefixes] = FALLING
    """how the machine is used"""


def main(config: Config) -> None:
    from .pretraining import pretrain

    def samples(actor: Actor, tokens: TokenFile) -> Samples:
        from ..pretraining import next_samples

        return next_samples(tokens, config.max_source_tokens, config.max_target_tokens, actor.tokenizer.eos_token_id)

    pretrain(config, "pretrain-next", samples)
