"""Generation with vLLM for decoder-only models, as a rule on a GPU. An extra: pip install 'coderl[vllm]'.

One request of ours becomes one vLLM request for each sample, with a seed of its own made of (seed, key, index): a program does not
depend on the order or on what else is written, as far as vLLM computes the same numbers in another batch (on a GPU it promises that
only in its batch-invariant mode). The samples of a prompt share its cache (`enable_prefix_caching`). A prefix is put behind the prompt.

Log-probabilities: vLLM gives those of the model before temperature and nucleus (`logprobs_mode="raw_logprobs"`), which training
needs; it gives one kind only. So `sampling_logprobs` are known where both are the same (temperature 1, top_p 1) and for greedy
(0); otherwise they are NaN.

Written after the documentation of vLLM 0.11 to 0.20 and tested against a recorded interface (tests/engines), not with a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import ModelError, UsageError
from ..tokens import read_json
from .requests import Generated, Request, check_requests, optional_package, stream_key

LEAST_TEMPERATURE = 0.01  # vllm.sampling_params._MAX_TEMP


class Loaded(NamedTuple):
    """A running `vllm.LLM`, rows of the model's embedding, and the ids that end a program."""

    llm: Any
    vocabulary: int
    ends: frozenset[int]


def installed() -> ModuleType:
    """The package `vllm`. Raises UsageError, which says what to install, where it is not there."""
    return optional_package("vllm", "pip install 'coderl[vllm]' on a machine with a GPU, or take --engine torch")


def load(directory: str | Path) -> Loaded:
    """Start vLLM on the decoder-only model of a Hugging Face directory. It takes most of the GPU's memory until the process ends.

    Raises:
        UsageError: the package is not installed, or the model is an encoder-decoder.
        ModelError: the directory has no config.json, or the model has no token that ends a program.
    """
    directory = Path(directory)
    config = read_json(directory / "config.json")
    if config.get("is_encoder_decoder"):
        raise UsageError(f"{directory} is an encoder-decoder ({config.get('model_type')}); engine vllm takes decoder-only models: use --engine torch")
    generation = read_json(directory / "generation_config.json") if (directory / "generation_config.json").is_file() else {}
    end = generation.get("eos_token_id", config.get("eos_token_id"))  # chat models name more ends there
    if end is None:
        raise ModelError(f"{directory}/config.json has no eos_token_id, so that no program would end; add the id of the tokenizer's end token")
    llm = installed().LLM(
        model=str(directory),
        logprobs_mode="raw_logprobs",
        enable_prefix_caching=True,
        generation_config="vllm",  # no defaults of the model's authors: a request says everything
    )
    return Loaded(llm, config["vocab_size"], frozenset(end if isinstance(end, list) else [end]))


def generate(model: Loaded, requests: Sequence[Request], seed: int, rows: int = 512) -> Iterator[Generated]:
    """Programs for all requests, `rows` at a time (vLLM itself decides how many of these run together).

    Raises:
        UsageError: a request, or `rows`, makes no sense.
    """
    requests = list(requests)
    check_requests(requests, model.vocabulary, rows)
    for request in requests:
        if 0 < request.decoding.temperature < LEAST_TEMPERATURE:
            raise UsageError(
                f"temperature is {request.decoding.temperature}; vLLM silently raises it to {LEAST_TEMPERATURE}: give that or more, or 0 (greedy)"
            )
    samples = [(request, index) for request in requests for index in request.indices]
    for start in range(0, len(samples), rows):
        part = samples[start : start + rows]
        prompts = [{"prompt_token_ids": [*request.prompt, *request.prefix]} for request, _ in part]
        outputs = model.llm.generate(prompts, [_parameters(request, index, seed, model.ends) for request, index in part], use_tqdm=False)
        for (request, index), output in zip(part, outputs, strict=True):
            yield _generated(request, index, output.outputs[0], model.ends)


def _parameters(request: Request, index: int, seed: int, ends: frozenset[int]) -> Any:
    decoding = request.decoding
    return installed().SamplingParams(
        n=1,
        temperature=decoding.temperature,
        top_p=1.0 if decoding.temperature == 0 else decoding.top_p,
        seed=stream_key(seed, request.key, index) >> 1,  # 63 bits: torch's generators take a signed number
        max_tokens=decoding.max_tokens - len(request.prefix),
        stop_token_ids=sorted(ends),
        logprobs=0,  # that of the chosen token and no others
        detokenize=False,
    )


def _generated(request: Request, index: int, output: Any, ends: frozenset[int]) -> Generated:
    new = tuple(output.token_ids)
    logprobs = tuple(float(step[token].logprob) for token, step in zip(new, output.logprobs, strict=True))
    decoding = request.decoding
    if decoding.temperature == 0:
        sampling = (0.0,) * len(new)
    elif decoding.temperature == 1 and decoding.top_p == 1:
        sampling = logprobs
    else:
        sampling = (float("nan"),) * len(new)
    # "length" is said also where the last token that was allowed is the end
    cut = output.finish_reason != "stop" and new[-1] not in ends
    return Generated(request.key, index, (*request.prefix, *new), logprobs, sampling, cut, len(request.prefix))
