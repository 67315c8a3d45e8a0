"""Mini: sizes, determinism, disjoint splits, and that references and tests are right."""

import os
import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from tokenizers import ByteLevelBPETokenizer

from coderl.errors import UsageError
from coderl.problems.mini import MiniSplits, generate, split_of
from coderl.problems.mini_compose import SHAPES, skeletons
from coderl.problems.mini_mistakes import draw_samples
from coderl.problems.mini_sources import SOURCES
from coderl.prompts import prompt
from coderl.records import DIFFICULTIES, Outcome, Problem, Program
from coderl.sandbox import Judge


@pytest.fixture(scope="module")
def splits() -> MiniSplits:
    return generate(3, train=400, tests_only=600, validation=100, heldout=100)


def everything(splits: MiniSplits) -> list[Problem]:
    return [problem for problems in splits for problem in problems]


def names(problems: list[Problem]) -> set[str]:
    return {problem.extra["skeleton"] for problem in problems}


def test_sizes_and_difficulty_mix(splits: MiniSplits) -> None:
    assert [len(problems) for problems in splits] == [400, 600, 100, 100]
    for problems in splits:
        counts = Counter(problem.difficulty for problem in problems)
        assert [counts[level] / len(problems) for level in DIFFICULTIES] == [0.3, 0.4, 0.3]


def test_same_seed_same_problems_whatever_the_hash_seed() -> None:
    code = "from coderl.problems.mini import generate; print(repr(generate(5, 30, 40, 10, 10)))"
    outputs = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True, timeout=60
        ).stdout
        for seed in ("1", "2")
    ]
    assert outputs[0] == outputs[1] == repr(generate(5, 30, 40, 10, 10)) + "\n"


def test_other_seed_other_problems() -> None:
    statements = [{problem.statement for problem in generate(seed, 50, 0, 0, 0).train} for seed in (0, 1)]
    assert len(statements[0] & statements[1]) < 5


def test_size_of_one_split_leaves_the_others_alone(splits: MiniSplits) -> None:
    assert generate(3, train=0, tests_only=0, validation=100, heldout=0).validation == splits.validation


def test_no_two_splits_share_a_skeleton(splits: MiniSplits) -> None:
    seen: set[str] = set()
    for problems in splits:
        assert not seen & names(problems)
        seen |= names(problems)


def test_no_two_splits_share_a_composition_in_whatever_form(splits: MiniSplits) -> None:
    found = [{p.extra["skeleton"].rsplit("|", 1)[0] for p in split} for split in splits]
    assert all(found) and not any(found[i] & found[j] for i in range(4) for j in range(i))


def test_only_problems_up_to_the_hardest_difficulty_are_made() -> None:
    made = generate(3, train=20, tests_only=20, validation=8, heldout=8, hardest="interview")
    assert [len(split) for split in made] == [20, 20, 8, 8]
    assert all({p.difficulty for p in split} == {"introductory", "interview"} for split in made)
    with pytest.raises(UsageError, match="hardest difficulty is 'hard'"):
        generate(3, train=1, hardest="hard")


def test_every_split_has_introductory_skeletons_of_its_own(splits: MiniSplits) -> None:
    for problems in splits:
        assert len(names([problem for problem in problems if problem.difficulty == "introductory"])) >= 15


def test_split_of_a_skeleton_depends_on_the_seed() -> None:
    family = skeletons(SOURCES[0], "FMT")[:200]
    assert {split_of(0, "competition", s) for s in family} == set(MiniSplits._fields)
    assert [split_of(0, "competition", s) for s in family] != [split_of(1, "competition", s) for s in family]


def test_ids_and_statements_are_unique(splits: MiniSplits) -> None:
    for split, problems in splits._asdict().items():
        assert [problem.id for problem in problems] == [f"mini/{split}/{number:05d}" for number in range(1, len(problems) + 1)]
        assert len({problem.statement for problem in problems}) == len(problems)


