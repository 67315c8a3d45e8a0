"""Low-rank adapters: nothing changes at the start, only they learn, and what is saved is the plain model with them merged in."""

import torch

from coderl.models.actor import Actor, load_actor, program_log_probs, save_actor, small_t5
from coderl.models.adapters import adapted, add_adapters, merged, plain_weights, remove_adapters
from coderl.tokens import Example, collate, train_tokenizer

BATCH = collate([Example("a", (5, 6, 7, 8), (9, 10, 2)), Example("b", (6, 6), (11, 2))], 0)


def trained(rank=2):
    """A model with adapters after some steps of gradient descent, and what it was before."""
    model = small_t5(300, 0, width=16, heads=2, feed_forward=32)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    add_adapters(model, rank, seed=1)
    free = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(free, lr=1.0)
    for _ in range(5):
        program_log_probs(model, BATCH).sum().neg().backward()
        optimiser.step()
        model.zero_grad()
    return model, before


def values(model):
    with torch.no_grad():
        return program_log_probs(model.eval(), BATCH)


def test_fresh_adapters_change_nothing_and_leave_the_random_state_alone():
    model = small_t5(300, 0, width=16, heads=2, feed_forward=32)
    before = values(model)
    state = torch.get_rng_state()
    add_adapters(model, 4, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.allclose(values(model), before, atol=1e-6)
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(names) == 2 * 2 * (2 + 4)  # A and B of q and v: two encoder layers, and two decoder layers that attend twice
    assert all("lora_" in name for name in names)


def test_equal_seeds_give_equal_adapters():
    models = [small_t5(300, 0, width=16, heads=2, feed_forward=32) for _ in range(3)]
    for model, seed in zip(models, (1, 1, 2)):
        add_adapters(model, 2, seed)
    states = [torch.cat([p.flatten() for n, p in m.named_parameters() if "lora_" in n]) for m in models]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_only_the_adapters_learn():
    model, before = trained()
    after = model.state_dict()
    assert all(torch.equal(after[name if name in after else name.replace(".weight", ".base_layer.weight")], value) for name, value in before.items())
    model.eval()
    assert not torch.allclose(values(model), values(small_t5(300, 0, width=16, heads=2, feed_forward=32)), atol=1e-3)


def test_merging_for_a_while_shows_the_sum_and_leaves_no_trace():
    model, before = trained()
    layer = next(iter(adapted(model).values()))
    apart = values(model)
    with merged(model):
        assert not torch.equal(layer.base_layer.weight, before["encoder.block.0.layer.0.SelfAttention.q.weight"])
        assert torch.allclose(values(model), apart, atol=1e-5)
    assert torch.equal(layer.base_layer.weight, before["encoder.block.0.layer.0.SelfAttention.q.weight"])
    assert torch.equal(values(model), apart)


def test_what_is_saved_is_a_plain_model(tmp_path):
    model, _ = trained()
    tokenizer = train_tokenizer(["print(a + b)"] * 3, 270)
    save_actor(Actor(model, tokenizer), tmp_path)
    loaded = load_actor(tmp_path).model
    assert torch.allclose(values(loaded), values(model), atol=1e-5)
    assert not adapted(loaded) and loaded.state_dict().keys() == plain_weights(model).keys()
    assert loaded.lm_head.weight is loaded.shared.weight


def test_adapters_taken_out_leave_a_plain_model_of_equal_values():
    model, before = trained()
    apart = values(model)
    remove_adapters(model)
    assert torch.allclose(values(model), apart, atol=1e-5)
    assert model.state_dict().keys() == before.keys() and all(p.requires_grad for p in model.parameters())
