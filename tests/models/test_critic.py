"""The critic's two heads, what their states have read, and that padding does what each of them says it does."""

import pytest
import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

from coderl.errors import ModelError
from coderl.formulas.coderl import critic_loss
from coderl.formulas.masks import length_mask
from coderl.models.critic import Critic, PaperHead, ReleasedHead, critic_from_actor, critic_from_config, reading_at, reading_prefixes

HEADS = [PaperHead, ReleasedHead]


def t5_config(tie: bool = True, dropout: float = 0.0) -> T5Config:
    return T5Config(
        vocab_size=40,
        d_model=16,
        d_kv=4,
        d_ff=32,
        num_layers=2,
        num_heads=4,
        dropout_rate=dropout,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=0,
        tie_word_embeddings=tie,
    )


def critic_of(head, outcomes: int = 4, tie: bool = True) -> Critic:
    return critic_from_config(t5_config(tie), head, outcomes, seed=3).eval()


def batch():
    """Two problems of 6 and 4 tokens, programs of 5 and 3 tokens, padded on the right."""
    random = torch.Generator().manual_seed(0)
    problem_mask, program_mask = length_mask(torch.tensor([6, 4]), 6), length_mask(torch.tensor([5, 3]), 5)
    problems = torch.randint(3, 40, (2, 6), generator=random).masked_fill(~problem_mask, 0)
    programs = torch.randint(3, 40, (2, 5), generator=random).masked_fill(~program_mask, -100)
    return problems, problem_mask, programs, program_mask


def wider(ids: torch.Tensor, mask: torch.Tensor, fill: int, by: int = 4):
    return torch.cat([ids, ids.new_full((len(ids), by), fill)], 1), torch.cat([mask, mask.new_zeros(len(ids), by)], 1)


# ---- the heads by hand


def identity_paper_head() -> PaperHead:
    head = PaperHead(2, 2)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        head.linear.bias.copy_(torch.tensor([0.0, 10.0]))
    return head


def test_paper_head_by_hand():
    # states (1, 4), (3, 2), padding (9, 9). Pool first: (3, 4) -> logits (3 + 4, 3 - 4 + 10) = (7, 9).
    # By token: (1 + 4, 1 - 4 + 10) = (5, 7) and (3 + 2, 3 - 2 + 10) = (5, 11). Pooling after the layer would give (5, 11).
    states = torch.tensor([[[1.0, 4.0], [3.0, 2.0], [9.0, 9.0]]])
    output = identity_paper_head()(states, torch.tensor([[True, True, False]]))
    assert output.logits.tolist() == [[7.0, 9.0]]
    assert output.token_logits[0, :2].tolist() == [[5.0, 7.0], [5.0, 11.0]]


def test_released_head_by_hand():
    # first layer: unit 0 = x, unit 1 = -x, the rest 0; second layer: class 0 = unit 0, class 1 = unit 1. So |x| split by sign.
    head = ReleasedHead(1, 2)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()
        head.layers[0].weight[0, 0], head.layers[0].weight[1, 0] = 1.0, -1.0
        head.layers[2].weight[0, 0], head.layers[2].weight[1, 1] = 1.0, 1.0
    # states 2, -1, and 5 at padding: logits (2, 0), (0, 1), (5, 0); the maximum takes in the padding: (5, 1)
    output = head(torch.tensor([[[2.0], [-1.0], [5.0]]]), torch.tensor([[True, True, False]]))
    assert output.token_logits[0].tolist() == [[2.0, 0.0], [0.0, 1.0], [5.0, 0.0]]
    assert output.logits.tolist() == [[5.0, 1.0]]


def test_heads_have_the_layers_of_the_paper_and_of_the_released_code():
    assert {name: tuple(p.shape) for name, p in PaperHead(16, 4).named_parameters()} == {"linear.weight": (4, 16), "linear.bias": (4,)}
    assert [tuple(p.shape) for p in ReleasedHead(16, 4).parameters()] == [(128, 16), (128,), (4, 128), (4,)]


# ---- shapes and a slow reference


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("outcomes", [2, 4])
def test_output_shapes(head, outcomes):
    output = critic_of(head, outcomes)(*batch())
    assert output.logits.shape == (2, outcomes) and output.token_logits.shape == (2, 5, outcomes)


