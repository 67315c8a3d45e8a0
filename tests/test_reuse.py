"""What rounds keep for the rounds behind them: files, the choice of programs, and the ratio in the loss."""

import math

import pytest
import torch

from coderl.errors import DataError
from coderl.recipes.finetuning import Tuning, weighted_log_probs
from coderl.reuse import FILE, Learnt, earlier_examples, write_learnt
from coderl.store import read_records
from coderl.tokens import Example, collate

PASSED = Example("p", (5, 6), (7, 8, 1), weights=(0.5, 1.0, 1.5), label=3, supervised=False, old_log_probs=(-1.0, -2.0, -0.5), repeats=2)
FAILED = Example("p", (5, 6), (9, 1), weights=(-1.0, -1.0), label=2, supervised=False, old_log_probs=(-0.25, -3.0))
BETTER = Example("q", (5,), (4, 1), weights=(0.4, 0.4), label=1, supervised=False, old_log_probs=(-1.0, -1.0))  # runs, where the greedy one did not


@pytest.fixture
def runs(tmp_path):
    folders = [tmp_path / "round-1", tmp_path / "round-2"]
    for folder, part in zip(folders, ([PASSED, FAILED], [BETTER, PASSED._replace(weights=(2.0, 2.0, 2.0))]), strict=True):
        folder.mkdir()
        write_learnt(folder / FILE, [*part, Example("r", (1,), (2, 1))])  # a reference, which is not kept
    return folders


def test_what_is_written_is_read(runs):
    assert earlier_examples(runs[:1], "importance", True) == [PASSED, FAILED]
    assert [one.passed for one in read_records(runs[0] / FILE, Learnt)] == [True, False]


def test_passing_takes_what_passed_each_once_with_its_newest_weights(runs):
    assert earlier_examples(runs, "passing", False) == [PASSED._replace(weights=(2.0, 2.0, 2.0))]


def test_a_pass_that_was_worse_than_expected_is_not_taken(tmp_path):
    write_learnt(tmp_path / FILE, [PASSED._replace(weights=(-0.1, 0.1, 0.1))])
    assert earlier_examples([tmp_path], "passing", False) == []


def test_importance_needs_the_log_probabilities_of_then(tmp_path):
    write_learnt(tmp_path / FILE, [FAILED._replace(old_log_probs=None)])
    assert earlier_examples([tmp_path], "passing", False) == []
    with pytest.raises(DataError, match="make it with --reuse importance, or with GRPO"):
        earlier_examples([tmp_path], "importance", True)


def test_a_loss_with_ratios_takes_no_solutions_without_them(tmp_path):
    write_learnt(tmp_path / FILE, [PASSED._replace(old_log_probs=None)])
    assert len(earlier_examples([tmp_path], "passing", False)) == 1
    with pytest.raises(DataError, match="without the log-probabilities"):
        earlier_examples([tmp_path], "passing", True)


def test_a_broken_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"learnt\.jsonl: no such file"):
        earlier_examples([tmp_path], "passing", False)
    (tmp_path / FILE).write_text('{"problem":"p","prompt":[1],"program":[2,1],"weights":[1],"label":3}\n')
    with pytest.raises(DataError, match="2 tokens has 1 weights"):
        earlier_examples([tmp_path], "passing", False)


def test_old_tokens_count_by_their_truncated_ratio():
    """Tokens half as likely as then count half, tokens that are likelier count once: hand-worked."""
    batch = collate([FAILED], 0)
    now = torch.tensor([[-0.25 - math.log(2), -1.0]], requires_grad=True)
    drawn = torch.ones(1, 2, dtype=torch.bool)
    plain = weighted_log_probs(Tuning()).terms(now, batch, drawn)["loss_rl"]
    assert plain.item() == pytest.approx(-0.25 - math.log(2) - 1.0)
    loss = weighted_log_probs(Tuning(reuse="importance")).terms(now, batch, drawn)["loss_rl"]
    assert loss.item() == pytest.approx((-0.25 - math.log(2)) / 2 - 1.0)
    (gradient,) = torch.autograd.grad(loss, now)
    assert gradient[0].tolist() == pytest.approx([0.5, 1.0])  # the ratio is a constant
