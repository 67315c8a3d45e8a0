"""Shared lines and close statements, counted by hand and against a slow reference."""

import random
from pathlib import Path

import pytest

from coderl.problems.overlap import Overlap, lines_of, ngrams, overlaps
from coderl.recipes import overlap as stage
from coderl.records import Problem
from coderl.store import write_records

WORDS = ["read", "the", "numbers", "of", "a", "list", "and", "print", "the", "largest", "sum", "of", "two", "that", "are", "next", "to", "another"]


def problem(name: str, statement: str = "x", *solutions: str) -> Problem:
    return Problem(name, statement, "stdin", solutions=solutions)


def test_lines_by_hand() -> None:
    """Of `a = 1`, `b = 2`, `print(a)` training has the first (indented there) and the last: 2 of 3; blank lines and comments do not count."""
    training = [problem("t", "x", "if x:\n    a = 1\n"), problem("u", "x", "print(a)")]
    (found,) = overlaps(training, [problem("e", "x", "# note\na = 1\n\nb = 2\nprint(a)\n", "c = 3")])
    assert (found.lines, found.shared, found.share) == (3, 2, 2 / 3)
    assert lines_of("  a\n\n# b\n\tc # d\n") == ["a", "c # d"]


def test_statements_by_hand() -> None:
    """Seven words have 3 runs of five. With the last word changed 2 of the 3 stay: 2 / (3 + 3 - 2)."""
    training = [problem("far", "nothing in common with it at all"), problem("near", "One two, three four FIVE six seven")]
    (found,) = overlaps(training, [problem("e", "one two three four five six eight")])
    assert (found.closest, found.similarity) == ("near", 0.5)
    assert len(ngrams("one two three four five six seven")) == 3 and ngrams("short") == {"short"} and ngrams("?!") == set()


def test_the_closest_statement_is_that_of_a_search_through_all() -> None:
    draw = random.Random(0)

    def text() -> str:
        words = list(WORDS)
        for _ in range(draw.randrange(6)):
            words[draw.randrange(len(words))] = draw.choice(("x", "y", "z"))
        return " ".join(words)

    training, evaluation = ([problem(f"{name}{i}", text()) for i in range(25)] for name in "te")
    for found, one in zip(overlaps(training, evaluation), evaluation, strict=True):
        grams = [(ngrams(t.statement), ngrams(one.statement)) for t in training]
        assert found.similarity == max(len(a & b) / len(a | b) for a, b in grams)


def test_a_near_copy_is_found_among_long_statements_that_share_more() -> None:
    """25 statements of 300 words begin with the first 20 words of the evaluation statement; the near copy has only 18 of them, and nothing else."""
    words = [f"w{i}" for i in range(20)]
    training = [problem(f"long{i}", " ".join([*words, *(f"{i}x{k}" for k in range(280))])) for i in range(25)]
    (found,) = overlaps([*training, problem("near", " ".join(words[:18]))], [problem("e", " ".join(words))])
    assert (found.closest, found.similarity) == ("near", 14 / 16)


def test_an_n_gram_of_every_statement_counts() -> None:
    training = [problem(f"t{i:03}", f"print the largest sum of x{i}") for i in range(300)]
    (found,) = overlaps(training, [problem("e", "print the largest sum of y")])
    assert (found.closest, found.similarity) == ("t000", 1 / 3)


def test_of_equally_close_statements_the_first_by_name_is_taken() -> None:
    """The index is a set of texts, whose order differs from process to process: names in an order that is none of them."""
    words = [f"w{i}" for i in range(40)]
    training = [problem(f"t{i}", " ".join(words[5 * i : 5 * i + 5])) for i in (3, 0, 5, 1, 4, 2)]
    (found,) = overlaps(training, [problem("e", " ".join(words))])
    assert found.closest == "t0"


def test_what_shares_nothing() -> None:
    assert overlaps([problem("t", "one two three", "a")], [problem("e", "four five six")]) == [Overlap("e", 0, 0, 0.0, 0.0, "")]


def test_the_stage_says_and_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(tmp_path / "t.jsonl", [problem("t", " ".join(WORDS), "a = 1\nb = 2")])
    write_records(tmp_path / "e.jsonl", [problem("e", " ".join(WORDS), "a = 1\nb = 2"), problem("f", "other", "c = 3"), problem("g", "none")])
    stage.main(stage.Config(tmp_path / "t.jsonl", tmp_path / "e.jsonl", tmp_path / "o.jsonl"))
    said = capsys.readouterr().out
    assert "no line shared with training references: 1 (50.0 %)" in said and "more than half of the lines shared: 1 (50.0 %); all of them: 1" in said
    assert "  e ~ t (1.00)" in said
    assert (tmp_path / "o.jsonl").read_text().count("\n") == 3
