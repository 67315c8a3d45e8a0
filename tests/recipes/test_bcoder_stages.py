"""B-Coder's stages on files, on a tiny model: what they leave, that they go on after a kill, and that options do what they say."""

import pytest
import torch

from coderl.cli import main
from coderl.models.actor import load_actor
from coderl.models.bcoder import load_q_model
from coderl.ranking import ProgramScore, mean_by_outcome
from coderl.records import Outcome, Program, Verdict
from coderl.run_directory import RunDirectory
from coderl.store import read_records, write_records


def run(*words):
    assert main([str(w) for w in words]) == 0, words


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """An actor, its problems, programs of all four outcomes, and both stages run once."""
    f = tmp_path_factory.mktemp("bcoder")
    run("problems", "mini", "--out", f / "problems", "--train", 20, "--tests-only", 10, "--validation", 4, "--heldout", 4)
    small = ("--updates", 8, "--width", 16, "--layers", 1, "--vocabulary", 300)
    run("warm-start", "--problems", f / "problems" / "train.jsonl", "--out", f / "warm", *small)
    drawn = ("--problems", f / "problems" / "train_tests_only.jsonl", "-n", 4, "--workers", 1, "--max-program-tokens", 24)
    run("sample", "--model", f / "warm" / "actor", "--out", f / "s.jsonl", *drawn)
    outcomes = list(Outcome)
    verdicts = [Verdict(p.problem, p.index, outcomes[i % 4]) for i, p in enumerate(read_records(f / "s.jsonl", Program))]
    write_records(f / "v.jsonl", verdicts)
    run("bcoder", "value", *learnt(f), "--model", f / "warm" / "actor", "--out", f / "value", "--updates", 4, "--held-out", 0.3)
    run("bcoder", "finetune", *learnt(f), "--model", f / "value" / "model", "--out", f / "tuned", "--updates", 4)
    return f


def learnt(f):
    files = ("--problems", f / "problems" / "train_tests_only.jsonl", "--programs", f / "s.jsonl", "--verdicts", f / "v.jsonl")
    return (*files, "--references", f / "problems" / "train.jsonl", "--batch-tokens", 1024)


def weights(folder):
    return load_q_model(folder).model.state_dict()


def changed(a, b):
    return {name.split(".")[0] if not name.startswith("actor") else ".".join(name.split(".")[:2]) for name in a if not torch.equal(a[name], b[name])}


def test_each_stage_changes_what_it_should(lab):
    start, value, tuned = load_actor(lab / "warm" / "actor").model.state_dict(), weights(lab / "value" / "model"), weights(lab / "tuned" / "model")
    assert all(torch.equal(start[name], value[f"actor.{name}"]) for name in start)  # the checkpoint, to the bit
    assert changed(value, tuned) == {"actor.decoder", "residual"}
    assert not torch.equal(value["value_head.bias"], torch.tensor([3.0]))
    assert all(RunDirectory(lab / name).complete and not (lab / name / "frozen.safetensors").exists() for name in ("value", "tuned"))


