"""`coderl sample` with a judge beside it: the verdicts of `grade`, and both files completed after a kill."""

import json

import pytest

from coderl.cli import main
from coderl.errors import CoderlError
from coderl.recipes.sample import Judging
from coderl.records import Program, Verdict
from coderl.store import AppendStore, read_records


def run(*words):
    return main([str(w) for w in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Problems, an actor, programs and the verdicts that `grade` gives them."""
    root = tmp_path_factory.mktemp("made")
    assert run("problems", "mini", "--out", root, "--train", 20, "--tests-only", 8, "--validation", 1, "--heldout", 1) == 0
    small = ("--updates", 4, "--width", 16, "--layers", 1, "--vocabulary", 300)
    assert run("warm-start", "--problems", root / "train.jsonl", "--out", root / "warm", *small) == 0
    assert run(*command(root, root / "programs.jsonl")) == 0
    files = ("--problems", root / "train_tests_only.jsonl", "--programs", root / "programs.jsonl", "--out", root / "verdicts.jsonl")
    assert run("grade", *files, "--workers", 1) == 0
    return root


def command(root, out, *more, workers=1):
    model = ("--model", root / "warm" / "actor", "--problems", root / "train_tests_only.jsonl")
    return ("sample", *model, "--out", out, "-n", 3, "--max-program-tokens", 16, "--workers", workers, *more)


def outcomes(path):
    return sorted((v.problem, v.index, v.outcome, v.passed, v.total, v.extra["code_digest"]) for v in read_records(path, Verdict))


@pytest.mark.parametrize("workers", [1, 2])
def test_verdicts_beside_the_sampling_are_those_of_grade(made, tmp_path, workers, capsys):
    out, verdicts = tmp_path / "s.jsonl", tmp_path / "v.jsonl"
    assert run(*command(made, out, "--verdicts", verdicts, "--greedy", tmp_path / "g.jsonl", workers=workers)) == 0
    assert outcomes(verdicts) == outcomes(made / "verdicts.jsonl")
    assert [(v.problem, v.index) for v in read_records(verdicts, Verdict)] == [(p.problem, p.index) for p in read_records(out, Program)]
    assert len(read_records(tmp_path / "g.jsonl", Program)) == 8
    assert "24 verdicts, 0.0 % pass" in capsys.readouterr().out


def test_a_resume_completes_both_files(made, tmp_path):
    out, verdicts = tmp_path / "s.jsonl", tmp_path / "v.jsonl"
    programs = (made / "programs.jsonl").read_text().splitlines(keepends=True)
    known = {(v.problem, v.index): v for v in read_records(made / "verdicts.jsonl", Verdict)}
    first = [known[p.problem, p.index] for p in read_records(made / "programs.jsonl", Program)[:5]]
    out.write_text("".join(programs[:11]) + programs[11][:30])  # killed in the middle of a line, six verdicts behind
    verdicts.write_text("".join(json.dumps(v.to_json()) + "\n" for v in first))
    assert run(*command(made, out, "--verdicts", verdicts)) == 0
    assert sorted(out.read_text().splitlines()) == sorted(line.rstrip("\n") for line in programs)
    assert outcomes(verdicts) == outcomes(made / "verdicts.jsonl")
    assert run(*command(made, out, "--verdicts", verdicts)) == 0  # nothing is left
    assert len(read_records(verdicts, Verdict)) == 24


def test_programs_that_are_there_are_judged_without_the_model(made, tmp_path):
    """All programs written, no verdict yet: the actor is not even loaded."""
    (tmp_path / "s.jsonl").write_bytes((made / "programs.jsonl").read_bytes())
    words = list(command(made, tmp_path / "s.jsonl", "--verdicts", tmp_path / "v.jsonl", "--stop-at-first-failure"))
    words[2] = tmp_path / "no-model"
    assert run(*words) == 0
    assert len(read_records(tmp_path / "v.jsonl", Verdict)) == 24


def test_a_problem_that_cannot_be_judged_is_told_before_anything_is_written(made, tmp_path, capsys):
    lines = [json.loads(line) for line in (made / "train_tests_only.jsonl").read_text().splitlines()]
    lines[3]["tests"] = []
    bad = tmp_path / "bad.jsonl"
    bad.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = list(command(made, tmp_path / "s.jsonl", "--verdicts", tmp_path / "v.jsonl"))
    words[4] = bad
    assert run(*words) == 1
    assert lines[3]["id"] in capsys.readouterr().err
    assert (tmp_path / "s.jsonl").read_text() == ""


def test_greedy_twice_is_refused(made, tmp_path, capsys):
    assert run(*command(made, tmp_path / "s.jsonl", "--temperature", 0, "--greedy", tmp_path / "g.jsonl")) == 2
    assert "--greedy writes the same programs as --temperature 0" in capsys.readouterr().err


def test_log_probabilities_are_written_on_request(made, tmp_path):
    assert run(*command(made, tmp_path / "s.jsonl", "--logprobs")) == 0
    assert all(len(p.extra["sampling_logprobs"]) == p.tokens for p in read_records(tmp_path / "s.jsonl", Program))


def test_what_goes_wrong_in_the_judging_thread_is_raised_at_the_next_program(tmp_path):
    def grade(programs):
        next(iter(programs))
        raise CoderlError("the judge is broken")
        yield

    with AppendStore(tmp_path / "v.jsonl", Verdict, lambda v: v.index) as store:
        judging = Judging(grade, store)
        judging.add(Program("p", "x", 0))
        judging.thread.join()
        with pytest.raises(CoderlError, match="the judge is broken"):
            judging.add(Program("p", "y", 1))
