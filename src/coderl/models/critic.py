"""The critic: a language model without its vocabulary head that reads a problem and a program and predicts what the tests will say.

In a T5 the problem goes into the encoder, the program into the decoder (CodeRL section 3.3); a decoder-only body reads the program behind
the problem, and only the program's states count (models/causal.py). Two heads turn states into outcomes:

    PaperHead      maximum over the program's tokens of the states, then one linear layer; the value of a token is the same layer on
                   its own state, after the decoder has read that token. The default, and what critic sampling needs.
    ReleasedHead   two-layer network on every state, then the maximum over all positions, padding included; the value of a token
                   comes from the state before the token was read. As in the authors' code, so that their weights mean what they meant: T5 only.

A critic directory is a Hugging Face directory of the body (`config.json`, `model.safetensors`) with `head.safetensors` and `critic.json`
beside them. Not here: losses (`formulas.coderl`), tokenizers, training, scoring of files.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional
from transformers import CONFIG_MAPPING, AutoModel, PreTrainedConfig, PreTrainedModel, T5Config, T5Model

from ..errors import CoderlError, ModelError
from ..formulas.masks import masked_max
from ..store import atomic_write, write_failure
from .adapters import plain_weights
from .causal import causal_states, is_decoder_only
from .t5_passes import Memory, decode, encode, places

RELEASED_WIDTH = 128
RELEASED_HEAD = "error_head."
HEAD_FILE = "head.safetensors"
MARKER_FILE = "critic.json"
COPIES = frozenset({"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"})
"""Names under which T5 holds `shared.weight` again."""


class CriticOutput(NamedTuple):
    """What the critic holds of B programs of T tokens, C outcomes in the order of `records.Outcome` (two: failed, passed).

    Fields:
        logits: (B, C) of whole programs.
        token_logits: (B, T, C), position t belongs to token w_{t+1} of the equations; whether that token has been read already is
            the head's `reads_own_token`.
    """

    logits: Tensor
    token_logits: Tensor


class PaperHead(nn.Module):
    """û = softmax(Linear(MaxPool_t h_t)), v̂_t = softmax(Linear(h_t)): the head of the paper, section 3.3.2.

    Padding is not pooled. Decoder states are not scaled. Input of the decoder is [start, w_1..w_T], and h_t is the state at w_t.
    """

    kind: ClassVar[str] = "paper"
    reads_own_token: ClassVar[bool] = True

    def __init__(self, width: int, outcomes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, outcomes)

    def forward(self, states: Tensor, mask: Tensor) -> CriticOutput:
        """states (B, T, d), mask (B, T) bool."""
        return CriticOutput(self.linear(masked_max(states, mask)), self.linear(states))


class ReleasedHead(nn.Module):
    """logits_t = Linear(ReLU(Linear(h_t))), logits = max over all T positions of logits_t: the head of the released code.

    Differs from the paper: the maximum is over logits, not states; it takes in padding (the mask is not looked at); the decoder reads
    [start, w_1..w_{T-1}], so h_t has not seen w_t; models with tied embeddings scale h_t by d^-0.5 (`Critic.forward`).
    """

    kind: ClassVar[str] = "released"
    reads_own_token: ClassVar[bool] = False

    def __init__(self, width: int, outcomes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, RELEASED_WIDTH), nn.ReLU(), nn.Linear(RELEASED_WIDTH, outcomes))

    def forward(self, states: Tensor, mask: Tensor) -> CriticOutput:
        """states (B, T, d), mask (B, T) bool, not used."""
        token_logits = self.layers(states)
        return CriticOutput(token_logits.amax(dim=1), token_logits)


class PrefixHead(nn.Module):
    """û_t = softmax(Linear(max_{i <= t} h_i)): the paper's whole-program reading of every prefix w_1..w_t, which is what training taught.

    Another reading of eq. (11) than `PaperHead`'s token values, whose single states no loss has ever looked at alone. The last token's value
    is that of the whole program. Never saved: `reading_prefixes` makes one out of a critic's own layer.
    """

    kind: ClassVar[str] = "prefix"
    reads_own_token: ClassVar[bool] = True

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, states: Tensor, mask: Tensor) -> CriticOutput:
        """states (B, T, d), mask (B, T) bool."""
        so_far = states.masked_fill(~mask[..., None], -torch.inf).cummax(dim=1).values
        return CriticOutput(self.linear(masked_max(states, mask)), self.linear(so_far))


Head = PaperHead | ReleasedHead | PrefixHead


class Critic(nn.Module):
    """A body, T5 or decoder-only, and a head. `outcomes` is C: 4, or 2 (failed, passed) for critic sampling.

    Args:
        width: programs are padded to so many tokens; 0: to the longest of the batch. A released head's maximum takes in padding, so what it
            says of a program depends on how much there is: 512 for published weights.
        reads_own_token: whether a token's logits come from the state that has read the token; None: as the head was made.

    Raises:
        ModelError: another number of outcomes, a T5 whose config names no padding token, or the released head on another body than a T5.
    """

    def __init__(self, body: PreTrainedModel, head: Head, outcomes: int, width: int = 0, reads_own_token: bool | None = None) -> None:
        super().__init__()
        config = body.config
        if outcomes not in (2, 4):
            raise ModelError(f"a critic has 4 outcomes, or 2 for critic sampling; found {outcomes!r}")
        pad_id = getattr(config, "pad_token_id", None)
        if pad_id is None and config.is_encoder_decoder:
            raise ModelError("the critic's config has no pad_token_id; CodeT5 has 0: add it to config.json")
        if isinstance(head, ReleasedHead) and not config.is_encoder_decoder:
            raise ModelError(f"the released head goes with a T5; the critic's body is decoder-only ({config.model_type!r}): take the paper's head")
        self.body = body
        self.head = head
        self.outcomes = outcomes
        self.width = width
        self.reads_own_token = head.reads_own_token if reads_own_token is None else reads_own_token
        self.pad_id: int = pad_id or 0  # a decoder-only body never sees it
        start = getattr(config, "decoder_start_token_id", None)
        self.start_id: int = self.pad_id if start is None else start

    @property
    def config(self) -> PreTrainedConfig:
        return self.body.config

    @property
    def shares_prompts(self) -> bool:
        """Whether programs of one prompt share the work on it: an encoder reads it once; a decoder-only body for each program."""
        return isinstance(self.body, T5Model)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, program_ids: Tensor, program_mask: Tensor, rows: Tensor | None = None
    ) -> CriticOutput:
        """Read problems and programs.

        The decoder attends to everything on its left, so programs are padded on the right. A released critic was trained with every
        position of the problem attended to: give it an attention mask of ones to have its own numbers.

        Args:
            input_ids: (B, S) token ids of the problems; (P, S) when `rows` is given.
            attention_mask: as input_ids, bool or 0/1, True where the encoder may look.
            program_ids: (B, T) token ids w_1..w_T, without a start token; anything (also -100) outside the mask.
            program_mask: (B, T) bool, True at tokens of the program.
            rows: (B,) int, the problem of each program: several programs of a problem then share one pass of the encoder.
        """
        assert program_ids.shape == program_mask.shape and program_mask.dtype == torch.bool, "program ids and bool mask must be (B, T)"
        if rows is None:
            rows = torch.arange(len(program_ids), device=program_ids.device)
        size = program_ids.shape[1]
        if isinstance(self.head, ReleasedHead) and size < self.width:
            program_ids = functional.pad(program_ids, (0, self.width - size), value=self.pad_id)
            program_mask = functional.pad(program_mask, (0, self.width - size), value=False)
        length, pooled_from, values_from = program_mask.shape[1], int(self.head.reads_own_token), int(self.reads_own_token)
        if isinstance(self.body, T5Model):
            states = self._decoder_states(self.body, input_ids, attention_mask.bool(), program_ids, program_mask, rows)
        else:
            states = causal_states(self.body, input_ids, attention_mask.bool(), program_ids, program_mask, rows)
        output: CriticOutput = self.head(states[:, pooled_from : pooled_from + length], program_mask)
        token_logits = output.token_logits
        if values_from != pooled_from:
            token_logits = self.head(states[:, values_from : values_from + length], program_mask).token_logits
        return CriticOutput(output.logits, token_logits[:, :size])

    def _decoder_states(self, body: T5Model, input_ids: Tensor, look: Tensor, program_ids: Tensor, program_mask: Tensor, rows: Tensor) -> Tensor:
        """The states of the decoder, (B, T + 1, d): at t that which has read w_1..w_t; with the last one only where a head or a value needs it."""
        length = program_mask.shape[1] + max(int(self.head.reads_own_token), int(self.reads_own_token))
        program = program_ids.masked_fill(~program_mask, self.pad_id)
        start = program.new_full((len(program), 1), self.start_id)
        decoder_ids = torch.cat([start, program], dim=1)[:, :length]
        memory = Memory(encode(body.encoder, input_ids, look), places(look), look, rows)
        real = functional.pad(program_mask, (1, 0), value=True)[:, :length]
        if isinstance(self.head, ReleasedHead):  # its maximum takes in the states of padding
            real = torch.ones_like(real)
        decoded = decode(body.decoder, decoder_ids, real, memory)  # (N, d)
        if isinstance(self.head, ReleasedHead) and body.config.scale_decoder_outputs:
            decoded = decoded * body.config.d_model**-0.5
        return decoded.new_zeros(real.shape + decoded.shape[1:]).masked_scatter(real[..., None], decoded)


def critic_from_config(config: PreTrainedConfig, head: type[PaperHead] | type[ReleasedHead], outcomes: int, seed: int) -> Critic:
    """A critic with random weights. The global random state is left as it was.

    Args:
        config: sizes of the body (CodeRL: CodeT5-small for CodeT5 actors, GPT2-small for GPT actors).
        head: `PaperHead` or `ReleasedHead`, the class.
        outcomes: 4, or 2 for critic sampling.
        seed: of the weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = copy.deepcopy(config)
        body = T5Model(config) if isinstance(config, T5Config) else AutoModel.from_config(config, dtype=torch.float32)
        return Critic(body, head(config.hidden_size, outcomes), outcomes)


