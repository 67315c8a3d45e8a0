"""Chat models: the template around a prompt, programs in and out of code fences, and what training makes of an answer with prose in it."""

import pytest

from coderl.chat import KEY, REQUEST, fenced, is_chat, program_in
from coderl.errors import ModelError
from coderl.examples import Judged, Limits, program_ids, reference_examples
from coderl.models.actor import load_actor, save_actor
from coderl.problems import mini
from coderl.prompts import prompt
from coderl.records import Outcome, Problem, Program, Verdict
from coderl.repair import repair_source
from coderl.sampling import code_and_text
from coderl.signals import on_error_line
from coderl.tokens import Example, decode, encode_program, encode_prompt, load_tokenizer, token_texts
from decoder_only import gpt2_folder, qwen2_folder


@pytest.fixture(scope="module")
def problems():
    return mini.generate(0, train=10, tests_only=0, validation=0, heldout=0).train


@pytest.fixture(scope="module")
def chat(problems, tmp_path_factory):
    tokenizer = load_tokenizer(qwen2_folder(tmp_path_factory.mktemp("qwen"), problems))
    tokenizer.init_kwargs[KEY] = "chat"
    return tokenizer


def test_a_prompt_is_what_the_template_makes_of_the_users_turn(chat, problems):
    for problem in problems:
        turn = [{"role": "user", "content": REQUEST + prompt(problem).strip()}]
        theirs = chat.apply_chat_template(turn, tokenize=True, add_generation_prompt=True, return_dict=False)
        ours, cut = encode_prompt(chat, prompt(problem), 10_000)
        assert not cut and list(ours) == list(theirs)


def test_a_cut_keeps_the_template_and_the_end_of_the_statement(chat, problems):
    whole, _ = encode_prompt(chat, prompt(problems[0]), 10_000)
    ids, cut = encode_prompt(chat, prompt(problems[0]), 90)
    assert cut and len(ids) == 90
    assert chat.decode(list(ids)).endswith("ANSWER:<|im_end|>\n<|im_start|>assistant\n")
    assert ids[:30] == whole[:30] and ids[-30:] == whole[-30:]


def test_plain_models_are_asked_as_before(problems, tmp_path):
    tokenizer = load_tokenizer(qwen2_folder(tmp_path, problems))
    assert not is_chat(tokenizer)
    text = prompt(problems[0])
    assert list(encode_prompt(tokenizer, text, 10_000)[0]) == tokenizer.encode(text, add_special_tokens=False)
    assert decode(tokenizer, encode_program(tokenizer, "x = 1\n", 99)[0]) == "x = 1\n"


def test_without_a_template_it_is_one_sentence(problems, tmp_path):
    tokenizer = load_tokenizer(gpt2_folder(tmp_path, problems))
    tokenizer.init_kwargs[KEY] = "chat"
    with pytest.raises(ModelError, match="no chat template"):
        encode_prompt(tokenizer, "a", 99)


@pytest.mark.parametrize(
    "text, code",
    [
        ("Sure:\n```python\nprint(1)\n```\nIt prints 1.", "print(1)\n"),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("```py\nprint(1)\n", "print(1)\n"),  # cut before the fence was closed
        ("```bash\npip install something-long-named\n```\n```python\nx = 1\n```", "x = 1\n"),  # Python first, however short
        ("```python\na\n```\nOr longer:\n```python\nabc\nd\n```", "abc\nd\n"),
        ("print(1)\n", "print(1)\n"),
        ("```\n```", ""),
    ],
)
def test_the_program_of_an_answer(text, code):
    assert program_in(text, chat=True) == code


def test_a_plain_program_may_hold_a_fence():
    text = 'def f():\n    """\n```\nf()\n```\n    """\n    return 1\n'
    assert program_in(text, chat=False) == text
    assert program_in("\n```python\nprint(1)\n```\n", chat=False) == "print(1)\n"  # no Python program begins so


def test_references_are_taught_in_a_fence_and_come_out_of_it(chat, problems):
    examples = reference_examples(chat, problems, Limits(600, 512)).examples
    solutions = [code for problem in problems for code in problem.solutions]
    for example, code in zip(examples, solutions, strict=True):
        assert example.program[-1] == chat.eos_token_id
        text = decode(chat, example.program)
        assert text == fenced(code) and program_in(text, chat=True).strip() == code.strip()


def test_what_was_drawn_is_learnt_from_whole(chat):
    ids = (*chat.encode("Here:\n```python\nprint(1)\n```\n", add_special_tokens=False), chat.eos_token_id)
    code, extra = code_and_text(chat, ids, Problem("a", "s", "stdin", (), ()))
    assert code == "print(1)\n" and extra == {"text": "Here:\n```python\nprint(1)\n```\n"}
    program = Program("a", code, 0, extra={"token_ids": list(ids), **extra})
    assert program_ids(chat, program, 99) == (ids, False)
    other = Program("a", code, 0, extra={"token_ids": list(ids)})  # ids that say something else: the program is encoded anew
    assert decode(chat, program_ids(chat, other, 99)[0]) == fenced(code)


def test_the_error_line_is_found_inside_the_answer(chat):
    text = "First words.\nMore words.\n```python\na = 1\nb = a / 0\nc = 2\n```\n"
    ids = tuple(chat.encode(text, add_special_tokens=False))
    code, extra = code_and_text(chat, ids, Problem("a", "s", "stdin", (), ()))
    program = Program("a", code, 0, extra={"token_ids": list(ids), **extra})
    verdict = Verdict("a", 0, Outcome.RUNTIME_ERROR, "ZeroDivisionError", "division by zero", error_line=2)
    spread = on_error_line(chat, {"a": Problem("a", "s", "stdin", (), ())})
    weights = spread(Judged(program, verdict), Example("a", (1,), ids), 0.0)
    marked = "".join(t for t, w in zip(token_texts(chat, ids), weights.tolist()) if w != 0)
    assert marked.strip() == "b = a / 0"


def test_a_repair_model_is_asked_through_the_template_too(chat, problems):
    verdict = Verdict(problems[0].id, 0, Outcome.FAILED_TEST)
    ids, _ = repair_source(chat, problems[0], Program(problems[0].id, "print(1)\n", 0), verdict, 600)
    text = chat.decode(list(ids))
    assert text.startswith("<|im_start|>system") and text.endswith("REPAIRED PROGRAM:\n<|im_end|>\n<|im_start|>assistant\n")


def test_the_choice_goes_with_the_tokenizer(problems, tmp_path):
    actor = load_actor(qwen2_folder(tmp_path / "a", problems))
    actor.tokenizer.init_kwargs[KEY] = "chat"
    save_actor(actor, tmp_path / "b")
    assert is_chat(load_tokenizer(tmp_path / "b"))
