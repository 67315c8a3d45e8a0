"""Stage `pretrain spans`: masked span prediction on code (CodeT5 section 3.2, the one CodeT5 task that CodeRL keeps).

15 % of the words in spans of 1 to 5 are replaced by sentinels, and the decoder writes them. Documents are packed into blocks, so no place is
empty. Reads a model and tokens; writes `OUT/actor`, `metrics.jsonl`, `manifest.json`. docs/algorithms/pretraining.md.
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

DEFAULT = Pretraining(learning_rate=2e-4)


@dataclass(frozen=True)
class Config:
    """Pretrain an encoder-decoder by masked span prediction."""

    model: Path
    """model to start from: of `new-model`, or any T5 whose tokenizer has <extra_id_0>, <extra_id_1>, ..."""
    tokens: Path
    """folder of `corpus encode`, by this model's tokenizer"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    block_tokens: int = 512
    """tokens of a block, before masking (CodeRL: 512)"""
    rate: float = 0.15
    """share of the words that are masked (CodeT5: 15 %)"""
    pretraining: Annotated[Pretraining, OmitArgPrefixes] = DEFAULT
    """how the model learns (CodeRL: peak rate 2e-4)"""
    training: Annotated[Training, OmitArgPrefixes] = FALLING
    """how the machine is used"""


def main(config: Config) -> None:
    from .pretraining import pretrain

    def samples(actor: Actor, tokens: TokenFile) -> Samples:
        from ..errors import ModelError
        from ..models.actor import t5_of
        from ..pretraining import SpanSamples
        from ..tokens import sentinel_ids

        t5_of(actor, "masked span prediction")
        sentinels = sentinel_ids(actor.tokenizer)
        if not sentinels:
            raise ModelError(f"{config.model}: the tokenizer has no <extra_id_0>, which masked spans need; make one by `coderl corpus tokenizer`")
        return SpanSamples(tokens, config.block_tokens, sentinels, actor.tokenizer.eos_token_id, config.rate)

    pretrain(config, "pretrain-spans", samples)
