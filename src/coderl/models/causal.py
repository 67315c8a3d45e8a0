"""Decoder-only models over whole texts, for training: prompt and program in one row, through Hugging Face's own `forward`.

Nothing is shared between programs of one prompt: each row has the prompt again, so batches for these models are counted and made
without sharing (`Actor.shares_prompts`). Not here: generation (engines/causal_decoder.py), critics on such models.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..errors import UsageError
from ..formulas.masks import IGNORE, length_mask, token_log_probs
from ..tokens import Batch


class Rows(NamedTuple):
    """B texts of at most W tokens, padded on the right: ids (B, W) long, real (B, W) bool, first (B,) long: where the program begins."""

    ids: Tensor
    real: Tensor
    first: Tensor


def joined(batch: Batch, pad_id: int) -> Rows:
    """Each program behind its prompt, up to the last token that counts."""
    first = batch.prompt_mask.sum(1)[batch.row_prompt]
    steps = torch.arange(batch.labels.shape[1], device=first.device)
    lengths = ((steps + 1) * batch.mask).amax(1)
    programs = batch.labels.masked_fill(batch.labels == IGNORE, pad_id)
    prompts = batch.prompts[batch.row_prompt]
    ids = torch.cat([prompts, torch.full_like(programs, pad_id)], dim=1)
    ids = ids.scatter(1, first[:, None] + steps, programs)
    width = int((first + lengths).max())
    return Rows(ids[:, :width], length_mask(first + lengths, width), first)


def causal_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """log p(w_t | D, w_<t) of every program token: (B, T), 0 where masked.

    Raises:
        UsageError: a prompt with its program is longer than the model has positions.
    """
    flat = token_log_probs(causal_logits(model, batch)[None], batch.labels[batch.mask][None])[0]  # (N,)
    return torch.zeros(batch.labels.shape, dtype=flat.dtype, device=flat.device).masked_scatter(batch.mask, flat)


def causal_logits(model: PreTrainedModel, batch: Batch) -> Tensor:
    """What the model says before each program token that counts: (N, V) logits, row after row; raises as `causal_log_probs`."""
    rows = joined(batch, 0)
    width = rows.ids.shape[1]
    check_positions(model, width)
    assert int(rows.first.min()) > 0, "a decoder-only model needs a prompt of at least one token"
    low = int(rows.first.min()) - 1  # the first state that predicts a token of a program
    columns = torch.arange(low, width - 1, device=rows.ids.device)
    logits = cast(Tensor, model(input_ids=rows.ids, attention_mask=rows.real.long(), use_cache=False, logits_to_keep=columns).logits)
    program, step = batch.mask.nonzero(as_tuple=True)
    return logits[program, rows.first[program] - 1 - low + step]


def check_positions(model: PreTrainedModel, tokens: int) -> None:
    """Raises UsageError when a decoder-only model cannot read a text of so many tokens."""
    places = getattr(model.config, "max_position_embeddings", None)
    if places is not None and tokens > places:
        raise UsageError(
            f"a prompt with its program has up to {tokens} tokens, and the model has {places} positions; "
            "lower --max-source-tokens or --max-program-tokens"
        )
