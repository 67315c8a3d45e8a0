"""Losses of the actor against numbers of the released code: supervised, and reinforcement with shared, cloned and separate heads.

The T5 is Hugging Face's; what is checked is that our shift, log-probabilities and reductions, and this release of transformers with
checkpoints of both kinds (tied, untied), give the released numbers.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import T5ForConditionalGeneration

from coderl.formulas.masks import IGNORE, shift_right, token_log_probs
from coderl.formulas.policy_gradient import cross_entropy, policy_gradient_loss_token_mean
from coderl.models.actor import program_log_probs
from coderl.tokens import Batch
from golden_cases import LOSS, arrays, case_names, check_gradients, model_directory, model_of


def load(golden: Path, case: str, target: Path) -> T5ForConditionalGeneration:
    directory = model_directory(golden, model_of(case), target)
    return T5ForConditionalGeneration.from_pretrained(str(directory), dtype=torch.float32).eval()


def decoder_states(model: T5ForConditionalGeneration, values: dict[str, Tensor]) -> Tensor:
    """What the vocabulary head is given: (B, T, d), scaled as the model scales it. No attention mask: padding is attended to."""
    config = model.config
    encoded = model.encoder(input_ids=values["input_ids"]).last_hidden_state
    ids = shift_right(values["labels"], config.decoder_start_token_id, config.pad_token_id)
    states = model.decoder(input_ids=ids, encoder_hidden_states=encoded, use_cache=False).last_hidden_state
    return states * config.d_model**-0.5 if config.scale_decoder_outputs else states


def rl_head(model: T5ForConditionalGeneration, case: str, values: dict[str, Tensor]) -> nn.Parameter:
    if "rl_head_weight" in values:
        return nn.Parameter(values["rl_head_weight"])
    return nn.Parameter(model.lm_head.weight.detach().clone()) if "cloned" in case else model.lm_head.weight


def rl_loss(log_probs: Tensor, values: dict[str, Tensor]) -> Tensor:
    return policy_gradient_loss_token_mean(log_probs, values["rewards"], values["labels"] != IGNORE)


def close(found: Tensor, wanted: Tensor, case: str) -> None:
    torch.testing.assert_close(found, wanted, atol=LOSS, rtol=0, msg=lambda text: f"{case}: {text}")


def as_batch(values: dict[str, Tensor]) -> Batch:
    """The case as a batch of ours, one prompt a program, padding looked at."""
    size = len(values["labels"])
    return Batch(
        prompts=values["input_ids"],
        prompt_mask=torch.ones_like(values["input_ids"], dtype=torch.bool),
        row_prompt=torch.arange(size),
        labels=values["labels"],
        mask=values["labels"] != IGNORE,
        weights=values.get("rewards", torch.zeros(values["labels"].shape)),
        outcomes=torch.zeros(size, dtype=torch.long),
        supervised=torch.zeros(size, dtype=torch.bool),
        old_log_probs=torch.zeros(values["labels"].shape),
        reference_log_probs=torch.zeros(values["labels"].shape),
        old_values=torch.zeros(values["labels"].shape),
        value_targets=torch.zeros(values["labels"].shape),
        repeats=torch.ones(size, dtype=torch.long),
        numbers=torch.full((size,), -1),
    )


@pytest.mark.parametrize("size", ["tied", "untied"])
def test_supervised_loss_logits_and_gradients(golden_dir, tmp_path, size):
    for case in case_names(golden_dir, f"ce_{size}_*"):
        values, model = arrays(golden_dir, case), load(golden_dir, case, tmp_path)
        logits = model.lm_head(decoder_states(model, values))
        close(logits, values["logits"], case)
        loss = cross_entropy(token_log_probs(logits, values["labels"]), values["labels"] != IGNORE)
        close(loss, values["loss"], case)
        assert check_gradients(golden_dir, case, loss, model, {}) > 40


def test_encoder_states_and_greedy_programs(golden_dir, tmp_path):
    for case in case_names(golden_dir, "ce_*tied_*"):
        values, model = arrays(golden_dir, case), load(golden_dir, case, tmp_path)
        with torch.no_grad():
            close(model.encoder(input_ids=values["input_ids"]).last_hidden_state, values["encoder_last_hidden_state"], case)
            greedy = model.generate(
                values["input_ids"], attention_mask=torch.ones_like(values["input_ids"]), max_length=16, do_sample=False, num_beams=1
            )
        assert greedy.tolist() == values["greedy_ids"].tolist(), case


@pytest.mark.parametrize("size", ["tied", "untied"])
def test_reinforcement_loss_and_gradients(golden_dir, tmp_path, size):
    for case in case_names(golden_dir, f"rl_*_{size}_*"):
        values, model = arrays(golden_dir, case), load(golden_dir, case, tmp_path)
        head = rl_head(model, case, values)
        loss = rl_loss(token_log_probs(decoder_states(model, values) @ head.T, values["labels"]), values)
        close(loss, values["rl_loss"], case)
        separate = {} if head is model.lm_head.weight else {"rl_head__weight": head}
        assert check_gradients(golden_dir, case, loss, model, {}, **separate) > 40


def test_our_batched_log_probabilities_give_the_same_losses(golden_dir, tmp_path):
    """`program_log_probs` is what training calls: prompts run once, the vocabulary head only where a label is."""
    for case in case_names(golden_dir, "ce_*tied_*") + case_names(golden_dir, "rl_shared_*"):
        values, model = arrays(golden_dir, case), load(golden_dir, case, tmp_path)
        with torch.no_grad():
            log_probs = program_log_probs(model, as_batch(values))
        if case.startswith("ce"):
            close(cross_entropy(log_probs, values["labels"] != IGNORE), values["loss"], case)
        else:
            close(rl_loss(log_probs, values), values["rl_loss"], case)


def test_real_token_ids_and_a_full_vocabulary(golden_dir, tmp_path):
    values, model = arrays(golden_dir, "ce_big"), load(golden_dir, "ce_big", tmp_path)
    # states are large here: the golden numbers are 1.3e-5 off their own float64 values, so only the same order of sums comes within 1e-5
    model.set_attn_implementation("eager")
    with torch.no_grad():
        logits = model.lm_head(decoder_states(model, values))
        close(logits[:, :8, :64], values["logits_first8_positions_first64_vocab"], "ce_big")
        close(logits.logsumexp(-1), values["logsumexp"], "ce_big")
        close(cross_entropy(token_log_probs(logits, values["labels"]), values["labels"] != IGNORE), values["loss"], "ce_big")
        for case in case_names(golden_dir, "rl_big_*"):
            values = arrays(golden_dir, case)
            close(rl_loss(program_log_probs(model, as_batch(values)), values), values["rl_loss"], case)
