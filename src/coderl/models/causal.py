"""Decoder-only models over whole texts, for training: prompt and program in one row, through Hugging Face's own `forward`.

Nothing is shared between programs of one prompt: each row has the prompt again, so batches for these models are counted and made
without sharing (`shares_prompts` of actors and critics). Not here: generation (engines/causal_decoder.py), heads.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
)

from ..errors import UsageError
from ..formulas.masks import IGNORE, length_mask, token_log_probs
from ..tokens import Batch


class Rows(NamedTuple):
    """B texts of at most W tokens, padded on the right: ids (B, W) long, real (B, W) bool, first (B,) long: where the program begins."""

    ids: Tensor
    real: Tensor
    first: Tensor


def is_decoder_only(kind: object) -> bool:
    """Whether transformers knows this model type as one that continues texts, and as nothing else."""
    others = (MODEL_FOR_MASKED_LM_MAPPING_NAMES, MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    return kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not any(kind in other for other in others)


def small_llama(vocabulary: int, seed: int, width: int = 96, layers: int = 4, heads: int = 4, positions: int = 320) -> LlamaForCausalLM:
    """A fresh Llama with random weights; the defaults give 0.60 million parameters at a vocabulary of 1,024, about as many as `small_t5`.

    `positions`: longest prompt with its program, in tokens. Special ids are those of `tokens.train_tokenizer`.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=positions,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config)


def joined(prompts: Tensor, prompt_mask: Tensor, programs: Tensor, mask: Tensor, rows: Tensor, pad_id: int = 0) -> Rows:
    """Each program behind its prompt, up to the last token that counts.

    Args:
        prompts, prompt_mask: (P, S) ids and bool. programs, mask: (B, T) ids (IGNORE where there is none) and bool.
        rows: (B,) long, the prompt of each program.
    """
    first = prompt_mask.sum(1)[rows]
    assert int(first.min()) > 0, "a decoder-only model needs a prompt of at least one token"
    steps = torch.arange(programs.shape[1], device=first.device)
    lengths = ((steps + 1) * mask).amax(1)
    programs = programs.masked_fill(programs == IGNORE, pad_id)
    ids = torch.cat([prompts[rows], torch.full_like(programs, pad_id)], dim=1)
    ids = ids.scatter(1, first[:, None] + steps, programs)
    width = int((first + lengths).max())
    return Rows(ids[:, :width], length_mask(first + lengths, width), first)


def _rows_of(batch: Batch) -> Rows:
    return joined(batch.prompts, batch.prompt_mask, batch.labels, batch.mask, batch.row_prompt)


def causal_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """log p(w_t | D, w_<t) of every program token: (B, T), 0 where masked.

    Raises:
        UsageError: a prompt with its program is longer than the model has positions.
    """
    flat = token_log_probs(causal_logits(model, batch)[None], batch.labels[batch.mask][None])[0]  # (N,)
    return torch.zeros(batch.labels.shape, dtype=flat.dtype, device=flat.device).masked_scatter(batch.mask, flat)


def causal_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What the model says before each program token that counts: (N, V) logits, row after row; raises as `causal_log_probs`."""
    return _pass(model, batch, states=False).logits


class Pass(NamedTuple):
    """What one pass gives of the N program tokens that count, before each is read: logits (N, V) and states (N, d), or None."""

    logits: Tensor
    states: Tensor | None


def causal_pass(model: PreTrainedModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """States (N, d), as `causal_program_states` has them, and logits (N, V) in one pass; raises as `causal_log_probs`."""
    found = _pass(model, batch, states=True)
    assert found.states is not None
    return found.states, found.logits


def _pass(model: PreTrainedModel, batch: Batch, states: bool) -> Pass:
    rows = _rows_of(batch)
    width = rows.ids.shape[1]
    check_positions(model, width)
    low = int(rows.first.min()) - 1  # the first state that predicts a token of a program
    columns = torch.arange(low, width - 1, device=rows.ids.device)
    mask = rows.real.long()
    output = model(input_ids=rows.ids, attention_mask=mask, use_cache=False, logits_to_keep=columns, output_hidden_states=states)
    program, step = batch.mask.nonzero(as_tuple=True)
    at = rows.first[program] - 1 + step
    return Pass(cast(Tensor, output.logits)[program, at - low], output.hidden_states[-1][program, at] if states else None)


def causal_states(body: PreTrainedModel, prompts: Tensor, prompt_mask: Tensor, programs: Tensor, mask: Tensor, rows: Tensor) -> Tensor:
    """States of programs behind their prompts: (B, T + 1, d), at t that which has read w_1..w_t, 0 where masked. What a critic pools.

    Args: as `joined`. `body`: the model without its vocabulary head.

    Raises:
        UsageError: a prompt with its program is longer than the model has positions.
    """
    texts = joined(prompts, prompt_mask, programs, mask, rows)
    check_positions(body, texts.ids.shape[1])
    hidden = cast(Tensor, body(input_ids=texts.ids, attention_mask=texts.real.long(), use_cache=False).last_hidden_state)  # (B, W, d)
    read = functional.pad(mask, (1, 0), value=True)  # the prompt's last state has read none of the program
    row, step = read.nonzero(as_tuple=True)
    found = hidden[row, texts.first[row] - 1 + step]  # (N, d)
    return found.new_zeros((*read.shape, found.shape[1])).masked_scatter(read[..., None], found)


def causal_program_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """States from which each program token is written, before it is read: (N, d), row after row; raises as `causal_log_probs`."""
    texts = _rows_of(batch)
    check_positions(model, texts.ids.shape[1])
    hidden = cast(Tensor, model.base_model(input_ids=texts.ids, attention_mask=texts.real.long(), use_cache=False).last_hidden_state)
    row, step = batch.mask.nonzero(as_tuple=True)
    return hidden[row, texts.first[row] - 1 + step]


def check_positions(model: PreTrainedModel, tokens: int) -> None:
    """Raises UsageError when a decoder-only model cannot read a text of so many tokens."""
    places = getattr(model.config, "max_position_embeddings", None)
    if places is not None and tokens > places:
        raise UsageError(
            f"a prompt with its program has up to {tokens} tokens, and the model has {places} positions; "
            "lower --max-source-tokens or --max-program-tokens"
        )
