"""From logits to tokens: greedy and nucleus sampling (Holtzman et al. 2020) by inversion, one uniform number a row.

The nucleus of a row is the smallest set of most likely tokens whose mass reaches `top_p`. On a CPU only the tokens above
a small probability are looked at, a handful a row; the rows in which those do not hold the mass are sorted. On an accelerator the
most likely tokens are taken there with `topk`, and the vocabulary is sorted where they do not suffice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

_LIKELY = 2.0**-10  # a row whose tokens above this hold the mass top_p needs no other ones
_CHUNK = 1 << 17  # numbers handled at a time on a CPU: what its second cache holds
_SHORTLIST = 64
_LEAST = -80.0  # exp of less is no normal float32 number, and a core is ten times slower with those


class Choice(NamedTuple):
    """Tokens (R,), their log-probabilities under the model (R,) and under the distribution drawn from (R,)."""

    tokens: np.ndarray
    logprobs: np.ndarray
    sampling_logprobs: np.ndarray


def choose(logits: Tensor, uniform: np.ndarray, temperature: np.ndarray, top_p: np.ndarray) -> Choice:
    """One token a row.

    Args:
        logits: (R, V), any float type; overwritten.
        uniform: (R,) in [0, 1).
        temperature: (R,), 0 = the most likely token (the first one of equals).
        top_p: (R,) in (0, 1].
    """
    assert logits.ndim == 2 and uniform.shape == temperature.shape == top_p.shape == logits.shape[:1]
    R, V = logits.shape
    if logits.device.type != "cpu":
        return _choose(logits.float(), uniform, temperature, top_p)
    rows = max(1, _CHUNK // V)
    parts = [_choose(logits[i : i + rows].float(), uniform[i : i + rows], temperature[i : i + rows], top_p[i : i + rows]) for i in range(0, R, rows)]
    return Choice(*map(np.concatenate, zip(*parts))) if len(parts) > 1 else parts[0]


def _choose(logits: Tensor, uniform: np.ndarray, temperature: np.ndarray, top_p: np.ndarray) -> Choice:
    cpu, greedy = logits.device.type == "cpu", temperature == 0
    # numpy finds a row's largest number several times faster than torch does
    best = logits.numpy().argmax(-1) if cpu else logits.argmax(-1).cpu().numpy()
    tokens, sampling = best, np.zeros(len(best))
    logits -= logits.gather(-1, torch.from_numpy(best).to(logits.device)[:, None])
    if not greedy.all():
        inverse = 1.0 / np.where(greedy, 1.0, temperature)
        scale = torch.from_numpy(inverse).to(logits)[:, None] if (inverse != inverse[0]).any() else float(inverse[0])
        probabilities = torch.softmax((logits * scale).clamp_(min=_LEAST), -1)
        drawn, scores = (_on_cpu if cpu else _on_device)(probabilities, uniform, top_p)
        tokens, sampling = np.where(greedy, best, drawn), np.where(greedy, 0.0, scores)
    chosen = logits.gather(-1, torch.from_numpy(tokens).to(logits.device)[:, None])[:, 0]
    logprobs = chosen - logits.clamp_(min=_LEAST).exp_().sum(-1).log_()
    return Choice(tokens, logprobs.cpu().numpy(), sampling.astype(np.float32))


def _on_cpu(probabilities: Tensor, uniform: np.ndarray, top_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (R,) and log-probabilities (R,) within the nucleus."""
    table = probabilities.numpy()
    tokens, scores, settled = _likely_ones(table, uniform, top_p)
    if not settled.all():
        rest = np.flatnonzero(~settled)
        tokens[rest], scores[rest] = _by_sorting(table[rest], uniform[rest], top_p[rest])
    return tokens, scores


def _likely_ones(table: np.ndarray, uniform: np.ndarray, top_p: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `_on_cpu` from the likely tokens alone, and in which rows (R,) those hold the mass `top_p`, so that the answer counts."""
    R, V = table.shape
    flat = np.flatnonzero(table >= _LIKELY)
    row = flat // V
    p = table.reshape(-1)[flat].astype(np.float64)
    if len(p) == 0:
        return np.zeros(R, dtype=np.int64), np.zeros(R), np.zeros(R, dtype=bool)
    order = np.argsort(row * 2.0 - p, kind="stable")  # by row, likely ones first, equals by id
    flat, p = flat[order], p[order]
    first = np.searchsorted(row, np.arange(R))  # sorting has moved nothing from row to row
    total = np.concatenate(([0.0], np.cumsum(p)))
    base = total[first]
    settled = total[np.append(first[1:], len(p))] - base >= top_p
    inside = total[:-1] - base[row] < top_p[row]  # the mass of the more likely ones does not reach top_p yet
    last = first + np.bincount(row, inside, minlength=R).astype(np.int64) - 1
    mass = total[last + 1] - base
    place = np.searchsorted(total[1:], base + uniform * mass, side="right")
    place = np.where(settled, np.clip(place, first, last), 0)  # rounding may step over an end
    return flat[place] % V, np.log(p[place] / np.where(settled, mass, 1.0)), settled


def _by_sorting(table: np.ndarray, uniform: np.ndarray, top_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_on_cpu`, each row's values sorted: several times faster than sorting the ids with them."""
    R, V = table.shape
    rows = np.arange(R)
    values = np.sort(table, -1)[:, ::-1]
    total = np.cumsum(values, -1, dtype=np.float64)
    last = np.minimum(np.count_nonzero(total < top_p[:, None], -1), V - 1)
    mass = total[rows, last]
    place = np.minimum(np.count_nonzero(total <= (uniform * mass)[:, None], -1), last)
    value = values[rows, place]
    rank = place - np.count_nonzero(table > value[:, None], -1)  # among equals, which are taken by id
    row, token = np.nonzero(table == value[:, None])
    return token[np.searchsorted(row, rows) + rank], np.log(value / mass)


def _on_device(probabilities: Tensor, uniform: np.ndarray, top_p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `_on_cpu` with the tensors left where they are."""
    u = torch.from_numpy(uniform).to(probabilities.device)[:, None]
    wanted = torch.from_numpy(top_p).to(probabilities)[:, None]
    V = probabilities.shape[1]
    values, tokens = probabilities.topk(min(_SHORTLIST, V), -1)  # (R, K), likely ones first
    if values.shape[1] < V and bool((values.sum(-1, keepdim=True) < wanted).any()):
        values, tokens = probabilities.sort(-1, descending=True)
    values = values.double()
    before = values.cumsum(-1) - values  # mass of the more likely tokens
    outside = before >= wanted
    outside[:, 0] = False
    values = values.masked_fill(outside, 0.0)
    mass = values.sum(-1, keepdim=True)
    place = (values.cumsum(-1) <= u * mass).sum(-1, keepdim=True)
    place = torch.minimum(place, (values > 0).sum(-1, keepdim=True) - 1)  # rounding may step over the end
    chosen = tokens.gather(-1, place)[:, 0]
    return chosen.cpu().numpy(), (values.gather(-1, place) / mass).log()[:, 0].cpu().numpy()
