"""Generation with CTranslate2 for encoder-decoder models of the T5 family on CPUs: float32, or int8 weights.

The model's Hugging Face directory is converted once; the result lies beside the model (MODEL/ctranslate2-float32-DIGEST) and is made
again when the weights change. CTranslate2 speaks in strings, and a tokenizer may have fewer of them than the model has rows (CodeT5:
32,000 and 32,100), so the converted model has a vocabulary of its own: the decimal numeral of each id. No token is ever lost.

Both log-probabilities are computed from the very logits that were sampled from, those of the int8 model where it is one. The logits
of a whole batch are kept for it, so that a batch is limited by them (`_LOGITS_BYTES`) as well as by `rows`.

float32 writes the greedy programs of Hugging Face. int8 is another model: of a trained 0.6M actor only 91 of 200 greedy programs were the
same in 8 bits.

What this engine cannot do: CTranslate2 has one random generator for a whole batch and none for each sample. Every batch has its seed, a
hash of (seed, requests of the batch): the same requests give the same programs, but another number of rows, other chunks or a resume
in the middle give others (of the same distribution). The torch engine does not have this limit. Not here: GPUs, beam search.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import T5Config, T5ForConditionalGeneration

from ..errors import ModelError
from ..run_directory import file_hash
from ..tokens import read_json
from .requests import Decoding, Generated, Request, check_requests, optional_package

COMPUTE_TYPES = ("float32", "int8")
_LOGITS_BYTES = 2**30  # of one batch


class Converted(NamedTuple):
    """A model that CTranslate2 can load: its folder, how it computes, and what is needed of the model's config."""

    directory: Path
    compute_type: str
    vocabulary: int
    end: int


def installed() -> ModuleType:
    """The package `ctranslate2`. Raises UsageError, which says what to install, where it is not there."""
    return optional_package("ctranslate2", "pip install 'coderl[ctranslate2]', or take --engine torch")


def weights_digest(directory: Path) -> str:
    """12 hex digits that change when the config or the weights of a Hugging Face directory do."""
    files = sorted(p for p in directory.iterdir() if p.name == "config.json" or p.suffix in (".safetensors", ".bin"))
    text = "".join(f"{p.name} {file_hash(p)}\n" for p in files)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def converted(directory: str | Path, compute_type: str) -> Converted:
    """The converted form of the T5 model in a Hugging Face directory, made where it is absent or of other weights.

    Args:
        compute_type: "float32" or "int8" (weights of linear layers and embeddings in 8 bits).

    Raises:
        UsageError: the package is not installed.
        ModelError: the directory holds no T5 model that can be loaded, or the conversion cannot be written beside it.
    """
    installed()
    directory = Path(directory)
    config = read_json(directory / "config.json")
    if config.get("model_type") != "t5":
        raise ModelError(f"{directory}/config.json has model_type {config.get('model_type')!r}; engine ctranslate2 takes 't5': use --engine torch")
    target = directory / f"ctranslate2-{compute_type}-{weights_digest(directory)}"
    if not target.is_dir():
        model = _load(directory)
        try:
            _convert(model, compute_type, target)
        except OSError as error:
            raise ModelError(
                f"{target} cannot be written ({error.strerror}); copy the model to a folder that can be written, or take --engine torch"
            ) from None
    whole = T5Config.from_pretrained(str(directory), local_files_only=True)
    if not isinstance(whole.eos_token_id, int):
        raise ModelError(f"{directory}/config.json has eos_token_id {whole.eos_token_id}; it must be one id, that of the token that ends a program")
    return Converted(target, compute_type, whole.vocab_size, whole.eos_token_id)


def _load(directory: Path) -> T5ForConditionalGeneration:
    try:
        return T5ForConditionalGeneration.from_pretrained(str(directory), local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{directory} cannot be loaded ({str(error).splitlines()[0]}); save the model again or check the folder") from None


def _convert(model: T5ForConditionalGeneration, compute_type: str, target: Path) -> None:
    """Into a folder of another name, which then takes its place: a reader sees nothing or the whole. Older conversions go."""
    directory = target.parent
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=directory))
    try:
        specification(model, compute_type).save(str(part))
        part.chmod(0o755)
        try:
            part.rename(target)
        except OSError:
            if not target.is_dir():  # else another process was faster, with the same result
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    for old in directory.glob(f"ctranslate2-{compute_type}-*"):
        if old != target:
            shutil.rmtree(old, ignore_errors=True)


def specification(model: T5ForConditionalGeneration, compute_type: str) -> Any:
    """CTranslate2's own description of a T5 model, weights included (a `TransformerSpec`), with numerals as vocabulary."""
    installed()
    from ctranslate2.converters.transformers import T5Loader

    config = model.config
    spec = T5Loader().get_model_spec(model)
    spec.decoder.scale_outputs = np.float32(config.d_model**-0.5) if config.scale_decoder_outputs else None
    numerals = [str(i) for i in range(config.vocab_size)]
    spec.register_source_vocabulary(numerals)
    spec.register_target_vocabulary(numerals)
    start, end = str(config.decoder_start_token_id), str(config.eos_token_id)
    # the unknown token never occurs: every id has its numeral
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token, spec.config.decoder_start_token = start, end, start, start
    spec.config.layer_norm_epsilon = config.layer_norm_epsilon
    spec.validate()
    spec.optimize(quantization=None if compute_type == "float32" else compute_type)
    return spec


