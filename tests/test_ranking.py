"""Recovered returns of programs do not depend on their batch and are the slow sums; ranked pass@k by hand; means and AUC by outcome."""

import math

import pytest
import torch

from coderl.errors import DataError
from coderl.frozen import freeze, load_frozen, numbered, save_frozen
from coderl.models.actor import small_t5
from coderl.models.bcoder import Constants, FrozenEncoder, QModel
from coderl.ranking import Candidate, ProgramScore, mean_by_outcome, passing_auc, ranked_pass, read_returns
from coderl.records import Outcome, Verdict
from coderl.tokens import Example, collate

EXAMPLES = [
    Example("a", (5, 6, 7), (8, 9, 2), label=1),
    Example("b", (9,), (11, 2), label=3),
    Example("a", (5, 6, 7), (12, 13, 14, 15, 2), label=0),
]


def q_model(discount=0.9):
    model = QModel(small_t5(300, 0, width=16, heads=2, feed_forward=32), Constants(discount=discount), 0).eval()
    with torch.no_grad():
        model.value_head.weight += 0.2
        model.residual.weight += 0.1
    return model


def slow(model, example, discount):
    """R̃, its TD loss and log-probability by Hugging Face's own forward, one program, a loop over its tokens."""
    actor, ids = model.actor, torch.tensor([[0, *example.program[:-1]]])
    prompt = actor.encoder(input_ids=torch.tensor([example.prompt])).last_hidden_state
    states = actor.decoder(input_ids=ids, encoder_hidden_states=prompt).last_hidden_state[0]
    theirs = model.value_decoder(input_ids=ids, encoder_hidden_states=prompt).last_hidden_state[0]
    score = loss = logprob = 0.0
    values, advantages = [], []
    for t, token in enumerate(example.program):
        logits = actor.lm_head(states[t] * 16**-0.5)
        raw = float(model.value_head(theirs[t]) + model.residual(states[t]) - model.residual_start(states[t]))
        values.append(1 - math.log(math.cosh(raw / 2)))
        advantages.append(float(logits[token] - logits.max()))
        logprob += float(logits.log_softmax(-1)[token])
    returns = [-1.0, -0.6, -0.3, 1.0][example.label]
    for t in range(len(example.program)):
        following = values[t + 1] if t + 1 < len(values) else 0.0
        score += advantages[t] + values[t] - discount * following
        target = discount * following if t + 1 < len(values) else returns
        loss += (target - advantages[t] - values[t]) ** 2 / len(values)
    return score, loss, logprob


def test_a_reading_is_the_slow_sum():
    model = q_model()
    with torch.no_grad():
        for example, read in zip(EXAMPLES, read_returns(model, FrozenEncoder(model.actor), EXAMPLES, 0), strict=True):
            score, loss, logprob = slow(model, example, 0.9)
            assert read.score == pytest.approx(score, abs=1e-4) and read.score == pytest.approx(read.advantage + read.value, abs=1e-4)
            assert read.td_loss == pytest.approx(loss, rel=1e-4) and read.logprob == pytest.approx(logprob, abs=1e-4)


def test_readings_do_not_depend_on_the_batch():
    model = q_model()
    together = read_returns(model, FrozenEncoder(model.actor), EXAMPLES, 0)
    apart = read_returns(model, FrozenEncoder(model.actor), EXAMPLES, 0, budget=1)
    for a, b in zip(together, apart, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_what_is_frozen_comes_back_from_the_disk_and_to_the_right_tokens(tmp_path):
    model, examples = q_model(), numbered(EXAMPLES)
    frozen = freeze(model, FrozenEncoder(model.actor), examples, 0, lambda count: None)
    save_frozen(frozen, tmp_path / "f.safetensors")
    again = load_frozen(tmp_path / "f.safetensors", examples)
    assert all(torch.equal(a, b) for a, b in zip(frozen, again, strict=True))
    batch = collate([examples[2], examples[1]], 0)
    rows = again.rows(again.advantages, batch)
    read = read_returns(model, FrozenEncoder(model.actor), examples, 0)
    assert rows.sum(1).tolist() == pytest.approx([read[2].advantage, read[1].advantage], abs=1e-4)
    assert not rows[1, 2:].any() and rows.shape == (2, 5)
    with pytest.raises(DataError, match="belongs to other programs"):
        load_frozen(tmp_path / "f.safetensors", examples[:2])


def test_ranked_pass_by_hand():
    # by score: wrong (0.9), the same text again (0.8), right (0.5), right (0.1); only the last passes the example tests
    found = [Candidate("b", 0.5, True, False), Candidate("a", 0.9, False, False), Candidate("a", 0.8, False, False), Candidate("c", 0.1, True, True)]
    assert ranked_pass(found, 1) == (0.0, 1.0, 1.0)
    assert ranked_pass(found, 2) == (1.0, 1.0, 1.0)  # the copy of "a" takes no second place
    assert ranked_pass(found[:3], 1) == (0.0, 0.0, 0.0) and ranked_pass(found[:3], 2) == (1.0, 0.0, 1.0)  # none survives
    assert ranked_pass([], 1) == (0.0, 0.0, 0.0)


def test_equal_scores_stay_in_the_order_of_drawing():
    found = [Candidate(str(i), 0.0, i == 2, True) for i in range(4)]
    assert [ranked_pass(found, k).plain for k in (1, 2, 3)] == [0.0, 0.0, 1.0]


def test_auc_is_the_count_of_pairs():
    # passing 2, 3; others 1, 2, 4: pairs won 1, 1/2, 0 and 1, 1, 0
    assert passing_auc([2, 3, 1, 2, 4], [3, 3, 0, 1, 2]) == pytest.approx(3.5 / 6)
    assert math.isnan(passing_auc([1.0], [3]))


def test_means_by_outcome_leave_out_what_has_no_verdict():
    scores = [ProgramScore("a", i, s, 0.0, s, 0.0, 1) for i, s in enumerate((1.0, 3.0, -1.0, 9.0, 7.0))]
    verdicts = [Verdict("a", i, o) for i, o in enumerate((Outcome.PASSED_TEST, Outcome.PASSED_TEST, Outcome.COMPILE_ERROR))]
    verdicts.append(Verdict("a", 3, None, harness_error="killed"))
    assert mean_by_outcome(scores, verdicts) == {Outcome.PASSED_TEST: (2.0, 2), Outcome.COMPILE_ERROR: (-1.0, 1)}
