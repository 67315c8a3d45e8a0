"""Critic sampling (CodeRL section 3.3.4, Algorithm 1): sample, test on the examples, refine what passes, repair what fails, test again.

    sample N -> examples -> some pass: REFINE  seeds of those that pass, each continued N/|P| times by the actor
                         -> none pass: REPAIR  the M best failures by the critic, each rewritten N/M times by the repair model; then again

`search` does this for many problems at once: what a round writes, judges and reads is one batch over all problems that are under way; the
mathematics is in `formulas.critic_sampling`, the repair model's source in `repair`, the order of what comes out in `selection`. Every
program that was written is kept with its origin, its round and its parent. Every choice that the paper leaves open is a field of `Rules`
(docs/algorithms/critic-sampling.md).

With a token budget (`Rules.max_tokens`) the programs are those that writing one after the other, in the order of their indices, would have
given before the budget ran out: batches write some more, which are thrown away unseen. Not here: files (recipes/critic_sample.py), hidden tests.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from .engines.requests import Decoding, Generated, Request
from .errors import ModelError, UsageError
from .examples import program_ids
from .formulas.critic_sampling import best, seed_length, surest_length, turns
from .grading import grade_programs
from .models.critic import Critic
from .prompts import prompt, template_of
from .records import Problem, Program, Verdict, answer_text
from .repair import repair_source
from .sampling import Author, code_and_text
from .sandbox import Judge
from .scoring import Reading, read_programs
from .tokens import Example, encode_prompt, token_texts, whole_text


class Candidate(NamedTuple):
    """A program that was written, with all that is known of it.

    Fields:
        ids: its T tokens as the actor reads them, without </s>.
        logprobs: log-probability of each under the model that wrote it, length T; () where that one has other tokens.
        verdict: on the example tests; None where the problem has none.
        passed: q̂(w_t) of each token, length T; () without a critic.
        score: q̂(W), the critic's p(passed) of the whole program; without a critic the mean log-probability of its tokens.
    """

    program: Program
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    verdict: Verdict | None
    passed: tuple[float, ...]
    score: float

    @property
    def passes(self) -> bool:
        """Does it pass the example tests?"""
        return self.verdict is not None and self.verdict.is_pass

    @property
    def fails(self) -> bool:
        """Does it fail them? Neither for a program without a verdict."""
        return self.verdict is not None and self.verdict.outcome is not None and not self.verdict.is_pass


Seed = Callable[[Candidate], int]
"""How many of a program's tokens the actor goes on from."""


def by_critic(candidate: Candidate, threshold: float = 0.5, keep_cut: bool = False) -> int:
    """The paper's seed [a, b]: up to the highest token score, cut where failing is likelier."""
    return seed_length(candidate.passed, threshold, keep_cut)


def by_log_probability(candidate: Candidate) -> int:
    """Control: what stands before the token that its model was least sure of."""
    return surest_length(candidate.logprobs)


