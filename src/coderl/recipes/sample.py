"""Stage `sample`: an actor writes programs for problems (nucleus sampling, or greedy with `--temperature 0`).

Programs are appended to OUT as they come; the same command goes on after a kill and leaves out what is there. The same (seed,
problem, index) gives the same program whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

if TYPE_CHECKING:
    from ..records import Problem
    from ..sampling import Settings


@dataclass(frozen=True)
class Config:
    """Write programs for problems with an actor."""

    model: Path
    """actor: a Hugging Face directory"""
    problems: Path
    """problems to write programs for (.jsonl)"""
    out: Path
    """programs to write (.jsonl); an unfinished file is completed"""
    samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """programs for each problem; 1 when greedy"""
    temperature: float = 0.6
    """sampling temperature; 0 = greedy (CodeRL: 0.6)"""
    top_p: float = 0.95
    """nucleus mass (CodeRL: 0.95)"""
    max_program_tokens: int = 128
    """longest program in tokens (CodeRL on APPS: 512)"""
    max_source_tokens: int = 192
    """longest prompt in tokens; longer ones lose their middle (CodeRL on APPS: 600)"""
    greedy: Path | None = None
    """also write each problem's greedy program here (.jsonl): the baseline of CodeRL, or greedy accuracy"""
    workers: int = 2
    """processes, one thread each"""
    rows: int = 512
    """programs written at the same time in one process"""
    seed: int = 0
    """seed of the random streams"""


def main(config: Config) -> None:
    import torch

    from ..engines.torch_engine import Decoding
    from ..errors import UsageError
    from ..records import Problem
    from ..sampling import Settings
    from ..store import read_records

    torch.set_num_threads(1)  # more cores: more workers
    decoding = Decoding(config.temperature, config.top_p, config.max_program_tokens, config.rows)
    decoding.check()
    if config.samples < 1:
        raise UsageError(f"--samples is {config.samples}; it must be at least 1")
    problems = read_records(config.problems, Problem)
    settings = Settings(decoding, config.seed, config.max_source_tokens, name=str(config.model))
    write_programs(config, problems, 1 if config.temperature == 0 else config.samples, settings, config.out)
    if config.greedy:
        write_programs(config, problems, 1, settings._replace(decoding=decoding._replace(temperature=0)), config.greedy)


def write_programs(config: Config, problems: Sequence[Problem], samples: int, settings: Settings, out: Path) -> None:
    """Complete the store `out` to `samples` programs for each problem."""
    from ..progress import progress
    from ..records import Program
    from ..sampling import sample_directory, tasks_for
    from ..store import AppendStore

    with AppendStore(out, Program, lambda p: (p.problem, p.index)) as store:
        tasks = tasks_for(problems, samples, lambda problem, index: (problem, index) in store)
        left = sum(len(t.indices) for t in tasks)
        if len(store):
            print(f"{out} holds {len(store)} programs; {left} are left to write")
        if not tasks:
            return
        tokens = cut = 0
        long: set[str] = set()
        with progress("sampling", total=left, unit="programs") as advance:
            for program in sample_directory(config.model, tasks, settings, config.workers):
                store.append(program)
                tokens += program.tokens or 0
                cut += bool(program.extra.get("cut"))
                if program.extra.get("prompt_cut"):
                    long.add(program.problem)
                advance(1, note=f"{tokens} tokens")
    print(f"{left} programs, {tokens} tokens, {cut} cut at {config.max_program_tokens} tokens, seed {config.seed} -> {out}")
    if long:
        print(f"{len(long)} prompts were longer than {config.max_source_tokens} tokens and lost their middle (--max-source-tokens)")
