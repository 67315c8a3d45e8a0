"""Decoder-only actors: loaded with what their tokenizers lack, and log-probabilities of programs behind their prompts."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from coderl.errors import ModelError, UsageError
from coderl.models.actor import load_actor, program_log_probs, save_actor, t5_of
from coderl.models.adapters import adapted, add_adapters, plain_weights, remove_adapters
from coderl.models.causal import joined
from coderl.models.t5_passes import recompute
from coderl.problems import mini
from coderl.tokens import IGNORE, Example, collate, encode_prompt
from decoder_only import FAMILIES, gpt2_folder, llama_folder

EXAMPLES = [Example("a", (5, 6, 7, 8), (9, 10, 2)), Example("b", (11,), (12, 2)), Example("a", (5, 6, 7, 8), (13, 14, 15, 16, 2))]


@pytest.fixture(scope="module")
def problems():
    return mini.generate(0, train=10, tests_only=0, validation=0, heldout=0).train


@pytest.fixture(scope="module", params=FAMILIES)
def actor(request, problems, tmp_path_factory):
    return load_actor(request.param(tmp_path_factory.mktemp("causal"), problems))


def alone(model, example):
    """log p of each token of one program, from the model's own forward on prompt + program and nothing else."""
    whole = torch.tensor([example.prompt + example.program])
    logits = model(input_ids=whole).logits[0].log_softmax(-1)
    return [float(logits[len(example.prompt) - 1 + t, w]) for t, w in enumerate(example.program)]


def test_rows_are_prompts_with_programs_behind_them():
    batch = collate(EXAMPLES, 0)
    rows = joined(batch.prompts, batch.prompt_mask, batch.labels, batch.mask, batch.row_prompt)
    assert rows.ids.tolist() == [[5, 6, 7, 8, 9, 10, 2, 0, 0], [11, 12, 2, 0, 0, 0, 0, 0, 0], [5, 6, 7, 8, 13, 14, 15, 16, 2]]
    assert rows.real.sum(1).tolist() == [7, 3, 9] and rows.first.tolist() == [4, 1, 4]


def test_log_probabilities_are_those_of_each_text_alone(actor):
    batch = collate(EXAMPLES, 0)
    with torch.no_grad():
        found = program_log_probs(actor.model, batch)
        for row, example in enumerate(EXAMPLES):
            size = len(example.program)
            assert found[row, :size].tolist() == pytest.approx(alone(actor.model, example), abs=1e-4)
            assert not found[row, size:].any()


def test_tokens_that_do_not_count_are_read_but_have_no_log_probability(actor):
    whole = collate(EXAMPLES, 0)
    mask = whole.mask.clone()
    mask[0, 1] = mask[2, 4] = False
    with torch.no_grad():
        all_of_them, some = program_log_probs(actor.model, whole), program_log_probs(actor.model, whole._replace(mask=mask))
    assert torch.allclose(some, all_of_them.masked_fill(~mask, 0.0), atol=1e-5)
    assert whole.labels[1, 2] == IGNORE


def test_gradients_do_not_depend_on_neighbours(actor):
    def gradient(parts):
        actor.model.zero_grad()
        for part in parts:
            program_log_probs(actor.model, collate(part, 0)).sum().backward()
        return {name: p.grad.clone() for name, p in actor.model.named_parameters()}

    together, apart = gradient([EXAMPLES]), gradient([[e] for e in EXAMPLES])
    assert all(torch.allclose(together[name], apart[name], rtol=1e-3, atol=1e-4) for name in together)
    recompute(actor.model.train(), True)
    again = gradient([EXAMPLES])
    recompute(actor.model.eval(), False)
    if actor.model.config.model_type in ("llama", "qwen2", "qwen3"):  # others have dropout while they train
        assert all(torch.allclose(together[name], again[name], rtol=1e-3, atol=1e-4) for name in together)


def test_adapters_are_on_the_projections_and_merge_into_a_plain_model(actor):
    model = copy.deepcopy(actor.model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    add_adapters(model, 2, 0)
    assert len(adapted(model)) == (2 if model.config.model_type in ("gpt2", "codegen") else 4)  # one layer makes q, k and v there
    with torch.no_grad():
        for layer in adapted(model).values():
            layer.lora_B["default"].weight.normal_()
        ours, plain = program_log_probs(model, collate(EXAMPLES, 0)), plain_weights(model)
        remove_adapters(model)
        assert torch.allclose(program_log_probs(model, collate(EXAMPLES, 0)), ours, atol=1e-3)
    assert before.keys() == plain.keys() == model.state_dict().keys()
    moved = {name for name in before if not torch.equal(before[name], plain[name])}
    assert moved and all(name.split(".")[-2] in ("q_proj", "v_proj", "c_attn", "qkv_proj") for name in moved)


def test_a_saved_one_is_an_ordinary_folder(actor, tmp_path):
    save_actor(actor, tmp_path)
    theirs, again = AutoModelForCausalLM.from_pretrained(tmp_path), load_actor(tmp_path)
    for name, value in actor.model.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value) and torch.equal(again.model.state_dict()[name], value)


def test_the_tokenizer_gets_padding_and_the_opening_of_its_family(problems, tmp_path):
    gpt2, llama = load_actor(gpt2_folder(tmp_path / "g", problems)), load_actor(llama_folder(tmp_path / "l", problems))
    assert gpt2.tokenizer.pad_token_id == 0 and llama.tokenizer.pad_token_id == 2
    for one, first in ((gpt2, []), (llama, [1])):
        bare = one.tokenizer.encode("def f():", add_special_tokens=False)
        assert encode_prompt(one.tokenizer, "def f():", 99) == ((*first, *bare), False)
        ids, cut = encode_prompt(one.tokenizer, "def f():\n" * 40, 20)
        assert cut and len(ids) == 20 and list(ids[: len(first)]) == first


def test_generation_stops_at_the_end_that_programs_are_taught(problems, tmp_path):
    llama_folder(tmp_path, problems)
    settings = json.loads((tmp_path / "generation_config.json").read_text()) | {"eos_token_id": [7]}
    (tmp_path / "generation_config.json").write_text(json.dumps(settings))
    assert load_actor(tmp_path).model.generation_config.eos_token_id == [7, 2]


def test_what_cannot_work_is_one_sentence(actor, problems, tmp_path):
    with pytest.raises(ModelError, match=r"B-Coder needs an encoder-decoder of type 't5'; the actor is decoder-only \('\w+'\)"):
        t5_of(actor, "B-Coder")
    with pytest.raises(UsageError, match="up to 600 tokens, and the model has 512 positions"):
        program_log_probs(actor.model, collate([Example("a", (5,) * 590, (6,) * 10)], 0))
    gpt2_folder(tmp_path, problems)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": None}))
    with pytest.raises(ModelError, match="no eos_token"):
        load_actor(tmp_path)
