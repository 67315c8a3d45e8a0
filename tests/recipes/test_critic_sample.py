"""`train-repair`, `critic-sample` and `solve` on files and a tiny model: what they leave, resumes, and equal results for one and two workers."""

import json

import pytest

import coderl
from coderl.cli import main
from coderl.critic_sampling import Rules
from coderl.engines.requests import Decoding
from coderl.handed_in import Ranked
from coderl.models.actor import load_actor
from coderl.records import Problem, Program, Verdict
from coderl.run_directory import RunDirectory
from coderl.sandbox import Judge
from coderl.store import read_records, write_records


def run(*words):
    return main([str(w) for w in words])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Problems that any program which runs passes, some that none does, one without examples; actor, critic, repair model."""
    root = tmp_path_factory.mktemp("made")
    assert run("problems", "mini", "--out", root, "--train", 20, "--tests-only", 8, "--validation", 1, "--heldout", 1) == 0
    small = ("--updates", 4, "--width", 16, "--layers", 1, "--vocabulary", 300)
    assert run("warm-start", "--problems", root / "train.jsonl", "--out", root / "warm", *small) == 0
    graded = ("--problems", root / "train.jsonl", "--programs", root / "s.jsonl")
    sampling = ("--model", root / "warm" / "actor", "--problems", root / "train.jsonl", "--out", root / "s.jsonl", "--verdicts", root / "v.jsonl")
    assert run("sample", *sampling, "-n", 2, "--max-program-tokens", 12, "--workers", 1) == 0
    model = ("--model", root / "warm" / "actor")
    assert run("train-critic", *model, *graded, "--verdicts", root / "v.jsonl", "--out", root / "critic", "--updates", 2) == 0
    assert run("train-repair", *model, *graded, "--verdicts", root / "v.jsonl", "--out", root / "repair", "--updates", 3) == 0
    problems = []
    for number, problem in enumerate(read_records(root / "train_tests_only.jsonl", Problem)):
        data = problem.to_json() | {"kind": "stdin", "entry_point": None}
        data["examples"] = [] if number == 3 else [{"input": "1\n", "output": "never"}]
        if number % 2 == 0:  # a checker that says yes, but for syntax errors
            data |= {"comparator": "checker", "checker": "def check(input, expected, got):\n    return True"}
        data["tests"] = data["examples"] or [{"input": "1\n", "output": "never"}]
        problems.append(Problem.from_json(data))
    write_records(root / "problems.jsonl", problems)
    return root


def command(root, out, *more, workers=1):
    models = ("--model", root / "warm" / "actor", "--critic", root / "critic" / "critic", "--repair", root / "repair" / "actor")
    small = ("-n", 3, "--max-program-tokens", 12, "--workers", workers)
    return ("critic-sample", *models, "--problems", root / "problems.jsonl", "--out", out, *small, *more)


def lines(folder, name):
    return sorted((folder / name).read_text().splitlines())


def test_the_repair_model_is_an_actor_that_learnt(made):
    before, after = load_actor(made / "warm" / "actor").model, load_actor(made / "repair" / "actor").model
    assert any(not bool((a == b).all()) for a, b in zip(before.parameters(), after.parameters()))
    assert RunDirectory(made / "repair").complete


def test_two_workers_and_a_resume_give_what_one_gives(made, tmp_path, capsys):
    assert run(*command(made, tmp_path / "one")) == 0
    assert "1 problems have no example tests" in capsys.readouterr().out
    ranked = {r.problem: r for r in read_records(tmp_path / "one" / "ranked.jsonl", Ranked)}
    programs = read_records(tmp_path / "one" / "programs.jsonl", Program)
    assert set(ranked) == {p.id for p in read_records(made / "problems.jsonl", Problem)}
    assert sum(r.programs for r in ranked.values()) == len(programs)
    assert sum(r.tokens for r in ranked.values()) == sum(p.extra["written"] for p in programs)
    final = read_records(tmp_path / "one" / "final.jsonl", Program)
    assert {(p.problem, p.index) for p in final} == {(r.problem, i) for r in ranked.values() for i in r.final}
    examples = read_records(tmp_path / "one" / "examples.jsonl", Verdict)
    assert len(examples) == len(programs) - 3  # those of the problem without examples
    assert any("repair" in r.rounds for r in ranked.values())
    folder = tmp_path / "two"  # killed in the middle of the third problem's lines
    folder.mkdir()
    done = [r.problem for r in read_records(tmp_path / "one" / "ranked.jsonl", Ranked)][:2]
    for name, records, more in (("ranked.jsonl", [], 2), ("programs.jsonl", programs, 2), ("examples.jsonl", examples, 0)):
        kept = sum(record.problem in done for record in records) + more
        whole = (tmp_path / "one" / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(whole[:kept]) + whole[kept][:25])
    (folder / "manifest.json").write_bytes((tmp_path / "one" / "manifest.json").read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"]["out"] = str(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert run(*command(made, folder, workers=2)) == 0
    for name in ("ranked.jsonl", "programs.jsonl", "final.jsonl"):
        assert lines(folder, name) == lines(tmp_path / "one", name)
    assert run(*command(made, folder)) == 0 and "complete already" in capsys.readouterr().out


def test_another_setting_is_not_continued(made, tmp_path, capsys):
    assert run(*command(made, tmp_path / "x")) == 0
    (tmp_path / "x" / "COMPLETE").unlink()
    assert run(*command(made, tmp_path / "x", "--repaired", 2)) == 1
    assert "repaired was 1, now it is 2" in capsys.readouterr().err


@pytest.mark.parametrize("more", [("--prefix", "random"), ("--prefix", "log-probability"), ("--prefix", "critic-pooled", "--cut-below", 0)])
def test_every_prefix_runs_on_a_budget(made, tmp_path, more):
    assert run(*command(made, tmp_path / "out", *more, "--max-tokens", 60, "--select", "majority")) == 0
    ranked = read_records(tmp_path / "out" / "ranked.jsonl", Ranked)
    assert all(r.tokens == 60 and len(r.final) == r.programs and r.rule == "majority" for r in ranked)


def test_solve_gives_ranked_programs_with_their_evidence(made):
    problem = next(p for p in read_records(made / "problems.jsonl", Problem) if p.examples)
    rules = Rules(seed=1, samples=3, decoding=Decoding(max_tokens=12))
    with Judge(workers=1) as judge:
        models = (made / "warm" / "actor", made / "critic" / "critic", made / "repair" / "actor")
        found = coderl.solve(problem, *models, budget=80, rules=rules, judge=judge)
    assert found and len({s.code for s in found}) == len(found)
    keys = [(not s.passes_examples, -s.score) for s in found]
    assert keys == sorted(keys)


def test_a_decoder_only_actor_can_search(made, tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = load_actor(made / "warm" / "actor").tokenizer
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=1, n_head=2, n_positions=512, bos_token_id=1, eos_token_id=2)
    GPT2LMHeadModel(config).save_pretrained(str(tmp_path / "gpt"))
    tokenizer.save_pretrained(str(tmp_path / "gpt"))
    problem = next(p for p in read_records(made / "problems.jsonl", Problem) if p.examples)
    with Judge(workers=1) as judge:
        rules = Rules(seed=1, samples=3, decoding=Decoding(max_tokens=12))
        found = coderl.solve(problem, tmp_path / "gpt", made / "critic" / "critic", budget=60, rules=rules, judge=judge)
    assert found and all(s.origin in ("sample", "refine") for s in found)
