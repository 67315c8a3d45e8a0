"""Prompts: the released generation form to the character, one form a kind, and what show-prompt says of cuts."""

import hashlib
import json
from pathlib import Path

import pytest

from coderl.errors import CoderlError, DataError, ProblemError, UsageError
from coderl.prompts import KEPT_AS, before_stop, keep_template, prompt, template_of
from coderl.recipes import show_prompt
from coderl.records import Problem, Test
from coderl.store import write_records


def problem(**changes: object) -> Problem:
    return Problem(**{"id": "t/1", "statement": "Add two numbers.", "kind": "stdin", **changes})  # type: ignore[arg-type]


def test_stdin_prompt() -> None:
    assert prompt(problem()) == "\nQUESTION:\nAdd two numbers.\nUse Standard Input format\nANSWER:\n"


def test_call_prompt_shows_starter_code() -> None:
    text = prompt(problem(kind="call", entry_point="add", starter_code="def add(a, b):\n\t"))
    assert text == "\nQUESTION:\nAdd two numbers.\ndef add(a, b):\n\t\nUse Call-Based format\nANSWER:\n"


def test_starter_code_does_not_decide_the_format() -> None:
    """The kind of the tests decides (generation form), not the presence of starter code (released training form)."""
    assert "Use Standard Input format" in prompt(problem(starter_code="import sys\n"))


def test_mbpp_prompt_shows_three_asserts() -> None:
    asserts = tuple(Test(code=f"assert add({i}, 1) == {i + 1}") for i in range(4))
    assert prompt(problem(kind="assert", examples=asserts)) == (
        "Add two numbers.\nYour code should satisfy these tests:\nassert add(0, 1) == 1\nassert add(1, 1) == 2\nassert add(2, 1) == 3\n"
    )


def test_humaneval_prompt_is_the_function_head() -> None:
    head = 'def add(a, b):\n    """Add."""\n'
    assert prompt(problem(kind="assert", starter_code=head)) == head


def test_hidden_tests_and_solutions_never_show() -> None:
    for kind in ("stdin", "call", "assert"):
        hidden = (Test(code="assert SECRET"),) if kind == "assert" else (Test(input="SECRET", output="SECRET"),)
        assert "SECRET" not in prompt(problem(kind=kind, tests=hidden, solutions=("SECRET",), setup="SECRET"))


def test_the_training_template_by_hand() -> None:
    """A line for the starter code always, "call" wherever there is some, blank lines around the form; other kinds have one form."""
    assert prompt(problem(), "training") == "\nQUESTION:\nAdd two numbers.\n\n\nUse Standard Input format\n\nANSWER:\n"
    call = problem(kind="call", entry_point="f", starter_code="def f():")
    assert prompt(call, "training") == "\nQUESTION:\nAdd two numbers.\ndef f():\n\nUse Call-Based format\n\nANSWER:\n"
    assert prompt(problem(kind="assert"), "training") == prompt(problem(kind="assert"))


def test_a_template_goes_with_the_tokenizer(tmp_path: Path) -> None:
    from coderl.tokens import load_tokenizer, train_tokenizer

    made = train_tokenizer(["a b c"] * 3, 300)
    assert template_of(made) == "generation"
    keep_template(made, "training")
    made.save_pretrained(tmp_path)
    assert template_of(load_tokenizer(tmp_path)) == "training"
    made.init_kwargs[KEPT_AS] = "other"
    with pytest.raises(DataError, match="is 'other'; it must be one of generation, training"):
        template_of(made)


def test_a_prompt_of_the_problem_s_own_is_taken_word_for_word() -> None:
    assert prompt(problem(extra={"prompt": "Do it: "})) == "Do it: "
    with pytest.raises(ProblemError, match="has the prompt 3"):
        prompt(problem(extra={"prompt": 3}))