def at_random(candidate: Candidate, seed: int = 0) -> int:
    """Control: any length from nothing to the whole program, all equally likely; the same at every call."""
    program = candidate.program
    digest = hashlib.blake2b(f"prefix/{seed}/{program.problem}/{program.index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % (len(candidate.ids) + 1)


class Rules(NamedTuple):
    """How to search. The letters are those of docs/algorithms/critic-sampling.md.

    Fields:
        samples: N, programs in each round [c].
        repaired: M, failed programs that a round of repair begins with.
        refine_rounds, repair_rounds: at most so many of each (the paper: one of each).
        prefix: which prefix of a program that passes is its seed [a, b].
        pool: all programs written are in play; otherwise a round's programs take the place of those before [g], as in the paper. What is
            refined or repaired comes from the latest round either way.
        max_tokens: tokens to write for a problem, prefixes not counted. With a budget all programs are in play, and when no round of
            refining or repair is left, sampling begins again, until the budget is spent.
        decoding: of the actor and of the repair model.
        max_source_tokens, max_repair_tokens: longest prompt of the actor (and the critic), longest source of the repair model.
        rows: programs written at the same time.
    """

    seed: int
    samples: int = 20
    repaired: int = 1
    refine_rounds: int = 1
    repair_rounds: int = 1
    prefix: Seed = by_critic
    pool: bool = False
    max_tokens: int | None = None
    decoding: Decoding = Decoding()
    max_source_tokens: int = 192
    max_repair_tokens: int = 384
    rows: int = 512


class Reader(NamedTuple):
    """A critic, of two outcomes or of four, with the tokenizer that it was trained with."""

    critic: Critic
    tokenizer: PreTrainedTokenizerBase


class Team(NamedTuple):
    """Who searches: the actor; a critic and a repair model, or None; and the judge. `name`s go into `Program.model`.

    Without a critic a score is a mean log-probability; without a repair model nothing is repaired.
    """

    actor: Author
    judge: Judge
    critic: Reader | None = None
    repair: Author | None = None
    actor_name: str = ""
    repair_name: str = ""


class Order(NamedTuple):
    """A program to be written: its index in the problem, what is read, and what it begins with."""

    number: int
    origin: str
    parent: Candidate | None
    source: tuple[int, ...]
    prefix: tuple[int, ...] = ()


class Known(NamedTuple):
    """What is known of a text: its verdict on the example tests, the critic's tokens of it, and the critic's reading of those."""

    verdict: Verdict | None
    ids: tuple[int, ...]
    reading: Reading | None


class Tree:
    """The search for one problem: all that was written so far, and what comes next.

    Attributes:
        candidates: every program, by index. tokens: how many were written for them.
        rounds: origin of the programs of each round. seeds: by the index of a program that was refined, how many tokens of it were kept.
        known: by text, what was found out. ended: why the search is over: "rounds", "budget", "no example tests", or "".
    """

    def __init__(self, problem: Problem, source: tuple[int, ...], rules: Rules) -> None:
        self.problem, self.source, self.rules = problem, source, rules
        self.candidates: list[Candidate] = []
        self.rounds: list[str] = []
        self.seeds: dict[int, int] = {}
        self.known: dict[str, Known] = {}
        self.tokens = 0
        self.ended = ""
        self._latest = 0  # index of the first program of the latest round
        self._waiting: deque[Order] = deque()
        self._left: dict[str, int] = {}
        self._begin("sample", [(None, source, ())])

    @property
    def in_play(self) -> list[Candidate]:
        """S: the latest round's programs, or all of them [g]."""
        return self.candidates if self.rules.pool or self.rules.max_tokens else self.candidates[self._latest :]

    def _begin(self, origin: str, parents: Sequence[tuple[Candidate | None, tuple[int, ...], tuple[int, ...]]]) -> None:
        """A round of N programs over the parents, each with its source and prefix, in turns [e]."""
        if origin == "sample":
            self._left = {"refine": self.rules.refine_rounds, "repair": self.rules.repair_rounds}
        else:
            self._left[origin] -= 1
        self._latest = len(self.candidates)
        self.rounds.append(origin)
        for j, p in enumerate(turns(self.rules.samples, len(parents))):
            self._waiting.append(Order(self._latest + j, origin, *parents[p]))

    def next_orders(self) -> list[Order]:
        """The programs to write now: all of the round, or about as many as the budget is good for."""
        count = len(self._waiting)
        if self.rules.max_tokens:
            left = self.rules.max_tokens - self.tokens
            each = self.tokens / len(self.candidates) if self.candidates else self.rules.decoding.max_tokens / 3
            count = min(count, int(left / max(each, 1)) + 1)
        return [self._waiting[j] for j in range(count)]

    def keep(self, written: Sequence[tuple[Order, Generated]]) -> list[tuple[Order, Generated]]:
        """Of the programs written for `next_orders`, in their order, those that the budget covers; counts their tokens."""
        kept = []
        for order, generated in written:
            self._waiting.popleft()
            self.tokens += len(generated.ids) - generated.prefix
            if self.rules.max_tokens and self.tokens > self.rules.max_tokens:  # it would have been stopped half-way
                self.tokens = self.rules.max_tokens
                self._waiting.clear()
                break
            kept.append((order, generated))
        if self.rules.max_tokens and self.tokens >= self.rules.max_tokens:
            self._waiting.clear()
        return kept

    def advance(self, team: Team) -> None:
        """Begin the next round if this one is over, or end."""
        if self._waiting:
            return
        latest = self.candidates[self._latest :]
        passing, failing = [c for c in latest if c.passes], [c for c in latest if c.fails]
        if self.rules.max_tokens and self.tokens >= self.rules.max_tokens:
            self.ended = "budget"
        elif passing and self._left["refine"]:
            self._begin("refine", [self._seed(team, passing[i]) for i in best([c.score for c in passing], self.rules.samples)])
        elif failing and not any(c.passes for c in self.in_play) and team.repair and self._left["repair"]:
            chosen = [failing[i] for i in best([c.score for c in failing], self.rules.repaired)]
            self._begin("repair", [(c, self._repair_source(team.repair, c), ()) for c in chosen])
        elif self.rules.max_tokens:
            self._begin("sample", [(None, self.source, ())])
        else:
            self.ended = "rounds" if self.problem.examples else "no example tests"

    def _seed(self, team: Team, candidate: Candidate) -> tuple[Candidate, tuple[int, ...], tuple[int, ...]]:
        length = min(self.rules.prefix(candidate), len(candidate.ids), self.rules.decoding.max_tokens - 1)
        length = whole_text(team.actor.tokenizer, candidate.ids, length)
        self.seeds[candidate.program.index] = length
        return candidate, self.source, candidate.ids[:length]

    def records(self, tokenizer: PreTrainedTokenizerBase) -> list[Program]:
        """Every program by index; those that were refined with their tokens' texts and scores and the length of their seed."""
        return [self._told(tokenizer, c) if c.program.index in self.seeds else c.program for c in self.candidates]

    def _told(self, tokenizer: PreTrainedTokenizerBase, candidate: Candidate) -> Program:
        seen = {"seed_tokens": self.seeds[candidate.program.index], "passed": [round(q, 3) for q in candidate.passed]}
        texts = {"token_texts": list(token_texts(tokenizer, candidate.ids))}
        return replace(candidate.program, extra=candidate.program.extra | seen | texts)

    def _repair_source(self, repair: Author, candidate: Candidate) -> tuple[int, ...]:
        assert candidate.verdict is not None
        return repair_source(repair.tokenizer, self.problem, candidate.program, candidate.verdict, self.rules.max_repair_tokens)[0]


def search(team: Team, problems: Sequence[Problem], rules: Rules) -> Iterator[Tree]:
    """A finished tree for every problem, as soon as it is finished.

    The problems are searched together, one round of each at a time, so a round takes as long as its slowest program; give parts of a
    large set, as the recipe does. A tree does not depend on which problems are searched beside its own (up to rounding, as
    engines/torch_engine.py says).

    Raises:
        UsageError: rules that make no sense, or a prefix by critic without a critic.
        ModelError: a critic whose token scores come from before the token is read.
    """
    check(team, rules)
    trees = []
    for problem in problems:
        source, _ = encode_prompt(team.actor.tokenizer, prompt(problem, template_of(team.actor.tokenizer)), rules.max_source_tokens)
        trees.append(Tree(problem, source, rules))
    while trees:
        step(team, trees, rules)
        for tree in trees:
            tree.advance(team)
        yield from (tree for tree in trees if tree.ended)
        trees = [tree for tree in trees if not tree.ended]


def check(team: Team, rules: Rules) -> None:
    """See `search`, Raises."""
    rules.decoding.check()
    for name, value, least in (("samples", rules.samples, 1), ("repaired", rules.repaired, 1), ("max_tokens", rules.max_tokens or 1, 1)):
        if value < least:
            raise UsageError(f"{name} is {value}; it must be at least {least}")
    if team.critic is None and getattr(rules.prefix, "func", rules.prefix) is by_critic and rules.refine_rounds:
        raise UsageError("the prefix by critic needs a critic; give one, or choose the prefix by log-probability")
    if team.critic is not None and not team.critic.critic.head.reads_own_token:  # [h]
        raise ModelError("the critic has the released head, whose score of a token comes from before it is read; critic sampling needs a paper head")


def step(team: Team, trees: Sequence[Tree], rules: Rules) -> None:
    """Write, judge and read what comes next in each tree: one batch over all of them. A text is judged and read once in a tree."""
    orders = [(tree, order) for tree in trees for order in tree.next_orders()]
    generated = _write(team, orders, rules)
    drafts: list[tuple[Tree, Order, Generated, Program]] = []
    for tree, group in groupby(orders, key=lambda pair: pair[0]):
        for order, found in tree.keep([(order, generated[tree.problem.id, order.number]) for _, order in group]):
            drafts.append((tree, order, found, _program(team, tree, order, found)))
    fresh = {(id(tree), answer_text(p)): (tree, p) for tree, _, _, p in drafts if answer_text(p) not in tree.known}
    look_at(team, list(fresh.values()), rules)
    for tree, order, found, program in drafts:
        tree.candidates.append(_candidate(team, program, order, found, tree.known[answer_text(program)], rules))


def look_at(team: Team, drafts: Sequence[tuple[Tree, Program]], rules: Rules) -> None:
    """Judge on the example tests and read by the critic; what was found out goes into each tree's `known`."""
    verdicts = _judge(team.judge, [(tree.problem, program) for tree, program in drafts])
    examples: list[Example] = []
    if team.critic is not None:
        tokenizer = team.critic.tokenizer
        sources: dict[str, tuple[int, ...]] = {}
        for tree, program in drafts:
            if program.problem not in sources:
                sources[program.problem], _ = encode_prompt(tokenizer, prompt(tree.problem, template_of(tokenizer)), rules.max_source_tokens)
            ids, _ = program_ids(tokenizer, program, rules.decoding.max_tokens)
            examples.append(Example(program.problem, sources[program.problem], ids, label=0))  # label 0 exists whatever the number of outcomes
    readings = read_programs(team.critic.critic, examples) if team.critic and examples else [None] * len(drafts)
    for number, ((tree, program), verdict, reading) in enumerate(zip(drafts, verdicts, readings, strict=True)):
        tree.known[answer_text(program)] = Known(verdict, examples[number].program if examples else (), reading)


def _write(team: Team, orders: Sequence[tuple[Tree, Order]], rules: Rules) -> dict[tuple[str, int], Generated]:
    """What the actor and the repair model write for the orders, by problem and index."""
    groups: dict[tuple[str, bool, tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for tree, order in orders:
        groups.setdefault((tree.problem.id, order.origin == "repair", order.source, order.prefix), []).append(order.number)
    written = {}
    for author, repairs in ((team.actor, False), (team.repair, True)):
        requests = [
            Request(name, source, tuple(indices), rules.decoding, prefix) for (name, r, source, prefix), indices in groups.items() if r is repairs
        ]
        if requests:
            assert author is not None
            written.update({(g.key, g.sample): g for g in author.engine(requests, rules.seed, rules.rows)})
    return written


def _program(team: Team, tree: Tree, order: Order, generated: Generated) -> Program:
    repairs = order.origin == "repair"
    author = team.repair if repairs and team.repair else team.actor
    code, text = code_and_text(author.tokenizer, generated.ids, tree.problem)
    return Program(
        problem=tree.problem.id,
        code=code,
        index=order.number,
        origin=order.origin,
        seed=tree.rules.seed,
        parent=None if order.parent is None else order.parent.program.index,
        model=team.repair_name if repairs else team.actor_name,
        tokens=len(generated.ids),
        extra={
            "token_ids": list(generated.ids),
            **text,
            "round": len(tree.rounds) - 1,
            "given": generated.prefix,
            "written": len(generated.ids) - generated.prefix,
            **({"cut": True} if generated.cut else {}),
        },
    )


def _judge(judge: Judge, pairs: Sequence[tuple[Problem, Program]]) -> list[Verdict | None]:
    """Verdicts on the example tests; None where the problem has none."""
    known = {problem.id: problem for problem, _ in pairs}
    shown = [program for problem, program in pairs if problem.examples]
    verdicts = grade_programs(judge, known, shown, tests="example", stop_at_first_failure=True)
    return [next(verdicts) if problem.examples else None for problem, _ in pairs]


def _candidate(team: Team, program: Program, order: Order, generated: Generated, known: Known, rules: Rules) -> Candidate:
    """The program with its tokens, log-probabilities and scores; the numbers go into the program's record as well."""
    ids = _without_end(team.actor.tokenizer, program_ids(team.actor.tokenizer, program, rules.decoding.max_tokens)[0])
    given = order.parent.logprobs[: generated.prefix] if order.parent else ()
    logprobs = (*given, *generated.logprobs)
    mean = sum(logprobs) / max(1, len(logprobs))
    score = mean
    passed: tuple[float, ...] = ()
    if known.reading is not None and team.critic is not None:
        score, passed = known.reading.probabilities[-1], _token_scores(team, program, ids, known)
    told = {"score": round(score, 4), "mean_logprob": round(mean, 4)}
    program = replace(program, logprob=round(sum(logprobs), 4), extra=program.extra | told)
    verdict = known.verdict and replace(known.verdict, index=program.index)
    return Candidate(program, ids, logprobs[: len(ids)] if ids == generated.ids[: len(ids)] else (), verdict, passed, score)


def _without_end(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...]) -> tuple[int, ...]:
    return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids


def _token_scores(team: Team, program: Program, ids: tuple[int, ...], known: Known) -> tuple[float, ...]:
    """q̂ after each of the actor's tokens, length T."""
    assert team.critic is not None and known.reading is not None
    if known.ids[: len(ids)] == ids:
        return known.reading.passed[: len(ids)]
    return aligned(known.reading.passed, token_texts(team.critic.tokenizer, known.ids), token_texts(team.actor.tokenizer, ids))


def aligned(scores: Sequence[float], texts: Sequence[str], others: Sequence[str]) -> tuple[float, ...]:
    """Token scores for another tokenization of the same text: that of the last token that ends no later (the first, where none does).

    Args:
        scores, texts: of S tokens. others: the text of each of T tokens.

    Returns:
        length T.
    """
    assert len(scores) == len(texts) > 0, f"{len(scores)} scores for {len(texts)} tokens"
    result, at, end, reached = [], 0, len(texts[0]), 0
    for text in others:
        reached += len(text)
        while at + 1 < len(texts) and end + len(texts[at + 1]) <= reached:
            at += 1
            end += len(texts[at])
        result.append(scores[at])
    return tuple(result)
