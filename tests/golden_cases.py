"""Reading the golden folder: arrays of a case, scalars, gradients, and its small T5 models as Hugging Face directories.

Shared by the test_golden_* files. The folder (another one of the same shape can be named by CODERL_GOLDEN) says in its README how the
numbers were made. Nothing is known here of particular cases: tests walk over whatever the folder holds.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

LOSS = 1e-5
"""Absolute tolerance of losses, logits and states (float32 against float64 differ by up to 2.8e-6)."""
RECORDED = 1.4e-5
"""What the recorded float32 states of 512 tokens are at most away from their exact values (1.34e-5, beyond 1e-5 in 4 of 4,096, by `exact_states`)."""


def case_names(golden: Path, pattern: str) -> list[str]:
    """Cases whose file name matches; at least one must exist, so that an empty folder cannot pass."""
    names = sorted(path.stem for path in golden.glob(f"{pattern}.npz"))
    assert names, f"{golden} has no case {pattern}"
    return names


def arrays(golden: Path, case: str) -> dict[str, Tensor]:
    """All arrays of a case; whole numbers as int64."""
    with np.load(golden / f"{case}.npz") as file:
        values = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    return {name: value if value.is_floating_point() else value.long() for name, value in values.items()}


def read_json(golden: Path, name: str) -> dict:
    return json.loads((golden / name).read_text(encoding="utf-8"))


def model_of(case: str) -> str:
    """The model that a case was computed with: the part of its name that names one."""
    return f"model_{next(part for part in case.split('_') if part in ('tied', 'untied', 'big'))}"


def model_directory(golden: Path, model: str, target: Path) -> Path:
    """Lay the model out as a Hugging Face directory, with the 8-bit embedding of the big one turned back into floats."""
    directory = target / model
    if not directory.exists():
        directory.mkdir()
        config = read_json(golden, f"{model}.config.json")
        weights = load_file(golden / f"{model}.safetensors")
        if "shared.weight.int8" in weights:
            weights["shared.weight"] = weights.pop("shared.weight.int8").float() / config.pop("shared_weight_int8_divisor")
        (directory / "config.json").write_text(json.dumps(config))
        save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def check_gradients(golden: Path, case: str, loss: Tensor, module: nn.Module, rename: dict[str, str], **extra: nn.Parameter) -> int:
    """Compare the norm and sum of every gradient with grads.json; returns how many were compared.

    Args:
        rename: beginnings of released names -> beginnings of our names, tried in order.
        extra: parameters outside the module, by released name with "__" for ".".
    """
    parameters = dict(module.named_parameters(remove_duplicate=False)) | {name.replace("__", "."): p for name, p in extra.items()}
    expected = {_renamed(name, rename): value for name, value in read_json(golden, "grads.json")[case].items() if value is not None}
    names = list(expected)
    unknown = [name for name in names if name not in parameters]
    assert not unknown, f"{case}: no parameter named {unknown[0]}"
    gradients = torch.autograd.grad(loss, [parameters[name] for name in names])
    for name, gradient in zip(names, gradients):
        found, wanted = gradient.double().norm().item(), expected[name]["l2"]
        assert found == pytest.approx(wanted, rel=1e-4, abs=1e-6), f"{case}: gradient norm of {name} is {found}, golden {wanted}"
        total, sum_wanted = gradient.double().sum().item(), expected[name]["sum"]
        # a sum cancels: its error is bounded by that of the norm times the square root of the number of terms
        slack = 1e-4 * abs(sum_wanted) + 1e-6 * max(1.0, wanted) * gradient.numel() ** 0.5
        assert abs(total - sum_wanted) <= slack, f"{case}: gradient sum of {name} is {total}, golden {sum_wanted}"
    return len(names)


def _renamed(name: str, rename: dict[str, str]) -> str:
    for start, ours in rename.items():
        if name.startswith(start):
            return ours + name.removeprefix(start)
    return name


def exact_states(directory: Path, values: dict[str, Tensor]) -> Tensor:
    """The released critic's token logits in double precision, from transformers' own T5 and plain tensors: nothing of ours.

    T5's norm and softmax are float32 there all the same, which leaves 1e-6.

    Args:
        directory: of `model_directory`.
        values: `input_ids` (B, S) and `labels` (B, T) of a critic case; every position of the problem is attended to.

    Returns:
        (B, T, 4) float64.
    """
    model = T5ForConditionalGeneration.from_pretrained(directory, attn_implementation="eager").double().eval()
    weights = {name: value.double() for name, value in load_file(directory / "model.safetensors").items() if name.startswith("error_head.")}
    with torch.no_grad():
        mask = torch.ones_like(values["input_ids"])
        output = model(input_ids=values["input_ids"], attention_mask=mask, labels=values["labels"], output_hidden_states=True)
        states = output.decoder_hidden_states[-1]
        if json.loads((directory / "config.json").read_text())["tie_word_embeddings"]:
            states = states * model.config.d_model**-0.5
        inner = torch.relu(states @ weights["error_head.0.weight"].T + weights["error_head.0.bias"])
        return inner @ weights["error_head.2.weight"].T + weights["error_head.2.bias"]


def assert_recorded(found: Tensor, recorded: Tensor, exact: Tensor, case: str) -> None:
    """Ours equals the recorded numbers within `LOSS`; where those are more than half of it from their exact values, within their own error besides.

    The recorded numbers are float32 of one CPU. In a few places of the longest case they are more than `LOSS` from the exact values, so that
    another CPU cannot be asked to meet them there; everywhere else, and in all other cases, nothing but `LOSS` is allowed.
    """
    rounding = (exact - recorded.double()).abs()
    assert rounding.max() <= RECORDED, f"{case}: the recorded numbers are {rounding.max():.2e} from the exact ones"
    assert (rounding > LOSS / 2).double().mean() < 0.05, f"{case}: the recorded numbers are not the exact ones as a whole"
    allowed = LOSS + torch.where(rounding > LOSS / 2, rounding, 0.0)
    far = (found.double() - recorded.double()).abs() > allowed
    assert not far.any(), f"{case}: {int(far.sum())} of {far.numel()} numbers are not the recorded ones"
