"""Stage `rounds`: fine-tuning with fresh samples, round after round.

    round r:  sample (judged on the way) -> grade the greedy programs -> [train-critic -> score] -> finetune ALGORITHM -> round r + 1

The paper samples once (`finetune` alone); here each round's actor writes the programs that it learns from, for the next of the
problems in a shuffled order, which begins anew at its end. The critic is trained anew in each round from the round's actor and samples
(`--critic refresh`), or in the first round only. Every step is a `coderl` command in OUT/round-R; a killed call goes on where it was.
OUT/actor is the actor of the round with the most validation problems solved, or without `--validation` of the last one; `metrics.jsonl` has a
line for each round.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes

from .finetuning import DEFAULT, Tuning

if TYPE_CHECKING:
    from ..pipeline import Step, StepCost
    from ..run_directory import RunDirectory

Algorithm = Literal["coderl", "reinforce", "leave-one-out", "expert", "grpo", "ppo", "rltf"]
WITH_BASELINE = ("coderl", "reinforce", "rltf")


@dataclass(frozen=True)
class Config:
    """Fine-tune an actor in rounds, each on fresh samples of its own."""

    model: Path
    """actor to start from"""
    problems: Path
    """problems with tests to write programs for (.jsonl)"""
    out: Path
    """folder to write; the model goes to OUT/actor"""
    algorithm: Algorithm = "coderl"
    """how the actor learns: a stage `finetune ALGORITHM`; leave-one-out: `finetune reinforce` without greedy programs"""
    variant: Literal["A", "B", "C", "D", "changes"] | None = None
    """coderl only: as in `finetune coderl`; A and C do without a critic; default D"""
    negative_weight: float = 0.1
    """weight of negative relative returns; coderl and rltf only"""
    solutions: float = 0.0
    """coderl only: as in `finetune coderl`"""
    rounds: int = 4
    """how often the actor samples and learns"""
    cpu_seconds: float | None = None
    """begin another round only while the rounds so far and one more, its steps as dear as those of the last, fit into so many CPU seconds,
    --rounds at most"""
    problems_per_round: int = 400
    """problems that each round writes programs for"""
    samples: int = 8
    """programs for each problem"""
    temperature: float = 0.9
    """sampling temperature"""
    overlap: bool = False
    """draw the programs of a round while the round before still learns, with the actor of two rounds before; with --reuse importance, and in
    grpo and ppo anyway, ratios are to that actor"""
    critic: Literal["refresh", "frozen"] = "refresh"
    """a new critic in each round, or the first round's critic in all of them; variants with a critic only"""
    critic_updates: int = 100
    """optimiser steps of a critic"""
    critic_prefix_weight: float = 1.0
    """weight of predicting the outcome from every prefix too; 0: the paper's critic, which also learns from the references"""
    cores: int = 2
    """CPU cores to use"""
    tuning: Annotated[Tuning, OmitArgPrefixes] = DEFAULT
    """how the actor learns in each round; the seed is also that of the order of the problems and of samples"""


