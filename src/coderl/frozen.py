"""What never changes while a stage of B-Coder trains: each token's greedy token, advantage and raw value. Computed once and stored.

In the value stage the checkpoint's A(s_t, a_t) is fixed, in fine-tuning its greedy tokens â_t and raw_φ(s_t) are (B-Coder eq. 12 and 15): so
neither the checkpoint's decoder nor, in fine-tuning, the value decoder is run again. One number for each token of all examples, one
program after the other; `Example.number` says which program is where. A stage that was killed reads them back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .errors import CoderlError, DataError
from .formulas.bcoder import action_advantages
from .models.bcoder import FrozenEncoder, QModel, read_policy, read_values
from .store import write_failure
from .tokens import Batch, Example, collate, epoch_batches


class Frozen(NamedTuple):
    """M tokens of E programs, one program after the other.

    Fields:
        starts: (E + 1,) long, where each program begins.
        greedy: (M,) int32, argmax of the policy's logits. advantages: (M,), A of the token that is there. raw: (M,), raw_φ.
    """

    starts: Tensor
    greedy: Tensor
    advantages: Tensor
    raw: Tensor

    def rows(self, numbers: Tensor, batch: Batch) -> Tensor:
        """Numbers of a batch's tokens out of one of the (M,) fields: (B, T), 0 behind a program's end. On the batch's device."""
        at = self.starts[batch.numbers.cpu()][:, None] + torch.arange(batch.mask.shape[1])
        found = numbers[at.clamp(max=len(numbers) - 1)].to(batch.mask.device)
        return torch.where(batch.mask, found, 0)


def numbered(examples: Sequence[Example]) -> list[Example]:
    """The examples, each with its place in the list."""
    return [example._replace(number=i) for i, example in enumerate(examples)]


@torch.inference_mode()
def freeze(
    model: QModel, encoder: FrozenEncoder, examples: Sequence[Example], pad_id: int, advance: Callable[[int], None], budget: int = 16_384
) -> Frozen:
    """Read all programs with the model as it is now.

    Args:
        examples: numbered. advance: told how many programs were read. budget: tokens in a batch.
    """
    model.eval()
    starts = torch.tensor([0, *(len(e.program) for e in examples)]).cumsum(0)
    size = int(starts[-1])
    result = Frozen(starts, torch.zeros(size, dtype=torch.int32), torch.zeros(size), torch.zeros(size))
    for part in epoch_batches(examples, budget, seed=0, group=8):
        batch = Batch(*(tensor.to(model.actor.device) for tensor in collate(part, pad_id)))
        memory = encoder.memory(batch)
        policy, raw = read_policy(model, batch, memory), read_values(model, batch, memory)
        taken = action_advantages(policy.logits, batch.labels[batch.mask], model.constants.alpha)
        at = torch.cat([torch.arange(int(starts[e.number]), int(starts[e.number + 1])) for e in part])
        for field, found in ((result.greedy, policy.logits.argmax(-1)), (result.advantages, taken), (result.raw, raw)):
            field[at] = found.cpu().to(field.dtype)
        advance(len(part))
    return result


def save_frozen(frozen: Frozen, path: Path) -> None:
    """Write all of it or nothing.

    Raises:
        CoderlError: the file cannot be written.
    """
    half = path.with_name(path.name + ".tmp")
    try:
        save_file(frozen._asdict(), half)
        os.replace(half, path)
    except (OSError, SafetensorError) as error:
        raise CoderlError(write_failure(path, error if isinstance(error, OSError) else OSError(str(error)))) from None


def load_frozen(path: Path, examples: Sequence[Example]) -> Frozen:
    """Read what `save_frozen` wrote.

    Raises:
        DataError: torn, or of other examples.
    """
    try:
        frozen = Frozen(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise DataError(f"cannot be read ({str(error).splitlines()[0]}); remove it, it is computed again", path) from None
    if frozen.starts.diff().tolist() != [len(e.program) for e in examples]:
        raise DataError("belongs to other programs than are to be learnt from; remove the run's folder to start anew", path)
    return frozen
