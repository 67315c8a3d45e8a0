"""Tokenizers round-trip, prompts are cut in the middle, batches hold every example once and keep to their budget."""

import random

import pytest
import torch

from coderl.errors import ModelError
from coderl.tokens import (
    Example,
    collate,
    decode,
    encode_program,
    encode_prompt,
    epoch_batches,
    load_tokenizer,
    longer_than,
    sentinel_ids,
    token_texts,
    train_tokenizer,
    whole_text,
)

CODE = "def f(nums):\n    return [x * 2 for x in nums if x % 3 == 0]\n\n\tprint('a  b')  # ünïcode → ☃ \u200b\n"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([CODE, "Read a list of numbers and print the sum.\n"] * 5, 300)


def test_special_ids_are_those_of_codet5(tokenizer):
    assert (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2, 3)


@pytest.mark.parametrize("text", [CODE, " leading", "", "\n\n\n", "a , b . c ' s n't", "x" * 500, "\x00\x7f", "日本語", "<s> is text? "])
def test_programs_round_trip(tokenizer, text):
    ids, cut = encode_program(tokenizer, text, 5000)
    assert not cut and ids[-1] == 2
    if "<s>" not in text:  # a special token written out in a program is dropped when decoded
        assert decode(tokenizer, ids) == text
        assert "".join(token_texts(tokenizer, ids)) == text


def test_half_a_character_is_shown_with_its_end(tokenizer):
    ids = tokenizer.encode("☃x☃", add_special_tokens=False)[:-1]  # the last character is torn
    texts = token_texts(tokenizer, ids)
    assert len(texts) == len(ids) and "".join(texts) == decode(tokenizer, ids)
    assert texts[0] == "" and "☃" in texts