def main(config: Config) -> None:
    from ..errors import UsageError
    from ..pipeline import finished_steps
    from ..records import Problem
    from ..run_directory import RunDirectory, manifest
    from ..store import read_records, write_records

    if config.temperature == 0 and config.algorithm in WITH_BASELINE:
        raise UsageError(f"--temperature is 0: every sample would be the greedy program, the baseline of {config.algorithm}; give more than 0")
    if config.overlap and config.cpu_seconds is not None:
        raise UsageError(
            "--overlap with --cpu-seconds: a round's programs are drawn before it is known what the last one cost; leave one of them out"
        )
    if config.algorithm == "ppo" and config.tuning.reuse != "none":
        raise UsageError(f"--reuse is {config.tuning.reuse}: `finetune ppo` learns from fresh programs only; leave it out")
    if config.algorithm == "coderl" and config.variant == "changes" and config.solutions:
        raise UsageError(f"--solutions is {config.solutions:g} with variant changes, which `finetune coderl` refuses; leave one of them out")
    chain = steps_of(config, config.rounds)
    begun = bool(finished_steps(chain, config.out))  # a folder made with other settings is refused before anything in it is touched
    run = RunDirectory(config.out)
    if run.is_done(config) and (made := run.settings().get("rounds", config.rounds)) >= config.rounds:
        if made > config.rounds:
            raise UsageError(
                f"--rounds is {config.rounds}, and {config.out} holds a complete run of {made}; choose another --out, or remove the folder"
            )
        print(f"{config.out} is complete already; remove it, or choose another --out, to train again")
        return
    known = read_records(config.problems, Problem)
    run.start(manifest(config, [path for path in (config.problems, config.tuning.references, config.tuning.validation) if path]), begun)
    for number, part in enumerate(shares([p.id for p in known], config), start=1):
        wanted = set(part)
        Round(config, number).folder.mkdir(parents=True, exist_ok=True)
        write_records(Round(config, number).problems, [p for p in known if p.id in wanted])
    done, costs = run_rounds(config)
    chosen = summary(config, done, run, costs)
    shutil.copytree(Round(config, chosen).actor, config.out / "actor", dirs_exist_ok=True)
    run.finish()
    print(f"actor of round {chosen} of {done} -> {config.out / 'actor'}")


def steps_of(config: Config, rounds: int) -> list[Step]:
    """All steps of the first `rounds` rounds."""
    return [step for number in range(1, rounds + 1) for step in Round(config, number).steps()]


def run_rounds(config: Config) -> tuple[int, dict[str, StepCost]]:
    """Run the rounds, all at once or, with a budget, one by one while another like the last fits in; returns their number and what each step cost."""
    from ..pipeline import run_steps
    from .demo import PRELOAD

    if config.cpu_seconds is None:
        return config.rounds, run_steps(steps_of(config, config.rounds), config.out, config.cores, preload=PRELOAD)
    done = 0
    costs: dict[str, StepCost] = {}
    while done < config.rounds:
        done += 1
        costs = run_steps(steps_of(config, done), config.out, config.cores, preload=PRELOAD)
        spent = sum(cost.cpu_seconds for cost in costs.values())
        again = {step.name.removesuffix(f"-{done + 1}") for step in Round(config, done + 1).steps()}  # a frozen critic is trained once
        more = sum(cost.cpu_seconds for name, cost in costs.items() if name.removesuffix(f"-{done}") in again)
        if spent + more > config.cpu_seconds:
            print(f"{done} rounds took {spent:.0f} of {config.cpu_seconds:.0f} CPU s; another would take about {more:.0f}")
            break
    return done, costs


def shares(names: Sequence[str], config: Config) -> list[list[str]]:
    """Which problems each round takes: the next ones of a shuffled order, which is shuffled anew when it ends; none twice in a round."""
    size = min(config.problems_per_round, len(names))
    result: list[list[str]] = []
    deck: list[str] = []
    turn = 0
    while len(result) < config.rounds:
        part, deck = deck[:size], deck[size:]
        if len(part) < size:
            deck = list(names)
            random.Random(f"rounds/{config.tuning.seed}/{turn}").shuffle(deck)
            turn += 1
            more = [name for name in deck if name not in set(part)][: size - len(part)]
            deck = [name for name in deck if name not in set(more)]
            part += more
        result.append(part)
    return result


