"""B-Coder's formulas: numbers by hand, identities, slow references, finite differences; and a problem small enough to be solved exactly."""

import itertools
import math
import random

import pytest
import torch

from coderl.formulas.bcoder import (
    action_advantages,
    advantage_loss,
    advantages,
    capped_values,
    conservative_targets,
    dueling_values,
    recovered_rewards,
    softabs,
    td_losses,
    telescoped_return,
    terminal_rewards,
)
from coderl.formulas.masks import length_mask

MASK = torch.tensor([[True, True, True], [True, True, False]])


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# ---- Q from logits, eq. (7), (11), (16)


def test_advantages_by_hand():
    # l = (1, 3, 0), largest 3, alpha 2: 2 (1 - 3), 2 (3 - 3), 2 (0 - 3)
    logits = torch.tensor([[1.0, 3.0, 0.0]])
    assert advantages(logits, 2.0).tolist() == [[-4.0, 0.0, -6.0]]
    assert action_advantages(logits, torch.tensor([2]), 2.0).tolist() == [-6.0]


def test_the_advantage_of_single_actions_is_that_of_all():
    logits, actions = draw(2, 5, 7), torch.randint(7, (2, 5), generator=torch.Generator().manual_seed(1))
    whole = advantages(logits, 0.7)
    for b, t in itertools.product(range(2), range(5)):
        assert action_advantages(logits, actions, 0.7)[b, t] == whole[b, t, actions[b, t]]


def test_dueling_values_by_hand():
    # as above with V = 0.5: the largest Q is V
    q = dueling_values(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([0.5]), 2.0)
    assert q.tolist() == [[-3.5, 0.5, -5.5]]


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_the_policy_of_q_is_that_of_the_logits_and_its_maximum_is_the_value(alpha):
    logits, values = 3 * draw(4, 6, 9), draw(4, 6, seed=1)
    q = dueling_values(logits, values, alpha)
    assert torch.allclose((q / alpha).softmax(-1), logits.softmax(-1), atol=1e-6)  # eq. (11)
    assert torch.allclose(q.amax(-1), values, atol=1e-6)


# ---- the upper cap, appendix G.1


def test_softabs_by_hand():
    # x = 2 ln 3: e^(x/2) = 3, cosh = (3 + 1/3) / 2 = 5/3; as printed 2 ln 2 more
    x = torch.tensor([0.0, 2 * math.log(3), -2 * math.log(3)])
    assert softabs(x).tolist() == pytest.approx([0.0, math.log(5 / 3), math.log(5 / 3)], abs=1e-6)
    assert softabs(x, printed=True).tolist() == pytest.approx([2 * math.log(2) + v for v in (0.0, math.log(5 / 3), math.log(5 / 3))], abs=1e-6)


def test_no_value_is_above_the_cap_and_the_printed_sign_never_comes_near_it():
    raw = torch.linspace(-30, 30, 601)
    assert capped_values(raw, 1.0).max().item() == pytest.approx(1.0, abs=1e-6)
    assert capped_values(raw, 1.0, printed=True).max().item() == pytest.approx(1 - 2 * math.log(2), abs=1e-6)
    assert capped_values(torch.tensor([30.0]), 1.0).item() == pytest.approx(1 - 15 + math.log(2), abs=1e-5)  # |x| / 2 - ln 2 far out


# ---- rewards and targets, eq. (13), (14)


def test_terminal_rewards_by_hand():
    assert terminal_rewards(torch.tensor([1.0, -0.5]), MASK).tolist() == [[0, 0, 1.0], [0, -0.5, 0]]


def test_conservative_targets_by_hand():
    # gamma 1/2; first program: 0 + 6/2, 0 + 8/2, r_T; second: 0 + 4/2, r_T, and nothing behind its end although a number stands there
    targets = conservative_targets(terminal_rewards(torch.tensor([1.0, -0.5]), MASK), torch.tensor([[2.0, 6.0, 8.0], [3.0, 4.0, 99.0]]), MASK, 0.5)
    assert targets.tolist() == [[3.0, 4.0, 1.0], [2.0, -0.5, 0.0]]


def test_targets_are_a_loop():
    lengths, greedy = [4, 1, 3], draw(3, 4)
    mask = length_mask(torch.tensor(lengths), 4)
    targets = conservative_targets(terminal_rewards(torch.tensor([1.0, -1.0, -0.3]), mask), greedy, mask, 0.9)
    for b, (size, outcome) in enumerate(zip(lengths, [1.0, -1.0, -0.3])):
        for t in range(4):
            expected = 0.0 if t >= size else outcome if t == size - 1 else 0.9 * greedy[b, t + 1].item()
            assert targets[b, t].item() == pytest.approx(expected, abs=1e-6)


