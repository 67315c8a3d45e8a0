"""Stage `finetune coderl`: the actor learns from its own judged programs, L_ce + L_rl (CodeRL section 3.2, eq. 10 and 14).

    weight(w_t) = (r(W^s) - r(W^b)) * q(w_t)        r: return of the tests' outcome; W^b: the actor's greedy program; q: the critic's
                                                    value of the token (with `--scores`), or 1 (without: Table 2, row A);
                                                    negative differences times `--negative-weight`
    loss        = rl_weight * L_rl(weights of sampled programs) + L_ce(reference solutions), both in every step, token means

As in the paper the programs are sampled once, before; running sample, grade, train-critic, score and this stage again with the new
actor makes a further round. Ways in which this differs from paper and released code: docs/algorithms/coderl.md.

Reads programs with verdicts, the greedy programs' verdicts and, optionally, token scores; writes `OUT/actor`, `metrics.jsonl`,
`manifest.json`. A killed run goes on from its newest checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from ..examples import Judged
    from ..models.actor import Actor
    from ..records import Problem, Verdict
    from ..store import RunDirectory
    from ..tokens import Batch, Example


SHARED = 8  # programs of one problem side by side in a step; they share one encoder pass
LOOKS = 4  # looks at the validation problems on the way, beside the one before


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor with CodeRL: cross-entropy plus the critic-weighted policy gradient."""

    model: Path
    """actor to start from: the one that wrote the programs"""
    problems: Path
    """problems that the programs answer (.jsonl)"""
    programs: Path
    """sampled programs (.jsonl)"""
    verdicts: Path
    """their verdicts (.jsonl)"""
    baseline: Path
    """verdicts of the actor's greedy programs, the baseline W^b (.jsonl)"""
    out: Path
    """run directory to write; the model goes to OUT/actor"""
    scores: Path | None = None
    """token scores of a critic (.jsonl); without them every token of a program has the same weight"""
    validation: Path | None = None
    """problems to judge greedy programs on five times on the way (.jsonl); only looked at, never trained on"""
    references: Path | None = None
    """problems with reference solutions for the cross-entropy term (.jsonl); without them the term is left out"""
    epochs: float = 1.0
    """passes over the sampled programs"""
    learning_rate: float = 5e-4
    """peak learning rate (AdamW, falls linearly to a tenth)"""
    rl_weight: float = 1.0
    """weight of L_rl beside L_ce, after token weights are scaled to a mean size of 1 over the sampled programs"""
    negative_weight: float = 0.1
    """weight of negative relative returns; 1 = as in the paper, which on frozen samples can make the actor worse"""
    batch_tokens: int = 4096
    """tokens of sampled programs and their prompts in a step, padding included; a quarter as many of references come on top"""
    max_source_tokens: int = 192
    """longest prompt in tokens"""
    max_program_tokens: int = 128
    """longest program in tokens"""
    checkpoint_every: int = 100
    """optimiser steps between checkpoints"""
    threads: int = 1
    """CPU threads of torch"""
    allow_unsandboxed: bool = False
    """judge validation programs even where this machine offers no isolation"""
    seed: int = 0
    """seed of the batch order"""


class Weighed(NamedTuple):
    """Sampled programs as examples with token weights, and what they say about the signal.

    Fields:
        programs: judged programs. zero: share of them without a gradient: the outcome is the greedy program's.
        positive: share with a return above the baseline's. merged: distinct programs that are left to train on.
        value: mean token value q over the programs with a gradient (1 without a critic).
        scale: what token weights were divided by.
    """

    examples: list[Example]
    programs: int
    zero: float
    positive: float
    merged: int
    value: float
    scale: float


