"""Stage `critic-sample`: write programs with a critic's help (CodeRL section 3.3.4): sample, test on the examples, refine or repair, test again.

OUT gets, problem by problem as each is finished:

    programs.jsonl   every program that was written, with origin, round and parent
    examples.jsonl   their verdicts on the example tests
    ranked.jsonl     one line a problem: what to hand in, best first, by which rule; tokens, rounds, why it ended
    final.jsonl      at the end: the programs in play (the paper's S'), ready for `coderl grade` and `coderl evaluate`

The same command goes on after a kill with the problems that have no line in ranked.jsonl. The same seed gives the same programs whatever
the number of workers. Problems without example tests are returned as they were sampled, and counted.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import OmitArgPrefixes

if TYPE_CHECKING:
    from ..critic_sampling import Rules, Seed
    from ..handed_in import Ranked
    from ..records import Problem, Program
    from ..run_directory import RunDirectory
    from ..solving import Outcomes
    from ..store import AppendStore


@dataclass(frozen=True)
class Writing:
    """How programs are written in a search."""

    temperature: float = 0.6
    """sampling temperature (CodeRL: 0.6)"""
    top_p: float = 0.95
    """nucleus mass (CodeRL: 0.95)"""
    max_program_tokens: int = 128
    """longest program in tokens (CodeRL on APPS: 512)"""
    max_source_tokens: int = 192
    """longest prompt of the actor and of the critic in tokens (CodeRL on APPS: 600)"""
    max_repair_tokens: int = 384
    """longest source of the repair model in tokens"""
    rows: int = 512
    """programs written at the same time in one process"""


USUAL = Writing()


@dataclass(frozen=True)
class Config:
    """Write programs for problems: sample, refine what passes the example tests, repair what does not."""

    model: Path
    """actor: a Hugging Face directory"""
    problems: Path
    """problems with example tests (.jsonl)"""
    out: Path
    """folder to write; an unfinished one is completed"""
    critic: Path | None = None
    """critic of two outcomes or of four; without it scores are mean log-probabilities"""
    repair: Path | None = None
    """repair model (from train-repair); without it nothing is repaired"""
    samples: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 20
    """N: programs in each round [c]"""
    repaired: int = 1
    """M: failed programs that a round of repair begins with (CodeRL: 1)"""
    refine_rounds: int = 1
    """rounds of refining, 0 for none (CodeRL: 1)"""
    repair_rounds: int = 1
    """rounds of repair, 0 for none (CodeRL: 1)"""
    prefix: Literal["critic", "critic-pooled", "log-probability", "random"] = "critic"
    """what chooses the prefix that is kept of a program that passes [a]; pooled: the critic reads each prefix as if it were the whole [h]"""
    cut_below: float = 0.5
    """prefixes end before the first token that the critic gives less than this chance of passing [b]; 0 = never"""
    pool: bool = False
    """all that was written stays in play; otherwise a round's programs take the place of those before (CodeRL) [d, g]"""
    max_tokens: int | None = None
    """tokens to write for each problem, prefixes not counted; all stays in play then, and sampling begins again until they are used up"""
    select: Literal["critic", "log-probability", "majority"] = "critic"
    """order of what to hand in: those that pass the examples first, then by this"""
    writing: Annotated[Writing, OmitArgPrefixes] = USUAL
    """how programs are written"""
    workers: int = os.cpu_count() or 1
    """processes, one thread each, with models and a judge of their own"""
    allow_unsandboxed: bool = False
    """judge even where this machine offers no isolation (unsafe)"""
    seed: int = 0
    """seed of the random streams"""


def main(config: Config) -> None:
    import torch

    from ..crew import work
    from ..errors import UsageError
    from ..handed_in import Ranked
    from ..progress import progress
    from ..records import Problem
    from ..run_directory import RunDirectory, manifest
    from ..store import AppendStore, read_records, write_records

    if config.writing.temperature == 0 and config.samples > 1:
        raise UsageError(f"--temperature is 0: all {config.samples} samples would be the same program; give more than 0")
    torch.set_num_threads(1)  # more cores: more workers
    problems = read_records(config.problems, Problem)
    run = RunDirectory(config.out)
    if run.is_done(replace(config, workers=1)):
        print(f"{config.out} is complete already; remove it, or choose another --out, to search again")
        return
    begun = (config.out / "ranked.jsonl").exists()
    run.start(manifest(replace(config, workers=1), [config.problems]), begun)
    with AppendStore(run / "ranked.jsonl", Ranked, lambda r: r.problem) as ranked:
        if len(ranked):
            print(f"{config.out} holds {len(ranked)} finished problems")
        left = [p for p in problems if p.id not in ranked]
        parts = parts_of(left, config)
        start: Callable[[], AbstractContextManager[Callable[[Sequence[Problem]], Iterable[Outcomes]]]] = partial(searching, config)
        with open_stores(run) as (programs, examples), progress("searching", total=len(left), unit="problems") as advance:
            for found in work(start, parts, config.workers):
                keep(found, programs, examples)
                ranked.append(found.ranked)
                advance(1, note=f"{found.ranked.tokens} tokens")
    everything = {r.problem: r for r in read_records(run / "ranked.jsonl", Ranked)}
    write_records(run / "final.jsonl", final(run / "programs.jsonl", everything))
    run.finish()
    tell(config, list(everything.values()))


