"""Released critic scores as token scores of ours (against the released code's rewards), and a critic of ours written in their form."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from coderl import released_scores
from coderl.cli import main
from coderl.examples import join_verdicts, program_ids
from coderl.formulas.returns import outcome_returns
from coderl.models.actor import small_t5
from coderl.models.critic import PaperHead, ReleasedHead, critic_from_config, save_critic
from coderl.problems.released import read_scores
from coderl.records import Problem, Program, TokenScores, Verdict
from coderl.store import read_records
from coderl.tokens import load_tokenizer
from golden_cases import read_json
from problems_of_codet5 import published


@pytest.fixture(scope="module")
def imported(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The five published problems, with their scores as pickles, read by `released import`."""
    root = tmp_path_factory.mktemp("released")
    published(data_dir, root / "train")
    tokenizer = data_dir / "codet5_tokenizer" / "salesforce"
    assert main(["released", "import", "--source", str(root / "train"), "--out", str(root / "in"), "--tokenizer", str(tokenizer)]) == 0
    return root


def test_values_times_returns_are_the_released_token_rewards(imported: Path, golden_dir: Path) -> None:
    """value(w_t) = softmax(states)[u]; times r(W^s) or r(W^s) - r(W^b) it is the reward that the released data set gives the token."""
    scores = {(s.problem, s.index): s for s in read_records(imported / "in" / "scores.jsonl", TokenScores)}
    compared = 0
    for number, expected in read_json(golden_dir, "rewards_released.json").items():
        for program in expected["programs"]:
            if (f"apps/train/{number}", program["index"]) not in scores:
                continue
            found = scores[f"apps/train/{number}", program["index"]]
            assert found.outcome.label == program["gt_error_type"] and found.predicted.label == program["pred_error_type"]
            for setting in ("relative", "absolute"):
                wanted = program[setting]
                base = wanted["baseline_error_type"]
                scale = float(outcome_returns(torch.tensor([program["gt_error_type"]]))[0])
                scale -= float(outcome_returns(torch.tensor([base]))[0]) if base >= 0 else 0.0
                rewards = np.array(found.values) * scale
                assert len(rewards) == wanted["n_label_tokens"]
                assert rewards[:8].tolist() == pytest.approx(wanted["first8"], abs=1e-5)
                assert rewards.sum() == pytest.approx(wanted["sum"], abs=512 * 1e-6)
                compared += 1
    assert compared > 0


def test_imported_programs_are_trained_on_with_the_ids_that_were_scored(imported: Path, data_dir: Path) -> None:
    tokenizer = load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")
    scores = {(s.problem, s.index): s for s in read_records(imported / "in" / "scores.jsonl", TokenScores)}
    programs = read_records(imported / "in" / "programs.jsonl", Program)
    assert len(programs) == len(scores) == 83
    for program in programs:
        ids, _ = program_ids(tokenizer, program, 512)
        assert list(ids) == program.extra["token_ids"] and len(ids) == len(scores[program.problem, program.index].values)


def test_what_is_imported_is_exported_again(imported: Path) -> None:
    source, out = imported / "in", imported / "out"
    words = [f"--{name}={source / file}.jsonl" for name, file in (("problems", "problems"), ("programs", "programs"), ("verdicts", "verdicts"))]
    words += [f"--greedy={source / 'greedy.jsonl'}", f"--greedy-verdicts={source / 'greedy_verdicts.jsonl'}", f"--out={out}"]
    assert main(["released", "export", *words]) == 0
    for folder in sorted((imported / "train").iterdir()):
        for name in ("gen_solutions.json", "baseline_solutions.json"):
            assert json.loads((out / folder.name / name).read_text()) == json.loads((folder / name).read_text()), (folder.name, name)


