"""The Q model: at the start it is the checkpoint, in each stage only what should learn learns, and its folder is an actor's too."""

import json

import pytest
import torch
from transformers import T5ForConditionalGeneration

from coderl.errors import ModelError
from coderl.formulas.bcoder import dueling_values
from coderl.models.actor import Actor, load_actor, program_log_probs, save_actor, small_t5
from coderl.models.bcoder import (
    Constants,
    FrozenEncoder,
    QModel,
    load_q_model,
    read_logits,
    read_policy,
    read_values,
    save_q_model,
    spread,
)
from coderl.tokens import Example, collate, train_tokenizer

EXAMPLES = [Example("a", (5, 6, 7), (8, 9, 2)), Example("b", (9, 5), (11, 2)), Example("a", (5, 6, 7), (12, 13, 14, 15, 2))]
BATCH = collate(EXAMPLES, 0)


def actor_model(seed=0, tied=True):
    model = small_t5(300, seed, width=16, heads=2, feed_forward=32)
    if not tied:
        model.config.tie_word_embeddings = False
        model.lm_head.weight = torch.nn.Parameter(torch.randn(300, 16) * 0.1)
    return model.eval()


def q_model(seed=0, tied=True):
    return QModel(actor_model(seed, tied), Constants(), seed)


def stepped(model, loss, rate=0.1):
    """One step of plain gradient descent on what learns."""
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                assert p.requires_grad
                p -= rate * p.grad
                p.grad = None


def everything(model, batch=BATCH):
    memory = FrozenEncoder(model.actor).memory(batch)
    return read_policy(model, batch, memory), read_values(model, batch, memory)


def test_at_the_start_the_residual_is_exactly_zero_and_the_policy_the_checkpoints():
    model, checkpoint = q_model(), actor_model()
    policy, raw = everything(model)
    assert not policy.residuals.any() and torch.equal(model.values(raw + policy.residuals), model.values(raw))  # Q_θ = Q_φ, to the bit
    q = dueling_values(policy.logits, model.values(raw + policy.residuals), 1.0)
    ours = torch.log_softmax(q, -1).gather(1, BATCH.labels[BATCH.mask][:, None])[:, 0]
    assert torch.allclose(spread(ours, BATCH.mask), program_log_probs(checkpoint, BATCH), atol=1e-5)


def test_values_begin_where_the_cap_has_a_slope():
    model = q_model()
    model.learn_values()
    _, raw = everything(model)
    values = model.values(raw)
    assert (values - 0.145).abs().max() < 1e-3  # 1 - ln cosh 1.5 = 0.1446
    values.sum().backward()
    assert model.value_head.weight.grad.abs().max() > 0.1


@pytest.mark.parametrize("tied", [True, False])
def test_in_the_value_stage_only_values_learn(tied):
    model = q_model(tied=tied)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for _ in range(2):  # in the first step the head's weights are 0 and nothing reaches the decoder
        model.learn_values()
        _, raw = everything(model)
        stepped(model, model.values(raw).square().sum())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert {n.split(".")[0] for n in changed} == {"value_decoder", "value_head"} and "value_head.weight" in changed
    assert any("value_decoder.block.0" in name for name in changed) and not any("embed_tokens" in name for name in changed)


@pytest.mark.parametrize("tied", [True, False])
def test_in_fine_tuning_only_the_policys_decoder_and_one_head_learn(tied):
    model = q_model(tied=tied)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.learn_policy()
    policy, raw = everything(model)
    stepped(model, policy.logits.square().mean() + model.values(raw + policy.residuals).square().sum())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    parts = {name if not name.startswith("actor") else ".".join(name.split(".")[:2]) for name in changed}
    assert parts == {"residual.weight", "residual.bias", "actor.decoder"} | (set() if tied else {"actor.lm_head"})
    policy, _ = everything(model)
    assert policy.residuals.abs().max() > 0


