"""Judged programs to examples with token weights. Here the algorithms differ, and only here: each fills the same (B, T) array.

    an advantage for each program    over the greedy program (CodeRL, REINFORCE), over the problem's other samples (RLOO, GRPO),
                                     passing or not (expert iteration), finer returns (RLTF)
    spread over its tokens           evenly, decaying, by the critic's values (CodeRL), by their changes, on the line of the error (RLTF)

`weighted` puts the two together, merges equal programs and scales the weights. The formulas are in `formulas/`; files and training elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from .errors import DataError
from .examples import Judged, Limits, judged_examples
from .formulas.coderl import constant_weights, critic_weights, decaying_weights, value_changes
from .formulas.groups import leave_one_out_advantages, normalised_group_advantages
from .formulas.returns import outcome_returns, passing_returns, relative_returns, tempered_returns
from .formulas.rltf import adaptive_returns, fine_grained_weights
from .records import Outcome, Problem, TokenScores, Verdict, answer_text, program_text
from .tokens import Example, token_texts

Advantages = Callable[[Sequence[Judged]], Tensor]
"""One number for each judged program, (B,): how much better it is than was to be expected."""
Spread = Callable[[Judged, Example, float], Tensor]
"""Token weights (T,) of a program of T tokens from its advantage; their sign may differ from the advantage's."""


class Signal(NamedTuple):
    """Examples to train on, and what they say about the signal.

    Fields:
        examples: distinct programs with token weights; their mean size is 1 over the programs as they were drawn, before equal ones are merged.
        programs: judged programs. zero: share of them without a gradient. positive: share with an advantage above 0.
        merged: distinct programs that are left to train on.
        value: mean size of a token weight over the size of its program's advantage, where it has one (1 when spread evenly; CodeRL: the mean q̂).
        scale: what token weights were divided by.
        prompts_cut, programs_cut: how many were too long.
    """

    examples: list[Example]
    programs: int
    zero: float
    positive: float
    merged: int
    value: float
    scale: float
    prompts_cut: int
    programs_cut: int


def weighted(
    tokenizer: PreTrainedTokenizerBase,
    problems: Mapping[str, Problem],
    judged: Sequence[Judged],
    advantages: Advantages,
    spread: Spread,
    limits: Limits,
    scaled: bool = True,
    solutions: float = 0.0,
) -> Signal:
    """Examples with token weights, those of programs without any left out.

    Equal programs of a problem are merged into one whose weights are the sum: the same sum of gradients for less work. A loss that is a mean
    over tokens or programs counts each distinct program once, so an actor that repeats itself takes larger steps on what it repeats.

    Args:
        scaled: divide all weights by their mean size over tokens with a gradient, so that a critic's small values do not shrink the step.
        solutions: where above 0, only programs that pass are learnt from, each token weight with this added: cross-entropy, as on a reference.

    Raises:
        DataError: a program answers a problem that is not there, or the advantages or the spread lack something.
    """
    sizes = advantages(judged)
    assert sizes.shape == (len(judged),), f"one advantage for each of {len(judged)} programs, found {tuple(sizes.shape)}"
    examples, truncation = judged_examples(tokenizer, problems, judged, limits)
    sums: dict[tuple[str, tuple[int, ...]], Tensor] = {}
    first: dict[tuple[str, tuple[int, ...]], Example] = {}
    size = share = 0.0
    count = compared = kept = 0
    for one, advantage, example in zip(judged, sizes.tolist(), examples, strict=True):
        own = spread(one, example, advantage)
        weights = (own + solutions) * one.verdict.is_pass if solutions else own
        if not bool(weights.any()):
            continue
        size, count, kept = size + float(weights.abs().sum()), count + len(weights), kept + 1
        if advantage != 0:
            share, compared = share + float(own.abs().sum()) / abs(advantage), compared + len(weights)
        name = (example.key, example.program)
        sums[name] = sums[name] + weights if name in sums else weights
        first.setdefault(name, example)
    scale = size / count if scaled and size else 1.0
    return Signal(
        examples=[first[name]._replace(weights=tuple((sums[name] / scale).tolist())) for name in first],
        programs=len(judged),
        zero=1 - kept / max(1, len(judged)),
        positive=int((sizes > 0).sum()) / max(1, len(judged)),
        merged=len(first),
        value=share / max(1, compared),
        scale=scale,
        prompts_cut=truncation.prompts,
        programs_cut=truncation.programs,
    )


