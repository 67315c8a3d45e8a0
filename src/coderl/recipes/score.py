"""Stage `score`: a critic reads judged programs and gives every token its value (CodeRL eq. 10, `records.TokenScores`).

Scores are appended to OUT as they come; the same command goes on after a kill. `--instead` writes the values of a critic of known
quality in place of the critic's own (`standins`): what fine-tuning does with those says what the critic adds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ..models.critic import Critic
    from ..scoring import Reading
    from ..tokens import Example

PART = 1024
"""Programs that are read, and written, at a time."""


@dataclass(frozen=True)
class Config:
    """Give every token of judged programs the critic's value."""

    critic: Path
    """critic directory (from train-critic)"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    out: Path
    """token scores to write (.jsonl); an unfinished file is completed"""
    instead: Literal["constant", "oracle", "shuffled"] | None = None
    """values of a critic of known quality: the critic's mean everywhere, the true outcome everywhere, or the critic's values of another program"""
    values: Literal["after", "before"] | None = None
    """value of a token after the critic has read it (the paper) or before (the released code); without it, as the critic's head was made"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens; what is behind has no value"""
    threads: int = 1
    """CPU threads of torch"""
    seed: int = 0
    """seed of `--instead shuffled`: which other program"""


def main(config: Config) -> None:
    import torch

    from ..critic_quality import quality
    from ..examples import Limits, join_verdicts, judged_examples, labelled_for
    from ..grading import programs_of
    from ..machine import device_here
    from ..models.critic import load_critic, reading_at
    from ..progress import progress
    from ..records import Problem, TokenScores, Verdict
    from ..scoring import token_scores
    from ..store import AppendStore, read_records
    from ..tokens import load_tokenizer

    torch.set_num_threads(config.threads)
    critic, tokenizer = load_critic(config.critic).to(device_here()), load_tokenizer(config.critic)
    if config.values:
        critic = reading_at(critic, own_token=config.values == "after")
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    known = judged_examples(tokenizer, problems, judged, Limits(config.max_source_tokens, config.max_program_tokens)).examples
    examples = labelled_for(known, critic.outcomes)
    mark = {"instead": config.instead} if config.instead else {}
    with AppendStore(config.out, TokenScores, lambda s: (s.problem, s.index)) as store:
        if len(store):
            refuse_another(config)
        left = [i for i, j in enumerate(judged) if (j.program.problem, j.program.index) not in store]
        if len(store):
            print(f"{config.out} holds {len(store)} programs; {len(left)} are left to score")
        read = reader(config, critic, examples) if left else None
        readings: list[Reading] = []
        with progress("scoring", total=len(left), unit="programs") as advance:
            for start in range(0, len(left), PART):
                assert read
                part = left[start : start + PART]
                found = read(part)
                for i, reading in zip(part, found, strict=True):
                    store.append(replace(token_scores(tokenizer, judged[i], examples[i], reading), extra=mark))
                readings += found
                advance(len(part))
    if left:
        how_good = quality(readings, [examples[i] for i in left])
        print(f"{len(left)} programs scored; {how_good.sentence()} -> {config.out}")


def refuse_another(config: Config) -> None:
    """The file that is to be completed must hold scores of the same kind.

    Raises:
        UsageError: it holds others.
    """
    from ..errors import UsageError
    from ..records import TokenScores
    from ..store import iterate_records

    held = next(iterate_records(config.out, TokenScores)).extra.get("instead")
    if held != config.instead:
        names = [f"--instead {name}" if name else "the critic's own" for name in (held, config.instead)]
        raise UsageError(f"{config.out} holds scores of another kind ({names[0]}, not {names[1]}); remove it, or choose another --out")


def reader(config: Config, critic: Critic, examples: Sequence[Example]) -> Callable[[Sequence[int]], list[Reading]]:
    """A function from places in `examples` to their readings, of the critic or of what stands in for it."""
    from .. import standins
    from ..scoring import read_programs

    if config.instead is None:
        return lambda part: read_programs(critic, [examples[i] for i in part])
    if config.instead == "oracle":
        return lambda part: standins.oracle([examples[i] for i in part], critic.outcomes)
    if config.instead == "constant":
        mean = standins.constant(read_programs(critic, examples))
        return lambda part: [standins.fitted(mean, len(examples[i].program)) for i in part]
    other = standins.others(examples, config.seed)

    def read(part: Sequence[int]) -> list[Reading]:
        found = read_programs(critic, [examples[other[i]]._replace(label=examples[i].label) for i in part])
        return [standins.fitted(reading, len(examples[i].program)) for i, reading in zip(part, found, strict=True)]

    return read