def main(config: Config) -> None:
    import torch

    from ..errors import DataError
    from ..examples import Limits, join_verdicts, reference_examples
    from ..grading import programs_of
    from ..models.actor import load_actor, save_actor
    from ..records import Problem, TokenScores, Verdict
    from ..store import RunDirectory, iterate_records, manifest, read_records

    torch.set_num_threads(config.threads)
    run = RunDirectory(config.out)
    if run.complete:
        print(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    actor = load_actor(config.model)
    limits = Limits(config.max_source_tokens, config.max_program_tokens)
    problems = {p.id: p for p in read_records(config.problems, Problem)}
    judged = join_verdicts(programs_of(config.programs), read_records(config.verdicts, Verdict))
    if not judged:
        raise DataError("holds no verdict that can be learnt from (all are harness errors); grade the programs again", config.verdicts)
    values = {(s.problem, s.index): s.values for s in iterate_records(config.scores, TokenScores)} if config.scores else None
    weighed = weigh(actor, problems, judged, read_records(config.baseline, Verdict), values, limits, config.negative_weight)
    if not weighed.examples:
        raise DataError(
            "holds no program whose outcome differs from the greedy program's; sample more programs, or at a higher temperature", config.verdicts
        )
    references = reference_examples(actor.tokenizer, read_records(config.references, Problem), limits).examples if config.references else []
    run.start(
        manifest(
            config,
            [
                p
                for p in (config.problems, config.programs, config.verdicts, config.baseline, config.scores, config.references, config.validation)
                if p
            ],
        )
    )
    signal = weighed._asdict() | {"examples": len(weighed.examples)}
    run.log(stage="signal", **signal)
    print(
        f"{weighed.programs} programs: {weighed.zero:.0%} like the greedy one (no gradient), {weighed.positive:.0%} better; "
        f"{weighed.merged} distinct ones to train on; mean token value {weighed.value:.2f}; {len(references)} references"
    )
    validation = read_records(config.validation, Problem) if config.validation else []
    at = finetune(config, actor, weighed.examples, references, validation, run)
    save_actor(actor, run / "actor")
    run.finish()
    (run / "checkpoint.pt").unlink(missing_ok=True)
    print(f"{at['updates']:.0f} updates in {at['cpu_seconds']:.0f} CPU s -> {run / 'actor'}")


def weigh(
    actor: Actor,
    problems: Mapping[str, object],
    judged: Sequence[Judged],
    baseline: Sequence[Verdict],
    values: Mapping[tuple[str, int], Sequence[float]] | None,
    limits: object,
    negative_weight: float,
) -> Weighed:
    """Examples with token weights (r(W^s) - r(W^b)) q(w_t), negative ones tempered, scaled to a mean size of 1 per token with a gradient.

    Equal programs of a problem are merged into one whose weights are the sum: the same sum of gradients for less work.

    Raises:
        DataError: a program has no greedy program to be compared with, or no token scores.
    """
    import torch

    from ..errors import DataError
    from ..examples import judged_examples
    from ..formulas.coderl import critic_weights
    from ..formulas.returns import outcome_returns, relative_returns, tempered_returns

    twice = [name for name, count in Counter(v.problem for v in baseline).items() if count > 1]
    if twice:
        raise DataError(f"the baseline holds several verdicts of problem {twice[0]!r}; give the verdicts of the greedy programs, one a problem")
    greedy = {v.problem: v.outcome.label for v in baseline if v.outcome is not None}
    judged = [j for j in judged if _has_baseline(j, greedy, baseline)]
    sampled = outcome_returns(torch.tensor([j.verdict.outcome.label for j in judged]))  # type: ignore[union-attr]
    known = outcome_returns(torch.tensor([greedy[j.program.problem] for j in judged]))
    relative = tempered_returns(relative_returns(sampled, known), negative_weight).tolist()
    kept = [(j, r) for j, r in zip(judged, relative, strict=True) if r != 0]
    examples = judged_examples(actor.tokenizer, problems, [j for j, _ in kept], limits).examples  # type: ignore[arg-type]
    sums: dict[tuple[str, tuple[int, ...]], Tensor] = {}
    first: dict[tuple[str, tuple[int, ...]], Example] = {}
    size = value_sum = 0.0
    count = 0
    for (one, r), example in zip(kept, examples, strict=True):
        q = torch.tensor(_values_of(one, example, values))
        weights = critic_weights(torch.tensor([r]), q[None], torch.ones(1, len(q), dtype=torch.bool))[0]
        size, value_sum, count = size + float(weights.abs().sum()), value_sum + float(q.sum()), count + len(q)
        name = (example.key, example.program)
        sums[name] = sums[name] + weights if name in sums else weights
        first.setdefault(name, example)
    scale = size / count if count else 1.0
    return Weighed(
        examples=[first[name]._replace(weights=tuple((sums[name] / scale).tolist())) for name in first],
        programs=len(judged),
        zero=1 - len(kept) / max(1, len(judged)),
        positive=sum(r > 0 for _, r in kept) / max(1, len(judged)),
        merged=len(first),
        value=value_sum / max(1, count),
        scale=scale,
    )


def _has_baseline(judged: Judged, greedy: Mapping[str, int], baseline: Sequence[Verdict]) -> bool:
    from ..errors import DataError

    problem = judged.program.problem
    if problem not in greedy and not any(v.problem == problem for v in baseline):
        raise DataError(f"problem {problem!r} has sampled programs but no greedy verdict; sample it with --temperature 0 and grade that file too")
    return problem in greedy


def _values_of(judged: Judged, example: Example, values: Mapping[tuple[str, int], Sequence[float]] | None) -> Sequence[float]:
    from ..errors import DataError

    if values is None:
        return [1.0] * len(example.program)
    found = values.get((judged.program.problem, judged.program.index))
    if found is None or len(found) != len(example.program):
        state = "none" if found is None else f"{len(found)}"
        raise DataError(
            f"program {judged.program.index} of problem {judged.program.problem!r} has {len(example.program)} tokens but {state} scored; "
            "run `coderl score` on these programs with the same token limits"
        )
    return found


def mixed_epochs(config: Config, sampled: Sequence[Example], references: Sequence[Example], epoch: int) -> Iterator[list[Example]]:
    """Batches with sampled programs and, where there are references, some of those: both losses in every step, as the paper has it."""
    from ..tokens import epoch_batches

    def endless() -> Iterator[list[Example]]:
        turn = 0
        while True:
            yield from epoch_batches(references, config.batch_tokens // 4, config.seed * 1_000_003 + epoch * 1_009 + turn, 2)
            turn += 1

    supervised = endless() if references else None
    for batch in epoch_batches(sampled, config.batch_tokens, config.seed * 1_000_003 + epoch, SHARED):
        yield batch + (next(supervised) if supervised else [])


def finetune(
    config: Config,
    actor: Actor,
    sampled: Sequence[Example],
    references: Sequence[Example],
    validation: Sequence[Problem],
    run: RunDirectory,
) -> Mapping[str, float]:
    """Train the actor in place; returns updates and CPU seconds, those of looking at the validation problems not counted."""
    from ..engines.requests import Decoding
    from ..fitting import Plan, Watch, fit
    from ..formulas.policy_gradient import cross_entropy, policy_gradient_loss_token_mean
    from ..models.actor import program_log_probs
    from ..sampling import Settings
    from ..trials import looking

    def loss(batch: Batch) -> Mapping[str, Tensor]:
        log_probs = program_log_probs(actor.model, batch)
        drawn, supervised = batch.mask & ~batch.supervised[:, None], batch.mask & batch.supervised[:, None]
        rl = policy_gradient_loss_token_mean(log_probs, batch.weights, drawn)
        ce = cross_entropy(log_probs, supervised)
        return {"loss": config.rl_weight * rl + ce, "loss_rl": rl, "loss_ce": ce}

    updates = max(1, round(config.epochs * sum(1 for _ in mixed_epochs(config, sampled, references, 0))))
    settings = Settings(Decoding(temperature=0, max_tokens=config.max_program_tokens), config.seed, config.max_source_tokens)
    with looking(actor, validation, settings, config.allow_unsandboxed) as look:
        if look and not (run / "checkpoint.pt").exists():
            run.log(stage="finetune-coderl", step=0, cpu_seconds=0.0, **look(0))
        at = fit(
            actor.model,
            lambda epoch: mixed_epochs(config, sampled, references, epoch),
            loss,
            Plan(updates, config.learning_rate),
            run,
            Watch("finetune-coderl", 10, -(-updates // LOOKS), config.checkpoint_every, look),
            actor.tokenizer.pad_token_id,
        )
    return {"updates": at.updates, "cpu_seconds": at.cpu_seconds}
