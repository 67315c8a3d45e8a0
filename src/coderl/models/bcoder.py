"""The Q model of B-Coder (section 4.1): a T5 actor that is read as Q(s, a) = α (l - max l) + R_max - softabs(raw_φ + V^r).

    encoder            of the checkpoint, frozen in both stages and shared by everything: its output is computed once per problem
    decoder, head      l: the checkpoint's in the value stage, θ's in fine-tuning
    value decoder      φ: a copy of the checkpoint's decoder with a linear head, raw_φ(s); learns in the value stage, then frozen
    residual heads     V^r = h1 - h2 on θ's decoder states, equal at the start, so that V^r is exactly 0; h2 never learns

One module serves both stages, which differ in what learns (`learn_values`, `learn_policy`). Its folder is an actor's folder, with
`bcoder.safetensors` and `bcoder.json` beside the weights: `load_actor` finds π = softmax(Q / α) in it, the policy, and nothing to get wrong.
With tied embeddings the vocabulary head belongs to the encoder as well and stays frozen. Formulas: `formulas.bcoder`.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, T5ForConditionalGeneration

from ..errors import CoderlError, ModelError
from ..formulas.bcoder import capped_values
from ..formulas.masks import shift_right
from ..store import atomic_write, write_failure
from ..tokens import IGNORE, Batch, read_json
from .actor import Actor, load_actor, save_actor, t5_of
from .t5_passes import Memory, decode, encode, places

HEADS_FILE = "bcoder.safetensors"
MARKER_FILE = "bcoder.json"
RAW_START = 3.0
"""What raw_φ is before anything is learnt: V = 0.15, between the returns, where softabs has a slope (at 0 it has none)."""


class Constants(NamedTuple):
    """What a Q model was made with; the later stages read it from the model's folder.

    Fields:
        alpha: α, the temperature between Q and logits. discount: γ. highest: R_max, no value is above it.
        printed_softabs: the cap with the sign that the paper prints (`formulas.bcoder.softabs`).
    """

    alpha: float = 1.0
    discount: float = 0.999
    highest: float = 1.0
    printed_softabs: bool = False


class QModel(nn.Module):
    """An actor, a value decoder and three linear heads.

    Args:
        actor: l. It is taken in, not copied. Its decoder is copied for the values.
        seed: of the residual heads, whose common weights make no difference before they learn.
    """

    def __init__(self, actor: T5ForConditionalGeneration, constants: Constants, seed: int) -> None:
        super().__init__()
        self.actor = actor
        self.constants = constants
        self.value_decoder = copy.deepcopy(actor.decoder)
        self.value_decoder.embed_tokens = actor.shared  # frozen: one table for all
        width = actor.config.d_model
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.value_head, self.residual = nn.Linear(width, 1), nn.Linear(width, 1)
        nn.init.zeros_(self.value_head.weight)
        nn.init.constant_(self.value_head.bias, RAW_START)
        self.residual_start = copy.deepcopy(self.residual)

    def learn_values(self) -> None:
        """The value stage: φ learns, nothing else."""
        self._learn(self.value_decoder, self.value_head)

    def learn_policy(self) -> None:
        """Fine-tuning: θ's decoder, its vocabulary head unless it is tied to the encoder's embeddings, and h1."""
        self._learn(self.actor.decoder, self.actor.lm_head, self.residual)

    def _learn(self, *parts: nn.Module) -> None:
        self.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        self.actor.shared.requires_grad_(False)  # tied: the encoder's, and so the vocabulary head's

    def values(self, raw: Tensor) -> Tensor:
        """V from raw_φ + V^r, any shape."""
        return capped_values(raw, self.constants.highest, self.constants.printed_softabs)


class Policy(NamedTuple):
    """What θ's (or the checkpoint's) decoder says of N states: `logits` (N, V), `residuals` (N,), V^r."""

    logits: Tensor
    residuals: Tensor


def read_policy(model: QModel, batch: Batch, memory: Memory) -> Policy:
    """Logits and V^r before each program token, tokens in the order of the batch's mask."""
    states = decode(model.actor.decoder, decoder_inputs(model.actor, batch), batch.mask, memory)
    return Policy(_logits(model.actor, states), (model.residual(states) - model.residual_start(states)).squeeze(-1).float())


def read_logits(actor: T5ForConditionalGeneration, batch: Batch, memory: Memory) -> Tensor:
    """Logits of an actor alone, such as the checkpoint: (N, V)."""
    return _logits(actor, decode(actor.decoder, decoder_inputs(actor, batch), batch.mask, memory))


def _logits(actor: T5ForConditionalGeneration, states: Tensor) -> Tensor:
    scaled = states * actor.config.d_model**-0.5 if actor.config.scale_decoder_outputs else states
    logits: Tensor = actor.lm_head(scaled).float()
    return logits


