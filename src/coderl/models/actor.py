"""The actor: a language model that writes programs, p_theta(w_t | w_{1:t-1}, D).

It is a plain Hugging Face model, a T5 encoder-decoder or a decoder-only one; what is here makes a small T5, loads and saves actors with
their tokenizers, and gives the log-probabilities of programs in a batch. Generation is in engines/torch_engine.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase, T5Config, T5ForConditionalGeneration

from ..errors import ModelError
from ..formulas.masks import shift_right, token_log_probs
from ..store import system_error, write_failure
from ..tokens import IGNORE, Batch, Example, collate, load_tokenizer, read_json, save_tokenizer, vocabulary_size
from .adapters import adapted, plain_weights
from .causal import causal_log_probs, causal_logits, causal_pass, causal_program_states, is_decoder_only
from .hub import local_folder
from .t5_passes import Memory, decode, encode, places


class Actor(NamedTuple):
    """A model with the tokenizer that it was trained with."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    @property
    def shares_prompts(self) -> bool:
        """Whether programs of one prompt share the work on it in training: an encoder reads it once; a decoder-only model for each row."""
        return bool(self.model.config.is_encoder_decoder)


def small_t5(
    vocabulary: int, seed: int, width: int = 96, layers: int = 2, heads: int = 4, feed_forward: int = 384, dropout: float = 0.0
) -> T5ForConditionalGeneration:
    """A fresh T5 with random weights; the defaults give 0.62 million parameters at a vocabulary of 1,024.

    Encoder and decoder have equal depth: transformers 5 sizes its generation cache from the encoder.
    """
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=width // heads,
        d_ff=feed_forward,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        dropout_rate=dropout,
        feed_forward_proj="relu",
        pad_token_id=0,
        eos_token_id=2,
    )
    config.bos_token_id, config.decoder_start_token_id = 1, 0
    return T5ForConditionalGeneration(config)


def load_actor(directory: str | Path) -> Actor:
    """An actor from a Hugging Face directory (config.json, weights, tokenizer) or hub name: of the T5 family, or decoder-only.

    A decoder-only model's tokenizer gets its end token for padding where it has none, and programs end at that token too, whatever else
    ends a text by the model's own configuration.

    Raises:
        ModelError: no such folder, a model of another kind, weights that do not fit, or a tokenizer without an end token.
    """
    directory = local_folder(directory)
    if not directory.is_dir():
        raise ModelError(f"{directory} is not a model folder; give a folder that save_pretrained or a coderl stage wrote")
    kind = read_json(directory / "config.json").get("model_type")
    if kind != "t5" and not is_decoder_only(kind):
        raise ModelError(
            f"{directory}/config.json has model_type {kind!r}; actors are of type 't5' (CodeT5 is one), "
            "or decoder-only ('gpt2', 'llama', 'qwen2', ...)"
        )
    family = T5ForConditionalGeneration if kind == "t5" else AutoModelForCausalLM
    try:
        model = family.from_pretrained(str(directory), local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"{directory} cannot be loaded ({str(error).splitlines()[0]}); save the model again or check the folder") from None
    tokenizer = load_tokenizer(directory)
    rows = cast(nn.Embedding, model.get_input_embeddings()).num_embeddings
    if vocabulary_size(tokenizer) > rows:
        raise ModelError(
            f"{directory}: the tokenizer has {vocabulary_size(tokenizer)} tokens but the model only {rows} rows; they were not trained together"
        )
    if kind != "t5":
        _agree_on_the_end(model, tokenizer, directory)
    return Actor(model, tokenizer)


def _agree_on_the_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Programs are taught to end with the tokenizer's end token; generation must stop at it."""
    end = tokenizer.eos_token_id
    if end is None:
        raise ModelError(f"{directory}: the tokenizer has no eos_token, so no program could end; add it to tokenizer_config.json")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.generation_config is not None:
        known = model.generation_config.eos_token_id
        ends = known if isinstance(known, list) else [] if known is None else [known]
        if end not in ends:
            model.generation_config.eos_token_id = [*ends, end] if ends else end


def t5_of(actor: Actor, purpose: str) -> T5ForConditionalGeneration:
    """The actor's model where only a T5 will do. Raises ModelError, which says for what `purpose`, where it is another one."""
    if not isinstance(actor.model, T5ForConditionalGeneration):
        raise ModelError(f"{purpose} needs an encoder-decoder of type 't5'; the actor is decoder-only ({actor.model.config.model_type!r})")
    return actor.model


