"""Stage `new-model`: a T5 with random weights for a tokenizer, to be pretrained or warm-started by `--model`.

The defaults are the small model that everything here is tried on. CodeT5-small is 512 wide with 6 layers, 8 heads and 2,048 in its feed-forward
layers, -base 768, 12, 12, 3,072, -large (770M) 1,024, 24, 16, 4,096, all with dropout 0.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Make an encoder-decoder (T5) with random weights."""

    tokenizer: Path
    """folder of a tokenizer, or of a model with one; the model gets a row for each of its entries"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    width: int = 96
    """width of the model (d_model)"""
    layers: int = 2
    """layers of encoder and of decoder"""
    heads: int = 4
    """attention heads; they share the width"""
    feed_forward: int = 384
    """width of the feed-forward layers (d_ff)"""
    dropout: float = 0.0
    """share of activations that are dropped in training"""
    seed: int = 0
    """seed of the weights"""


def main(config: Config) -> None:
    from ..errors import UsageError
    from ..models.actor import Actor, save_actor, small_t5
    from ..run_directory import RunDirectory, manifest
    from ..tokens import load_tokenizer, vocabulary_size

    if config.width % config.heads:
        raise UsageError(f"--width is {config.width}; it must be a multiple of --heads ({config.heads})")
    tokenizer = load_tokenizer(config.tokenizer)
    run = RunDirectory(config.out)
    if run.is_done(config):
        print(f"{config.out} is complete already; remove it, or choose another --out, to make another model")
        return
    run.start(manifest(config, [config.tokenizer / "tokenizer.json"]))
    size = (config.width, config.layers, config.heads, config.feed_forward)
    actor = Actor(small_t5(vocabulary_size(tokenizer), config.seed, *size, dropout=config.dropout), tokenizer)
    save_actor(actor, run / "actor")
    run.finish()
    print(f"{actor.parameters / 1e6:.2f} million parameters, vocabulary {vocabulary_size(tokenizer)}, seed {config.seed} -> {run / 'actor'}")
