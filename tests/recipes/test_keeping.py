"""The actor of the best look: which one it is, that a kill leaves a whole one, and that fine-tuning writes it to OUT/actor."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from coderl import trials
from coderl.machine import this_machine
from coderl.models.actor import Actor, load_actor, save_actor, small_t5
from coderl.recipes.finetune_coderl import Config
from coderl.recipes.finetuning import DEFAULT, Material, Tuning, end, train, weighted_log_probs
from coderl.recipes.keeping import forget, keeping, kept
from coderl.recipes.training import Training
from coderl.run_directory import RunDirectory
from coderl.tokens import Example, train_tokenizer

TOKENIZER = train_tokenizer(["print(a + b)", "Print the sum."] * 3, 270)
SAMPLED = [Example(str(i), (5, 6), (10 + i, 11, 2), (1.0,) * 3, label=3, supervised=False) for i in range(8)]


def looked(folder, rates, run=None):
    """The steps 0, 1, ... with these pass rates; saved is the step itself."""
    run = run or RunDirectory(folder)
    for step, rate in enumerate(rates):
        keeping(lambda s, r=rate: {"validation/greedy": r}, run, lambda to, s=step: (to / "actor").write_text(str(s)))(step)
    return run


@pytest.mark.parametrize(
    ("rates", "best"),
    [((0.1, 0.3, 0.2), 1), ((0.3, 0.1, 0.3), 2), ((0.3, 0.1, 0.2), 0), ((float("nan"), 0.1), 1), ((0.1, float("nan")), 0), ((0.0, 0.0), 1)],
)
def test_the_best_look_is_kept_and_of_equals_the_last(tmp_path, rates, best):
    run = looked(tmp_path, rates)
    found = kept(run)
    assert (found.step, found.greedy, (found.folder / "actor").read_text()) == (best, rates[best], str(best))
    assert len(list((tmp_path / "best").glob("checkpoint-*"))) == 1
    forget(run)
    assert kept(run) is None and not (tmp_path / "best").exists()


def test_a_kill_in_the_middle_of_writing_leaves_the_one_before(tmp_path):
    run = looked(tmp_path, (0.1,))

    def killed(folder):
        (folder / "actor").write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keeping(lambda step: {"validation/greedy": 0.9}, run, killed)(5)
    assert (kept(run).step, (kept(run).folder / "actor").read_text()) == (0, "0")
    looked(tmp_path, (0.0, 0.0, 0.5), run)
    assert kept(run).step == 2


def actor():
    return Actor(small_t5(len(TOKENIZER), 0, width=16, heads=2, feed_forward=32), TOKENIZER)


def fine_tune(folder, monkeypatch, rates, killed_at=None, **tuning):
    """Eight updates with looks at 0, 2, 4, 6, 8 that say `rates`; returns the weights at each look."""
    seen = {}

    @contextmanager
    def looking(one, *rest):
        def look(step):
            if step == killed_at:
                raise KeyboardInterrupt
            seen[step] = one.model.shared.weight.detach().clone()
            return {"validation/greedy": rates[step // 2]}

        yield look

    monkeypatch.setattr(trials, "looking", looking)
    here = Path(folder)
    settings = replace(DEFAULT, validation=here, epochs=8.0, learning_rate=1e-2, **tuning)
    config = Config(here, here, here, here, here, tuning=settings, training=Training(checkpoint_every=3))
    found = Material(actor(), {}, [], RunDirectory(folder), this_machine())
    policy = weighted_log_probs(Tuning())
    end(config, found, policy, train(config, found, SAMPLED, [], ["a problem"], policy, "t"))
    return seen


def weights(folder):
    return load_actor(folder / "actor").model.shared.weight


def test_fine_tuning_writes_the_best_actor_and_says_so(tmp_path, monkeypatch, capsys):
    seen = fine_tune(tmp_path, monkeypatch, (0.1, 0.5, 0.9, 0.2, 0.3))
    assert sorted(seen) == [0, 2, 4, 6, 8] and torch.equal(weights(tmp_path), seen[4]) and not torch.equal(seen[4], seen[8])
    assert RunDirectory(tmp_path).metrics()[-1] == {"stage": "kept", "at": 4, "of": 8, "greedy": 0.9}
    assert not (tmp_path / "best").exists() and RunDirectory(tmp_path).complete
    assert not {"look.json", "complete"} & {path.name for path in (tmp_path / "actor").iterdir()}
    assert "OUT/actor is the actor of the best look, at update 4 (90.0 %)" in capsys.readouterr().out


def test_the_start_is_kept_when_nothing_was_better(tmp_path, monkeypatch):
    seen = fine_tune(tmp_path, monkeypatch, (0.9, 0.5, 0.8, 0.2, 0.3))
    assert torch.equal(weights(tmp_path), seen[0])


def test_the_last_is_kept_when_asked_for(tmp_path, monkeypatch):
    seen = fine_tune(tmp_path, monkeypatch, (0.1, 0.5, 0.9, 0.2, 0.3), keep="last")
    assert torch.equal(weights(tmp_path), seen[8])
    assert "kept" not in {line["stage"] for line in RunDirectory(tmp_path).metrics()}


@pytest.mark.parametrize("moment", [2, 6, 8])
def test_a_killed_run_keeps_the_same_actor_as_one_that_was_not(tmp_path, monkeypatch, moment):
    rates = (0.1, 0.5, 0.9, 0.2, 0.3)
    fine_tune(tmp_path / "whole", monkeypatch, rates)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(tmp_path / "killed", monkeypatch, rates, killed_at=moment)
    assert kept(RunDirectory(tmp_path / "killed")) is not None
    fine_tune(tmp_path / "killed", monkeypatch, rates)
    assert torch.equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    logs = [[(line["stage"], line.get("step"), line.get("at")) for line in RunDirectory(tmp_path / n).metrics()] for n in ("whole", "killed")]
    assert logs[0] == logs[1]


def test_a_run_that_begins_anew_forgets_what_another_kept(tmp_path, monkeypatch):
    looked(tmp_path, (0.99,))  # killed before its first checkpoint
    fine_tune(tmp_path, monkeypatch, (0.1, 0.5, 0.9, 0.2, 0.3))
    assert RunDirectory(tmp_path).metrics()[-1]["at"] == 4


def test_what_is_kept_loads_as_a_model(tmp_path):
    one, run = actor(), RunDirectory(tmp_path)
    keeping(lambda step: {"validation/greedy": 0.5}, run, lambda folder: save_actor(one, folder))(7)
    assert torch.equal(load_actor(kept(run).folder).model.shared.weight, one.model.shared.weight)