# ---- losses, eq. (8), (12), (15)


def test_td_losses_by_hand():
    # errors 1, 2, 2 and 3, 1: (1 + 4 + 4) / 3 and (9 + 1) / 2; what lies behind the end does not count
    targets = torch.tensor([[1.0, 2.0, 3.0], [4.0, 0.0, 0.0]])
    values = torch.tensor([[0.0, 0.0, 1.0], [1.0, 1.0, torch.nan]])
    assert td_losses(values, targets, MASK).tolist() == [3.0, 5.0]


def test_advantage_loss_by_hand():
    # |−1|, |−3|, 0 and |−4|, |−2|: 10 / 5
    assert advantage_loss(torch.tensor([[-1.0, -3.0, 0.0], [-4.0, -2.0, torch.nan]]), MASK).item() == 2.0


def test_the_gradient_of_the_td_loss_is_that_of_finite_differences_with_the_target_held():
    torch.manual_seed(0)
    logits, raw = draw(2, 3, 5).double().requires_grad_(), draw(2, 3, seed=2).double().requires_grad_()
    actions, greedy = torch.tensor([[1, 4, 0], [2, 2, 0]]), torch.tensor([[0, 1, 2], [3, 4, 0]])
    rewards = terminal_rewards(torch.tensor([1.0, -0.6]).double(), MASK)

    def parts(scores, v):
        values = capped_values(v, 1.0)
        return action_advantages(scores, actions, 1.0) + values, action_advantages(scores, greedy, 1.0) + values

    q, at_greedy = parts(logits, raw)
    targets = conservative_targets(rewards, at_greedy, MASK, 0.999)
    td_losses(q, targets, MASK).sum().backward()
    for tensor in (logits, raw):
        assert tensor.grad is not None
        for index in itertools.product(*map(range, tensor.shape)):
            step, ends = 1e-5, []
            for sign in (1, -1):
                moved = tensor.detach().clone()
                moved[index] += sign * step
                now, _ = parts(*((moved, raw) if tensor is logits else (logits, moved)))
                ends.append(td_losses(now, targets, MASK).sum().item())
            assert tensor.grad[index].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)
    assert raw.grad[1, 2] == 0 and not logits.grad[1, 2].any()  # behind the end


def test_what_stands_in_padding_changes_nothing():
    q, greedy, mask = draw(2, 5), draw(2, 5, seed=1), length_mask(torch.tensor([5, 3]), 5)
    rewards = terminal_rewards(torch.tensor([1.0, -1.0]), mask)
    torn, torn_greedy = q.masked_fill(~mask, torch.nan), greedy.masked_fill(~mask, torch.nan)
    for a, b in ((q, greedy), (torn, torn_greedy)):
        losses = td_losses(a, conservative_targets(rewards, b, mask, 0.9), mask)
        assert torch.equal(losses, td_losses(q, conservative_targets(rewards, greedy, mask, 0.9), mask))
        assert torch.equal(recovered_rewards(a, b, mask, 0.9), recovered_rewards(q, greedy, mask, 0.9))


# ---- recovered reward, eq. (19)


def test_recovered_rewards_by_hand():
    # gamma 1/2: 1 - 6/2, 2 - 8/2, 3; 4 - 4/2, 5. With a value of 2 behind the end, the last ones lose 2/2
    q, greedy = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 9.0]]), torch.tensor([[2.0, 6.0, 8.0], [3.0, 4.0, 9.0]])
    assert recovered_rewards(q, greedy, MASK, 0.5).tolist() == [[-2.0, -2.0, 3.0], [2.0, 5.0, 0.0]]
    assert recovered_rewards(q, greedy, MASK, 0.5, torch.tensor([2.0, 2.0])).tolist() == [[-2.0, -2.0, 2.0], [2.0, 4.0, 0.0]]


def test_telescoped_return_by_hand():
    # gamma 1/2. First: A sums to -3; V: 4 + (2 + 6) / 2. Second: A -1; V: 1 + 3/2
    found = telescoped_return(torch.tensor([[-1.0, -2.0, 0.0], [-1.0, 0.0, 7.0]]), torch.tensor([[4.0, 2.0, 6.0], [1.0, 3.0, 7.0]]), MASK, 0.5)
    assert found.advantage.tolist() == [-3.0, -1.0] and found.value.tolist() == [8.0, 2.5]


