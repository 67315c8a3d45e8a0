"""Model folders by their name on the Hugging Face hub: `Salesforce/codet5-large-ntp-py` instead of a path.

A name is looked up in the local cache first (`HF_HOME` says where), then on the hub, where safetensors are taken before pickled weights.
Nothing here reads a model.
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ModelError

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_TEXTS = ("*.json", "*.txt", "*.model")


def local_folder(name: str | Path) -> Path:
    """The folder of a model: `name` itself where it is a path, else the downloaded snapshot of the hub's model of this name.

    A name is taken for one of the hub's when it has the form OWNER/MODEL and no folder OWNER is here. What is no such name is given back as
    it is: who loads it says what it lacks.

    Raises:
        ModelError: the hub cannot be reached, or has no such model.
    """
    path = Path(name)
    if path.exists() or not _NAME.fullmatch(str(name)) or path.parent.is_dir():
        return path
    from huggingface_hub import snapshot_download

    try:
        return _snapshot(Path(snapshot_download(str(name), local_files_only=True)))
    except (OSError, ValueError):  # not in the cache, or only a part of it
        pass
    try:
        found = Path(snapshot_download(str(name), allow_patterns=[*_TEXTS, "*.safetensors"]))
        if not list(found.glob("*.safetensors")):
            found = Path(snapshot_download(str(name), allow_patterns=[*_TEXTS, "pytorch_model*.bin"]))
        return _snapshot(found)
    except Exception as error:  # of the network, of the hub's answer: many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{name} is no folder here, and the Hugging Face hub gave no model of this name ({reason[:160]}); "
            f"give a model folder, or download it where there is a network: hf download {name}"
        ) from None


def _snapshot(folder: Path) -> Path:
    """The folder, if weights are in it.

    Raises:
        ValueError: there are none.
    """
    if not any(list(folder.glob(pattern)) for pattern in ("*.safetensors", "pytorch_model*.bin")):
        raise ValueError(f"{folder} holds no weights")
    return folder