def read_values(model: QModel, batch: Batch, memory: Memory) -> Tensor:
    """raw_φ before each program token: (N,), tokens in the order of the batch's mask."""
    states = decode(model.value_decoder, decoder_inputs(model.actor, batch), batch.mask, memory)
    raw: Tensor = model.value_head(states).squeeze(-1).float()
    return raw


def decoder_inputs(actor: T5ForConditionalGeneration, batch: Batch) -> Tensor:
    """[start, w_1..w_{T-1}]: position t has read w_{<t}, the state s_t."""
    return shift_right(batch.labels, actor.config.decoder_start_token_id, actor.config.pad_token_id or 0, IGNORE)


def spread(flat: Tensor, mask: Tensor) -> Tensor:
    """(N,) numbers of the tokens in the mask to (B, T), 0 elsewhere."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


class FrozenEncoder:
    """The encoder's states of every prompt, computed when it is first met and kept: prompts x tokens x width x 4 bytes."""

    def __init__(self, actor: T5ForConditionalGeneration) -> None:
        self.stack = actor.encoder
        self.known: dict[tuple[int, ...], Tensor] = {}

    @torch.no_grad()
    def memory(self, batch: Batch) -> Memory:
        """The batch's prompts as decoders see them."""
        prompts = [tuple(ids[real].tolist()) for ids, real in zip(batch.prompts, batch.prompt_mask, strict=True)]
        new = [i for i, ids in enumerate(prompts) if ids not in self.known]
        if new:
            training = self.stack.training
            self.stack.eval()  # frozen: no dropout either
            mask = batch.prompt_mask[new]
            states = encode(self.stack, batch.prompts[new], mask).float()
            self.stack.train(training)
            for i, part in zip(new, states.split(mask.sum(1).tolist()), strict=True):
                self.known[prompts[i]] = part.clone()
        states = torch.cat([self.known[ids] for ids in prompts])
        return Memory(states, places(batch.prompt_mask), batch.prompt_mask, batch.row_prompt)


def q_model_from_actor(actor: Actor, constants: Constants, seed: int) -> QModel:
    """A Q model whose policy is the actor's, whose V^r is 0 and whose value decoder has not learnt yet.

    Raises:
        ModelError: a decoder-only actor: it has no encoder to share.
    """
    return QModel(t5_of(actor, "B-Coder"), constants, seed)


def save_q_model(model: QModel, tokenizer: PreTrainedTokenizerBase, directory: str | Path) -> None:
    """Write an actor's folder with the rest of the Q model beside it; `bcoder.json` comes last, so half a model is only an actor.

    Raises:
        CoderlError: the folder cannot be written.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MARKER_FILE).unlink(missing_ok=True)
        save_actor(Actor(model.actor, tokenizer), directory)
        save_file({name: value.contiguous() for name, value in _beside(model).items()}, directory / HEADS_FILE, metadata={"format": "pt"})
    except OSError as error:
        raise CoderlError(write_failure(directory, error)) from None
    except SafetensorError as error:
        raise CoderlError(write_failure(directory, OSError(str(error)))) from None
    atomic_write(directory / MARKER_FILE, json.dumps(model.constants._asdict()) + "\n")


class LoadedQ(NamedTuple):
    """A Q model with its tokenizer."""

    model: QModel
    tokenizer: PreTrainedTokenizerBase


def load_q_model(directory: str | Path) -> LoadedQ:
    """Read what `save_q_model` wrote; float32, on the CPU, in evaluation mode.

    Raises:
        ModelError: no Q model, or files that do not belong together.
    """
    directory = Path(directory)
    actor = load_actor(directory)
    if not is_q_model(directory):
        raise ModelError(f"{directory} holds no {MARKER_FILE}, so it is an actor without values; `coderl bcoder value` makes a Q model of it")
    found = read_json(directory / MARKER_FILE)
    if not isinstance(found, dict) or set(found) != set(Constants._fields):
        raise ModelError(f"{directory / MARKER_FILE} is {found!r}; it must have {', '.join(Constants._fields)}: restore it or train again")
    model = q_model_from_actor(actor, Constants(**found), seed=0)
    try:
        weights = load_file(directory / HEADS_FILE)
        if weights.keys() != _beside(model).keys():
            odd = min(weights.keys() ^ _beside(model).keys())
            raise ModelError(f"{directory / HEADS_FILE} does not belong to this actor (only one of them has {odd}); train again or restore it")
        model.load_state_dict(weights, strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{directory / HEADS_FILE} cannot be used ({str(error).splitlines()[0]}); train again or restore it") from None
    return LoadedQ(model.eval(), actor.tokenizer)


def is_q_model(directory: str | Path) -> bool:
    """Whether a folder holds a Q model, and not an actor alone."""
    return (Path(directory) / MARKER_FILE).exists()


def _beside(model: QModel) -> dict[str, Tensor]:
    """What the actor's folder lacks."""
    return {name: p for name, p in model.state_dict().items() if not name.startswith("actor.") and "embed_tokens" not in name}
