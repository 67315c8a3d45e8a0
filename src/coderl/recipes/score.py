"""Stage `score`: a critic reads judged programs and gives every token its value (CodeRL eq. 10, `records.TokenScores`).

Scores are appended to OUT as they come; the same command goes on after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens; what is behind has no value"""
    threads: int = 1
    """CPU threads of torch"""


def main(config: Config) -> None:
    import torch

    from ..examples import Limits, join_verdicts, judged_examples
    from ..grading import programs_of
    from ..models.critic import load_critic
    from ..progress import progress
    from ..records import Problem, TokenScores, Verdict
    from ..scoring import accuracy, read_programs, token_scores
    from ..store import AppendStore, read_records
    from ..tokens import load_tokenizer

    torch.set_num_threads(config.threads)
    critic, tokenizer = load_critic(config.critic), load_tokenizer(config.critic)
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    with AppendStore(config.out, TokenScores, lambda s: (s.problem, s.index)) as store:
        left = [j for j in judged if (j.program.problem, j.program.index) not in store]
        if len(store):
            print(f"{config.out} holds {len(store)} programs; {len(left)} are left to score")
        readings, labels = [], []
        with progress("scoring", total=len(left), unit="programs") as advance:
            for start in range(0, len(left), 1024):
                part = left[start : start + 1024]
                examples = judged_examples(tokenizer, problems, part, limits).examples
                found = read_programs(critic, examples)
                for one, example, reading in zip(part, examples, found, strict=True):
                    store.append(token_scores(tokenizer, one, example, reading))
                readings += found
                labels += [e.label for e in examples]
                advance(len(part))
    if left:
        known = accuracy(readings, labels)
        print(f"{len(left)} programs scored; right on {known.accuracy:.3f} (most frequent outcome {known.majority:.3f}) -> {config.out}")