def test_answers_end_at_the_first_stop() -> None:
    stops = problem(extra={"stop": ["[DONE]", "\nclass"]})
    assert before_stop(stops, "x\nclass A[DONE]") == "x" and before_stop(stops, "x[DONE]\nclass") == "x" and before_stop(stops, "x") == "x"
    assert before_stop(problem(), "x[DONE]") == "x[DONE]"
    with pytest.raises(ProblemError, match="has the stop"):
        before_stop(problem(extra={"stop": [""]}), "x")


def test_assert_example_without_code_is_an_error() -> None:
    with pytest.raises(ProblemError, match=r"'t/1'.*example 0 has no 'code'"):
        prompt(problem(kind="assert", examples=(Test(input=[1], output=2),)))


def test_equal_to_the_released_generation_prompt(data_dir: Path, golden_dir: Path) -> None:
    meta = json.loads((golden_dir / "tokens_meta.json").read_text())
    seen = 0
    for number, facts in meta.items():
        folder = next((f for f in (data_dir / "apps_coderl_sample").rglob(number) if (f / "question.txt").is_file()), None)
        folder = folder or next((f for f in (data_dir / "apps").rglob(number) if (f / "question.txt").is_file()), None)
        if folder is None or "generate_prompt_sha256_utf8" not in facts:
            continue
        call = bool(json.loads((folder / "input_output.json").read_text()).get("fn_name"))
        starter = (folder / "starter_code.py").read_text() if (folder / "starter_code.py").is_file() else ""
        text = prompt(problem(statement=(folder / "question.txt").read_text(), kind="call" if call else "stdin", starter_code=starter))
        assert hashlib.sha256(text.encode()).hexdigest() == facts["generate_prompt_sha256_utf8"], number
        seen += 1
    assert seen > 0


@pytest.fixture
def problems_file(tmp_path: Path) -> Path:
    path = tmp_path / "p.jsonl"
    write_records(path, [problem(), problem(id="t/2", statement="first " + "word " * 400 + "last")])
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from coderl.tokens import train_tokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    train_tokenizer(["\nQUESTION:\nword first last\nUse Standard Input format\nANSWER:\n"] * 3, 300).save_pretrained(folder)
    return folder


def test_show_prompt_prints_the_prompt(problems_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_prompt.main(show_prompt.Config(problems_file))
    assert capsys.readouterr().out == prompt(problem())


def test_show_prompt_counts_tokens(problems_file: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from coderl.tokens import load_tokenizer

    count = len(load_tokenizer(tokenizer).encode(prompt(problem())))
    show_prompt.main(show_prompt.Config(problems_file, tokenizer=tokenizer))
    assert f"\n--\n{count} tokens; the model reads 600: nothing is cut\n" in capsys.readouterr().out


def test_show_prompt_says_what_is_cut(problems_file: Path, tokenizer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With 100 of N tokens read, N - 100 are cut, all of them the repeated word in the middle."""
    from coderl.tokens import load_tokenizer

    text = prompt(problem(statement="first " + "word " * 400 + "last"))
    count = len(load_tokenizer(tokenizer).encode(text))
    show_prompt.main(show_prompt.Config(problems_file, id="t/2", tokenizer=tokenizer, max_source_tokens=100))
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith(f"{count} tokens; the model reads 100: {count - 100} tokens are cut, from ")
    assert "word word" in line and "first" not in line and "last" not in line


def test_show_prompt_unknown_id_names_close_ones(problems_file: Path) -> None:
    with pytest.raises(DataError, match=r"no problem 't/11' among its 2; for example it has t/1"):
        show_prompt.main(show_prompt.Config(problems_file, id="t/11"))


def test_show_prompt_refuses_a_limit_below_one(problems_file: Path) -> None:
    with pytest.raises(UsageError, match="--max-source-tokens is 0; it must be 1 or more"):
        show_prompt.main(show_prompt.Config(problems_file, max_source_tokens=0))


def test_show_prompt_refuses_a_folder_without_tokenizer(problems_file: Path, tmp_path: Path) -> None:
    with pytest.raises(CoderlError, match="holds no tokenizer"):
        show_prompt.main(show_prompt.Config(problems_file, tokenizer=tmp_path))
