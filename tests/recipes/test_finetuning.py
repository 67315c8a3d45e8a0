"""The loop of all fine-tuning stages: both losses in every step, what is summed and what is counted, and what the stages ask for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coderl import signals
from coderl.errors import UsageError
from coderl.formulas.policy_gradient import policy_gradient_loss, policy_gradient_loss_token_mean
from coderl.machine import this_machine
from coderl.models.actor import Actor, program_log_probs, small_t5, with_old_log_probs
from coderl.recipes import finetune_grpo
from coderl.recipes.finetune_coderl import Config, method
from coderl.recipes.finetuning import DEFAULT, Material, Tuning, epoch, objective, train, weighted_log_probs
from coderl.recipes.training import Training
from coderl.records import Outcome, TokenScores, Verdict
from coderl.run_directory import RunDirectory
from coderl.store import write_records
from coderl.tokens import Example, collate, train_tokenizer

TOKENIZER = train_tokenizer(["print(a + b)", "Print the sum."] * 3, 270)
GOOD = Example("a", (5, 6), (10, 11, 2), (1.0,) * 3, label=3, supervised=False)
BAD = Example("a", (5, 6), (12, 13, 14, 2), (-1.0,) * 4, label=2, supervised=False)
REFERENCE = Example("r", (7, 8), (15, 2))


def actor(seed=0):
    return Actor(small_t5(len(TOKENIZER), seed, width=16, heads=2, feed_forward=32), TOKENIZER)


def config(folder, **tuning):
    here = Path(folder)
    return Config(model=here, problems=here, programs=here, verdicts=here, out=here, tuning=replace(DEFAULT, **tuning))


def material(one, folder):
    return Material(one, {}, [], RunDirectory(folder), this_machine())


def total(one, examples):
    return program_log_probs(one.model, collate(examples, 0)).sum(1).tolist()


def test_merging_equal_programs_leaves_the_gradient_as_it_is():
    model = actor().model
    twice = [GOOD._replace(weights=(1.3,) * 3)] * 2
    once = [GOOD._replace(weights=(2.6,) * 3)]

    def gradient(examples, tokens):
        model.zero_grad()
        batch = collate(examples, 0)
        (policy_gradient_loss_token_mean(program_log_probs(model, batch), batch.weights, batch.mask) * batch.mask.sum() / tokens).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters()])

    assert torch.allclose(gradient(twice, 6), gradient(once, 6), atol=1e-6)


SAMPLED = [Example(str(i), (5, 6), (10, 11, 2), (1.0,) * 3, supervised=False) for i in range(40)]
REFERENCES = [Example(f"r{i}", (7, 8), (12, 2)) for i in range(5)]


def test_both_losses_are_in_every_step():
    batches = list(epoch(replace(DEFAULT, batch_tokens=60), SAMPLED, REFERENCES, 0))
    assert sum(not e.supervised for b in batches for e in b) == 40
    assert all({e.supervised for e in b} == {True, False} for b in batches)


def test_or_in_turn():
    batches = list(epoch(replace(DEFAULT, batch_tokens=60, alternate=True), SAMPLED, REFERENCES, 0))
    kinds = [{e.supervised for e in b} for b in batches]
    assert kinds == [{False}, {True}] * (len(batches) // 2) and len(batches) > 3
    assert sum(not e.supervised for b in batches for e in b) == 40


def test_in_turn_is_refused_where_an_update_takes_several_batches(tmp_path):
    turns = replace(config(tmp_path, alternate=True), training=Training(accumulate=2))
    with pytest.raises(UsageError, match="--alternate with 2 batches"):
        train(turns, material(actor(), tmp_path), [GOOD], [REFERENCE], [], weighted_log_probs(Tuning()), "t")


def test_without_references_there_is_no_cross_entropy():
    assert all(not e.supervised for b in epoch(replace(DEFAULT, batch_tokens=60), SAMPLED, [], 0) for e in b)


@pytest.mark.parametrize("reduction", ["token-mean", "program-sum"])
def test_the_objective_is_the_formulas_whatever_else_is_in_the_batch(reduction):
    one = actor()
    made = objective(one, weighted_log_probs(Tuning(rl_weight=0.5)), reduction)
    examples = [GOOD, BAD, REFERENCE]
    batch = collate(examples, 0)
    sums, counts = made.sums(batch), made.counts(examples)
    drawn = collate([GOOD, BAD], 0)
    log_probs = program_log_probs(one.model, drawn)
    loss = {"token-mean": policy_gradient_loss_token_mean, "program-sum": policy_gradient_loss}[reduction]
    assert (sums["loss_rl"] / counts["loss_rl"]).item() == pytest.approx(loss(log_probs, drawn.weights, drawn.mask).item(), rel=1e-5)
    assert counts["loss_ce"] == (2 if reduction == "token-mean" else 1)
    assert sums["loss_ce"].item() == pytest.approx(-total(one, [REFERENCE])[0], rel=1e-5)
    assert made.weights == {"loss_rl": 0.5, "loss_ce": 1.0}


def test_training_raises_what_passes_and_lowers_what_fails(tmp_path):
    one = actor()
    before = total(one, [GOOD, BAD])
    at = train(config(tmp_path, learning_rate=1e-3, epochs=20.0), material(one, tmp_path), [GOOD, BAD], [], [], weighted_log_probs(Tuning()), "t")
    after = total(one, [GOOD, BAD])
    assert after[0] > before[0] and after[1] < before[1] and at.updates == 20


def test_grpo_stops_where_the_ratio_leaves_the_clip(tmp_path):
    one, settings = actor(), finetune_grpo.Config(*[Path(tmp_path)] * 5)
    examples = with_old_log_probs(one.model, [GOOD, BAD], 0)
    assert [len(e.old_log_probs) for e in examples] == [3, 4]
    assert sum(examples[1].old_log_probs) == pytest.approx(total(one, [BAD])[0], rel=1e-5)
    policy = finetune_grpo.policy(settings)
    tuned = config(tmp_path, learning_rate=3e-3, epochs=60.0)
    train(tuned, material(one, tmp_path), examples, [], [], policy, "t")
    clipped = [line["clipped"] for line in RunDirectory(tmp_path).metrics() if "clipped" in line]
    free = actor()
    train(tuned, material(free, tmp_path / "free"), examples, [], [], weighted_log_probs(Tuning()), "t")
    assert clipped[0] < clipped[-1] and clipped[-1] > 0.8
    assert total(one, [BAD])[0] > total(free, [BAD])[0] + 5  # plain weights push a bad program down without end


def test_variants_are_the_rows_of_table_2(tmp_path):
    baseline, scores = tmp_path / "b.jsonl", tmp_path / "s.jsonl"
    write_records(baseline, [Verdict("a", 0, Outcome.FAILED_TEST)])
    write_records(scores, [TokenScores("a", 0, ("x",), (0.5,), (0.5,), Outcome.FAILED_TEST, Outcome.FAILED_TEST)])
    both = replace(config(tmp_path), baseline=baseline, scores=scores)
    assert method(replace(both, scores=None))[1] is signals.evenly
    assert method(replace(both, variant="C"))[1] is signals.decaying
    assert method(replace(both, variant="B"))[0] is signals.absolute
    names = [method(replace(both, variant=v))[1].__qualname__.split(".")[0] for v in (None, "D", "B", "changes")]
    assert names == ["by_critic", "by_critic", "by_critic", "by_changes"]
    with pytest.raises(UsageError, match="variant A needs --baseline"):
        method(config(tmp_path))
    with pytest.raises(UsageError, match="variant D needs --scores"):
        method(replace(both, scores=None, variant="D"))
    with pytest.raises(UsageError, match="changes may be negative, solutions are not"):
        method(replace(both, variant="changes", solutions=1.0))
