"""Stage `adopt`: take over a model folder, or a model of the hub, and say how it is asked, once for all stages.

    --prompt chat    through the tokenizer's chat template; the program is taken out of the answer's code fence (chat.py)
    --prompt plain   a text that the model continues, as with every folder that was not adopted
    --template       which of the released code's two forms stdin and call problems have (prompts.py)

The choice is written into the copy's tokenizer_config.json and goes with the tokenizer into every actor and critic made from it. Weights
are not copied where the file system can link them. The folder that is read stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Config:
    """Take over a model folder: how it is asked is written into the copy."""

    model: Path
    """a Hugging Face directory as its authors published it, or its name on the hub"""
    out: Path
    """folder to write; it must not be there yet"""
    prompt: Literal["chat", "plain"] | None = None
    """chat: through the tokenizer's chat template, programs in code fences; plain: a text that the model continues; without it, chat for
    decoder-only models"""
    template: Literal["generation", "training"] = "generation"
    """form of stdin and call prompts: of the released code's generation or of its training set, which differ by newlines"""


def main(config: Config) -> None:
    import json
    import shutil

    from ..chat import KEY, around
    from ..errors import CoderlError, ModelError, UsageError
    from ..models.causal import is_decoder_only
    from ..models.hub import local_folder
    from ..prompts import KEPT_AS
    from ..store import atomic_write, system_error, write_failure
    from ..tokens import load_tokenizer, read_json, save_tokenizer

    if config.out.exists():
        raise UsageError(f"--out {config.out} is there already; choose another folder, or remove it")
    folder = local_folder(config.model)
    tokenizer = load_tokenizer(folder)
    kind = read_json(folder / "config.json").get("model_type")
    asked = config.prompt or ("chat" if is_decoder_only(kind) else "plain")
    if kind != "t5" and not is_decoder_only(kind):
        raise ModelError(f"{folder} has model_type {kind!r}; actors are of type 't5' (CodeT5 is one), or decoder-only ('gpt2', 'llama', ...)")
    if kind == "t5" and asked == "chat":
        raise ModelError(f"{folder} has model_type 't5'; only decoder-only models are asked as chat models: leave --prompt out")
    if asked == "chat":
        around(tokenizer)  # refuses what cannot be asked so
    try:
        shutil.copytree(folder, config.out, copy_function=_link_or_copy)
        if kind == "t5":  # the hub's CodeT5 has bare vocabulary files, whose settings no loader of ours looks at
            save_tokenizer(tokenizer, config.out)
        settings = read_json(config.out / "tokenizer_config.json") | {KEY: asked, KEPT_AS: config.template}
        atomic_write(config.out / "tokenizer_config.json", json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    except (OSError, CoderlError) as error:  # shutil.Error is an OSError that gathers failures as text
        shutil.rmtree(config.out, ignore_errors=True)  # half a folder is no actor, and the next call refuses a folder that is there
        if isinstance(error, CoderlError):
            raise
        raise CoderlError(write_failure(config.out, system_error(error) or error)) from None
    print(f"{config.model} ({kind}), asked as {asked}, prompts as in {config.template} -> {config.out}")


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