def critic_from_actor(actor: PreTrainedModel, head: type[PaperHead] | type[ReleasedHead], outcomes: int, seed: int) -> Critic:
    """A critic whose body is a copy of the actor's, with a random head. Training the one leaves the other alone.

    Differs from the paper, whose critic is a smaller pretrained model; here the actor may be the only pretrained model there is.
    """
    critic = critic_from_config(actor.config, head, outcomes, seed)
    _load_body(critic.body, actor.base_model.state_dict(), "the actor")  # of a T5 that is the whole model
    return critic.to(actor.device)


def reading_at(critic: Critic, own_token: bool) -> Critic:
    """The same critic, body and head shared, whose token values come after the token is read (eq. 10 as the paper has it) or before (as the
    released code has it). What it says of whole programs stays.

    Raises:
        ModelError: the critic reads prefixes; the last state of a prefix has read its last token.
    """
    if isinstance(critic.head, PrefixHead) and not own_token:
        raise ModelError("a critic that reads prefixes gives the value after a token; read the token values of the critic itself")
    return Critic(critic.body, critic.head, critic.outcomes, critic.width, own_token).eval()


def reading_prefixes(critic: Critic) -> Critic:
    """The same critic, body and layer shared, whose token values are its whole-program reading of each prefix.

    Raises:
        ModelError: the critic has the released head.
    """
    if not isinstance(critic.head, PaperHead):
        raise ModelError(f"the critic has a {critic.head.kind} head; prefixes are read as whole programs by a paper head only")
    return Critic(critic.body, PrefixHead(critic.head.linear), critic.outcomes).eval()


