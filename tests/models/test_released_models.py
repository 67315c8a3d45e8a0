"""Checkpoints of the released CodeRL, by their names of weights: actor with rl_head, critic with error_head, as pickled state dictionaries."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from coderl.cli import main
from coderl.formulas.coderl import critic_loss, released_token_rewards, token_values
from coderl.formulas.masks import IGNORE
from coderl.models.actor import load_actor, program_logits
from coderl.models.critic import load_critic
from golden_cases import LOSS, arrays, assert_recorded, case_names, exact_states, model_directory, model_of
from test_golden_actor import as_batch


def checkpoint(golden: Path, case: str, tmp_path: Path, tokenizer: Path, **heads: Tensor) -> Path:
    """The golden model as their train.py saves it: one pickled state dictionary with the tied copies, other heads, and no tokenizer."""
    plain = model_directory(golden, model_of(case), tmp_path)
    weights = load_file(plain / "model.safetensors")
    weights |= {f"{part}.embed_tokens.weight": weights["shared.weight"] for part in ("encoder", "decoder")}
    weights.setdefault("lm_head.weight", weights["shared.weight"])
    folder = tmp_path / "theirs"
    folder.mkdir()
    torch.save({**weights, **heads}, folder / "pytorch_model.bin")
    shutil.copyfile(plain / "config.json", folder / "config.json")
    return folder


@pytest.fixture
def base(data_dir: Path, tmp_path: Path) -> Path:
    """Where config.json and tokenizer of the model are that a checkpoint was trained from."""
    folder = tmp_path / "base"
    folder.mkdir()
    source = data_dir / "codet5_tokenizer" / "salesforce"
    for name in ("codet5-vocab.json", "codet5-merges.txt"):
        shutil.copyfile(source / name, folder / name)
    return folder


def test_an_actor_has_the_released_logits(golden_dir: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With an error head nobody made it an actor, so the golden model's is taken out; `rl_head` is dropped and said."""
    case = case_names(golden_dir, "ce_big")[0]
    folder = checkpoint(golden_dir, case, tmp_path, base, **{"rl_head.weight": torch.randn(32100, 32)})
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    torch.save({name: value for name, value in weights.items() if not name.startswith("error_head.")}, folder / "pytorch_model.bin")
    assert main(["released", "model", "--checkpoint", str(folder), "--base", str(base), "--out", str(tmp_path / "ours")]) == 0
    assert "an actor; its rl_head" in capsys.readouterr().out
    actor = load_actor(tmp_path / "ours")
    actor.model.set_attn_implementation("eager")
    values = arrays(golden_dir, case)
    with torch.no_grad():
        logits = program_logits(actor.model, as_batch(values))
    first = int((values["labels"][0] != IGNORE).sum())
    torch.testing.assert_close(logits[:8, :64], values["logits_first8_positions_first64_vocab"][0], atol=LOSS, rtol=0)
    torch.testing.assert_close(logits[first : first + 8, :64], values["logits_first8_positions_first64_vocab"][1], atol=LOSS, rtol=0)


def test_a_critic_has_the_released_states_losses_and_rewards(golden_dir: Path, base: Path, tmp_path: Path) -> None:
    case = "critic_big"
    folder = checkpoint(golden_dir, case, tmp_path, base)
    (folder / "config.json").rename(base / "config.json")  # checkpoints come without one
    assert main(["released", "model", "--checkpoint", str(folder), "--base", str(base), "--out", str(tmp_path / "ours")]) == 0
    critic = load_critic(tmp_path / "ours")
    assert critic.width == 512 and json.loads((tmp_path / "ours" / "critic.json").read_text())["head"] == "released"
    values = arrays(golden_dir, case)
    mask = values["labels"] != IGNORE
    length = int(mask.sum(1).max())  # shorter rows than theirs: the critic pads to 512 itself
    with torch.no_grad():
        output = critic(values["input_ids"], torch.ones_like(values["input_ids"]), values["labels"][:, :length], mask[:, :length])
    assert length < 512 and output.token_logits.shape[1] == length
    exact = exact_states(tmp_path / model_of(case), values)
    assert_recorded(output.token_logits, values["error_states"][:, :length], exact[:, :length], case)
    outcomes = values["error_types"][:, 0]
    torch.testing.assert_close(critic_loss(output.logits, outcomes), values["error_pred_loss"], atol=LOSS, rtol=0)
    assert output.logits.argmax(-1).tolist() == values["error_preds"].tolist()
    rewards = released_token_rewards(values["error_states"], outcomes, torch.ones(len(outcomes))).rewards[:, :length]
    torch.testing.assert_close(token_values(output.token_logits, outcomes)[mask[:, :length]], rewards[mask[:, :length]], atol=LOSS, rtol=0)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "has no config.json; name the model that it was trained from: --base"),
        (lambda folder: None, "holds no tokenizer; name the model that it was trained from: --base"),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"torn"), "cannot be read"),
        (lambda folder: (folder / "pytorch_model.bin").unlink(), "has neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_what_a_checkpoint_lacks_is_one_sentence(golden_dir, base, tmp_path, edit, message, capsys) -> None:
    folder = checkpoint(golden_dir, "critic_tied_0", tmp_path, base)
    edit(folder)
    assert main(["released", "model", "--checkpoint", str(folder), "--out", str(tmp_path / "ours")]) == 1
    assert message in capsys.readouterr().err


def test_a_checkpoint_of_another_model_is_refused(golden_dir, base, tmp_path, capsys) -> None:
    folder = checkpoint(golden_dir, "critic_tied_0", tmp_path, base)
    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    del weights["decoder.block.0.layer.0.SelfAttention.q.weight"]
    torch.save(weights, folder / "pytorch_model.bin")
    assert main(["released", "model", "--checkpoint", str(folder), "--base", str(base), "--out", str(tmp_path / "ours")]) == 1
    assert "lacks the weight decoder.block.0.layer.0.SelfAttention.q.weight" in capsys.readouterr().err