def test_only_the_tests_only_split_lacks_references(splits: MiniSplits) -> None:
    assert not any(problem.solutions for problem in splits.train_tests_only)
    assert all(1 <= len(problem.solutions) <= 4 for problem in splits.train + splits.validation + splits.heldout)
    assert sum(len(problem.solutions) == 4 for problem in splits.train) > 0.9 * len(splits.train)


def test_at_least_twelve_hidden_tests_and_no_input_twice(splits: MiniSplits) -> None:
    for problem in everything(splits):
        inputs = [repr(test.input) for test in problem.examples + problem.tests]
        assert len(problem.examples) == 2
        assert len(problem.tests) >= 12
        assert len(set(inputs)) == len(inputs)


def test_answers_vary(splits: MiniSplits) -> None:
    for problem in everything(splits):
        counts = Counter(repr(test.output) for test in problem.tests)
        assert len(counts) > 1
        assert max(counts.values()) <= 0.75 * len(problem.tests)


def test_statement_shows_the_examples(splits: MiniSplits) -> None:
    for problem in everything(splits):
        lines = problem.statement.split("\n")[-2:]
        for line, test in zip(lines, problem.examples, strict=True):
            if problem.kind == "stdin":
                assert line == f"Example: input {test.input[:-1]} output {test.output[:-1]}"
            else:
                shown = ", ".join(repr(value) for value in test.input).replace("'", '"')
                assert line == f"Example: input {shown} output {test.output!r}".replace("'", '"')


def test_more_than_ten_thousand_skeletons_are_accepted() -> None:
    total = {level: sum(len(skeletons(source, shape)) for source in SOURCES for shape in SHAPES[level]) for level in DIFFICULTIES}
    samples = draw_samples("competition", 200, Random(1))
    share = sum(sample.cases is not None for sample in samples) / len(samples)
    assert share > 0.2
    assert share * total["competition"] > 10_000


def test_skeleton_names_are_unique() -> None:
    found = [skeleton.name for level in DIFFICULTIES for source in SOURCES for shape in SHAPES[level] for skeleton in skeletons(source, shape)]
    assert len(set(found)) == len(found)


def test_statements_and_programs_are_short_in_tokens(splits: MiniSplits) -> None:
    tokenizer = ByteLevelBPETokenizer()
    programs = [code for problem in splits.train for code in problem.solutions]
    tokenizer.train_from_iterator([*map(prompt, splits.train), *programs], vocab_size=1024, min_frequency=2, show_progress=False)
    statements = [len(tokenizer.encode(prompt(problem)).ids) for problem in everything(splits)]
    assert max(statements) <= 160
    assert 50 < sum(statements) / len(statements) < 110
    assert max(len(tokenizer.encode(code).ids) for code in programs) <= 90


def test_references_pass_and_starter_code_is_their_head(splits: MiniSplits) -> None:
    chosen = splits.train[:120] + splits.heldout[:40]
    pairs = [(problem, Program(problem.id, code, index)) for problem in chosen for index, code in enumerate(problem.solutions)]
    with Judge(workers=2) as judge:
        for which in ("hidden", "example"):
            for (problem, program), verdict in zip(pairs, judge.grade_many(pairs, which), strict=True):
                assert verdict.outcome is Outcome.PASSED_TEST, (problem.statement, program.code, verdict)
                assert program.code.startswith(problem.starter_code)


@pytest.mark.parametrize("sizes", [{"train": -1}, {"heldout": -5}])
def test_negative_size_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be 0 or more"):
        generate(0, **sizes)


def test_more_problems_than_the_family_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coderl.problems.mini.PATIENCE", 3)
    monkeypatch.setattr("coderl.problems.mini.TRIES", 1)
    with pytest.raises(UsageError, match="choose a smaller size"):
        generate(0, train=0, tests_only=0, validation=50000, heldout=0)


def test_only_problems_over_the_sources_asked_for_are_made() -> None:
    made = generate(3, train=20, tests_only=20, validation=8, heldout=8, sources=("words", "list"))
    assert {problem.extra["skeleton"].split("|")[0] for split in made for problem in split} == {"words", "list"}
    with pytest.raises(UsageError, match="the sources are wrods; give one or more of list, range"):
        generate(3, train=1, sources=("wrods",))
