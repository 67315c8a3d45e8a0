"""Which engine writes the programs (`--engine`): the one asked for, or by a rule that is one sentence.

`auto` takes torch, except for decoder-only models on a GPU where vLLM is installed. For encoder-decoders on CPUs the rule is measured
(bench/generation.py, docs/engines.md): CTranslate2 in float32 did not beat the torch engine at 0.6, 60 or 220 million parameters. In int8
it does at 220 million (1.1 to 1.3 times), but then another model writes the programs, which has to be asked for.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ..errors import UsageError
from ..tokens import read_json
from . import ctranslate2_engine, vllm_engine
from .requests import Generated, Request

ENGINES = ("auto", "torch", "ctranslate2", "ctranslate2-int8", "vllm")

Writer = Callable[[Sequence[Request], int, int], Iterator[Generated]]
"""(requests, seed, rows) -> programs, as they finish."""


class Choice(NamedTuple):
    """The engine's name, one sentence of why, and whether a sample is the same in whatever batch, process or resume it is written."""

    engine: str
    why: str
    exact: bool


def choose(wanted: str, directory: Path, gpu: bool) -> Choice:
    """The engine for the model of a Hugging Face directory; `gpu`: torch sees one here.

    Raises:
        UsageError: `wanted` is no engine, is not installed, or cannot run this model.
        ModelError: the directory has no config.json.
    """
    if wanted not in ENGINES:
        raise UsageError(f"--engine is {wanted!r}; it must be one of {', '.join(ENGINES)}")
    config = read_json(directory / "config.json")
    kind, pair = config.get("model_type"), bool(config.get("is_encoder_decoder"))
    if wanted == "auto":
        return _auto(pair, gpu)
    if wanted == "vllm":
        if pair:
            raise UsageError(f"--engine vllm takes decoder-only models; {directory} holds an encoder-decoder ({kind}): use --engine torch")
        vllm_engine.installed()
        return Choice("vllm", "asked for; every sample has its seed, but vLLM may round otherwise in another batch", exact=False)
    if wanted.startswith("ctranslate2"):
        if kind != "t5":
            raise UsageError(f"--engine {wanted} takes models of type 't5'; {directory} holds {kind!r}: use --engine torch")
        ctranslate2_engine.installed()
        return Choice(wanted, "asked for; repeating a run needs the same requests, --workers and --rows (one random stream for a batch)", exact=False)
    return Choice("torch", "asked for", exact=True)


def _auto(pair: bool, gpu: bool) -> Choice:
    if pair:
        return Choice("torch", "an encoder-decoder: CTranslate2 in float32 is not faster at any size that was measured", exact=True)
    if not gpu:
        return Choice("torch", "a decoder-only model, and no GPU that vLLM would need", exact=True)
    if importlib.util.find_spec("vllm") is None:
        return Choice("torch", "a decoder-only model on a GPU, and vLLM is not installed (pip install 'coderl[vllm]')", exact=True)
    return Choice("vllm", "a decoder-only model on a GPU; every sample has its seed, but vLLM may round otherwise in another batch", exact=False)


def foreign(engine: str, directory: Path) -> Writer:
    """The `generate` of an engine other than torch, with the model of a directory in it; `engine` is what `choose` said.

    Raises:
        UsageError, ModelError: as the engine when it loads the model.
    """
    if engine == "vllm":
        return partial(vllm_engine.generate, vllm_engine.load(directory))
    compute_type = "int8" if engine == "ctranslate2-int8" else "float32"
    return partial(ctranslate2_engine.generate, ctranslate2_engine.converted(directory, compute_type))