@pytest.mark.parametrize("text", ["a☃b☃", "日本語", "plain", "\ufffd is a character too", ""])
def test_a_prefix_never_ends_within_a_character(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    for length in range(len(ids) + 1):
        kept = whole_text(tokenizer, ids, length)
        assert kept <= length and text.startswith(decode(tokenizer, ids[:kept]))
        assert kept == length or not text.startswith(decode(tokenizer, ids[:length]))  # no token is given up without need
    assert whole_text(tokenizer, ids, len(ids)) == len(ids)


def test_sentinels_stand_behind_the_entries_in_the_order_of_codet5():
    tokenizer = train_tokenizer([CODE], 300, sentinels=3)
    entries = len(tokenizer) - 3
    assert sentinel_ids(tokenizer) == (entries + 2, entries + 1, entries)  # <extra_id_0> has the highest id
    assert tokenizer.encode("a <extra_id_1>b", add_special_tokens=False)[-2] == entries + 1
    assert sentinel_ids(train_tokenizer([CODE], 300)) == ()


def test_sentinels_of_codet5(data_dir):
    assert sentinel_ids(load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")) == tuple(range(32099, 31999, -1))


def test_codet5_files_load_and_round_trip(data_dir):
    codet5 = load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")
    assert len(codet5) == 32100
    assert (codet5.pad_token_id, codet5.bos_token_id, codet5.eos_token_id) == (0, 1, 2)
    ids, _ = encode_program(codet5, CODE, 512)
    assert decode(codet5, ids) == CODE


def test_what_a_tokenizer_puts_around_texts_goes_around_prompts_and_programs(data_dir, tokenizer):
    codet5 = load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce")
    for made, front, back in ((codet5, [1], [2]), (tokenizer, [], [])):
        bare = made.encode("x = 1", add_special_tokens=False)
        assert encode_prompt(made, "x = 1", 50) == ((*front, *bare, *back), False)
        assert encode_program(made, "x = 1", 50) == ((*front, *bare, 2), False)
    assert encode_program(codet5, "x = 1\n" * 90, 50)[0][0] == 1


def test_the_codet5_form_survives_saving(data_dir, tmp_path):
    load_tokenizer(data_dir / "codet5_tokenizer" / "salesforce").save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert len(again) == 32100 and again.convert_tokens_to_ids("<extra_id_0>") == 32099
    assert encode_program(again, "", 5) == ((1, 2), False)


def test_a_long_prompt_loses_its_middle(tokenizer):
    ids, cut = encode_prompt(tokenizer, "the sum " * 400 + "\nANSWER:\n", 60)
    assert cut and len(ids) == 60
    assert decode(tokenizer, ids).endswith("\nANSWER:\n")
    assert encode_prompt(tokenizer, "the sum", 60)[1] is False


def test_a_long_program_is_cut_without_an_end(tokenizer):
    ids, cut = encode_program(tokenizer, "x = 1\n" * 2_000_000, 50)
    assert cut and len(ids) == 50 and ids[-1] != 2


def make_examples(count, seed=0):
    draw = random.Random(seed)
    prompts = {str(i): tuple(range(5, 5 + draw.randrange(5, 60))) for i in range(count // 3)}
    return [Example(key := draw.choice(sorted(prompts)), prompts[key], tuple(range(draw.randrange(3, 40)))) for _ in range(count)]


@pytest.mark.parametrize("group", [1, 2, 8])
def test_an_epoch_has_every_example_once_within_the_budget(group):
    examples = make_examples(300)
    batches = list(epoch_batches(examples, 1000, seed=3, group=group))
    assert sorted(e for b in batches for e in b) == sorted(examples)
    for batch in batches:
        padded = collate(batch, 0)
        assert padded.prompts.numel() + padded.labels.numel() <= 1000


def test_examples_over_the_budget_are_counted_and_come_alone():
    examples = [Example(str(i), tuple(range(5, 5 + size)), (5, 2)) for i, size in enumerate((3, 8, 9, 30))]
    assert longer_than(examples, 10) == 2  # 9 + 2 and 30 + 2
    batches = list(epoch_batches(examples, 10, seed=0))
    assert sorted(len(e.prompt) for b in batches for e in b) == [3, 8, 9, 30]
    assert all(len(b) == 1 for b in batches if longer_than(b, 10))


def test_epochs_are_repeatable_and_differ():
    examples = make_examples(100)
    assert list(epoch_batches(examples, 800, seed=1)) == list(epoch_batches(examples, 800, seed=1))
    assert list(epoch_batches(examples, 800, seed=1)) != list(epoch_batches(examples, 800, seed=2))


def test_buckets_keep_padding_small():
    examples = make_examples(600)
    real = padded = 0
    for batch in epoch_batches(examples, 2000, seed=0):
        tensors = collate(batch, 0)
        real += int(tensors.prompt_mask.sum() + tensors.mask.sum())
        padded += tensors.prompts.numel() + tensors.labels.numel()
    assert real / padded > 0.7  # random batches: 0.5


def test_collate_by_hand():
    batch = collate([Example("a", (5, 6), (7, 2), (0.5, -1.0), 1, False), Example("b", (5,), (2,)), Example("a", (5, 6), (2,))], 0)
    assert batch.prompts.tolist() == [[5, 6], [5, 0]] and batch.prompt_mask.tolist() == [[True, True], [True, False]]
    assert batch.row_prompt.tolist() == [0, 1, 0]
    assert batch.labels.tolist() == [[7, 2], [2, -100], [2, -100]]
    assert torch.equal(batch.weights, torch.tensor([[0.5, -1.0], [0, 0], [0, 0]]))
    assert batch.outcomes.tolist() == [1, 3, 3] and batch.supervised.tolist() == [False, True, True]


def test_a_folder_without_tokenizer_is_refused(tmp_path):
    with pytest.raises(ModelError, match="not a folder"):
        load_tokenizer(tmp_path / "absent")
    with pytest.raises(ModelError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError):
        load_tokenizer(tmp_path)
