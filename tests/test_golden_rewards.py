"""Token rewards against numbers of the released code: made-up states with -inf rows, and the critic scores that were published."""

import gzip
import json

import pytest
import torch
from torch import Tensor

from coderl.formulas.coderl import critic_weights, released_token_rewards, token_values
from coderl.formulas.masks import IGNORE
from coderl.formulas.returns import outcome_returns, relative_returns
from golden_cases import arrays, read_json


def program_return(outcome: int, baseline: int) -> Tensor:
    """(1,) r(W^s) - r(W^b); a baseline of -1 means none, whose return is 0."""
    sample = outcome_returns(torch.tensor([outcome]))
    return sample if baseline < 0 else relative_returns(sample, outcome_returns(torch.tensor([baseline])))


def fitted(row: Tensor, size: int, fill: float) -> Tensor:
    """Cut to `size`, or filled up on the right."""
    return torch.cat([row[:size], row.new_full((max(0, size - len(row)),), fill)])


def test_rewards_and_labels_of_made_up_states(golden_dir):
    values, cases = arrays(golden_dir, "rewards_synth"), read_json(golden_dir, "rewards_synth.json")
    dropped = 0
    for case in cases:
        k, size, outcome = case["case"], case["max_tokens"], case["gt_error"]
        states, labels = values[f"{k}_error_hidden_states"], values[f"{k}_labels"]
        for name, baseline in (("rel", case["baseline_error"]), ("abs", -1)):
            result = released_token_rewards(states[None], torch.tensor([outcome]), program_return(outcome, baseline))
            torch.testing.assert_close(fitted(result.rewards[0], size, 0.0), values[f"{k}_rewards_{name}"], atol=1e-6, rtol=0)
            kept = labels.masked_fill(~result.kept[0, : len(labels)], IGNORE)
            assert fitted(kept, size, IGNORE).tolist() == values[f"{k}_label_ids"].tolist(), k
        dropped += int((~result.kept).sum())
    assert dropped > 0, "no case has a row of -inf: the rule for them was not tried"


def test_rewards_of_the_published_scores(golden_dir, data_dir):
    for problem, expected in read_json(golden_dir, "rewards_released.json").items():
        path = data_dir / "apps_coderl_sample" / "train" / problem / "gen_solutions_critic_scores.json.gz"
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            scores = json.load(stream)
        for program in expected["programs"]:
            index, outcome = program["index"], program["gt_error_type"]
            assert scores["gt_error_type"][index] == outcome
            states = torch.tensor(scores["error_hidden_states"][index], dtype=torch.float32)[None]  # (1, 512, 4)
            mask = torch.tensor(scores["code"][index])[None] != IGNORE
            assert int(states[0].amax(0).argmax()) == program["pred_error_type"]  # the maximum over all positions, padding too
            for setting in ("relative", "absolute"):
                wanted = program[setting]
                returns = program_return(outcome, wanted["baseline_error_type"])
                rewards = released_token_rewards(states, torch.tensor([outcome]), returns).rewards
                assert rewards[0, :8].tolist() == pytest.approx(wanted["first8"], abs=1e-5)
                assert rewards.double().sum().item() == pytest.approx(wanted["sum_all_positions"], abs=512 * 1e-6)
                # our weights are the same numbers under the mask, and 0 at padding
                weights = critic_weights(returns, token_values(states, torch.tensor([outcome])), mask)
                torch.testing.assert_close(weights, torch.where(mask, rewards, 0.0), atol=0, rtol=0)
                found = weights[mask]
                assert len(found) == wanted["n_label_tokens"]
                assert found.double().sum().item() == pytest.approx(wanted["sum"], abs=512 * 1e-6)
                assert [found.min().item(), found.max().item()] == pytest.approx([wanted["min"], wanted["max"]], abs=1e-5)