class Round:
    """One round: where its files lie and which commands make them."""

    def __init__(self, config: Config, number: int) -> None:
        self.config, self.number = config, number
        self.folder = config.out / f"round-{number}"

    @property
    def problems(self) -> Path:
        return self.folder / "problems.jsonl"

    @property
    def actor(self) -> Path:
        """What comes out of this round; of round 0 what goes into the first."""
        return self.folder / "tuned" / "actor" if self.number else self.config.model

    @property
    def start(self) -> Path:
        return Round(self.config, self.number - 1).actor

    @property
    def sampler(self) -> Path:
        """The actor that writes this round's programs."""
        return Round(self.config, max(0, self.number - 2)).actor if self.config.overlap else self.start

    @property
    def with_critic(self) -> bool:
        return self.config.algorithm == "coderl" and self.config.variant not in ("A", "C")

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def steps(self) -> list[Step]:
        before = (f"tune-{self.number - 1}",) if self.number > 1 else ()
        drawn = before if not self.config.overlap else (f"tune-{self.number - 2}",) if self.number > 2 else ()
        steps = [self._step("sample", "the actor writes programs, and unit tests judge them", self.sample(), drawn, self.writers)]
        if self.config.algorithm in WITH_BASELINE:
            steps.append(self._step("greedy", "unit tests judge the greedy programs", self.grade(), (f"sample-{self.number}",)))
        if self.with_critic:
            if self.number == 1 or self.config.critic == "refresh":
                steps.append(self._step("critic", "a critic learns to predict the verdicts", self.train_critic(), (f"sample-{self.number}",)))
            judged_by = f"critic-{self.number if self.config.critic == 'refresh' else 1}"
            steps.append(self._step("score", "the critic gives every token its value", self.score(), (f"sample-{self.number}", judged_by)))
        done = (*before, *(step.name for step in steps))
        return [*steps, self._step("tune", f"the actor learns: {self.config.algorithm}", self.finetune(), done)]

    def _step(self, name: str, title: str, command: tuple[str, ...], needs: tuple[str, ...], cores: int = 1) -> Step:
        from ..pipeline import Step

        return Step(f"{name}-{self.number}", f"round {self.number}: {title}", command, needs, cores)

    def _words(self, *parts: object) -> tuple[str, ...]:
        return tuple(str(part) for part in parts)

    @property
    def writers(self) -> int:
        """Processes that write programs; with `--overlap` one core is left to learn on."""
        return max(1, self.config.cores - 1) if self.config.overlap else self.config.cores

    @property
    def seed(self) -> int:
        """Of samples and batches: another one in each round."""
        return (self.config.tuning.seed * 1_000 + self.number) % 2**31

    @property
    def _unsafe(self) -> tuple[str, ...]:
        return ("--allow-unsandboxed",) if self.config.tuning.allow_unsandboxed else ()

    @property
    def _judged(self) -> tuple[object, ...]:
        return ("--problems", self.problems, "--programs", self.file("programs"), "--verdicts", self.file("verdicts"))

    @property
    def _limits(self) -> tuple[object, ...]:
        return ("--max-source-tokens", self.config.tuning.max_source_tokens, "--max-program-tokens", self.config.tuning.max_program_tokens)

    @property
    def _early(self) -> tuple[str, ...]:
        return () if self.config.algorithm == "rltf" else ("--stop-at-first-failure",)  # RLTF asks how many tests pass

    def sample(self) -> tuple[str, ...]:
        c = self.config
        greedy = ("--greedy", self.file("greedy")) if c.algorithm in WITH_BASELINE else ()
        drawn = ("-n", c.samples, "--temperature", c.temperature, *self._limits, "--workers", self.writers)
        files = ("--model", self.sampler, "--problems", self.problems, "--out", self.file("programs"), "--verdicts", self.file("verdicts"), *greedy)
        return self._words("sample", *files, *drawn, *self._early, *self._unsafe, "--seed", self.seed)

    def grade(self) -> tuple[str, ...]:
        files = ("--problems", self.problems, "--programs", self.file("greedy"), "--out", self.file("greedy_verdicts"))
        return self._words("grade", *files, "--workers", 1, *self._early, *self._unsafe)

    def train_critic(self) -> tuple[str, ...]:
        c = self.config
        size = ("--updates", c.critic_updates, "--batch-tokens", 4096, *self._limits)
        with_references = c.tuning.references and not c.critic_prefix_weight
        more = ("--references", c.tuning.references) if with_references else ("--prefix-weight", c.critic_prefix_weight)
        files = ("--model", self.sampler, *self._judged, "--out", self.folder / "critic")
        return self._words("train-critic", *files, *size, *more, "--seed", c.tuning.seed)

    def score(self) -> tuple[str, ...]:
        c = self.config
        critic = (self.folder if c.critic == "refresh" else Round(c, 1).folder) / "critic" / "critic"
        return self._words("score", "--critic", critic, *self._judged, "--out", self.file("scores"), *self._limits)

    def finetune(self) -> tuple[str, ...]:
        c, t = self.config, self.config.tuning
        more: list[object] = ["--baseline", self.file("greedy_verdicts")] if c.algorithm in WITH_BASELINE else []
        more += ["--negative-weight", c.negative_weight] if c.algorithm in ("coderl", "rltf") else []
        more += ["--solutions", c.solutions] if c.solutions and c.algorithm == "coderl" else []
        more += ["--variant", c.variant] if c.variant and c.algorithm == "coderl" else []
        more += ["--scores", self.file("scores")] if self.with_critic else []
        more += ["--reference", c.model] if c.algorithm == "ppo" else []  # the warm start; the value head comes with the actor of the round before
        more += ["--references", t.references] if t.references else []
        more += ["--validation", t.validation, "--keep", t.keep] if t.validation else []
        more += [] if t.scaled else ["--no-scaled"]
        more += ["--alternate"] if t.alternate else []
        earlier = [*t.earlier, *(Round(c, number).folder / "tuned" for number in range(1, self.number))] if t.reuse != "none" else []
        more += ["--reuse", t.reuse] if t.reuse != "none" else []
        more += ["--earlier", *earlier] if earlier else []
        more += ["--drawn-by", self.sampler] if self.sampler != self.start else []
        more += ["--optimiser", t.optimiser, "--learning-rate", t.learning_rate]
        size = ("--epochs", t.epochs, "--rl-weight", t.rl_weight, "--batch-tokens", t.batch_tokens)
        files = ("--model", self.start, *self._judged, "--out", self.folder / "tuned", "--reduction", t.reduction, *self._limits)
        stage = "reinforce" if c.algorithm == "leave-one-out" else c.algorithm
        return self._words("finetune", stage, *files, *more, *size, *self._unsafe, "--seed", self.seed)