def test_muon_moves_the_same_weights_elsewhere(lab):
    files = ("--model", lab / "value" / "model", "--out", lab / "muon")
    run("bcoder", "finetune", *learnt(lab), *files, "--updates", 3, "--optimiser", "muon", "--learning-rate", 3e-3)
    value, muon = weights(lab / "value" / "model"), weights(lab / "muon" / "model")
    assert changed(value, muon) == {"actor.decoder", "residual"}
    name = next(n for n in muon if n.endswith("SelfAttention.q.weight") and n.startswith("actor.decoder"))
    singular = torch.linalg.svdvals(muon[name] - value[name])  # Muon's steps are near orthogonal matrices: 0.8 here, AdamW's 0.2
    assert singular[len(singular) // 2] > 0.5 * singular[0] > 0


def test_metrics_hold_what_was_minimised_and_measured(lab):
    assert {"held_out/loss_q", "held_out/auc"} <= set(RunDirectory(lab / "value").metrics()[-1])
    more = ("--updates", 20, "--validation", lab / "problems" / "validation.jsonl")
    run("bcoder", "finetune", *learnt(lab), "--model", lab / "value" / "model", "--out", lab / "looked", *more)
    lines = RunDirectory(lab / "looked").metrics()
    looks = [line["step"] for line in lines if "validation/greedy" in line]
    assert looks == [0, 5, 10, 15, 20]
    losses = next(line for line in lines if "loss" in line)
    assert losses["loss"] == pytest.approx(
        0.5 * losses["loss_q_drawn"] + 0.5 * losses["loss_q_real"] + 0.1 * losses["loss_adv"] + 0.5 * losses["loss_ce"], abs=1e-4
    )


@pytest.mark.parametrize("stage", ["value", "finetune"])
def test_a_killed_stage_goes_on_to_the_same_weights(lab, tmp_path, stage, monkeypatch):
    from coderl import fitting

    model = lab / "warm" / "actor" if stage == "value" else lab / "value" / "model"
    more = ("--held-out", 0.3) if stage == "value" else ()
    words = ("bcoder", stage, *learnt(lab), "--model", model, "--updates", 4, "--checkpoint-every", 2, *more)
    done, whole = [], fitting._Loop.update

    def dying(self, group):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(1)
        return whole(self, group)

    monkeypatch.setattr(fitting._Loop, "update", dying)
    assert main([str(w) for w in (*words, "--out", tmp_path / "again")]) == 130
    monkeypatch.undo()
    assert (tmp_path / "again" / "frozen.safetensors").exists()
    monkeypatch.setattr("coderl.frozen.freeze", lambda *_: pytest.fail("computed a second time"))
    run(*words, "--out", tmp_path / "again")
    first, again = weights(lab / ("value" if stage == "value" else "tuned") / "model"), weights(tmp_path / "again" / "model")
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_options_of_the_value_stage_are_in_the_folder_and_used(lab, tmp_path):
    options = ("--alpha", 0.5, "--discount", 0.9, "--highest", 2.0, "--printed-softabs")
    run("bcoder", "value", *learnt(lab), "--model", lab / "warm" / "actor", "--out", tmp_path / "v", "--updates", 1, *options)
    constants = load_q_model(tmp_path / "v" / "model").model.constants
    assert constants == (0.5, 0.9, 2.0, True)


def test_plain_q_learning_and_an_actor_without_values(lab, tmp_path):
    run("bcoder", "finetune", *learnt(lab), "--model", lab / "value" / "model", "--out", tmp_path / "plain", "--updates", 4, "--no-conservative")
    assert changed(weights(lab / "tuned" / "model"), weights(tmp_path / "plain" / "model")) == {"actor.decoder", "residual"}
    run("bcoder", "finetune", *learnt(lab), "--model", lab / "warm" / "actor", "--out", tmp_path / "bare", "--updates", 1)
    assert torch.equal(weights(tmp_path / "bare" / "model")["value_head.bias"], torch.tensor([3.0]))


def test_scores_are_those_of_the_telescoped_sum_and_a_torn_file_is_completed(lab, tmp_path, capsys):
    files = ("--model", lab / "tuned" / "model", "--problems", lab / "problems" / "train_tests_only.jsonl", "--programs", lab / "s.jsonl")
    run("bcoder", "rank", *files, "--out", tmp_path / "r.jsonl", "--verdicts", lab / "v.jsonl")
    scores = read_records(tmp_path / "r.jsonl", ProgramScore)
    assert {(s.problem, s.index) for s in scores} == {(p.problem, p.index) for p in read_records(lab / "s.jsonl", Program)}
    assert all(s.score == pytest.approx(s.advantage + s.value, abs=1e-3) and s.advantage <= 0 and s.logprob <= s.advantage + 1e-3 for s in scores)
    shown = capsys.readouterr().out
    means = mean_by_outcome(scores, read_records(lab / "v.jsonl", Verdict))
    assert [str(o) for o in means] == ["passed_test", "failed_test", "runtime_error", "compile_error"]
    assert f"passed_test: mean recovered return {means[Outcome.PASSED_TEST].mean:.3f} over 10 programs" in shown
    lines = (tmp_path / "r.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half.jsonl").write_text("".join(lines[:7]) + lines[7][:9])
    run("bcoder", "rank", *files, "--out", tmp_path / "half.jsonl")
    for a, b in zip(read_records(tmp_path / "half.jsonl", ProgramScore), scores, strict=True):
        assert (a.problem, a.index) == (b.problem, b.index) and a.score == pytest.approx(b.score, abs=1e-3)


def test_with_the_checkpoint_the_greedy_tokens_count(lab, tmp_path):
    files = ("--problems", lab / "problems" / "train_tests_only.jsonl", "--programs", lab / "s.jsonl", "--checkpoint", lab / "warm" / "actor")
    run("bcoder", "rank", *files, "--model", lab / "value" / "model", "--out", tmp_path / "value.jsonl")
    start = read_records(tmp_path / "value.jsonl", ProgramScore)
    assert all(s.score == pytest.approx(s.advantage + s.value, abs=1e-3) for s in start)  # A_ckpt(s, â) = 0
    run("bcoder", "rank", *files, "--model", lab / "tuned" / "model", "--out", tmp_path / "tuned.jsonl")
    exact = read_records(tmp_path / "tuned.jsonl", ProgramScore)
    assert all(s.score >= s.advantage + s.value - 1e-3 for s in exact)  # Q(s, â) <= V(s)
    assert any(s.score > s.advantage + s.value + 1e-3 for s in exact)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--lora", 4), "a Q model has several decoders"),
        (("--max-program-tokens", 1), "holds no reference that is short enough"),
        (("--real-share", 1.5), "--real-share is 1.5; it must be from 0 to 1"),
    ],
)
def test_what_cannot_be_is_said(lab, tmp_path, capsys, words, message):
    assert main([str(w) for w in ("bcoder", "value", *learnt(lab), "--model", lab / "warm" / "actor", "--out", tmp_path / "x", *words)]) in (1, 2)
    assert message in capsys.readouterr().err
