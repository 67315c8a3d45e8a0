"""Muon: the iteration against the exact polar factor and torch's own, the step by hand, and that it learns."""

import pytest
import torch
from torch import nn

from coderl.fitting import Optimiser, Plan, matrices_of
from coderl.models.actor import small_t5
from coderl.muon import RMS, Muon, orthogonalised


def test_a_multiple_of_an_orthogonal_matrix_stays_in_its_direction():
    # x = 3 I (2 x 2): ||x|| = 3 sqrt 2, so X starts at I / sqrt 2 and stays a multiple s of I; each round s <- a s + b s^3 + c s^5
    s = 0.5**0.5
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert torch.allclose(orthogonalised(3 * torch.eye(2)[None])[0], s * torch.eye(2), atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (96, 384)])
def test_singular_vectors_are_kept_and_singular_values_come_near_one(shape):
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    result = orthogonalised(x)
    u, s, vt = torch.linalg.svd(x, full_matrices=False)
    inner = u.mT @ result @ vt.mT  # diagonal, if the singular vectors are those of x
    values = torch.diagonal(inner, dim1=1, dim2=2)
    assert torch.allclose(inner - torch.diag_embed(values), torch.zeros_like(inner), atol=1e-3)
    assert (values[s > 0.02 * s.amax()] > 0.5).all() and (values < 1.3).all()


def test_a_step_equals_torchs_muon_up_to_its_bfloat16():
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(12, 40))
    theirs = nn.Parameter(ours.detach().clone())
    a = Muon([ours], lr=0.1, weight_decay=0.01, momentum=0.95)
    b = torch.optim.Muon([theirs], lr=0.1, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    before = ours.detach().clone()
    for _ in range(3):
        ours.grad = torch.randn(12, 40)
        theirs.grad = ours.grad.clone()
        a.step()
        b.step()
    moved = (ours - before).norm()
    assert moved > 0.1 and (ours - theirs).norm() < 0.03 * moved


def test_the_size_of_a_step_does_not_depend_on_the_gradients_size_nor_on_which_side_is_longer():
    for shape in ((16, 64), (64, 16)):
        moves = []
        for scale in (1e-3, 1e3):
            p = nn.Parameter(torch.zeros(shape))
            p.grad = scale * torch.randn(shape, generator=torch.Generator().manual_seed(1))
            Muon([p], lr=1.0, weight_decay=0.0).step()
            moves.append(p.detach().clone())
        assert torch.allclose(moves[0], moves[1], atol=1e-2)
        assert moves[0].pow(2).mean().sqrt() == pytest.approx(RMS, rel=0.2)


def test_only_linear_layers_are_muons_and_everything_else_is_adamws():
    model = small_t5(32, 0, width=16, heads=2, feed_forward=32)
    matrices = {id(p) for p in matrices_of(model)}
    names = {name for name, p in model.named_parameters() if id(p) in matrices}
    assert len(names) == 2 * (4 + 2) + 2 * (8 + 2)  # two layers each: attention and feed-forward; the decoder attends twice
    assert not any(word in name for name in names for word in ("shared", "lm_head", "relative", "norm"))
    optimiser = Optimiser(model, Plan(1, 1e-3, muon=True))
    held = [id(p) for rule in optimiser.rules for group in rule.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