@pytest.mark.parametrize("head", [PaperHead, ReleasedHead])
def test_a_critic_of_ours_writes_scores_that_are_read_again(
    imported: Path, tmp_path: Path, data_dir: Path, head: type[PaperHead] | type[ReleasedHead]
) -> None:
    """A small critic on one problem: shapes, prompt and ids as published, and the softmax of its logits as `score` would give."""
    tokenizer = load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")
    critic = critic_from_config(small_t5(32100, seed=0, width=16, layers=1, heads=2, feed_forward=16).config, head, 4, seed=0)
    critic.width = 512 if head is ReleasedHead else 0
    save_critic(critic, tmp_path / "critic")
    tokenizer.save_pretrained(str(tmp_path / "critic"))
    source = imported / "in"
    for name, record in (("problems", Problem), ("programs", Program), ("verdicts", Verdict)):
        lines = [line for line in (source / f"{name}.jsonl").read_text().splitlines(keepends=True) if "apps/train/0111" in line]
        assert record.from_json(json.loads(lines[0]))
        (tmp_path / f"{name}.jsonl").write_text("".join(lines[:3]))
    words = [f"--{name}={tmp_path / name}.jsonl" for name in ("problems", "programs", "verdicts")]
    assert main(["released", "export", *words, f"--out={tmp_path / 'out'}", f"--critic={tmp_path / 'critic'}"]) == 0
    found = read_scores(tmp_path / "out" / "0111" / "gen_solutions_critic_scores.pkl")
    theirs = read_scores(imported / "train" / "0111" / "gen_solutions_critic_scores.pkl")
    assert found.logits.shape == (3, 512, 4) and found.predicted.shape == (3,)
    assert np.array_equal(found.programs, theirs.programs[:3]) and np.array_equal(found.prompts, theirs.prompts[:3])
    assert np.array_equal(found.outcomes, theirs.outcomes[:3])
    if head is ReleasedHead:  # as there: the maximum over all positions is the prediction
        assert np.array_equal(found.logits.max(axis=1).argmax(-1), found.predicted)
    assert pickle.loads((tmp_path / "out" / "0111" / "gen_solutions_critic_scores.pkl").read_bytes())["code"] == found.programs.tolist()


def test_programs_are_scored_a_few_at_a_time_with_the_same_result(imported: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")
    critic = critic_from_config(small_t5(32100, seed=0, width=16, layers=1, heads=2, feed_forward=16).config, PaperHead, 4, seed=0)
    problem = next(p for p in read_records(imported / "in" / "problems.jsonl", Problem) if p.id == "apps/train/0111")
    programs = [p for p in read_records(imported / "in" / "programs.jsonl", Program) if p.problem == problem.id][:5]
    judged = join_verdicts(programs, read_records(imported / "in" / "verdicts.jsonl", Verdict))
    whole = released_scores.scores_of(critic, tokenizer, problem, judged)
    sizes: list[int] = []
    critic.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[2])))
    monkeypatch.setattr(released_scores, "BATCH", 2)
    parts = released_scores.scores_of(critic, tokenizer, problem, judged)
    assert sizes == [2, 2, 1]
    assert np.array_equal(parts.programs, whole.programs) and np.array_equal(parts.predicted, whole.predicted)
    assert parts.logits.shape == (5, 512, 4) and np.allclose(parts.logits, whole.logits, atol=1e-5)


def test_two_problems_of_one_folder_are_refused(imported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """apps/train/0111 and apps/test/0111 would both be written into 0111."""
    for name in ("problems", "programs", "verdicts"):
        text = (imported / "in" / f"{name}.jsonl").read_text()
        (tmp_path / f"{name}.jsonl").write_text(text + text.replace("apps/train/", "apps/test/"))
    words = [f"--{name}={tmp_path / name}.jsonl" for name in ("problems", "programs", "verdicts")]
    assert main(["released", "export", *words, f"--out={tmp_path / 'out'}"]) == 1
    assert "would both be written into" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_data_file_has_no_folders_to_import_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.jsonl").write_text(json.dumps({"problem_id": 0, "question": "q", "input_output": "", "solutions": ""}) + "\n")
    assert main(["released", "import", "--source", str(tmp_path / "train.jsonl"), "--out", str(tmp_path / "in")]) == 1
    assert "train.jsonl: has no folder with the question.txt of apps/train/0000" in capsys.readouterr().err


def test_scores_of_other_programs_are_refused(imported: Path, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(data_dir, tmp_path / "train", only="0111")
    path = tmp_path / "train" / "0111" / "gen_solutions_critic_scores.pkl"
    data = pickle.loads(path.read_bytes())
    data["gt_error_type"] = [(label + 1) % 4 for label in data["gt_error_type"]]
    path.write_bytes(pickle.dumps(data))
    tokenizer = data_dir / "codet5_tokenizer" / "salesforce"
    assert main(["released", "import", "--source", str(tmp_path / "train"), "--out", str(tmp_path / "in"), "--tokenizer", str(tokenizer)]) == 1
    assert "has the outcome" in capsys.readouterr().err