# advantages


def _returns(judged: Sequence[Judged]) -> Tensor:
    return outcome_returns(_labels(judged))


def _labels(judged: Sequence[Judged]) -> Tensor:
    return torch.tensor([_outcome(one).label for one in judged], dtype=torch.long)


def _outcome(one: Judged) -> Outcome:
    assert one.verdict.outcome is not None  # examples.join_verdicts leaves harness errors out
    return one.verdict.outcome


def absolute(judged: Sequence[Judged]) -> Tensor:
    """r(W^s), no baseline: CodeRL Table 2, row B."""
    return _returns(judged)


def over_greedy(baseline: Sequence[Verdict], negative_weight: float, returns: Advantages = absolute) -> Advantages:
    """r(W^s) - r(W^b), W^b the greedy program of the same problem (CodeRL eq. 8), its negative side times `negative_weight`.

    A problem whose greedy program could not be judged has no advantages: 0.

    Args:
        baseline: verdicts of the greedy programs, one a problem.
        returns: of the sampled programs and, through a verdict alone, of the greedy ones.

    Raises (when called):
        DataError: a problem has several greedy verdicts, or none.
    """

    def advantages(judged: Sequence[Judged]) -> Tensor:
        twice = [name for name, count in Counter(v.problem for v in baseline).items() if count > 1]
        if twice:
            raise DataError(f"the baseline holds several verdicts of problem {twice[0]!r}; give the verdicts of the greedy programs, one a problem")
        known = {v.problem: v for v in baseline}
        for one in judged:
            if one.program.problem not in known:
                raise DataError(
                    f"problem {one.program.problem!r} has sampled programs but no greedy verdict; "
                    "sample it with --temperature 0 and grade that file too"
                )
        has = torch.tensor([known[one.program.problem].outcome is not None for one in judged], dtype=torch.bool)
        # where there is no greedy outcome the program is held against itself
        greedy = [Judged(one.program, v) if (v := known[one.program.problem]).outcome is not None else one for one in judged]
        return torch.where(has, tempered_returns(relative_returns(returns(judged), returns(greedy)), negative_weight), 0.0)

    return advantages


def over_others(judged: Sequence[Judged]) -> Tensor:
    """RLOO: r minus the mean return of the problem's other samples."""
    return leave_one_out_advantages(_returns(judged), _groups(judged))


def over_group(judged: Sequence[Judged]) -> Tensor:
    """GRPO: r normalised over the problem's samples."""
    return normalised_group_advantages(_returns(judged), _groups(judged))


def passing(judged: Sequence[Judged]) -> Tensor:
    """Expert iteration: 1 for a pass, else 0."""
    return passing_returns(_labels(judged))


def pass_ratios(judged: Sequence[Judged]) -> Tensor:
    """RLTF's adaptive feedback: -0.3 + 1.3 x share of tests passed for programs that ran; CodeRL's return for the others.

    Raises:
        DataError: programs were judged only up to their first failing test, so the share is not known.
    """
    returns = _returns(judged)
    for i, (_, verdict) in enumerate(judged):
        if verdict.outcome is Outcome.FAILED_TEST:
            if verdict.total < 1 or len(verdict.tests) < verdict.total:
                raise DataError(
                    f"program {verdict.index} of problem {verdict.problem!r} was judged on {len(verdict.tests)} of {verdict.total} tests; "
                    "grade without --stop-at-first-failure to know how many it passes"
                )
            returns[i] = adaptive_returns(torch.tensor([verdict.passed]), torch.tensor([verdict.total]))[0]
    return returns


def _groups(judged: Sequence[Judged]) -> Tensor:
    numbers: dict[str, int] = {}
    return torch.tensor([numbers.setdefault(one.program.problem, len(numbers)) for one in judged], dtype=torch.long)


# spreads


def evenly(judged: Judged, example: Example, advantage: float) -> Tensor:
    """Every token has the advantage of its program: CodeRL Table 2, row A; REINFORCE."""
    return constant_weights(torch.tensor([advantage]), _mask(example))[0]