def save_critic(critic: Critic, directory: str | Path) -> None:
    """Write a critic directory; `critic.json` comes last, so half a critic is none.

    Raises:
        CoderlError: the directory cannot be written.
    """
    directory = Path(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / MARKER_FILE).unlink(missing_ok=True)
        config = copy.deepcopy(critic.config)
        config.architectures = [type(critic.body).__name__]
        config.save_pretrained(directory)
        body = {name: value for name, value in plain_weights(critic.body).items() if name not in COPIES}
        for name, weights in (("model.safetensors", body), (HEAD_FILE, critic.head.state_dict())):
            save_file({key: value.contiguous() for key, value in weights.items()}, directory / name, metadata={"format": "pt"})
    except OSError as error:
        raise CoderlError(write_failure(directory, error)) from None
    except SafetensorError as error:
        raise CoderlError(write_failure(directory, OSError(str(error)))) from None
    padded = {"width": critic.width} if critic.width else {}
    atomic_write(directory / MARKER_FILE, json.dumps({"head": critic.head.kind, "outcomes": critic.outcomes, **padded}) + "\n")


def load_critic(directory: str | Path) -> Critic:
    """Read what `save_critic` wrote; float32, on the CPU, in evaluation mode.

    Raises:
        ModelError: not a critic directory, or its files do not belong together.
    """
    directory = Path(directory)
    try:
        marker = json.loads((directory / MARKER_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{directory} holds no {MARKER_FILE}, so it is no critic; `coderl train-critic` writes one") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{directory / MARKER_FILE} cannot be read ({error}); train the critic again or restore the file") from None
    head_class, outcomes, width = _read_marker(marker, directory)
    config = _read_config(directory)
    critic = critic_from_config(config, head_class, outcomes, seed=0)
    critic.width = width
    _load_body(critic.body, read_weights(directory), directory)
    try:
        critic.head.load_state_dict(load_file(directory / HEAD_FILE))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ModelError(f"{directory / HEAD_FILE} does not fit a {head_class.kind} head for {outcomes} outcomes ({_short(error)})") from None
    return critic.eval()


def load_released_critic(directory: str | Path, width: int = 0) -> Critic:
    """Read a critic in the form the CodeRL authors' code saves: one T5 checkpoint that holds `error_head.0.*` and `error_head.2.*`.

    Args:
        directory: `config.json` with `model.safetensors` or `pytorch_model.bin`.
        width: tokens that programs are padded to (`Critic`); the authors' own is 512.

    Raises:
        ModelError: a file is missing, or it holds no error head, or sizes do not agree.
    """
    directory = Path(directory)
    return released_critic(_read_config(directory, released=True), read_weights(directory), directory, width)


def released_critic(config: PreTrainedConfig, weights: dict[str, Tensor], source: Path, width: int) -> Critic:
    """A critic from the weights of the authors' code, by their names; `source` is what an error names.

    Float32, on the CPU, in evaluation mode, with a `ReleasedHead` for four outcomes.

    Raises:
        ModelError: no error head among them, or sizes do not agree.
    """
    critic = critic_from_config(config, ReleasedHead, 4, seed=0)
    critic.width = width
    head = {name.removeprefix(RELEASED_HEAD): value.float() for name, value in weights.items() if name.startswith(RELEASED_HEAD)}
    if not head:
        raise ModelError(f"{source} has no weights named error_head.*; it is no critic of the released code (for ours use load_critic)")
    _load_body(critic.body, weights, source)
    assert isinstance(critic.head, ReleasedHead)
    try:
        critic.head.layers.load_state_dict(head)
    except RuntimeError as error:
        raise ModelError(f"the error head in {source} is not Linear(d, 128), ReLU, Linear(128, 4) ({_short(error)})") from None
    return critic.eval()


class _Marker(NamedTuple):
    head: type[PaperHead] | type[ReleasedHead]
    outcomes: int
    width: int


def _read_marker(marker: Any, directory: Path) -> _Marker:
    for head in (PaperHead, ReleasedHead):
        if isinstance(marker, dict) and marker.get("head") == head.kind and marker.get("outcomes") in (2, 4):
            width = marker.get("width", 0)
            if isinstance(width, int) and width >= 0:
                return _Marker(head, marker["outcomes"], width)
    raise ModelError(
        f'{directory / MARKER_FILE} is {marker!r}; it must be {{"head": "paper" or "released", "outcomes": 2 or 4}}, and "width", 0 or more, if any'
    )


def _read_config(directory: Path, released: bool = False) -> PreTrainedConfig:
    path = directory / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        kind = values.get("model_type")
        if kind != "t5" and (released or not is_decoder_only(kind)):
            raise ModelError(f"{path} is of model type {kind!r}; a critic needs a T5 body" + ("" if released else ", or a decoder-only one"))
        return T5Config.from_dict(values) if kind == "t5" else CONFIG_MAPPING[kind].from_dict(values)
    except FileNotFoundError:
        raise ModelError(f"{directory} has no config.json; a critic is a Hugging Face directory of a model, with a head beside it") from None
    except ModelError:
        raise
    except Exception as error:  # whatever a config of another shape makes transformers raise
        raise ModelError(f"{path} is no configuration of such a model ({_short(error)})") from None


def read_weights(directory: Path) -> dict[str, Tensor]:
    """All weights of a Hugging Face directory, by name; pickled ones are read as arrays and nothing else.

    Raises:
        ModelError: there are none, or they cannot be read.
    """
    safe, pickled = directory / "model.safetensors", directory / "pytorch_model.bin"
    try:
        return load_file(safe) if safe.exists() or not pickled.exists() else torch.load(pickled, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ModelError(f"{directory} has neither model.safetensors nor pytorch_model.bin") from None
    except Exception as error:  # torn or foreign files: many kinds of exception
        raise ModelError(f"the weights in {directory} cannot be read ({_short(error)})") from None


def _load_body(body: PreTrainedModel, weights: dict[str, Tensor], source: object) -> None:
    """Copy the weights that a body has; what else the checkpoint holds (vocabulary head, error head) is left."""
    names = set(body.state_dict())
    missing = names - COPIES - set(weights)
    if missing:
        raise ModelError(
            f"{source} lacks the weight {min(missing)} ({len(missing)} missing of {len(names)}); is it of the kind that config.json says?"
        )
    try:
        body.load_state_dict({name: weights[name] for name in names - COPIES}, strict=False)
    except RuntimeError as error:
        raise ModelError(f"the weights of {source} do not have the sizes of its config.json ({_short(error)})") from None


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else text[:197] + "..."
