"""Muon: gradient descent with momentum whose step for every weight matrix is made orthogonal (K. Jordan et al., 2024).

A small T5 from random weights learns in half the updates that AdamW takes (docs/lab-log.md); for a pretrained model AdamW, as in the paper,
stays the choice. `torch.optim.Muon` is the same rule in bfloat16, which CPUs without bfloat16 arithmetic emulate at 30 times the cost;
here it is float32, matrices of one shape at a time. Only matrices of linear layers belong here: see `fitting.Optimiser`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""a, b, c of the iteration, by its authors: steep at 0, so that small singular values grow fast, at the price of ending between 0.7 and 1.2."""
ITERATIONS = 5
RMS = 0.2
"""Root mean square of an update's elements at learning rate 1, about that of AdamW's: so both take the same learning rate (Moonlight, 2025)."""


def orthogonalised(x: Tensor) -> Tensor:
    """Nearly U V^T of x = U S V^T, by X <- a X + (b A + c A^2) X with A = X X^T, from X = x / ||x||.

    Args:
        x: (N, R, C) float, R <= C.

    Returns:
        (N, R, C); its singular values lie between about 0.7 and 1.2 where those of x are not vanishing.
    """
    assert x.ndim == 3 and x.shape[1] <= x.shape[2], f"x must be (N, R, C) with R <= C, found {tuple(x.shape)}"
    a, b, c = COEFFICIENTS
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


class Muon(torch.optim.Optimizer):
    """W <- (1 - lr wd) W - lr RMS sqrt(max(rows, columns)) orthogonalised(momentum of the gradient, Nesterov).

    Args:
        parameters: matrices of linear layers.
        lr: learning rate; weight_decay: wd, decoupled; momentum: share of the running mean that is kept at each step.
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float = 0.01, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    update = self._momentum(p, group["momentum"])
                    by_shape.setdefault((min(p.shape), max(p.shape)), []).append((p, update))
            for (_, longest), pairs in by_shape.items():
                wide = torch.stack([u if u.shape[0] <= u.shape[1] else u.mT for _, u in pairs])
                for (p, u), direction in zip(pairs, orthogonalised(wide), strict=True):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(direction if u.shape[0] <= u.shape[1] else direction.mT, alpha=-group["lr"] * RMS * longest**0.5)

    def _momentum(self, p: Tensor, share: float) -> Tensor:
        state = self.state[p]
        if "mean" not in state:
            state["mean"] = torch.zeros_like(p)
        state["mean"].lerp_(p.grad, 1 - share)
        return p.grad.lerp(state["mean"], share)  # type: ignore[union-attr]