def parts_of(problems: Sequence[Problem], config: Config) -> list[list[Problem]]:
    """Problems that are searched together: enough for full batches of 512 programs, few enough that every worker has some."""
    share = -(-len(problems) // (1 if config.workers == 1 else 2 * config.workers))
    size = max(1, min(1024 // config.samples, share))
    return [list(problems[i : i + size]) for i in range(0, len(problems), size)]


def rules_of(config: Config) -> Rules:
    """The rules that the options say."""
    from ..critic_sampling import Rules
    from ..engines.requests import Decoding

    writing = config.writing
    return Rules(
        seed=config.seed,
        samples=config.samples,
        repaired=config.repaired,
        refine_rounds=config.refine_rounds,
        repair_rounds=config.repair_rounds,
        prefix=prefix_of(config),
        pool=config.pool,
        max_tokens=config.max_tokens,
        decoding=Decoding(writing.temperature, writing.top_p, writing.max_program_tokens),
        max_source_tokens=writing.max_source_tokens,
        max_repair_tokens=writing.max_repair_tokens,
        rows=writing.rows,
    )


def prefix_of(config: Config) -> Seed:
    """The function that chooses prefixes."""
    from ..critic_sampling import at_random, by_critic, by_log_probability

    seeds: dict[str, Seed] = {
        "critic": partial(by_critic, threshold=config.cut_below),
        "critic-pooled": partial(by_critic, threshold=config.cut_below),
        "log-probability": by_log_probability,
        "random": partial(at_random, seed=config.seed),
    }
    return seeds[config.prefix]


@contextmanager
def searching(config: Config) -> Iterator[Callable[[Sequence[Problem]], Iterator[Outcomes]]]:
    """Models and a judge, and a function from problems to what was found for each: what one worker needs."""
    import torch

    from ..sandbox import Judge
    from ..solving import outcomes, team

    torch.set_num_threads(1)
    with Judge(workers=1, allow_unsandboxed=config.allow_unsandboxed) as judge:
        everybody = team(judge, config.model, config.critic, config.repair, config.prefix == "critic-pooled")
        yield lambda problems: outcomes(everybody, problems, rules_of(config), config.select)


@contextmanager
def open_stores(run: RunDirectory) -> Iterator[tuple[AppendStore, AppendStore]]:
    """Programs and their verdicts on the example tests."""
    from ..records import Program, Verdict
    from ..store import AppendStore

    with AppendStore(run / "programs.jsonl", Program, lambda p: (p.problem, p.index)) as programs:
        with AppendStore(run / "examples.jsonl", Verdict, lambda v: (v.problem, v.index)) as examples:
            yield programs, examples


def keep(found: Outcomes, programs: AppendStore, examples: AppendStore) -> None:
    """Append what is not there yet: a kill may have come between the lines of one problem, whose search then gives the same again."""
    for program in found.programs:
        if (program.problem, program.index) not in programs:
            programs.append(program)
    for verdict in found.examples:
        if (verdict.problem, verdict.index) not in examples:
            examples.append(verdict)


def final(path: Path, ranked: dict[str, Ranked]) -> list[Program]:
    """The programs in play at the end of each search."""
    from ..records import Program
    from ..store import read_records

    known = {(p.problem, p.index): p for p in read_records(path, Program)}
    return [known[name, index] for name, one in ranked.items() for index in one.final]


def tell(config: Config, ranked: Sequence[Ranked]) -> None:
    """The last lines of the stage."""
    rounds = Counter(origin for one in ranked for origin in one.rounds)
    tokens, written = sum(r.tokens for r in ranked), sum(r.programs for r in ranked)
    without = sum(not r.with_examples for r in ranked)
    print(f"{len(ranked)} problems, {written} programs, {tokens} tokens written (prefixes not counted), seed {config.seed} -> {config.out}")
    print(f"rounds: {rounds['sample']} of sampling, {rounds['refine']} of refining, {rounds['repair']} of repair")
    print(f"{sum(r.passing > 0 for r in ranked)} problems have a program that passes the example tests; handed in by the rule {config.select}")
    if without:
        print(f"{without} problems have no example tests and are returned as they were sampled")
