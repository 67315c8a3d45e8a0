"""Stage `bcoder rank`: score programs of any actor by the return that a Q model recovers for them (B-Coder section 4.4, eq. 19).

    r̃(s_t, a_t) = Q_θ(s_t, a_t) - γ V(s_{t+1})        R̃(W) = Σ_t r̃: the score; the higher, the better the program should be

All candidates of a problem are read in one pass. With `--checkpoint` Q_θ(s_{t+1}, â_{t+1}), â its greedy token, stands in place of V, as
eq. 19 has it; the paper uses V. Scores are appended to OUT as they come; the same command goes on after a kill.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Config:
    """Score programs by B-Coder's recovered reward, for ranking."""

    model: Path
    """Q model (from bcoder finetune, or from bcoder value)"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """programs of this or any other actor (.jsonl)"""
    out: Path
    """scores to write (.jsonl); an unfinished file is completed"""
    checkpoint: Path | None = None
    """actor that bcoder value started from: its greedy tokens in place of the approximation by V"""
    verdicts: Path | None = None
    """verdicts of the programs (.jsonl): the mean score of each outcome is printed"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens; what is behind does not count"""
    threads: int = 1
    """CPU threads of torch"""


def main(config: Config) -> None:
    import torch

    from ..examples import Limits, program_examples
    from ..grading import programs_of
    from ..models.actor import load_actor, t5_of
    from ..models.bcoder import FrozenEncoder, load_q_model
    from ..progress import progress
    from ..ranking import ProgramScore, program_score, read_returns
    from ..records import Problem
    from ..store import AppendStore, read_records

    torch.set_num_threads(config.threads)
    model, tokenizer = load_q_model(config.model)
    checkpoint = t5_of(load_actor(config.checkpoint), "--checkpoint").eval() if config.checkpoint else None
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    programs = sorted(programs_of(config.programs), key=lambda p: p.problem)  # all candidates of a problem lie in one pass
    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    with AppendStore(config.out, ProgramScore, lambda s: (s.problem, s.index)) as store:
        left = [p for p in programs if (p.problem, p.index) not in store]
        if len(store):
            print(f"{config.out} holds {len(store)} programs; {len(left)} are left to score")
        with progress("ranking", total=len(left), unit="programs") as advance:
            for start in range(0, len(left), 1024):
                part = left[start : start + 1024]
                examples = program_examples(tokenizer, problems, part, limits).examples
                found = read_returns(model, FrozenEncoder(model.actor), examples, tokenizer.pad_token_id, checkpoint)
                for program, example, one in zip(part, examples, found, strict=True):
                    store.append(program_score(program, example, one))
                advance(len(part))
    print(f"{len(left)} programs scored -> {config.out}")
    if config.verdicts:
        print_outcomes(config.out, config.verdicts)


def print_outcomes(scores: Path, verdicts: Path) -> None:
    """The mean score of each outcome: passed > failed > runtime > compile is what it should be (B-Coder figure 3)."""
    from ..ranking import ProgramScore, mean_by_outcome
    from ..records import Verdict
    from ..store import read_records

    for outcome, (mean, programs) in mean_by_outcome(read_records(scores, ProgramScore), read_records(verdicts, Verdict)).items():
        print(f"{outcome}: mean recovered return {mean:.3f} over {programs} programs")
