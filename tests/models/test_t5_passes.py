"""Our passes over T5's modules against the model's own forward: states, losses, gradients; also with checkpointing and gated layers."""

import pytest
import torch
from transformers import T5Config, T5ForConditionalGeneration

from coderl.formulas.masks import shift_right
from coderl.formulas.policy_gradient import cross_entropy
from coderl.models.actor import program_log_probs, small_t5
from coderl.models.t5_passes import Memory, decode, encode, places, recompute
from coderl.tokens import IGNORE, Example, collate


def ragged(prompts=3, programs=4, longest=40, seed=0):
    """Prompts and programs of many lengths; prompts shared by several programs, in mixed order."""
    draw = torch.Generator().manual_seed(seed)

    def ids(low, high):
        return tuple(torch.randint(5, 64, (int(torch.randint(low, high, (), generator=draw)),), generator=draw).tolist())

    known = [ids(1, longest) for _ in range(prompts)]
    return [Example(str(i % prompts), known[i % prompts], (*ids(0, longest // 2), 2)) for i in range(prompts * programs)]


def gated():
    """The shape of T5 v1.1: gated layers and a vocabulary head of its own."""
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=64,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        dropout_rate=0.0,
    )
    config.decoder_start_token_id = 0
    return T5ForConditionalGeneration(config)


MODELS = {"small": lambda: small_t5(64, 0, width=32, heads=4, feed_forward=64), "gated": gated}


def sharpened(name):
    """Random weights, scaled so that attention is far from even and a wrong bias or mask shows."""
    model = MODELS[name]()
    with torch.no_grad():
        for key, p in model.named_parameters():
            if any(part in key for part in (".q.", ".k.", "relative")):
                p.mul_(3)
    return model


def theirs(model, batch):
    """The mean loss of Hugging Face's own forward, every program with a copy of its prompt."""
    rows = batch.prompts[batch.row_prompt], batch.prompt_mask[batch.row_prompt].long()
    return model(input_ids=rows[0], attention_mask=rows[1], labels=batch.labels).loss


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_losses_and_gradients_are_those_of_hugging_face(name, checkpointing):
    model = sharpened(name)
    batch = collate(ragged(), 0)
    expected = theirs(model, batch)
    wanted = gradients(model, expected)
    recompute(model, checkpointing)
    ours = cross_entropy(program_log_probs(model, batch), batch.mask)
    assert abs(ours.item() - expected.item()) < 1e-5
    for key, value in gradients(model, ours).items():
        assert torch.allclose(value, wanted[key], atol=1e-5 * max(1, float(wanted[key].abs().max()))), key


@pytest.mark.parametrize("longest", [3, 300])  # 300: distances beyond the last bucket
def test_states_are_those_of_the_stacks(longest):
    model = sharpened("small").eval()
    batch = collate(ragged(longest=longest, seed=1), 0)
    with torch.no_grad():
        encoded = model.encoder(input_ids=batch.prompts, attention_mask=batch.prompt_mask.long()).last_hidden_state
        ours = encode(model.encoder, batch.prompts, batch.prompt_mask)
        assert torch.allclose(ours, encoded[batch.prompt_mask], atol=1e-5)
        ids = shift_right(batch.labels, 0, 0, IGNORE)
        look = batch.prompt_mask[batch.row_prompt].long()
        decoded = model.decoder(ids, encoder_hidden_states=encoded[batch.row_prompt], encoder_attention_mask=look, use_cache=False).last_hidden_state
        memory = Memory(ours, places(batch.prompt_mask), batch.prompt_mask, batch.row_prompt)
        assert torch.allclose(decode(model.decoder, ids, batch.mask, memory), decoded[batch.mask], atol=5e-5)


def test_a_label_left_out_in_the_middle_is_still_read():
    model = sharpened("small")
    batch = collate(ragged(), 0)
    holes = batch.mask.clone()
    holes[:, 1::3] = False  # as the released code leaves tokens out; the first token of each row stays
    batch = batch._replace(mask=holes, labels=batch.labels.masked_fill(~holes, IGNORE))
    ours = cross_entropy(program_log_probs(model, batch), batch.mask)
    assert abs(ours.item() - theirs(model, batch).item()) < 1e-5


def test_checkpointing_repeats_the_same_dropout():
    torch.manual_seed(0)
    model = small_t5(64, 0, width=32, heads=4, feed_forward=64, dropout=0.4).train()
    batch, found = collate(ragged(), 0), []
    for on in (False, True):
        recompute(model, on)
        torch.manual_seed(5)
        found.append(gradients(model, cross_entropy(program_log_probs(model, batch), batch.mask)))
    assert all(torch.allclose(found[0][key], found[1][key], atol=1e-6) for key in found[0])


def test_dropout_is_at_work_in_training_and_not_in_evaluation():
    model = small_t5(64, 0, width=32, heads=4, feed_forward=64, dropout=0.4)
    batch = collate(ragged(), 0)
    with torch.no_grad():
        assert torch.equal(program_log_probs(model.eval(), batch), program_log_probs(model, batch))
        assert not torch.equal(program_log_probs(model.train(), batch), program_log_probs(model, batch))
