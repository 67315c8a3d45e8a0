"""Token ids, prompts and indentation on real problems against numbers of the released code."""

import json
from pathlib import Path

import numpy as np
import pytest

from coderl.problems import apps
from coderl.problems.reindent import reindent
from coderl.prompts import prompt
from coderl.records import Problem
from coderl.tokens import decode, encode_program, encode_prompt, load_tokenizer
from golden_cases import read_json

IGNORE, END = -100, 2


@pytest.fixture(scope="module")
def codet5(data_dir):
    return load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")


def cases(golden: Path, data: Path) -> list[tuple[str, Problem, dict[str, np.ndarray], Path]]:
    """(number, problem, arrays, folder) of every problem that the golden folder has token ids of and whose files are at hand."""
    found = []
    for file in sorted(golden.glob("tokens_*.npz")):
        number = file.stem.removeprefix("tokens_")
        folder = next(
            (f for root in ("apps_coderl_sample", "apps") for f in sorted((data / root).rglob(number)) if (f / "question.txt").is_file()), None
        )
        if folder is not None:
            with np.load(file) as arrays:
                found.append((number, apps.read_problem(folder, None), {name: arrays[name] for name in arrays.files}, folder))
    assert found, f"{golden} has no tokens_*.npz of problems in {data}"
    return found


def real(row: np.ndarray) -> list[int]:
    return [int(i) for i in row if i != IGNORE]


def padded(ids: tuple[int, ...], size: int) -> list[int]:
    return [*ids, *[END] * (size - len(ids))]


def test_prompts_of_generation_and_scoring(golden_dir, data_dir, codet5):
    for number, problem, arrays, _ in cases(golden_dir, data_dir):
        ids, _ = encode_prompt(codet5, prompt(problem), 600, tail=0)
        assert list(ids) == arrays["generate_input_ids"].tolist(), number
        assert padded(ids, 600) == arrays["critic_scoring_input_ids"].tolist(), number


def test_prompts_and_references_of_training(golden_dir, data_dir, codet5):
    for number, problem, arrays, _ in cases(golden_dir, data_dir):
        ids = encode_prompt(codet5, prompt(problem, "training"), 10_000)[0][:600]  # their cut takes the end token too
        for row, solution in zip(range(len(arrays["none_labels"])), problem.solutions, strict=False):
            assert padded(ids, 600) == arrays["none_input_ids"][row].tolist(), number
            assert list(encode_program(codet5, reindent(solution), 512)[0]) == real(arrays["none_labels"][row]), number


def test_sampled_programs(golden_dir, data_dir, codet5):
    """The critic trains on programs as they are and scores them re-indented."""
    for number, _, arrays, folder in cases(golden_dir, data_dir):
        programs = json.loads((folder / "gen_solutions.json").read_text())
        for index, row in zip(arrays["critic_index"].tolist()[:2], arrays["critic_labels"], strict=False):
            assert list(encode_program(codet5, programs[index]["code"], 512)[0]) == real(row), number
        for index, row in enumerate(arrays["critic_scoring_labels"]):
            assert list(encode_program(codet5, reindent(programs[index]["code"]), 512)[0]) == real(row), number


def test_reindentation(golden_dir):
    pairs = read_json(golden_dir, "reindent.json")
    assert pairs
    assert [reindent(pair["input"]) for pair in pairs] == [pair["output"] for pair in pairs]


def test_indentation_survives_the_round_trip_on_all_references(data_dir, codet5):
    """Tabs, spaces and what mixes them, as written and re-indented."""
    solutions = [code for problem in apps.load(data_dir / "apps" / "train") for code in problem.solutions[:1]]
    solutions += [reindent(code) for code in solutions]
    assert len(solutions) > 200 and any("\t" in code for code in solutions) and any("\n  " in code for code in solutions)
    for code in solutions:
        ids, cut = encode_program(codet5, code, 100_000)
        assert not cut and decode(codet5, ids) == code
