"""From models to ranked programs: who takes part in a search, what comes out of it, and `solve`, the whole for one problem.

`coderl.solve(problem, actor, critic, repair, budget)` is for library use; the stage `critic-sample` uses the same parts over many problems.
An actor may be an encoder-decoder (T5) or any decoder-only model that the torch engine runs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch

from .critic_sampling import Candidate, Reader, Rules, Team, Tree, search
from .engines.torch_engine import generate
from .handed_in import Ranked
from .machine import device_here
from .models.actor import load_actor
from .models.critic import load_critic, reading_prefixes
from .records import Problem, Program, Verdict
from .sampling import Author
from .sandbox import Judge, behaviours
from .selection import Rule, by_majority, by_mean_log_probability, by_score, made_inputs, ranked
from .tokens import load_tokenizer

MADE_INPUTS = 8  # for clusters of behaviour
RULES = ("critic", "log-probability", "majority")


def load_author(directory: str | Path) -> Author:
    """The torch engine with the model of a Hugging Face directory, and its tokenizer.

    Raises:
        ModelError: no such folder, or no actor in it that can be loaded.
    """
    actor = load_actor(directory)
    torch.nn.Module.to(actor.model, device_here())
    return Author(partial(generate, actor.model), actor.tokenizer)


def team(judge: Judge, actor: str | Path, critic: str | Path | None = None, repair: str | Path | None = None, pooled: bool = False) -> Team:
    """Who takes part in a search, from model directories. `pooled`: the critic reads prefixes as whole programs (`models.critic.PrefixHead`)."""
    reader = None
    if critic is not None:
        loaded = load_critic(critic).to(device_here())
        reader = Reader(reading_prefixes(loaded) if pooled else loaded, load_tokenizer(critic))
    rewriter = None if repair is None else load_author(repair)
    return Team(load_author(actor), judge, reader, rewriter, str(actor), "" if repair is None else str(repair))


class Outcomes(NamedTuple):
    """A finished search as records: all programs, their verdicts on the example tests, and what is handed in."""

    programs: list[Program]
    examples: list[Verdict]
    ranked: Ranked


def outcomes(team: Team, problems: Sequence[Problem], rules: Rules, rule: str) -> Iterator[Outcomes]:
    """Search the problems; a record of each as soon as it is finished. `rule`: one of `RULES`."""
    for tree in search(team, problems, rules):
        order = ranked(tree.in_play, rule_of(rule, team.judge, tree))
        yield Outcomes(
            tree.records(team.actor.tokenizer),
            [c.verdict for c in tree.candidates if c.verdict is not None],
            Ranked(
                problem=tree.problem.id,
                final=tuple(c.program.index for c in tree.in_play),
                order=tuple(c.program.index for c in order),
                rule=rule,
                programs=len(tree.candidates),
                tokens=tree.tokens,
                passing=sum(c.passes for c in order),
                rounds=tuple(tree.rounds),
                ended=tree.ended,
                with_examples=bool(tree.problem.examples),
            ),
        )


def rule_of(name: str, judge: Judge, tree: Tree) -> Rule:
    """The rule of that name for this tree; "majority" runs its programs on the example inputs and on inputs made from them."""
    if name == "critic":
        return by_score
    if name == "log-probability":
        return by_mean_log_probability
    return by_majority(behaviours_of(judge, tree.problem, tree.in_play))


def behaviours_of(judge: Judge, problem: Problem, candidates: Sequence[Candidate]) -> dict[str, Hashable]:
    """By text, what a program gives on the example inputs and on made ones; empty where tests are code, or there is no example."""
    inputs = [test.input for test in problem.examples]
    if problem.kind == "assert" or not inputs:
        return {}
    programs = list({c.program.code: c.program for c in candidates}.values())
    found = behaviours(judge, problem, programs, inputs + made_inputs(problem, MADE_INPUTS, seed=0))
    return {program.code: behaviour for program, behaviour in zip(programs, found, strict=True)}


class Solution(NamedTuple):
    """A program with the evidence for it: does it pass the example tests (None: there are none), q̂(W), where it comes from."""

    code: str
    passes_examples: bool | None
    score: float
    origin: str
    parent: int | None
    program: Program


def solve(
    problem: Problem,
    actor: str | Path,
    critic: str | Path | None = None,
    repair: str | Path | None = None,
    budget: int = 2000,
    rules: Rules | None = None,
    select: str = "critic",
    judge: Judge | None = None,
) -> list[Solution]:
    """Search for programs that solve a problem, and rank them: those that pass its example tests first. The hidden tests are not looked at.

    Args:
        actor, critic, repair: model directories; the last two may be left out (see `critic_sampling.Team`).
        budget: tokens to write.
        rules: how to search; by default N = 20, M = 1, prefixes by the critic where there is one, seed 0. Its budget is overridden.
        select: one of `RULES`.
        judge: an open judge; without one, one is opened for this call.

    Raises:
        ModelError: a directory holds no such model. UsageError: rules that make no sense. SandboxError: no isolation can be had.
    """
    from .critic_sampling import by_critic, by_log_probability

    rules = (rules or Rules(seed=0, prefix=by_critic if critic else by_log_probability))._replace(max_tokens=budget)
    with nullcontext(judge) if judge is not None else Judge(workers=1) as at:
        everybody = team(at, actor, critic, repair)
        (tree,) = search(everybody, [problem], rules)
        order = ranked(tree.in_play, rule_of(select, at, tree))
    return [_solution(candidate) for candidate in order]


def _solution(candidate: Candidate) -> Solution:
    program = candidate.program
    passes = candidate.passes if candidate.verdict is not None else None
    return Solution(program.code, passes, candidate.score, program.origin, program.parent, program)
