"""Verdicts to results: numbers worked by hand, harness errors, missing verdicts, intervals, paired comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from coderl.errors import DataError, UsageError
from coderl.evaluation import bootstrap_interval, compare, evaluate, read_results
from coderl.grading import grade_programs
from coderl.recipes.evaluate import Config, main
from coderl.records import Outcome, Problem, Program, Test, Verdict
from coderl.sandbox import Judge, Limits
from coderl.store import write_records

EXAMPLE = (Test(input="1\n", output="1\n"),)


def _problem(id_: str, difficulty: str = "introductory", examples: tuple[Test, ...] = EXAMPLE) -> Problem:
    return Problem(id=id_, statement="s", kind="stdin", tests=(Test(input="1\n", output="1\n"),), examples=examples, difficulty=difficulty)


def _verdicts(problem: str, marks: str) -> list[Verdict]:
    """One verdict per letter: P pass, F failed test, R runtime error, C compile error, H harness error."""
    outcomes = {"P": Outcome.PASSED_TEST, "F": Outcome.FAILED_TEST, "R": Outcome.RUNTIME_ERROR, "C": Outcome.COMPILE_ERROR, "H": None}
    return [Verdict(problem, i, outcomes[mark], harness_error="the judge died" if mark == "H" else None) for i, mark in enumerate(marks)]


def _results(marks: dict[str, str], ks: Sequence[int] = (1,), **more: object) -> dict:
    problems = [_problem(id_) for id_ in marks]
    return evaluate(problems, [v for id_, m in marks.items() for v in _verdicts(id_, m)], ks, **more)  # type: ignore[arg-type]


def test_pass_at_k_is_the_mean_over_problems_by_hand() -> None:
    # a: 1 of 4 passes; b: 3 of 4. pass@1 = (1/4 + 3/4)/2; pass@2 = ((1 - 3/6) + 1)/2.
    result = _results({"a": "PFFC", "b": "PPPR"}, ks=(1, 2))
    assert result["all"]["pass@k"]["1"]["value"] == pytest.approx(0.5)
    assert result["all"]["pass@k"]["2"]["value"] == pytest.approx(0.75)
    assert (result["problems"], result["samples"], result["harness_errors"]) == (2, 8, 0)
    assert result["per_problem"]["a"] == {"n": 4, "c": 1, "difficulty": "introductory"}


def test_outcome_shares_by_hand() -> None:
    shares = _results({"a": "PFFC", "b": "PPPR"})["all"]["outcomes"]
    assert shares == {"compile_error": 0.125, "runtime_error": 0.125, "failed_test": 0.25, "passed_test": 0.5}


def test_difficulties_are_apart_and_in_order() -> None:
    problems = [_problem("x", "competition"), _problem("y", ""), _problem("z", "introductory")]
    result = evaluate(problems, _verdicts("x", "F") + _verdicts("y", "P") + _verdicts("z", "P"), [1])
    assert list(result["by_difficulty"]) == ["introductory", "competition", "unknown"]
    assert [group["pass@k"]["1"]["value"] for group in result["by_difficulty"].values()] == [1.0, 0.0, 1.0]
    assert result["all"]["pass@k"]["1"]["value"] == pytest.approx(2 / 3)


def test_a_harness_error_is_no_sample_and_no_pass() -> None:
    result = _results({"a": "PHFH"})
    assert result["per_problem"]["a"]["n"] == 2 and result["all"]["pass@k"]["1"]["value"] == 0.5
    assert result["harness_errors"] == 2 and result["samples"] == 2
    assert sum(result["all"]["outcomes"].values()) == 1.0


def test_only_harness_errors_give_an_error_not_a_score() -> None:
    with pytest.raises(UsageError, match=r"'b' has 0 besides 2 harness errors; grade it again"):
        _results({"a": "PP", "b": "HH"})


def test_k_beyond_the_samples_of_one_problem_names_it() -> None:
    with pytest.raises(UsageError, match=r"pass@3 needs 3 samples of every problem, but 'b' has 2 besides 1 harness errors"):
        _results({"a": "PPPP", "b": "PPH"}, ks=(1, 3))


@pytest.mark.parametrize("ks", [(), (0,), (1, -2)])
def test_k_must_be_a_positive_number(ks: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="--k is"):
        _results({"a": "PP"}, ks=ks)


def test_different_numbers_of_samples_are_allowed() -> None:
    # a: 1 of 2, b: 1 of 4: (1/2 + 1/4)/2, each problem counts the same.
    result = _results({"a": "PF", "b": "PFFF"})
    assert result["all"]["pass@k"]["1"]["value"] == pytest.approx(0.375)
    assert result["samples_per_problem"] == {"min": 2, "max": 4}


def test_missing_verdicts_are_an_error_that_counts_them() -> None:
    problems = [_problem(id_) for id_ in "abc"]
    with pytest.raises(DataError, match=r"2 of 3 problems have no verdicts \(first: 'b'\)"):
        evaluate(problems, _verdicts("a", "P"), [1])
    result = evaluate(problems, _verdicts("a", "P"), [1], allow_missing=True)
    assert result["problems"] == 1 and result["missing_problems"] == 2


def test_no_verdict_at_all_is_an_error_even_when_missing_ones_are_allowed() -> None:
    with pytest.raises(DataError, match="none of the 1 problems has verdicts"):
        evaluate([_problem("a")], [], [1], allow_missing=True)


@pytest.mark.parametrize(
    ("problems", "verdicts", "words"),
    [
        ([_problem("a")], _verdicts("b", "P"), "name the problem 'b', which is not among the 1 problems"),
        ([_problem("a")], _verdicts("a", "P") * 2, r"two verdicts on 'a' #0"),
        ([_problem("a"), _problem("a")], _verdicts("a", "P"), "comes twice"),
        ([], [], "no problems"),
    ],
)
def test_inconsistent_input_is_refused(problems: list[Problem], verdicts: list[Verdict], words: str) -> None:
    with pytest.raises(DataError, match=words):
        evaluate(problems, verdicts, [1])


def test_n_at_k_by_hand() -> None:
    # a: samples PPFF, survivors #0 and #2: one of two is correct, 1@4 = 1/2, 2@4 = 1.
    # b: samples PFFF, none survives: strict 0; fallback 1@4 = 1/4, 2@4 = 1 - C(3,2)/C(4,2) = 1/2.
    hidden = _verdicts("a", "PPFF") + _verdicts("b", "PFFF")
    examples = _verdicts("a", "PFPF") + _verdicts("b", "FFRC")
    scores = evaluate([_problem("a"), _problem("b")], hidden, [1, 2], example_verdicts=examples)["all"]["n@k"]
    assert scores["1@4"]["value"] == pytest.approx(0.25) and scores["1@4"]["fallback"]["value"] == pytest.approx(0.375)
    assert scores["2@4"]["value"] == pytest.approx(0.5) and scores["2@4"]["fallback"]["value"] == pytest.approx(0.75)


def test_a_problem_without_example_tests_has_no_filter() -> None:
    problems = [_problem("a"), _problem("b", examples=())]
    result = evaluate(problems, _verdicts("a", "PF") + _verdicts("b", "PF"), [1], example_verdicts=_verdicts("a", "FP"))
    assert result["per_problem"]["b"]["examples"] == {"n": 2, "c": 1, "e": 2, "h": 1}
    assert result["all"]["n@k"]["1@2"]["value"] == pytest.approx((0 + 0.5) / 2) and result["all"]["without_examples"] == 1


def test_a_harness_error_on_the_examples_takes_the_sample_out_of_n_at_k_only() -> None:
    result = evaluate([_problem("a")], _verdicts("a", "PFF"), [1], example_verdicts=_verdicts("a", "HPP"))
    assert result["all"]["pass@k"]["1"]["value"] == pytest.approx(1 / 3) and result["all"]["n@k"]["1@2"]["value"] == 0.0
    assert result["all"]["example_harness_errors"] == 1


def test_example_verdicts_must_cover_the_samples() -> None:
    with pytest.raises(DataError, match=r"2 of 3 samples of problem 'a' have no verdict on the example tests \(first: #1\)"):
        evaluate([_problem("a")], _verdicts("a", "PFF"), [1], example_verdicts=_verdicts("a", "P"))
    with pytest.raises(DataError, match="no problem has example tests"):
        evaluate([_problem("a", examples=())], _verdicts("a", "P"), [1], example_verdicts=[])


def test_pool_sets_the_k_of_n_at_k() -> None:
    marks, examples = _verdicts("a", "PFFF"), _verdicts("a", "PFFF")
    result = evaluate([_problem("a")], marks, [1, 4], example_verdicts=examples, pool=2)
    # Solved when the one good sample is among the 2 drawn of 4. 4@2 cannot be, so it is not there.
    assert list(result["all"]["n@k"]) == ["1@2"] and result["all"]["n@k"]["1@2"]["value"] == pytest.approx(0.5)
    with pytest.raises(UsageError, match="n@5 needs 5 samples"):
        evaluate([_problem("a")], marks, [1], example_verdicts=examples, pool=5)


def test_greedy_counts_harness_errors_apart() -> None:
    problems = [_problem(id_) for id_ in "abc"]
    hidden = [v for id_ in "abc" for v in _verdicts(id_, "FF")]
    result = evaluate(problems, hidden, [1], greedy=[v for id_, mark in zip("abc", "PFH") for v in _verdicts(id_, mark)])
    assert result["all"]["greedy"]["value"] == 0.5
    assert (result["all"]["greedy"]["problems"], result["all"]["greedy"]["harness_errors"]) == (2, 1)
    assert [result["per_problem"][id_]["greedy"] for id_ in "abc"] == [True, False, None]


def test_greedy_verdicts_are_one_per_problem() -> None:
    with pytest.raises(DataError, match="2 greedy verdicts"):
        evaluate([_problem("a")], _verdicts("a", "FF"), [1], greedy=_verdicts("a", "PP"))
    with pytest.raises(DataError, match="1 of 2 problems have no greedy verdicts"):
        evaluate([_problem("a"), _problem("b")], _verdicts("a", "F") + _verdicts("b", "F"), [1], greedy=_verdicts("a", "P"))


def test_interval_is_fixed_by_its_seed_and_holds_the_mean() -> None:
    marks = {f"p{i}": "P" * (i % 4) + "F" * (4 - i % 4) for i in range(30)}
    first, again, other = (_results(marks, seed=seed)["all"]["pass@k"]["1"] for seed in (0, 0, 1))
    assert first == again and first != other
    assert first["low"] < first["value"] < first["high"]


def test_interval_equals_the_textbook_one_on_coin_flips() -> None:
    # 400 problems, half solved: standard error 0.025, so the interval is 0.5 +- 1.96 * 0.025 up to its own noise.
    low, high = bootstrap_interval(np.array([0.0, 1.0] * 200), seed=3)
    assert low == pytest.approx(0.451, abs=0.006) and high == pytest.approx(0.549, abs=0.006)


def test_interval_covers_the_truth_as_often_as_it_says() -> None:
    # 200 draws of 40 problems whose chance to be solved is 0.4: about 190 of the intervals should hold 0.4; 176 is 6 deviations off 0.95.
    rng = np.random.default_rng(7)
    held = [low <= 0.4 <= high for low, high in (bootstrap_interval(rng.binomial(1, 0.4, 40).astype(float), seed=i) for i in range(200))]
    assert 176 <= sum(held) <= 200


def test_compare_by_hand() -> None:
    # Per problem pass@1: a 1 - 0, b 1/2 - 1/2, c 1/2 - 1: mean (1 + 0 - 1/2)/3.
    first, second = _results({"a": "PP", "b": "PF", "c": "PF"}), _results({"a": "FF", "b": "FP", "c": "PP"})
    found = compare(first, second, 1, seed=0)
    assert found.difference == pytest.approx(1 / 6) and (found.better, found.worse, found.same) == (1, 1, 1)
    assert found.first == pytest.approx(2 / 3) and found.second == pytest.approx(1 / 2)
    assert found.low < found.difference < found.high


def test_compare_pairs_by_problem_and_not_by_place() -> None:
    forward, backward = _results({"a": "PP", "b": "FF", "c": "PF"}), _results({"c": "PF", "b": "FF", "a": "PP"})
    found = compare(forward, backward, 1, seed=0)
    assert (found.difference, found.low, found.high, found.same) == (0.0, 0.0, 0.0, 3)


def test_pairing_sees_what_two_intervals_cannot() -> None:
    # Half the problems are easy, half hopeless; the first run is a tenth better everywhere it can be.
    first = _results({f"p{i}": "P" * 9 + "F" if i % 2 else "PF" + "F" * 8 for i in range(40)})
    second = _results({f"p{i}": "P" * 8 + "FF" if i % 2 else "F" * 10 for i in range(40)})
    assert first["all"]["pass@k"]["1"]["low"] < second["all"]["pass@k"]["1"]["high"]
    found = compare(first, second, 1, seed=0)
    assert found.low > 0 and found.difference == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("other", "k", "kind", "words"),
    [
        ({"a": "PP", "x": "PP"}, 1, DataError, "1 problems are only in the first and 1 only in the second"),
        ({"a": "PP"}, 1, DataError, "1 problems are only in the first and 0 only in the second"),
        ({"a": "PP", "b": "PP"}, 3, UsageError, "pass@3 of 'the first' cannot be compared: problem 'a' has 2 samples"),
    ],
)
def test_compare_refuses_what_is_no_pair(other: dict[str, str], k: int, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        compare(_results({"a": "PP", "b": "PP"}), _results(other), k, seed=0)


def test_compare_notices_other_tests_under_the_same_ids() -> None:
    changed = Problem(id="a", statement="s", kind="stdin", tests=(Test(input="2\n", output="2\n"),), examples=EXAMPLE)
    with pytest.raises(DataError, match="same ids but other statements or tests"):
        compare(_results({"a": "PP"}), evaluate([changed], _verdicts("a", "PP"), [1]), 1, seed=0)


def test_results_are_json_and_read_back(tmp_path: Path) -> None:
    result = _results({"a": "PF"}, greedy=_verdicts("a", "P"), example_verdicts=_verdicts("a", "PF"), name="mine")
    path = tmp_path / "results.json"
    path.write_text(json.dumps(result, allow_nan=False))
    assert read_results(path) == json.loads(json.dumps(result))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ("[]", "holds a list"),
        ('{"a": 1}', "'problems' is missing"),
        ('{"problems":1,"samples":1,"harness_errors":0,"all":{},"by_difficulty":{},"per_problem":{}}', "lacks its 'pass@k'"),
    ],
)
def test_a_file_that_is_no_results_json_says_so(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_results(path)


def _humaneval_samples(data_dir: Path) -> list[Program]:
    lines = (data_dir / "humaneval" / "example_samples.jsonl").read_text().splitlines()
    return [Program.from_json({**json.loads(line), "index": i}) for i, line in enumerate(lines)]


def test_humaneval_example_samples_give_their_documented_half(data_dir: Path) -> None:
    # Its README documents pass@1 = 0.5 for these six: the ones that just `return 1`, however indented, are right.
    programs = _humaneval_samples(data_dir)
    marks = "".join("P" if program.code.strip() == "return 1" else "R" for program in programs)
    result = evaluate([_problem("test/0")], _verdicts("test/0", marks), [1])
    assert marks == "RRRPPP" and result["all"]["pass@k"]["1"]["value"] == pytest.approx(0.5)


def test_humaneval_example_samples_give_their_documented_half_through_the_judge(data_dir: Path) -> None:
    folder = data_dir / "humaneval"
    line = json.loads((folder / "example_problem.jsonl").read_text())
    check = Test(code=f"{line['test']}\ncheck({line['entry_point']})\n")
    problem = Problem(id=line["task_id"], statement=line["prompt"], kind="assert", starter_code=line["prompt"], tests=(check,))
    with Judge(workers=2, limits=Limits(cpu_seconds=0.5, wall_factor=1.0)) as judge:
        verdicts = list(grade_programs(judge, {problem.id: problem}, _humaneval_samples(data_dir)))
    result = evaluate([problem], verdicts, [1, 2])
    assert result["all"]["pass@k"]["1"]["value"] == pytest.approx(0.5) and result["harness_errors"] == 0
    # Two of six: 1 - C(3,2)/C(6,2) = 1 - 3/15.
    assert result["all"]["pass@k"]["2"]["value"] == pytest.approx(0.8)


def _files(folder: Path, marks: dict[str, str]) -> tuple[Path, Path]:
    write_records(folder / "problems.jsonl", [_problem(id_) for id_ in marks])
    write_records(folder / "verdicts.jsonl", [v for id_, m in marks.items() for v in _verdicts(id_, m)])
    return folder / "problems.jsonl", folder / "verdicts.jsonl"


def test_recipe_writes_results_and_prints_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems, verdicts = _files(tmp_path, {"a": "PPFF", "b": "FFFH"})
    main(Config(problems=problems, verdicts=verdicts, k=(1, 2), out=tmp_path / "new" / "results.json", name="actor"))
    result = read_results(tmp_path / "new" / "results.json")
    assert result["name"] == "actor" and result["all"]["pass@k"]["1"]["value"] == pytest.approx(0.25)
    assert set(result["manifest"]["inputs"]) == {str(problems), str(verdicts)}
    printed = capsys.readouterr().out
    assert "25.0" in printed and "introductory" in printed and "1 harness error" in printed and "results.json" in printed


def test_recipe_compares_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems, verdicts = _files(tmp_path, {"a": "FFFF", "b": "FFFF"})
    main(Config(problems=problems, verdicts=verdicts, k=(1,), out=tmp_path / "old.json", name="before"))
    problems, verdicts = _files(tmp_path, {"a": "PPFF", "b": "PFFF"})
    capsys.readouterr()
    main(Config(problems=problems, verdicts=verdicts, k=(1,), out=tmp_path / "new.json", name="after", compare=tmp_path / "old.json"))
    printed = capsys.readouterr().out
    assert "after minus before" in printed and "+37.5" in printed
    assert read_results(tmp_path / "new.json")["comparisons"][0]["difference"] == pytest.approx(0.375)


def test_recipe_keeps_the_results_when_the_comparison_is_impossible(tmp_path: Path) -> None:
    problems, verdicts = _files(tmp_path, {"a": "PF"})
    (tmp_path / "old.json").write_text(json.dumps(_results({"z": "PF"})))
    with pytest.raises(DataError, match="cannot compare"):
        main(Config(problems=problems, verdicts=verdicts, k=(1,), out=tmp_path / "new.json", compare=tmp_path / "old.json"))
    assert read_results(tmp_path / "new.json")["problems"] == 1


def test_recipe_reports_a_missing_file(tmp_path: Path) -> None:
    problems, _ = _files(tmp_path, {"a": "P"})
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        main(Config(problems=problems, verdicts=tmp_path / "nothing.jsonl", k=(1,), out=tmp_path / "r.json"))
