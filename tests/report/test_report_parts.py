"""Curves, figures, tables and the choice of programs, each by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from coderl.errors import DataError
from coderl.evaluation import evaluate
from coderl.records import OUTCOMES, Outcome, Problem, Program, Test, TokenScores, Verdict
from coderl.report import figures, tables
from coderl.report.browser import MOST_CHARACTERS, BrowserData, Entry, join, pack, select
from coderl.report.curves import MOST_POINTS, RunCurves, finite, metric_names, metric_series, outcome_series, read_run


def _problem(id_: str, difficulty: str = "interview") -> Problem:
    return Problem(id=id_, statement="s", kind="stdin", tests=(Test(input="", output=""),), difficulty=difficulty)


def _results(name: str, marks: dict[str, str], ks: tuple[int, ...] = (1, 2)) -> dict[str, Any]:
    outcomes = {"P": Outcome.PASSED_TEST, "F": Outcome.FAILED_TEST}
    verdicts = [Verdict(id_, i, outcomes[mark]) for id_, letters in marks.items() for i, mark in enumerate(letters)]
    return evaluate([_problem(id_) for id_ in marks], verdicts, ks, name=name)


GOOD, BAD = {f"p{i}": "PPPF" for i in range(12)}, {f"p{i}": "PFFF" for i in range(12)}
LOG = (
    {"stage": "signal", "mean_reward": 1.0},
    {"stage": "warm-start", "step": 10, "cpu_seconds": 1.5, "loss": 2.0, "validation/pass@1": 0.25, "done": True, "note": "x"},
    {"stage": "warm-start", "step": 20, "cpu_seconds": 3.0, "loss": float("nan"), "outcome/passed_test": 3, "outcome/failed_test": 1},
    {"stage": "critic", "step": 10, "cpu_seconds": 9.0, "loss": 1.0},
)


# --- curves ---
def test_only_finite_numbers_with_a_place_become_points() -> None:
    run = RunCurves("run", LOG)
    assert metric_names([run]) == ["validation/pass@1", "loss"]
    first, second = metric_series([run], "loss")
    assert (first.label, first.values, first.axes) == ("run · warm-start", [2.0], {"step": [10.0], "cpu_seconds": [1.5]})
    assert (second.label, second.values) == ("run · critic", [1.0])


@pytest.mark.parametrize(
    ("value", "number"), [(1, 1.0), (0.5, 0.5), (True, None), ("1", None), (None, None), (float("inf"), None), (10**400, None), ([1], None)]
)
def test_what_counts_as_a_finite_number(value: Any, number: float | None) -> None:
    assert finite(value) == number


def test_outcomes_come_in_fours_with_zero_for_what_is_absent() -> None:
    (four,) = outcome_series([RunCurves("run", LOG)])
    assert [series.values for series in four] == [[0.0], [0.0], [1.0], [3.0]]


def test_long_logs_are_thinned_but_keep_their_ends() -> None:
    lines = tuple({"step": i, "loss": float(i)} for i in range(10 * MOST_POINTS + 7))
    (series,) = metric_series([RunCurves("long", lines)], "loss")
    assert len(series.values) <= MOST_POINTS + 1 and series.values[0] == 0.0 and series.values[-1] == 10 * MOST_POINTS + 6


def test_a_folder_of_runs_gives_each_run(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1, "loss": 1}\n')
    (tmp_path / "empty").mkdir()
    assert [run.name for run in read_run(tmp_path)] == ["a", "b"]
    with pytest.raises(DataError, match=r"holds no metrics\.jsonl"):
        read_run(tmp_path / "empty")


@pytest.mark.parametrize(("line", "words"), [("{broken\n", r"metrics\.jsonl:1: not JSON"), ("[1]\n", r"metrics\.jsonl: a line is")])
def test_a_broken_log_names_its_file(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(line)
    with pytest.raises(DataError, match=words):
        read_run(tmp_path)


# --- figures ---
def _all_figures() -> list[figures.Figure]:
    results = {"one": _results("one", GOOD), "two": _results("two", BAD)}
    runs = [RunCurves("run", LOG)]
    drawn = [figures.pass_at_k_by_group(results, "1"), figures.pass_at_k_curves(results), figures.outcome_bars(results)]
    return drawn + figures.learning_curves(runs) + figures.outcome_areas(runs)


def test_every_figure_is_a_valid_plotly_figure() -> None:
    for figure in _all_figures():
        assert len(go.Figure(data=figure.data, layout=figure.layout).data) > 0, figure.title


def test_figures_show_the_numbers_by_hand() -> None:
    by_group, curves, bars = _all_figures()[:3]
    assert by_group.data[0]["x"] == ["all", "interview"] and by_group.data[0]["y"] == [75.0, 75.0]
    # BAD has 1 of 4: pass@1..4 = 25, 50, 75, 100.
    assert curves.data[1]["x"] == [1, 2, 3, 4] and curves.data[1]["y"] == pytest.approx([25, 50, 75, 100])
    shares = {trace["name"]: dict(zip(trace["y"], trace["x"])) for trace in bars.data}
    assert shares["passed test"] == {"one": 75.0, "two": 25.0} and shares["compile error"] == {"one": 0.0, "two": 0.0}


def test_a_name_is_no_markup_for_plotly() -> None:
    assert figures.label("<b>a</b> & b") == "&lt;b&gt;a&lt;/b&gt; &amp; b"
    assert figures.label("one two three", 8) == "one two<br>three"


def test_curves_can_be_drawn_over_steps_or_seconds() -> None:
    figure = next(f for f in figures.learning_curves([RunCurves("run", LOG)]) if f.title == "loss")
    assert figure.axes == {"step": [[10.0], [10.0]], "cpu_seconds": [[1.5], [9.0]]}


def test_a_log_without_seconds_keeps_its_steps_on_both_axes() -> None:
    (figure,) = figures.learning_curves([RunCurves("run", ({"step": 4, "loss": 1.0},))])
    assert figure.axes == {"step": [[4.0]], "cpu_seconds": [[4.0]]}


# --- tables ---
def test_results_stand_side_by_side() -> None:
    source = tables.results_tables({"one": _results("one", GOOD), "two": _results("two", BAD)})
    assert source.count("<table>") == 2 and "<b>75.0</b>" in source and "<b>25.0</b>" in source


def test_paired_differences_by_hand() -> None:
    source = tables.difference_tables({"one": _results("one", GOOD), "two": _results("two", BAD)})
    # pass@1: 75 - 25; pass@2: GOOD 1 - 0, BAD 1 - C(3,2)/C(4,2) = 1/2.
    assert source.count("<b>+50.0</b>") == 2 and source.count("<b>-50.0</b>") == 2 and "▲" in source and "▼" in source


def test_runs_that_cannot_be_compared_say_why() -> None:
    source = tables.difference_tables({"one": _results("one", GOOD), "two": _results("two", {"other": "PF"})})
    assert "not the same problems" in source and "12 problems are only in the first and 1 only in the second" in source
    assert "no k in common" in tables.difference_tables({"a": _results("a", GOOD, (1,)), "b": _results("b", GOOD, (2,))})


def test_the_critic_is_set_against_the_most_frequent_outcome() -> None:
    told = [(Outcome.PASSED_TEST, Outcome.FAILED_TEST), (Outcome.FAILED_TEST, Outcome.FAILED_TEST), (Outcome.FAILED_TEST, Outcome.PASSED_TEST)]
    scores = [TokenScores("p", i, (), (), (), predicted, actual) for i, (predicted, actual) in enumerate(told)]
    source = tables.critic_table(scores)
    assert "right on 1 of 3 programs (33.3 %)" in source and "would be right on 66.7 %" in source


# --- the choice of programs ---
def _entries(counts: dict[Outcome, int]) -> list[Entry]:
    entries = []
    for outcome, count in counts.items():
        for i in range(count):
            scores = TokenScores("p", i, (), (), (), outcome, outcome) if i % 10 == 9 else None
            entries.append(Entry(_problem("p"), Program("p", "", i), i, Verdict("p", i, outcome), scores))
    return entries


def test_few_programs_are_all_taken() -> None:
    entries = _entries({Outcome.PASSED_TEST: 5})
    assert select(entries, 5) == entries


def test_too_many_programs_are_thinned_in_proportion_and_rare_outcomes_stay() -> None:
    entries = _entries({Outcome.FAILED_TEST: 6000, Outcome.PASSED_TEST: 3000, Outcome.COMPILE_ERROR: 3, Outcome.RUNTIME_ERROR: 1})
    chosen = select(entries, 100)
    counts = Counter(entry.outcome for entry in chosen)
    assert len(chosen) == 100 and counts["runtime_error"] == 1 and counts["compile_error"] >= 1
    assert counts["failed_test"] == pytest.approx(66, abs=2) and counts["passed_test"] == pytest.approx(33, abs=2)
    assert all(entry.scores is not None for entry in chosen if entry.outcome == "failed_test")  # scored ones come first
    places = {id(entry): place for place, entry in enumerate(entries)}
    assert [places[id(entry)] for entry in chosen] == sorted({places[id(entry)] for entry in chosen})  # in order, none twice


def test_outcomes_include_what_has_no_verdict() -> None:
    programs = [Program("p", "", i) for i in range(2)]
    entries = join(BrowserData([_problem("p")], programs, [Verdict("p", 0, None, harness_error="died")]))
    assert [entry.outcome for entry in entries] == ["harness error", "not graded"]


def test_programs_without_an_index_are_numbered_within_their_problem() -> None:
    programs = [Program("a", "1"), Program("b", "2"), Program("a", "3")]
    entries = join(BrowserData([_problem("a"), _problem("b")], programs, [Verdict("a", 1, OUTCOMES[3])]))
    assert [(entry.problem.id, entry.number) for entry in entries] == [("a", 0), ("b", 0), ("a", 1)]
    assert entries[2].outcome == "passed_test"


def test_the_program_is_shown_as_it_ran() -> None:
    problem = Problem(id="p", statement="s", kind="call", starter_code="def f():\n")
    program = Program.from_json({"task_id": "p", "completion": "    return 1"})
    assert pack(BrowserData([problem], [program])).data["programs"][0]["code"] == "def f():\n    return 1"


def test_huge_programs_are_cut_and_say_so() -> None:
    packed = pack(BrowserData([_problem("p")], [Program("p", "x" * (MOST_CHARACTERS + 5), 0)]))
    assert packed.data["programs"][0]["code"].endswith("(5 more characters are not shown)")