def test_gradients_are_those_of_finite_differences_and_reach_only_what_learns():
    model = q_model().double()
    with torch.no_grad():
        model.residual.weight += 0.3
    model.learn_policy()
    memory = FrozenEncoder(model.actor).memory(BATCH)._replace()
    memory = memory._replace(states=memory.states.double())

    def loss():
        states = read_policy(model, BATCH, memory)
        return states.logits.double().square().mean() + states.residuals.double().square().sum()

    loss().backward()
    learned = [(n, p) for n, p in model.named_parameters() if p.grad is not None]
    assert {n.split(".")[0] for n, _ in learned} == {"actor", "residual"}
    for name, p in learned:
        index = int(p.grad.abs().argmax())
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                p.view(-1)[index] += sign * 1e-2
            ends.append(loss().item())
            with torch.no_grad():
                p.view(-1)[index] -= sign * 1e-2
        slope = (ends[0] - ends[1]) / 2e-2
        assert p.grad.view(-1)[index].item() == pytest.approx(slope, rel=0.05, abs=1e-4), name


def test_the_encoder_runs_once_for_each_prompt(monkeypatch):
    import coderl.models.bcoder as module

    calls, whole = [], module.encode
    monkeypatch.setattr(module, "encode", lambda stack, ids, mask: calls.append(len(ids)) or whole(stack, ids, mask))
    model = q_model()
    encoder = FrozenEncoder(model.actor)
    first = encoder.memory(BATCH)
    again = encoder.memory(collate([EXAMPLES[1], EXAMPLES[0]], 0))
    assert calls == [2]
    assert torch.equal(again.states, torch.cat([first.states[3:], first.states[:3]]))  # prompts of 3 and 2 tokens, now the other way round
    apart = FrozenEncoder(model.actor).memory(collate([EXAMPLES[1]], 0))
    assert torch.allclose(apart.states, first.states[3:], atol=1e-5)


def test_a_checkpoint_alone_has_the_same_logits():
    model = q_model()
    memory = FrozenEncoder(model.actor).memory(BATCH)
    assert torch.equal(read_logits(model.actor, BATCH, memory), read_policy(model, BATCH, memory).logits)


@pytest.fixture
def tokenizer():
    return train_tokenizer(["print(1)", "return x"], 290)


@pytest.mark.parametrize("tied", [True, False])
def test_a_folder_gives_the_model_back_and_is_an_actors_folder(tmp_path, tokenizer, tied):
    model = q_model(tied=tied)
    model.constants = Constants(0.5, 0.9, 2.0, True)
    with torch.no_grad():
        for p in (model.residual.weight, model.value_head.weight, model.value_decoder.block[0].layer[0].layer_norm.weight):
            p += 0.1
        model.actor.decoder.block[0].layer[0].layer_norm.weight += 0.2
    save_q_model(model, tokenizer, tmp_path)
    again = load_q_model(tmp_path)
    assert again.model.constants == model.constants and again.tokenizer.get_vocab() == tokenizer.get_vocab()
    for (policy, raw), (policy2, raw2) in [(everything(model), everything(again.model))]:
        assert torch.equal(policy.logits, policy2.logits) and torch.equal(policy.residuals, policy2.residuals) and torch.equal(raw, raw2)
    actor = load_actor(tmp_path)
    assert torch.allclose(program_log_probs(actor.model, BATCH), program_log_probs(model.actor, BATCH), atol=1e-6)
    assert T5ForConditionalGeneration.from_pretrained(tmp_path).config.d_model == 16


def test_a_folder_that_is_no_q_model_is_refused_with_reasons(tmp_path, tokenizer):
    save_actor(Actor(actor_model(), tokenizer), tmp_path / "actor")
    with pytest.raises(ModelError, match=r"holds no bcoder.json, so it is an actor without values; `coderl bcoder value`"):
        load_q_model(tmp_path / "actor")
    save_q_model(q_model(), tokenizer, tmp_path / "q")
    (tmp_path / "q" / "bcoder.json").write_text(json.dumps({"alpha": 1}))
    with pytest.raises(ModelError, match="it must have alpha, discount, highest, printed_softabs"):
        load_q_model(tmp_path / "q")
    save_q_model(q_model(), tokenizer, tmp_path / "q")
    (tmp_path / "q" / "bcoder.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be used"):
        load_q_model(tmp_path / "q")