def save_actor(actor: Actor, directory: str | Path) -> None:
    """Write a Hugging Face directory that `from_pretrained` loads, tokenizer included; a run directory's marker says when it is whole."""
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        actor.model.save_pretrained(str(directory), state_dict=plain_weights(actor.model) if adapted(actor.model) else None)
    except (OSError, SafetensorError) as error:
        raise ModelError(write_failure(directory, system_error(error) or OSError(str(error)))) from None
    save_tokenizer(actor.tokenizer, directory)


def program_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """log p(w_t | w_<t, D) of every program token: (B, T), 0 where masked. An encoder runs once per distinct prompt."""
    if not isinstance(model, T5ForConditionalGeneration):
        return causal_log_probs(model, batch)
    return states_and_log_probs(model, batch)[1]


def program_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """States from which each token is written, before it is read: (N, d), the N tokens of the batch's mask, row after row."""
    if not isinstance(model, T5ForConditionalGeneration):
        return causal_program_states(model, batch)
    config = model.config
    prompts = Memory(encode(model.encoder, batch.prompts, batch.prompt_mask), places(batch.prompt_mask), batch.prompt_mask, batch.row_prompt)
    decoder_ids = shift_right(batch.labels, config.decoder_start_token_id, config.pad_token_id or 0, IGNORE)  # (B, T)
    read = batch.mask.flip(1).cumsum(1).flip(1) > 0  # up to the last label that counts; one before it may not count
    hidden = decode(model.decoder, decoder_ids, read, prompts)  # (N, d): the vocabulary head is a third of the work on small models
    counted = batch.mask[read]
    return hidden if bool(counted.all()) else hidden[counted]


def program_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What the model says before each program token that counts: (N, V) logits, row after row."""
    if not isinstance(model, T5ForConditionalGeneration):
        return causal_logits(model, batch)
    return _logits_of_states(model, program_states(model, batch))


def _logits_of_states(model: T5ForConditionalGeneration, states: Tensor) -> Tensor:
    logits: Tensor = model.lm_head(states * model.config.d_model**-0.5 if model.config.scale_decoder_outputs else states)
    return logits


def states_and_log_probs(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """`program_states` (N, d) and `program_log_probs` (B, T) in one pass."""
    if not isinstance(model, T5ForConditionalGeneration):
        states, logits = causal_pass(model, batch)
    else:
        states = program_states(model, batch)
        logits = _logits_of_states(model, states)
    flat = token_log_probs(logits[None], batch.labels[batch.mask][None])[0]  # (N,)
    return states, spread(flat, batch.mask)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """(N,) numbers of the N tokens of a (B, T) mask, row after row, to (B, T), 0 where the mask is False."""
    return torch.zeros(mask.shape, dtype=flat.dtype, device=flat.device).masked_scatter(mask, flat)


def without_dropout(model: nn.Module) -> None:
    """For losses with a ratio, which compares two readings of a program: with dropout they would differ before the actor has learnt anything."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout", "attention_dropout", "residual_dropout"):  # numbers of T5's attention, of Llama's and its kin, of StarCoder2
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)


def with_old_log_probs(model: PreTrainedModel, examples: Sequence[Example], pad_id: int) -> list[Example]:
    """The examples with the log-probabilities that their tokens have now, in equal order."""
    found = read_by_token(lambda batch: program_log_probs(model, batch), examples, pad_id, model.device)
    return [example._replace(old_log_probs=row) for example, row in zip(examples, found, strict=True)]


@torch.inference_mode()
def read_by_token(
    read: Callable[[Batch], Tensor], examples: Sequence[Example], pad_id: int, device: torch.device, budget: int = 8192
) -> list[tuple[float, ...]]:
    """What `read` gives, (B, T), for the tokens of each example, in equal order; at most `budget` program tokens at a time."""
    result: list[tuple[float, ...]] = [()] * len(examples)
    rows = max(1, budget // max((len(e.program) for e in examples), default=1))
    order = sorted(range(len(examples)), key=lambda i: (len(examples[i].prompt), examples[i].key, len(examples[i].program)))
    for start in range(0, len(order), rows):
        part = order[start : start + rows]
        batch = collate([examples[i] for i in part], pad_id)
        found = read(Batch(*(tensor.to(device) for tensor in batch)))
        for row, i in enumerate(part):
            result[i] = tuple(found[row, : len(examples[i].program)].tolist())
    return result
