import math

import pytest
import torch

from coderl.formulas.masks import IGNORE, length_mask, masked_max, masked_mean, shift_right, token_log_probs


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_length_mask_by_hand():
    # lengths 0, 2 and 5 on three positions: none, the first two, all (a length beyond T means all)
    expected = [[False, False, False], [True, True, False], [True, True, True]]
    assert length_mask(torch.tensor([0, 2, 5]), 3).tolist() == expected


def test_masked_mean_by_hand():
    # counted: 1, 2 of the first row and 6 of the second: (1 + 2 + 6) / 3 = 3, a token mean (the mean of row means would be 3.75)
    x = torch.tensor([[1.0, 2.0, 99.0], [6.0, 99.0, 99.0]])
    assert masked_mean(x, length_mask(torch.tensor([2, 1]), 3)).item() == 3.0


def test_masked_mean_never_reads_what_does_not_count():
    x = torch.tensor([[4.0, math.nan], [math.inf, 2.0]], requires_grad=True)
    mean = masked_mean(x, torch.tensor([[True, False], [False, True]]))
    mean.backward()
    assert mean.item() == 3.0
    assert x.grad.tolist() == [[0.5, 0.0], [0.0, 0.5]]


def test_masked_mean_of_nothing_is_zero():
    assert masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)).item() == 0.0


def test_masked_mean_is_a_loop():
    x, mask = torch.randn(4, 7, generator=generator()), torch.rand(4, 7, generator=generator(1)) < 0.6
    counted = [x[b, t].item() for b in range(4) for t in range(7) if mask[b, t]]
    assert masked_mean(x, mask).item() == pytest.approx(sum(counted) / len(counted), abs=1e-6)


def test_masked_max_by_hand():
    # row 0: features (1, 5), (3, 2) count and (9, 9) does not -> (3, 5); row 1: only (-4, -7) counts, although 0 is larger
    x = torch.tensor([[[1.0, 5.0], [3.0, 2.0], [9.0, 9.0]], [[-4.0, -7.0], [0.0, 0.0], [0.0, 0.0]]])
    assert masked_max(x, length_mask(torch.tensor([2, 1]), 3)).tolist() == [[3.0, 5.0], [-4.0, -7.0]]


def test_masked_max_is_unmoved_by_padding_and_its_gradient_stays_inside():
    x = torch.randn(3, 4, 5, generator=generator())
    mask = length_mask(torch.tensor([4, 2, 1]), 4)
    longer = torch.cat([x, torch.full((3, 6, 5), 1e6)], dim=1).requires_grad_()
    longer_mask = torch.cat([mask, torch.zeros(3, 6, dtype=torch.bool)], dim=1)
    assert torch.equal(masked_max(longer, longer_mask), masked_max(x, mask))
    masked_max(longer, longer_mask).sum().backward()
    assert longer.grad[~longer_mask].abs().sum() == 0
    assert longer.grad.sum() == 15  # one position for each of 3 x 5 features


def test_masked_max_of_an_empty_row_is_zero_with_zero_gradient():
    x = torch.randn(2, 3, 4, generator=generator(), requires_grad=True)
    mask = torch.tensor([[True, True, False], [False, False, False]])
    pooled = masked_max(x, mask)
    pooled.sum().backward()
    assert pooled[1].tolist() == [0.0] * 4
    assert x.grad[1].abs().sum() == 0 and x.grad.isfinite().all()


def test_masked_max_is_a_loop():
    x, mask = torch.randn(5, 6, 3, generator=generator()), torch.rand(5, 6, generator=generator(1)) < 0.7
    mask[:, 2] = True
    expected = [[max(x[b, t, d].item() for t in range(6) if mask[b, t]) for d in range(3)] for b in range(5)]
    assert masked_max(x, mask).tolist() == expected


def test_shift_right_by_hand():
    # w = 7 8 9, start 0: the decoder reads 0 7 8; ignored labels are read as padding (5), also holes
    labels = torch.tensor([[7, 8, 9], [7, IGNORE, 9], [IGNORE, IGNORE, IGNORE]])
    assert shift_right(labels, start_id=0, pad_id=5).tolist() == [[0, 7, 8], [0, 7, 5], [0, 5, 5]]


def test_shift_right_leaves_the_labels_alone():
    labels = torch.tensor([[7, IGNORE]])
    shift_right(labels, 0, 1)
    assert labels.tolist() == [[7, IGNORE]]


def test_token_log_probs_by_hand():
    # softmax(0, ln 3) = (1/4, 3/4); softmax(0, 0) = (1/2, 1/2)
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [0.0, 0.0]]])
    log_probs = token_log_probs(logits, torch.tensor([[1, 0, IGNORE]]))
    assert log_probs[0].tolist() == pytest.approx([math.log(3 / 4), math.log(1 / 2), 0.0], abs=1e-6)


def test_token_log_probs_are_a_loop_over_positions():
    logits = 5 * torch.randn(2, 3, 11, generator=generator(), dtype=torch.float64)
    labels = torch.randint(11, (2, 3), generator=generator(1))
    found = token_log_probs(logits, labels)
    for b in range(2):
        for t in range(3):
            normaliser = math.log(sum(math.exp(v) for v in logits[b, t].tolist()))
            assert found[b, t].item() == pytest.approx(logits[b, t, labels[b, t]].item() - normaliser, abs=1e-5)


def test_token_log_probs_do_not_change_when_all_logits_shift():
    logits, labels = torch.randn(2, 3, 11, generator=generator()), torch.randint(11, (2, 3), generator=generator(1))
    torch.testing.assert_close(token_log_probs(logits + 100.0, labels), token_log_probs(logits, labels), atol=1e-4, rtol=0)


def test_token_log_probs_of_ignored_positions_have_no_gradient():
    logits = torch.randn(1, 3, 5, generator=generator(), requires_grad=True)
    token_log_probs(logits, torch.tensor([[2, IGNORE, 4]])).sum().backward()
    assert logits.grad[0, 1].abs().sum() == 0 and logits.grad[0, 0].abs().sum() > 0


def test_token_log_probs_are_float32_for_half_precision_logits():
    logits = torch.randn(1, 2, 50, generator=generator()).bfloat16()
    found = token_log_probs(logits, torch.tensor([[3, 4]]))
    assert found.dtype == torch.float32
    assert torch.equal(found, token_log_probs(logits.float(), torch.tensor([[3, 4]])))


@pytest.mark.parametrize(
    "call",
    [
        lambda: length_mask(torch.ones(2, 2), 3),
        lambda: masked_mean(torch.ones(2, 3), torch.ones(2, 2, dtype=torch.bool)),
        lambda: masked_mean(torch.ones(2, 3), torch.ones(2, 3)),
        lambda: masked_max(torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool)),
        lambda: shift_right(torch.ones(3), 0, 0),
        lambda: token_log_probs(torch.ones(2, 3, 4), torch.ones(2, 2, dtype=torch.long)),
    ],
)
def test_wrong_shapes_are_turned_away_at_the_door(call):
    with pytest.raises(AssertionError):
        call()
