"""The actor: log-probabilities with shared prompts, saving and loading."""

import json

import pytest
import torch

from coderl.errors import ModelError
from coderl.models.actor import Actor, load_actor, program_log_probs, save_actor, small_t5
from coderl.tokens import Example, collate, train_tokenizer

TEXTS = ["print(sum(map(int, input().split())))", "def f(x):\n    return x + 1", "Write a program that adds numbers."] * 3


def small_actor(seed=0):
    tokenizer = train_tokenizer(TEXTS, 280)
    return Actor(small_t5(len(tokenizer), seed, width=16, heads=2, feed_forward=32), tokenizer)


def examples():
    return [
        Example("a", (5, 6, 7), (8, 9, 2)),
        Example("b", (9, 9, 9, 9, 10), (11, 2)),
        Example("a", (5, 6, 7), (12, 13, 14, 15, 2)),
    ]


def test_log_probs_equal_hugging_face_one_by_one():
    model = small_actor().model.eval()
    batch = collate(examples(), 0)
    got = program_log_probs(model, batch)
    assert batch.prompts.shape[0] == 2  # the prompt of "a" is encoded once
    for row, example in enumerate(examples()):
        out = model(input_ids=torch.tensor([example.prompt]), labels=torch.tensor([example.program]))
        expected = out.logits[0].log_softmax(-1)[range(len(example.program)), list(example.program)]
        assert torch.allclose(got[row, : len(example.program)], expected, atol=1e-5)
        assert torch.equal(got[row, len(example.program) :], torch.zeros(got.shape[1] - len(example.program)))


def test_gradient_equals_that_of_separate_prompts():
    model = small_actor().model
    program_log_probs(model, collate(examples(), 0)).sum().backward()
    shared = {n: p.grad.clone() for n, p in model.named_parameters()}
    model.zero_grad()
    apart = [e._replace(key=str(i)) for i, e in enumerate(examples())]
    program_log_probs(model, collate(apart, 0)).sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(shared[name], parameter.grad, atol=1e-4), name


def test_saved_actor_loads_with_from_pretrained(tmp_path):
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    actor = small_actor()
    save_actor(actor, tmp_path / "actor")
    again = load_actor(tmp_path / "actor")
    plain = T5ForConditionalGeneration.from_pretrained(tmp_path / "actor")
    for mine, theirs, original in zip(again.model.parameters(), plain.parameters(), actor.model.parameters()):
        assert torch.equal(mine, original) and torch.equal(theirs, original)
    text = TEXTS[1]
    ids = actor.tokenizer.encode(text, add_special_tokens=False)
    assert again.tokenizer.encode(text, add_special_tokens=False) == ids
    assert AutoTokenizer.from_pretrained(tmp_path / "actor").encode(text, add_special_tokens=False) == ids


def test_a_folder_that_is_no_model_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="not a model folder"):
        load_actor(tmp_path / "absent")
    with pytest.raises(ModelError, match=r"config\.json is absent"):
        load_actor(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ModelError, match="'bert'"):
        load_actor(tmp_path)
    save_actor(small_actor(), tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"\x00" * 30)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_actor(tmp_path / "torn")


def test_a_tokenizer_larger_than_the_model_is_refused(tmp_path):
    actor = small_actor()
    save_actor(Actor(small_t5(100, 0, width=16, heads=2, feed_forward=32), actor.tokenizer), tmp_path / "actor")
    with pytest.raises(ModelError, match="not trained together"):
        load_actor(tmp_path / "actor")