def test_paper_critic_is_what_the_equations_say_one_program_at_a_time():
    """Slow reference: no padding anywhere, the decoder fed [start, w_1..w_t] anew for every t."""
    critic = critic_of(PaperHead)
    problems, problem_mask, programs, program_mask = batch()
    output = critic(problems, problem_mask, programs, program_mask)
    for b in range(2):
        problem, program = problems[b : b + 1, problem_mask[b]], programs[b, program_mask[b]]
        states = []
        for t in range(1, len(program) + 1):
            decoder_ids = torch.cat([torch.tensor([0]), program[:t]])[None]
            states.append(critic.body(input_ids=problem, decoder_input_ids=decoder_ids).last_hidden_state[0, -1])
            torch.testing.assert_close(output.token_logits[b, t - 1], critic.head.linear(states[-1]), atol=1e-5, rtol=0)
        pooled = torch.stack(states).amax(0)
        torch.testing.assert_close(output.logits[b], critic.head.linear(pooled), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tie", [True, False])
def test_released_critic_scales_states_of_tied_models_only(tie):
    critic = critic_of(ReleasedHead, tie=tie)
    problems, problem_mask, programs, program_mask = batch()
    whole = torch.ones_like(program_mask)
    programs = programs.masked_fill(~program_mask, 7)
    decoder_ids = torch.cat([torch.zeros(2, 1, dtype=torch.long), programs[:, :-1]], 1)
    states = critic.body(input_ids=problems, attention_mask=problem_mask.long(), decoder_input_ids=decoder_ids).last_hidden_state
    expected = critic.head.layers(states * (16**-0.5 if tie else 1.0))
    torch.testing.assert_close(critic(problems, problem_mask, programs, whole).token_logits, expected, atol=1e-5, rtol=0)


# ---- what a state has read


def first_changed(head, position: int) -> int:
    """The first token whose logits move when the token at `position` is another one."""
    critic = critic_of(head)
    problems, problem_mask, programs, _ = batch()
    programs = programs.masked_fill(programs < 0, 9)
    other = programs.clone()
    other[:, position] = (other[:, position] - 3 + 11) % 37 + 3
    everywhere = torch.ones_like(programs, dtype=torch.bool)
    before = critic(problems, problem_mask, programs, everywhere).token_logits
    after = critic(problems, problem_mask, other, everywhere).token_logits
    moved = (before - after).abs().amax(dim=(0, 2)) > 1e-4
    return int(moved.int().argmax()) if moved.any() else -1


@pytest.mark.parametrize("position", [0, 2, 4])
def test_paper_state_has_read_its_own_token(position):
    assert first_changed(PaperHead, position) == position


def test_released_state_has_read_only_the_tokens_before():
    assert [first_changed(ReleasedHead, t) for t in (0, 2)] == [1, 3]
    assert first_changed(ReleasedHead, 4) == -1  # the last token is read by no state


# ---- padding


def test_paper_critic_is_unmoved_by_padding():
    critic = critic_of(PaperHead)
    problems, problem_mask, programs, program_mask = batch()
    short = critic(problems, problem_mask, programs, program_mask)
    long = critic(*wider(problems, problem_mask, 5), *wider(programs, program_mask, -100))
    torch.testing.assert_close(long.logits, short.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(long.token_logits[:, :5][program_mask], short.token_logits[program_mask], atol=1e-5, rtol=0)


def test_what_stands_outside_the_program_mask_is_not_read():
    for head in HEADS:
        critic = critic_of(head)
        problems, problem_mask, programs, program_mask = batch()
        other = programs.masked_fill(~program_mask, 17)
        assert torch.equal(critic(problems, problem_mask, programs, program_mask).logits, critic(problems, problem_mask, other, program_mask).logits)


def test_released_critic_pools_padding():
    """The oddity that is reproduced on purpose: more padding, another prediction."""
    critic = critic_of(ReleasedHead)
    problems, problem_mask, programs, program_mask = batch()
    short = critic(problems, problem_mask, programs, program_mask)
    long = critic(problems, problem_mask, *wider(programs, program_mask, -100, by=30))
    assert (long.logits >= short.logits - 1e-5).all()
    assert (long.logits - short.logits).max() > 1e-4


def test_a_program_without_tokens_gives_finite_numbers():
    critic = critic_of(PaperHead)
    problems, problem_mask, programs, program_mask = batch()
    program_mask[1] = False
    output = critic(problems, problem_mask, programs, program_mask)
    critic_loss(output.logits, torch.tensor([0, 3])).backward()
    assert output.logits[1].tolist() == critic.head.linear.bias.tolist()
    assert all(p.grad.isfinite().all() for p in critic.parameters() if p.grad is not None)


def test_programs_that_share_a_problem_share_one_pass_of_the_encoder():
    critic = critic_of(PaperHead)
    problems, problem_mask, programs, program_mask = batch()
    rows = torch.tensor([1, 0, 1])
    three, three_mask = programs[[0, 1, 1]], program_mask[[0, 1, 1]]
    shared = critic(problems, problem_mask, three, three_mask, rows)
    repeated = critic(problems[rows], problem_mask[rows], three, three_mask)
    torch.testing.assert_close(shared.logits, repeated.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(shared.token_logits, repeated.token_logits, atol=1e-5, rtol=0)


# ---- making one


def test_same_seed_same_critic_and_the_random_state_is_left_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, second, third = (critic_from_config(t5_config(), PaperHead, 4, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.rand(3), expected)
    pairs = list(zip(first.state_dict().values(), second.state_dict().values()))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(first.head.linear.weight, third.head.linear.weight)


def test_critic_from_actor_starts_at_the_actors_weights_and_leaves_it_alone():
    torch.manual_seed(0)
    actor = T5ForConditionalGeneration(t5_config(tie=False))
    critic = critic_from_actor(actor, PaperHead, 2, seed=1)
    for name, weight in critic.body.state_dict().items():
        assert torch.equal(weight, actor.state_dict()[name]), name
    before = actor.shared.weight.detach().clone()
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.add_(1.0)
    assert torch.equal(actor.shared.weight, before)
    assert critic.config.scale_decoder_outputs is False and critic.outcomes == 2


def test_critic_can_be_trained_to_tell_two_programs_apart():
    critic = critic_of(PaperHead).train()
    data, labels = batch(), torch.tensor([0, 3])
    optimiser = torch.optim.AdamW(critic.parameters(), lr=3e-3)
    start = critic_loss(critic(*data).logits, labels).item()
    for _ in range(20):
        optimiser.zero_grad()
        loss = critic_loss(critic(*data).logits, labels)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1 * start
    assert critic(*data).logits.argmax(-1).tolist() == [0, 3]


@pytest.mark.parametrize("outcomes", [1, 3, 5])
def test_other_numbers_of_outcomes_are_refused(outcomes):
    with pytest.raises(ModelError, match="4 outcomes, or 2 for critic sampling"):
        critic_from_config(t5_config(), PaperHead, outcomes, seed=0)


def test_a_config_without_padding_token_is_refused():
    config = t5_config()
    config.pad_token_id = None
    with pytest.raises(ModelError, match="no pad_token_id"):
        critic_from_config(config, PaperHead, 4, seed=0)


def test_start_token_is_the_configs_and_padding_where_it_names_none():
    config = t5_config()
    config.decoder_start_token_id = 1
    assert critic_from_config(config, PaperHead, 4, seed=0).start_id == 1
    config.decoder_start_token_id = None
    assert critic_from_config(config, PaperHead, 4, seed=0).start_id == 0


def test_mask_of_another_kind_is_turned_away_at_the_door():
    problems, problem_mask, programs, program_mask = batch()
    critic = critic_of(PaperHead)
    assert isinstance(critic, nn.Module)
    for bad in (program_mask.long(), program_mask[:, :3]):
        with pytest.raises(AssertionError):
            critic(problems, problem_mask, programs, bad)


# ---- token values before and after a token is read; the width of a released head's maximum


@pytest.mark.parametrize("head", HEADS)
def test_a_token_s_value_before_it_is_read_is_the_one_after_the_token_before(head):
    """The other reading is the same numbers one place on; what is said of whole programs stays."""
    critic = critic_of(head)
    before, after = (reading_at(critic, own_token=own)(*batch()) for own in (False, True))
    torch.testing.assert_close(after.token_logits[:, :-1][:, :2], before.token_logits[:, 1:][:, :2], atol=1e-6, rtol=0)
    assert (after.token_logits - before.token_logits)[:, :3].abs().amax() > 1e-3
    native = critic(*batch())
    torch.testing.assert_close(native.token_logits, (after if head is PaperHead else before).token_logits, atol=1e-6, rtol=0)
    for other in (before, after):
        torch.testing.assert_close(other.logits, native.logits, atol=1e-6, rtol=0)


def test_the_first_value_before_depends_on_the_problem_alone_and_the_last_after_on_all():
    critic = critic_of(ReleasedHead)
    problems, problem_mask, programs, program_mask = batch()
    other = programs.clone()
    other[:, 2] = 3
    before, after = (reading_at(critic, own_token=own) for own in (False, True))
    moved = [
        (c(problems, problem_mask, programs, program_mask).token_logits - c(problems, problem_mask, other, program_mask).token_logits)
        for c in (before, after)
    ]
    assert [int((m[0].abs().amax(-1) > 1e-4).int().argmax()) for m in moved] == [3, 2]


def test_a_prefix_reading_has_no_value_before():
    with pytest.raises(ModelError, match="gives the value after a token"):
        reading_at(reading_prefixes(critic_of(PaperHead)), own_token=False)


def test_a_released_head_says_the_same_in_every_batch_once_it_has_a_width():
    """Without one, the maximum takes in as much padding as the batch's longest program leaves."""
    problems, problem_mask, programs, program_mask = batch()
    alone, cut = programs[1:, :3], program_mask[1:, :3]
    critic = critic_of(ReleasedHead)
    for width, same in ((0, False), (9, True)):
        critic.width = width
        together = critic(problems, problem_mask, programs, program_mask)
        single = critic(problems[1:], problem_mask[1:], alone, cut)
        assert single.token_logits.shape == (1, 3, 4)
        assert torch.allclose(together.logits[1], single.logits[0], atol=1e-6) == same
        torch.testing.assert_close(together.token_logits[1, :3], single.token_logits[0], atol=1e-6, rtol=0)