def decaying(judged: Judged, example: Example, advantage: float) -> Tensor:
    """Linear decay from the first token to the last: CodeRL Table 2, row C."""
    return decaying_weights(torch.tensor([advantage]), _mask(example))[0]


def by_critic(scores: Mapping[tuple[str, int], TokenScores]) -> Spread:
    """The advantage times q̂(w_t), the critic's value of the token: CodeRL eq. (10), Table 2, rows B and D.

    Raises (when called):
        DataError: a program has no token scores, or those of another number of tokens.
    """

    def spread(judged: Judged, example: Example, advantage: float) -> Tensor:
        values = torch.tensor(_found(scores, judged, example).values)
        return critic_weights(torch.tensor([advantage]), values[None], _mask(example))[0]

    return spread


def by_changes(scores: Mapping[tuple[str, int], TokenScores]) -> Spread:
    """|advantage| times the change of the critic's p(passed) at each token, the last one held to what the tests said. Not in the paper.

    p before the first token is the share of the problem's scored samples that pass: what was to be expected of one.
    """
    outcomes: dict[str, list[bool]] = {}
    for one in scores.values():
        outcomes.setdefault(one.problem, []).append(one.outcome is Outcome.PASSED_TEST)

    def spread(judged: Judged, example: Example, advantage: float) -> Tensor:
        passed = torch.tensor(_found(scores, judged, example).passed)
        before = torch.tensor([sum(outcomes[judged.program.problem]) / len(outcomes[judged.program.problem])])
        final = torch.tensor([float(judged.verdict.is_pass)])
        return abs(advantage) * value_changes(passed[None], before, final, _mask(example))[0]

    return spread


def on_error_line(tokenizer: PreTrainedTokenizerBase, problems: Mapping[str, Problem]) -> Spread:
    """The advantage evenly, and RLTF's penalty on the tokens of the line that the error names.

    Errors of compiling and running with a line: that line (U_line). Without one: the whole program (U_global). A time-out, a limit, a
    failed test or a pass: no penalty (U_ignore), for the place where a limit was met need not be the mistake.
    """

    def spread(judged: Judged, example: Example, advantage: float) -> Tensor:
        mask = _mask(example)
        program = judged.program
        before = program_text(problems[program.problem], program).count("\n") - program.code.count("\n")
        before -= answer_text(program).partition(program.code)[0].count("\n")  # the lines of a chat model's answer before its program
        start, end = _error_span(tokenizer, judged.verdict, example, before)
        return evenly(judged, example, advantage) + fine_grained_weights(torch.tensor([start]), torch.tensor([end]), mask)[0]

    return spread


_LIMITS = frozenset({"Timeout", "MemoryLimit", "OutputLimit"})


def _error_span(tokenizer: PreTrainedTokenizerBase, verdict: Verdict, example: Example, before: int) -> tuple[int, int]:
    """First token of the error's line and the one behind its last. `before`: lines that the judge put in front of the program's text."""
    if verdict.outcome not in (Outcome.COMPILE_ERROR, Outcome.RUNTIME_ERROR) or verdict.error_type in _LIMITS:
        return 0, 0
    if verdict.error_line is None:
        return 0, len(example.program)
    wanted, line, inside = verdict.error_line - before, 1, []
    for t, text in enumerate(token_texts(tokenizer, example.program)):
        if line <= wanted <= line + text.count("\n"):
            inside.append(t)
        line += text.count("\n")
    return (inside[0], inside[-1] + 1) if inside else (0, 0)  # behind what the token limit left, or in the starter code


def _mask(example: Example) -> Tensor:
    return torch.ones(1, len(example.program), dtype=torch.bool)


def _found(scores: Mapping[tuple[str, int], TokenScores], judged: Judged, example: Example) -> TokenScores:
    name = (judged.program.problem, judged.program.index)
    found = scores.get(name)
    if found is None or len(found.values) != len(example.program):
        state = "none" if found is None else f"{len(found.values)}"
        raise DataError(
            f"program {name[1]} of problem {name[0]!r} has {len(example.program)} tokens but {state} scored; "
            "run `coderl score` on these programs with the same token limits"
        )
    return found
