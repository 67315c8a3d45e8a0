"""Stage `adopt`: take over a decoder-only model folder and say how it is asked, once for all stages.

    --prompt chat    through the tokenizer's chat template; the program is taken out of the answer's code fence (chat.py)
    --prompt plain   a text that the model continues, as with every folder that was not adopted

The choice is written into the copy's tokenizer_config.json and goes with the tokenizer into every actor and critic made from it. Weights
are not copied where the file system can link them. The folder that is read stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Config:
    """Take over a decoder-only model folder: how it is asked is written into the copy."""

    model: Path
    """a Hugging Face directory of a decoder-only model, as its authors published it"""
    out: Path
    """folder to write; it must not be there yet"""
    prompt: Literal["chat", "plain"] = "chat"
    """chat: through the tokenizer's chat template, programs in code fences; plain: a text that the model continues"""


def main(config: Config) -> None:
    import json
    import shutil

    from ..chat import KEY, around
    from ..errors import ModelError, UsageError
    from ..models.causal import is_decoder_only
    from ..store import atomic_write
    from ..tokens import load_tokenizer, read_json

    if config.out.exists():
        raise UsageError(f"--out {config.out} is there already; choose another folder, or remove it")
    tokenizer = load_tokenizer(config.model)
    kind = read_json(config.model / "config.json").get("model_type")
    if not is_decoder_only(kind):
        raise ModelError(f"{config.model} has model_type {kind!r}; only decoder-only models are asked in more than one way: use the folder as it is")
    if config.prompt == "chat":
        around(tokenizer)  # refuses what cannot be asked so
    settings = read_json(config.model / "tokenizer_config.json")
    settings |= {KEY: config.prompt}
    try:
        shutil.copytree(config.model, config.out, copy_function=_link_or_copy)
    except (OSError, shutil.Error) as error:
        raise ModelError(f"{config.out} cannot be written ({error}); free space, or choose another --out") from None
    atomic_write(config.out / "tokenizer_config.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    print(f"{config.model} ({kind}), asked as {config.prompt} -> {config.out}")


def _link_or_copy(source: str, target: str) -> str:
    """A hard link for weights, which no stage writes into; a copy for everything else, and where links cannot be had."""
    import os
    import shutil

    if source.endswith((".safetensors", ".bin")):
        try:
            os.link(os.path.realpath(source), target)
            return target
        except OSError:
            pass
    return shutil.copy2(source, target)
