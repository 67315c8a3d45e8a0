"""Checkpoints of the released CodeRL by their own names of weights: actors, actors with a separate `rl_head`, critics with an `error_head`.

Their `train.py` saves one T5 state dictionary, at times without config.json or tokenizer (their issue #18). `rl_head` is a second vocabulary head
that only their reinforcement loss looks at and that generation drops; it is dropped here too, and said.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from ..errors import ModelError
from ..tokens import load_tokenizer, read_json
from .actor import Actor, save_actor
from .critic import RELEASED_HEAD, read_weights, released_critic, save_critic
from .hub import local_folder

RL_HEAD = "rl_head."
WIDTH = 512
"""Tokens to which their critic's programs are padded, and which its maximum is taken over."""


def convert(checkpoint: Path, base: Path | None, out: Path) -> str:
    """Write the model folder of a checkpoint and say what it was.

    Args:
        checkpoint: folder with model.safetensors or pytorch_model.bin; config.json and tokenizer in it are taken where they are.
        base: folder or hub name that has them where the checkpoint has not.

    Raises:
        ModelError: weights, configuration or tokenizer are lacking or do not fit together.
    """
    weights = read_weights(checkpoint)
    home = None if base is None else local_folder(base)
    config, tokenizer = _config(checkpoint, home), _tokenizer(checkpoint, home)
    if any(name.startswith(RELEASED_HEAD) for name in weights):
        save_critic(released_critic(config, weights, checkpoint, WIDTH), out)
        tokenizer.save_pretrained(str(out))
        return f"{out}: a critic with the released head"
    save_actor(Actor(actor_of(config, weights, checkpoint), tokenizer), out)
    dropped = "; its rl_head, which generation does not use, is left out" if any(name.startswith(RL_HEAD) for name in weights) else ""
    return f"{out}: an actor{dropped}"


def actor_of(config: T5Config, weights: dict[str, Tensor], source: Path) -> T5ForConditionalGeneration:
    """The T5 of a checkpoint, float32, in evaluation mode; `source` is what an error names. Other heads among the weights are left.

    Raises:
        ModelError: a weight is missing, or sizes do not agree with the configuration.
    """
    with torch.device("meta"):
        model = T5ForConditionalGeneration(config)
    names = set(model.state_dict())
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} | ({"lm_head.weight"} if config.tie_word_embeddings else set())
    missing = names - copies - set(weights)
    if missing:
        raise ModelError(f"{source} lacks the weight {min(missing)} ({len(missing)} missing of {len(names)}); is it a checkpoint of CodeT5?")
    given = {name: value.float() for name, value in weights.items() if name in names}
    given |= {name: given["shared.weight"] for name in copies if name in names}
    try:
        model.load_state_dict(given, strict=False, assign=True)
    except RuntimeError as error:
        raise ModelError(f"the weights of {source} do not have the sizes of its config.json ({str(error).splitlines()[-1].strip()[:160]})") from None
    model.tie_weights()
    return model.eval()


def _config(checkpoint: Path, home: Path | None) -> T5Config:
    folder = next((f for f in (checkpoint, home) if f is not None and (f / "config.json").is_file()), None)
    if folder is None:
        raise ModelError(f"{checkpoint} has no config.json; name the model that it was trained from: --base Salesforce/codet5-large (critics: -base)")
    values = read_json(folder / "config.json")
    if values.get("model_type") != "t5":
        raise ModelError(f"{folder / 'config.json'} is of model type {values.get('model_type')!r}; the released models are of type 't5'")
    return T5Config.from_dict(values)


def _tokenizer(checkpoint: Path, home: Path | None) -> PreTrainedTokenizerBase:
    try:
        return load_tokenizer(checkpoint)
    except ModelError:
        if home is None:
            raise ModelError(f"{checkpoint} holds no tokenizer; name the model that it was trained from: --base Salesforce/codet5-base") from None
    return load_tokenizer(home)
