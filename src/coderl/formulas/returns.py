"""What a program is worth, from what its unit tests say: the returns of CodeRL, section 3.2."""

from __future__ import annotations

from torch import Tensor, tensor, where

OUTCOME_RETURNS = (-1.0, -0.6, -0.3, 1.0)
"""r of a compile error, a runtime error, a failed test, a pass, in the order of `records.Outcome` (CodeRL eq. 4 to 7)."""


def outcome_returns(labels: Tensor) -> Tensor:
    """r(W) = -1.0 compile error, -0.6 runtime error, -0.3 failed test, +1.0 passed test. CodeRL eq. (4) to (7).

    The same numbers as in the released code. A timeout is a runtime error.

    Args:
        labels: (B,) int in 0..3, `Outcome.label`.

    Returns:
        (B,) float32.
    """
    assert labels.ndim == 1 and bool(((labels >= 0) & (labels < 4)).all()), f"labels must be (B,) in 0..3, found {labels}"
    return tensor(OUTCOME_RETURNS, device=labels.device)[labels]


def relative_returns(sample: Tensor, baseline: Tensor) -> Tensor:
    """r(W^s) - r(W^b), where W^b is the greedy program of the same actor for the same problem. CodeRL eq. (8).

    A sample with the outcome of its baseline weighs nothing. The released code uses it only with `--relative_returns`; without, the
    baseline's return is 0.

    Args:
        sample: (B,) returns of the sampled programs.
        baseline: (B,) returns of the greedy programs.

    Returns:
        (B,) in [-2, 2].
    """
    assert sample.ndim == 1 and sample.shape == baseline.shape, f"both must be (B,), found {tuple(sample.shape)} and {tuple(baseline.shape)}"
    return sample - baseline


def tempered_returns(relative: Tensor, negative_weight: float) -> Tensor:
    """r if r > 0, else λ r: relative returns whose negative side counts λ times. λ = 1 is CodeRL eq. (8) as it stands.

    Not in the paper. The programs of an offline round are frozen: once the actor no longer writes a bad one, pushing its probability on
    towards zero has no floor and spoils what lies near it (docs/lab-log.md; the collapse that users of the released code report).

    Args:
        relative: (B,) relative returns.
        negative_weight: λ >= 0.

    Returns:
        (B,).
    """
    assert relative.ndim == 1 and negative_weight >= 0, f"relative must be (B,), found {tuple(relative.shape)}; λ {negative_weight} must be >= 0"
    return where(relative > 0, relative, negative_weight * relative)


def passing_returns(labels: Tensor) -> Tensor:
    """r(W) = 1 for a pass, else 0: expert iteration as token weights. Anthony et al. 2017; for language models STaR, Zelikman et al. 2022.

    With these weights `policy_gradient_loss` is cross-entropy on the actor's own passing programs. CodeRL's Table 3 has the other row,
    every sample taken as correct.

    Args:
        labels: (B,) int in 0..3, `Outcome.label`.

    Returns:
        (B,) float32.
    """
    assert labels.ndim == 1 and bool(((labels >= 0) & (labels < 4)).all()), f"labels must be (B,) in 0..3, found {labels}"
    return (labels == 3).float()
