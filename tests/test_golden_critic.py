"""Our critic with the released head against numbers of the released code: states, loss, predictions, gradients."""

import torch

from coderl.formulas.coderl import critic_loss
from coderl.formulas.masks import IGNORE, masked_max
from coderl.models.critic import Critic, CriticOutput, load_released_critic
from golden_cases import LOSS, arrays, assert_recorded, case_names, check_gradients, exact_states, model_directory, model_of, read_json


def read_programs(critic: Critic, values: dict[str, torch.Tensor]) -> CriticOutput:
    look_everywhere = torch.ones_like(values["input_ids"])  # the released code passes no attention mask: padding is attended to
    return critic(values["input_ids"], look_everywhere, values["labels"], values["labels"] != IGNORE)


def small_cases(golden):
    return [case for case in case_names(golden, "critic_*") if not case.endswith("big")]


def test_states_loss_and_predictions_are_those_of_the_released_code(golden_dir, tmp_path):
    for case in case_names(golden_dir, "critic_*"):
        values = arrays(golden_dir, case)
        directory = model_directory(golden_dir, model_of(case), tmp_path)
        with torch.no_grad():
            output = read_programs(load_released_critic(directory), values)
        assert_recorded(output.token_logits, values["error_states"], exact_states(directory, values), case)
        assert output.logits.argmax(-1).tolist() == values["error_preds"].tolist(), case
        loss = critic_loss(output.logits, values["error_types"][:, 0])
        torch.testing.assert_close(loss, values["error_pred_loss"], atol=LOSS, rtol=0, msg=lambda text, c=case: f"{c}: {text}")


def test_gradients_are_those_of_the_released_code(golden_dir, tmp_path):
    for case in small_cases(golden_dir):
        values = arrays(golden_dir, case)
        critic = load_released_critic(model_directory(golden_dir, model_of(case), tmp_path))
        loss = critic_loss(read_programs(critic, values).logits, values["error_types"][:, 0])
        rename = {"error_head.": "head.layers.", "": "body."}
        assert check_gradients(golden_dir, case, loss, critic, rename) > 40


def test_masking_the_padding_would_change_the_prediction_as_recorded(golden_dir, tmp_path):
    """The `_2` cases were searched so that padding wins the maximum; `masked_max` gives what a masked pool would have said."""
    scalars = read_json(golden_dir, "scalars.json")
    cases = [case for case in small_cases(golden_dir) if "preds_if_padding_were_masked" in scalars[case]]
    assert cases
    for case in cases:
        values = arrays(golden_dir, case)
        critic = load_released_critic(model_directory(golden_dir, model_of(case), tmp_path))
        with torch.no_grad():
            states = read_programs(critic, values).token_logits
        masked = masked_max(states, values["labels"] != IGNORE).argmax(-1).tolist()
        assert masked == scalars[case]["preds_if_padding_were_masked"], case
        assert masked != values["error_preds"].tolist(), case
