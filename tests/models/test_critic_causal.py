"""Critics with a decoder-only body: pooled over the program and nothing else, values after a token is read, files that come back."""

import pytest
import torch
from transformers import AutoModel

from coderl.errors import ModelError, UsageError
from coderl.models.actor import load_actor, program_states, states_and_log_probs, without_dropout
from coderl.models.actor import program_log_probs as log_probs
from coderl.models.adapters import adapted, add_adapters, remove_adapters
from coderl.models.critic import (
    PaperHead,
    ReleasedHead,
    critic_from_actor,
    critic_from_config,
    load_critic,
    load_released_critic,
    reading_prefixes,
    save_critic,
)
from coderl.problems import mini
from coderl.scoring import read_batch, read_programs
from coderl.tokens import Example, collate
from decoder_only import FAMILIES, gpt2_folder, starcoder2_folder

EXAMPLES = [Example("a", (5, 6, 7, 8), (9, 10, 2)), Example("b", (11,), (12, 2)), Example("a", (5, 6, 7, 8), (13, 14, 15, 16, 2))]


@pytest.fixture(scope="module")
def problems():
    return mini.generate(0, train=10, tests_only=0, validation=0, heldout=0).train


@pytest.fixture(scope="module", params=FAMILIES)
def actor(request, problems, tmp_path_factory):
    return load_actor(request.param(tmp_path_factory.mktemp("causal"), problems))


@pytest.fixture(scope="module")
def critic(actor):
    return critic_from_actor(actor.model, PaperHead, 4, seed=1).eval()


def states_alone(body, example):
    """States of one text, from the body's own forward and nothing beside it: (prompt + program, d)."""
    return body(input_ids=torch.tensor([example.prompt + example.program])).last_hidden_state[0]


def test_the_maximum_is_over_the_program_behind_its_prompt(critic):
    with torch.no_grad():
        found = read_batch(critic, collate(EXAMPLES, 0))
        for row, example in enumerate(EXAMPLES):
            behind = states_alone(critic.body, example)[len(example.prompt) :]  # the state at w_t has read w_t
            assert torch.allclose(found.token_logits[row, : len(example.program)], critic.head.linear(behind), atol=1e-4)
            assert torch.allclose(found.logits[row], critic.head.linear(behind.amax(0)), atol=1e-4)
            # with the prompt's states in the maximum it would be another number: they are left out, not just small
            everything = critic.head.linear(states_alone(critic.body, example).amax(0))
            assert not torch.allclose(found.logits[row], everything, atol=1e-3) or len(example.prompt) == 1


def test_a_value_depends_on_its_token_and_not_on_later_ones(critic):
    def values(program):
        return torch.tensor(read_programs(critic, [Example("a", (5, 6, 7), program)])[0].values)

    one, later, here = values((9, 10, 11, 12)), values((9, 10, 11, 13)), values((9, 14, 11, 12))
    assert torch.allclose(one[:3], later[:3], atol=1e-6) and not torch.allclose(one[3], later[3], atol=1e-6)
    assert torch.allclose(one[:1], here[:1], atol=1e-6) and not torch.allclose(one[1], here[1], atol=1e-6)


def test_prefixes_read_as_wholes_end_in_the_whole(critic):
    whole = read_programs(critic, EXAMPLES)
    prefixes = read_programs(reading_prefixes(critic), EXAMPLES)
    for a, b in zip(whole, prefixes):
        assert b.passed[-1] == pytest.approx(a.probabilities[-1], abs=1e-5)


def test_it_starts_as_the_actor_and_leaves_it_alone(actor, critic):
    for name, value in actor.model.base_model.state_dict().items():
        assert torch.equal(critic.body.state_dict()[name], value)
    own = {p.data_ptr() for p in actor.model.parameters()}
    assert not own & {p.data_ptr() for p in critic.parameters()}


def test_what_is_saved_comes_back_and_loads_elsewhere(critic, tmp_path):
    save_critic(critic, tmp_path)
    again = load_critic(tmp_path)
    assert again.outcomes == 4 and not again.shares_prompts
    with torch.no_grad():
        ours, theirs = read_batch(critic, collate(EXAMPLES, 0)), read_batch(again, collate(EXAMPLES, 0))
    assert torch.equal(ours.logits, theirs.logits) and torch.equal(ours.token_logits, theirs.token_logits)
    body, report = AutoModel.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not any(report.values()) and body.state_dict().keys() == critic.body.state_dict().keys()


def test_adapters_learn_and_merge(actor):
    critic = critic_from_actor(actor.model, PaperHead, 2, seed=1)
    names = critic.body.state_dict().keys()
    add_adapters(critic.body, 2, 0)
    assert adapted(critic.body) and not any(p.requires_grad for n, p in critic.body.named_parameters() if "lora" not in n)
    read_batch(critic, collate(EXAMPLES, 0)).logits.sum().backward()
    assert all(layer.lora_B["default"].weight.grad.abs().sum() > 0 for layer in adapted(critic.body).values())
    remove_adapters(critic.body)
    assert critic.body.state_dict().keys() == names


def test_states_and_log_probabilities_of_one_pass_are_those_of_two(actor):
    batch = collate(EXAMPLES, 0)
    with torch.no_grad():
        states, both = states_and_log_probs(actor.model, batch)
        assert torch.allclose(states, program_states(actor.model, batch), atol=1e-5)
        assert torch.allclose(both, log_probs(actor.model, batch), atol=1e-5)
        first = states_alone(actor.model.base_model, EXAMPLES[0])[len(EXAMPLES[0].prompt) - 1 : -1]  # before each token is read
        assert torch.allclose(states[: len(first)], first, atol=1e-4)


def test_without_dropout_two_readings_are_equal_while_training(problems, tmp_path):
    """StarCoder2 keeps its rates in plain numbers, on its attention and behind it."""
    model = load_actor(starcoder2_folder(tmp_path, problems)).model.train()
    for module in model.modules():
        for name in ("attention_dropout", "residual_dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.5)
    batch = collate(EXAMPLES, 0)
    assert not torch.equal(log_probs(model, batch), log_probs(model, batch))
    without_dropout(model)
    assert torch.equal(log_probs(model, batch), log_probs(model, batch))


def test_what_cannot_work_is_one_sentence(actor, critic, problems, tmp_path):
    with pytest.raises(ModelError, match="the released head goes with a T5; the critic's body is decoder-only"):
        critic_from_config(actor.model.config, ReleasedHead, 4, seed=0)
    with pytest.raises(ModelError, match=r"a critic needs a T5 body$"):
        load_released_critic(gpt2_folder(tmp_path, problems))
    with pytest.raises(UsageError, match="up to 600 tokens, and the model has 512 positions"):
        read_batch(critic, collate([Example("a", (5,) * 590, (6,) * 10)], 0))