def test_the_telescoped_return_is_the_sum_of_recovered_rewards():
    mask = length_mask(torch.tensor([6, 1, 4]), 6)
    taken, values = -draw(3, 6).abs(), draw(3, 6, seed=1)
    parts = telescoped_return(taken, values, mask, 0.97)
    assert torch.allclose(recovered_rewards(taken + values, values, mask, 0.97).sum(1), parts.advantage + parts.value, atol=1e-5)


def test_recovering_undoes_the_operator():
    mask = length_mask(torch.tensor([5, 2]), 5)
    rewards, greedy = draw(2, 5, seed=3) * mask, draw(2, 5, seed=4)
    assert torch.allclose(recovered_rewards(conservative_targets(rewards, greedy, mask, 0.9), greedy, mask, 0.9), rewards, atol=1e-6)


# ---- a problem that can be solved exactly: vocabulary 3, programs of 4 tokens, all 81 of them and their returns known

DISCOUNT = 0.9
PROGRAMS = torch.tensor(list(itertools.product(range(3), repeat=4)))  # (81, 4)
STATES = [p for length in range(4) for p in itertools.product(range(3), repeat=length)]  # the 40 prefixes
STATE = torch.tensor([[STATES.index(tuple(program[:t])) for t in range(4)] for program in PROGRAMS.tolist()])  # (81, 4)
RETURNS = torch.tensor(random.Random(6).choices([-1.0, -0.6, -0.3, 1.0], k=81))
CHECKPOINT = draw(40, 3, seed=7)
GREEDY = CHECKPOINT.argmax(-1)
WHOLE = torch.ones(81, 4, dtype=torch.bool)


def exact(prefix, token):
    """Q of the checkpoint's greedy policy, by walking: this token, then greedy ones; the return, discounted by the steps to the last token."""
    program = [*prefix, token]
    while len(program) < 4:
        program.append(int(GREEDY[STATES.index(tuple(program))]))
    place = PROGRAMS.tolist().index(program)
    return DISCOUNT ** (3 - len(prefix)) * float(RETURNS[place])


EXACT = torch.tensor([[exact(prefix, token) for token in range(3)] for prefix in STATES])


def backed_up(table):
    """The operator on a whole Q table: targets of all tokens of all programs, back at their places."""
    targets = conservative_targets(terminal_rewards(RETURNS, WHOLE), table[STATE, GREEDY[STATE]], WHOLE, DISCOUNT)
    result = torch.full_like(table, torch.nan)
    result[STATE.flatten(), PROGRAMS.flatten()] = targets.flatten()
    return result


def test_the_fixed_point_is_the_exact_value_of_the_greedy_checkpoint_and_not_of_the_best_policy():
    table = 5 * draw(40, 3, seed=8)
    for _ in range(4):  # programs have 4 tokens: the end has been heard of everywhere
        table = backed_up(table)
    assert torch.allclose(table, EXACT, atol=1e-6) and torch.allclose(backed_up(EXACT), EXACT, atol=1e-6)
    best = DISCOUNT**3 * RETURNS.max()
    assert EXACT[0, GREEDY[0]] < best - 0.1  # evaluation of the checkpoint, no maximising over Q


def test_the_operator_is_a_contraction():
    a, b = draw(40, 3, seed=9), draw(40, 3, seed=10)
    assert (backed_up(a) - backed_up(b)).abs().max() <= DISCOUNT * (a - b).abs().max() + 1e-6


def test_the_learned_q_converges_to_it_and_recovers_the_reward():
    torch.manual_seed(0)
    logits, raw = CHECKPOINT.clone().requires_grad_(), torch.full((40,), 3.0).requires_grad_()
    optimiser = torch.optim.Adam([logits, raw], lr=0.05)
    for step in range(1200):
        for group in optimiser.param_groups:
            group["lr"] = 0.05 if step < 800 else 0.005
        values = capped_values(raw, 1.0)[STATE]
        q, at_greedy = (action_advantages(logits[STATE], actions, 1.0) + values for actions in (PROGRAMS, GREEDY[STATE]))
        loss = td_losses(q, conservative_targets(terminal_rewards(RETURNS, WHOLE), at_greedy, WHOLE, DISCOUNT), WHOLE).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learned = dueling_values(logits, capped_values(raw, 1.0), 1.0).detach()
    assert (learned - EXACT).abs().max() < 0.03
    recovered = recovered_rewards(learned[STATE, PROGRAMS], learned[STATE, GREEDY[STATE]], WHOLE, DISCOUNT)
    assert (recovered.sum(1) - RETURNS).abs().max() < 0.1 and (recovered[:, :3]).abs().max() < 0.05