def generate(model: Converted, requests: Sequence[Request], seed: int, rows: int = 512) -> Iterator[Generated]:
    """Programs for all requests, batch by batch. Uses one thread.

    Raises:
        UsageError: a request, or `rows`, makes no sense, or the package is not installed.
    """
    requests = list(requests)
    check_requests(requests, model.vocabulary, rows)
    for batch in batches(requests, model.vocabulary, rows):
        yield from _generate_batch(model, batch, seed)


def batches(requests: Sequence[Request], vocabulary: int, rows: int) -> list[list[Request]]:
    """Requests of equal decoding and equal number of samples together, prompts of similar length; larger requests are split."""
    pieces = []
    for r in requests:
        most = _most_rows(r.decoding, vocabulary, rows)
        pieces += [r._replace(indices=r.indices[i : i + most]) for i in range(0, len(r.indices), most)]
    pieces.sort(key=lambda r: (r.decoding, len(r.indices), len(r.prompt)))
    result: list[list[Request]] = []
    for piece in pieces:
        last = result[-1] if result else []
        alike = last and last[0].decoding == piece.decoding and len(last[0].indices) == len(piece.indices)
        if not alike or (len(last) + 1) * len(piece.indices) > _most_rows(piece.decoding, vocabulary, rows):
            result.append([])
        result[-1].append(piece)
    return result


def _most_rows(decoding: Decoding, vocabulary: int, rows: int) -> int:
    return max(1, min(rows, _LOGITS_BYTES // (4 * vocabulary * decoding.max_tokens)))


def _batch_seed(seed: int, batch: Sequence[Request]) -> int:
    text = repr((seed, [(r.key, r.indices) for r in batch]))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little") >> 1


def _generate_batch(model: Converted, batch: Sequence[Request], seed: int) -> Iterator[Generated]:
    decoding, count = batch[0].decoding, len(batch[0].indices)
    greedy = decoding.temperature == 0
    number = _batch_seed(seed, batch)
    package = installed()
    # a running translator keeps the generator that it began with: a seed counts for new ones only (loading takes milliseconds)
    package.set_random_seed(number)
    translator = package.Translator(str(model.directory), compute_type=model.compute_type, inter_threads=1, intra_threads=1)
    results = translator.translate_batch(
        [[str(i) for i in r.prompt] for r in batch],
        [[str(i) for i in r.prefix] for r in batch],
        beam_size=1,
        num_hypotheses=1 if greedy else count,
        max_input_length=0,
        max_decoding_length=decoding.max_tokens,
        min_decoding_length=0,
        sampling_topk=1 if greedy else 0,  # 0: all tokens
        sampling_topp=decoding.top_p,
        sampling_temperature=1 if greedy else decoding.temperature,
        return_end_token=True,
        return_scores=False,
        return_logits_vocab=True,
    )
    order = random.Random(number)
    for request, result in zip(batch, results, strict=True):
        written = [_written(request, tokens, logits) for tokens, logits in zip(result.hypotheses, result.logits, strict=True)]
        if greedy:
            written *= count
        order.shuffle(written)  # they come sorted by probability, and a sample's index must not tell how likely it is
        for index, (ids, model_scores, sampling_scores) in zip(request.indices, written, strict=True):
            yield Generated(request.key, index, ids, model_scores, sampling_scores, ids[-1] != model.end, len(request.prefix))


def _written(request: Request, tokens: Sequence[str], steps: Sequence[Any]) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Ids, and the two log-probabilities of those behind the prefix, from the logits of every step."""
    ids = tuple(map(int, tokens))
    new = len(ids) - len(request.prefix)
    logits = torch.from_numpy(np.stack([np.asarray(step) for step in steps[len(steps) - new :]]))
    scores = token_scores(logits, torch.tensor(ids[len(request.prefix) :]), request.decoding)
    return ids, tuple(scores[0].tolist()), tuple(scores[1].tolist())


def token_scores(logits: Tensor, tokens: Tensor, decoding: Decoding) -> tuple[Tensor, Tensor]:
    """Log-probabilities of tokens that were drawn: under the model, and under temperature and nucleus (greedy: 0).

    logits (N, V), tokens (N,) -> two (N,). A token at the very edge of the nucleus, which another order of summation would leave
    out, counts as in it.
    """
    model = torch.log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]
    if decoding.temperature == 0:
        return model, torch.zeros_like(model)
    warm = torch.softmax(logits / decoding.temperature, -1)
    sorted_values = warm.topk(min(64, logits.shape[1]), -1).values  # as a rule these hold the nucleus
    if bool((sorted_values.sum(-1) < decoding.top_p).any()):
        sorted_values = warm.sort(-1, descending=True).values
    before = sorted_values.cumsum(-1) - sorted_values
    mass = sorted_values.masked_fill(before >= decoding.top_p, 0.0).sum(-1)
    return model, warm.gather(1, tokens[:, None])[:, 0].log() - mass.log()
