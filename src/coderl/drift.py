"""How an actor writes, and how far it has gone from where it began: on a few programs that it draws, exactly, token by token.

Nothing is judged here. Part of the looks at validation problems (trials.py); diagnosis/ reads the numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from .engines.requests import Decoding
from .formulas.distributions import token_divergences, token_entropies
from .models.actor import Actor, program_logits
from .prompts import prompt, template_of
from .records import Problem, Program
from .sampling import Settings, Task, sample
from .tokens import Batch, Example, collate, encode_prompt

PROBLEMS = 50
"""problems that programs are drawn for, at most"""
DRAWN = 4
"""programs for each; with 50 x 4 x 33 tokens the standard error of the divergence is a few percent of it"""
_LOGITS = 2**25  # logits computed at a time, 128 MiB


def copied(actor: Actor) -> Actor:
    """The actor as it is now, for comparison: weights of its own that no training changes."""
    return Actor(copy.deepcopy(actor.model).eval().requires_grad_(False), actor.tokenizer)


def drift(actor: Actor, start: Actor | None, problems: Sequence[Problem], settings: Settings) -> dict[str, float]:
    """Numbers of programs drawn from the actor itself, at temperature 1 from the whole vocabulary, the same random numbers in every call.

    Args:
        start: what it is held against.
        settings: of the greedy looks; seed, token limits and rows are taken from there.

    Returns:
        `actor/entropy`: nats a token. `actor/distinct`: mean over problems of the share of their programs that differ from each other,
        1 / DRAWN (all equal) to 1. With `start` also `actor/kl`: KL(actor || start), nats a token.
    """
    some = problems[:: -(-len(problems) // PROBLEMS)]
    drawing = settings._replace(decoding=Decoding(temperature=1.0, top_p=1.0, max_tokens=settings.decoding.max_tokens))
    programs = list(sample(actor, [Task(p, tuple(range(DRAWN))) for p in some], drawing))
    examples = _examples(actor, some, programs, settings.max_source_tokens)
    return {"actor/distinct": distinct_share(programs), **token_means(actor, start, examples)}


def distinct_share(programs: Sequence[Program]) -> float:
    """Mean over problems of (distinct programs of the problem) / (its programs)."""
    texts: dict[str, list[str]] = {}
    for program in programs:
        texts.setdefault(program.problem, []).append(program.code)
    return sum(len(set(group)) / len(group) for group in texts.values()) / len(texts)


@torch.inference_mode()
def token_means(actor: Actor, start: Actor | None, examples: Sequence[Example]) -> dict[str, float]:
    """`actor/entropy`, and with `start` `actor/kl`: means over all tokens of the examples, in one pass of each model."""
    actor.model.eval()
    entropy = divergence = 0.0
    if start:
        nn.Module.to(start.model, actor.model.device)
    for batch in _batches(actor, examples):
        logits = program_logits(actor.model, batch)
        entropy += float(token_entropies(logits).sum())
        if start:
            divergence += float(token_divergences(logits, program_logits(start.model, batch)).sum())
    count = sum(len(e.program) for e in examples)
    return {"actor/entropy": entropy / count} | ({"actor/kl": divergence / count} if start else {})


def _examples(actor: Actor, problems: Sequence[Problem], programs: Sequence[Program], limit: int) -> list[Example]:
    prompts = {p.id: encode_prompt(actor.tokenizer, prompt(p, template_of(actor.tokenizer)), limit)[0] for p in problems}
    return [Example(p.problem, prompts[p.problem], tuple(p.extra["token_ids"])) for p in programs]


def _batches(actor: Actor, examples: Sequence[Example]) -> Iterator[Batch]:
    order = sorted(examples, key=lambda e: (e.key, len(e.program)))
    longest = max(len(e.program) for e in examples)
    rows = max(1, _LOGITS // (longest * actor.model.config.vocab_size))
    for i in range(0, len(order), rows):
        batch = collate(order[i : i + rows], actor.tokenizer.pad_token_id)
        yield Batch(*(tensor.to(actor.model.device) for tensor in batch))
