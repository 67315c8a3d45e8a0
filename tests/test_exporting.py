"""Parquet and model cards: what is in the records is in the table, and the card says what the manifest says."""

import json
from pathlib import Path

import pytest

from coderl.cli import main
from coderl.exporting import COLUMNS, model_card, rows, write_parquet
from coderl.records import Outcome, Problem, Program, Test, TestResult, Verdict
from coderl.store import write_records

parquet = pytest.importorskip("pyarrow.parquet")

PROBLEM = Problem("p/1", "s", "stdin", (Test(input="", output=""),), difficulty="interview", source="mine")
PROGRAMS = [Program("p/1", "print(1)\n", 0, seed=3, logprob=-1.5, tokens=4), Program("p/1", "\ud800 = '☃'", 1), Program("p/2", "x", 0, "greedy")]
VERDICTS = [
    Verdict("p/1", 0, Outcome.PASSED_TEST, tests=(TestResult(Outcome.PASSED_TEST, cpu_seconds=0.25),), passed=1, total=1, cpu_seconds=0.25, tier="A"),
    Verdict("p/1", 1, None, harness_error="judge died"),
]


def write(path: Path) -> list[dict]:
    found = rows(PROGRAMS, {(v.problem, v.index): v for v in VERDICTS}, {"p/1": PROBLEM})
    assert write_parquet(path, found, {"made": "here"}) == 3
    return parquet.read_table(path).to_pylist()


def test_a_row_for_each_program_with_its_verdict_and_problem(tmp_path: Path) -> None:
    first, second, third = write(tmp_path / "a" / "t.parquet")
    assert list(first) == list(COLUMNS)
    assert (first["problem"], first["index"], first["code"], first["seed"], first["logprob"]) == ("p/1", 0, "print(1)\n", 3, -1.5)
    assert (first["outcome"], first["passed"], first["cpu_seconds"], first["difficulty"], first["tier"]) == ("passed_test", 1, 0.25, "interview", "A")
    assert json.loads(first["tests"])[0]["cpu_seconds"] == 0.25
    assert second["outcome"] is None and second["harness_error"] == "judge died" and second["code"] == "\\ud800 = '☃'"
    assert third["outcome"] is None and third["difficulty"] is None and third["passed"] is None and third["origin"] == "greedy"


def test_types_do_not_depend_on_the_rows(tmp_path: Path) -> None:
    """A part with nothing but nulls in a column has the column's type all the same."""
    assert write_parquet(tmp_path / "t.parquet", rows([Program("p", "x", 0)], {}, {}), {}) == 1
    write(tmp_path / "u.parquet")
    one, other = (parquet.read_schema(tmp_path / name) for name in ("t.parquet", "u.parquet"))
    assert one.equals(other) and other.metadata[b"made"] == b"here"


def test_more_rows_than_are_held_at_a_time(tmp_path: Path) -> None:
    many = (Program("p", str(i), i) for i in range(10_000))
    assert write_parquet(tmp_path / "t.parquet", rows(many, {}, {}), {}) == 10_000
    assert parquet.read_table(tmp_path / "t.parquet")["code"].to_pylist() == [str(i) for i in range(10_000)]


MANIFEST = {
    "command": ["/place/of/coderl", "warm-start", "--out", "runs/warm"],
    "config": {"seed": 3, "updates": 20, "model": None, "out": "runs/warm"},
    "python": "3.11.2",
    "versions": {"torch": "2.13.0", "accelerate": None},
    "commit": "abc",
    "inputs": {"/data/p.jsonl": "0123456789abcdef0123"},
}
RESULTS = {
    "name": "heldout",
    "problems": 10,
    "samples": 40,
    "all": {"problems": 10, "pass@k": {"1": {"value": 0.25, "low": 0.125, "high": 0.5}}},
    "by_difficulty": {"interview": {"problems": 4, "pass@k": {"1": {"value": 0.5, "low": 0.0, "high": 1.0}}}},
}


def test_a_card_says_what_the_manifest_and_the_results_say() -> None:
    card = model_card("small", [("warm", MANIFEST)], [RESULTS])
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert "coderl warm-start --out runs/warm" in card and "/place/of" not in card and "/data/" not in card
    assert "commit abc, Python 3.11.2, torch 2.13.0\n" in card and "read `p.jsonl`, SHA-256 0123456789abcdef..." in card
    assert "settings: seed 3, updates 20\n" in card
    assert "| all | 10 | 25.0 [12.5, 50.0] |" in card and "| interview | 4 | 50.0 [0.0, 100.0] |" in card
    assert "Measured" not in model_card("small", [("warm", MANIFEST)], [])


def test_the_stage_writes_both(tmp_path: Path) -> None:
    write_records(tmp_path / "s.jsonl", PROGRAMS)
    write_records(tmp_path / "v.jsonl", VERDICTS)
    (tmp_path / "warm").mkdir()
    (tmp_path / "warm" / "manifest.json").write_text(json.dumps(MANIFEST))
    words = ["--programs", tmp_path / "s.jsonl", "--verdicts", tmp_path / "v.jsonl", "--out", tmp_path / "t.parquet"]
    words += ["--runs", tmp_path / "warm", "--card", tmp_path / "README.md"]
    assert main(["export", *map(str, words)]) == 0
    assert parquet.read_table(tmp_path / "t.parquet").num_rows == 3
    assert "# warm" in (tmp_path / "README.md").read_text()


def test_runs_of_one_name_are_all_on_the_card(tmp_path: Path) -> None:
    for number, place in enumerate(("round-1", "round-2")):
        (tmp_path / place / "tuned").mkdir(parents=True)
        (tmp_path / place / "tuned" / "manifest.json").write_text(json.dumps({**MANIFEST, "config": {"seed": number}}))
    runs = [str(tmp_path / place / "tuned") for place in ("round-1", "round-2")]
    assert main(["export", "--runs", *runs, "--card", str(tmp_path / "README.md")]) == 0
    card = (tmp_path / "README.md").read_text()
    assert card.count("## Run `tuned`") == 2 and card.index("settings: seed 0") < card.index("settings: seed 1")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("", 2, "there is nothing to write"),
        ("--programs {s}", 2, "--programs and --out go together"),
        ("--card {c}", 2, "--runs and --card go together"),
        ("--programs {s} --verdicts {other} --out {out}", 1, "holds no verdict on a program of"),
        ("--runs {here} --card {c}", 1, "manifest.json: no such file; give a run folder"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(words: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "s.jsonl", PROGRAMS)
    write_records(tmp_path / "o.jsonl", [Verdict("q", 0, Outcome.PASSED_TEST)])
    names = {"s": tmp_path / "s.jsonl", "other": tmp_path / "o.jsonl", "out": tmp_path / "t.parquet", "c": tmp_path / "README.md", "here": tmp_path}
    assert main(["export", *words.format(**names).split()]) == code
    assert message in capsys.readouterr().err