def summary(config: Config, rounds: int, run: RunDirectory, costs: dict[str, StepCost]) -> int:
    """Log and print what each round gave; returns the round whose actor is kept (0: none was better than the start)."""
    from ..run_directory import RunDirectory

    best, chosen = -1.0, rounds
    run.keep_metrics(lambda line: line.get("stage") != "rounds")
    spent = 0.0
    for number in range(1, rounds + 1):
        lines = RunDirectory(Round(config, number).folder / "tuned").metrics()
        spent += sum(cost.cpu_seconds for name, cost in costs.items() if name.endswith(f"-{number}"))
        looks = [line for line in lines if "validation/greedy" in line]
        if number == 1 and looks:
            run.log(stage="rounds", step=0, cpu_seconds=0.0, **_look(looks[0]))
            best, chosen = looks[0]["validation/greedy"], 0
        signal = next((line for line in lines if line.get("stage") == "signal"), {})
        shown: dict[str, Any] = {name: round(float(signal[name]), 4) for name in ("zero", "positive", "value") if name in signal}
        if looks:
            kept = next((line["at"] for line in lines if line.get("stage") == "kept"), looks[-1]["step"])
            look = next(line for line in looks if line["step"] == kept)  # of the actor that the next round starts from
            shown |= _look(look)
            if look["validation/greedy"] >= best:
                best, chosen = look["validation/greedy"], number
        run.log(stage="rounds", step=number, cpu_seconds=round(spent, 1), **shown)
        words = ", ".join(f"{name} {100 * value:.1f} %" for name, value in shown.items() if not name.startswith("actor/"))
        print(f"round {number}: {words}; {spent:.0f} CPU s so far")
    return chosen


def _look(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name.startswith(("validation/", "outcome/", "actor/"))}
