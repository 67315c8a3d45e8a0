"""Stage `demo`: the whole method from nothing on two CPU cores, and what each step of it was worth.

    problems mini -> warm-start -> sample (judged on the way) -> train-critic -> score -> finetune coderl -> evaluate -> report

Beside CodeRL three arms show where a gain comes from: the same fine-tuning without the critic (every token has the same weight);
expert iteration (cross-entropy on the samples that pass); and the control: more cross-entropy on the references for as much CPU time
as the whole of CodeRL took (sampling, judging, critic, scoring, fine-tuning), at the rate that
was best for it. Every step is a `coderl` command (`steps.jsonl` lists them with their cost); a killed demo goes on where it was.

How the numbers below were found, on the validation problems only: docs/lab-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

    from ..pipeline import Step, StepCost


@dataclass(frozen=True)
class Config:
    """The whole method from nothing: problems, warm start, critic, CodeRL, table, report."""

    out: Path | None = None
    """folder for everything the demo makes; default runs/demo, with --quick runs/demo-quick, with --actor decoder-only named so"""
    quick: bool = False
    """the same chain in 3 minutes, on fewer of everything: it shows the steps; what RL is worth takes the whole demo"""
    form: Literal["ours", "paper"] = "ours"
    """how CodeRL learns. paper: its policy gradient as it stands; ours: from the programs that pass alone, as from references"""
    seed: int = 0
    """seed of problems, weights and samples"""
    actor: Literal["encoder-decoder", "decoder-only"] = "encoder-decoder"
    """what kind of model the actor is: a small T5, or a small Llama"""
    cores: int = 2
    """CPU cores to use"""
    allow_unsandboxed: bool = False
    """judge even where this machine offers no isolation (unsafe)"""


class Scale(NamedTuple):
    """How much of everything.

    Fields:
        train, tests_only, validation, heldout: problems in each split, over `sources`.
        batch_tokens: tokens in a batch of the warm start and of the control.
        warm_updates, warm_rate: steps and peak learning rate of the warm start; evaluate_every: steps between looks at validation.
        samples, temperature: programs per tests-only problem, and how they are drawn.
        critic_updates, critic_rate: of the critic.
        solution_epochs, solution_rate: passes over the samples and peak learning rate where only programs that pass are learnt from.
        control_rate: peak learning rate of the control.
        evaluation_samples: programs per held-out problem.
    """

    train: int
    tests_only: int
    validation: int
    heldout: int
    sources: tuple[str, ...]
    batch_tokens: int
    warm_updates: int
    warm_rate: float
    evaluate_every: int
    samples: int
    temperature: float
    critic_updates: int
    critic_rate: float
    solution_epochs: float
    solution_rate: float
    control_rate: float
    evaluation_samples: int


FULL = Scale(
    train=300,
    tests_only=2000,
    validation=200,
    heldout=600,
    sources=("words", "letters"),
    warm_updates=3000,
    evaluate_every=500,
    critic_updates=200,
    evaluation_samples=8,
    batch_tokens=1024,
    warm_rate=3e-3,
    samples=8,
    temperature=0.9,
    critic_rate=1e-3,
    solution_epochs=8.0,
    solution_rate=3e-3,
    control_rate=3e-3,
)
QUICK = FULL._replace(
    tests_only=700,
    validation=60,
    heldout=200,
    warm_updates=800,
    evaluate_every=400,
    samples=5,
    critic_updates=25,
    evaluation_samples=6,
    solution_rate=1e-3,  # so few steps would end in the fall that the high rate begins with
)


class Form(NamedTuple):
    """How CodeRL learns, with and without critic.

    Fields:
        flags: of `finetune coderl`.
        epochs, rate: passes over the samples and peak learning rate; batch_tokens: tokens of samples in a step.
    """

    flags: tuple[str, ...]
    epochs: float
    rate: float
    batch_tokens: int


def form_of(config: Config, scale: Scale) -> Form:
    """What `--form` asks for."""
    if config.form == "ours":
        return Form(("--solutions", "3"), scale.solution_epochs, scale.solution_rate, 1024)
    # negatives have no floor on frozen samples: they stand neither the high rate nor more passes
    return Form(("--negative-weight", "1", "--no-scaled", "--reduction", "program-sum"), 2.0, 1e-3, 2048)


ARMS = {
    "warm-start": "warm start",
    "control": "control: more cross-entropy",
    "expert": "expert iteration",
    "no-critic": "CodeRL without critic",
    "coderl": "CodeRL",
}
PRELOAD = ("coderl.sampling", "coderl.fitting", "coderl.models.critic", "transformers.models.t5.modeling_t5")
CODERL_STEPS = ("sample", "grade-greedy", "critic", "score")


def main(config: Config) -> None:
    from ..pipeline import finished_steps, run_steps
    from ..run_directory import RunDirectory, manifest

    scale = QUICK if config.quick else FULL
    kind = "" if config.actor == "encoder-decoder" else f"-{config.actor}"
    folder = config.out or Path(f"runs/demo{'-quick' if config.quick else ''}{kind}")
    chain = Chain(scale, config, Paths(folder)).steps()
    finished_steps(chain, folder)  # a folder made with other settings is refused before anything in it is touched
    run = RunDirectory(folder)
    run.start(manifest(config) | {"scale": scale._asdict()})
    print(f"coderl demo -> {folder} (seed {config.seed}, {config.cores} cores)")
    costs = run_steps(chain, folder, config.cores, preload=PRELOAD)
    results = read_arms(folder)
    print_table(results, arm_costs(costs), config.seed)
    report(folder, results, config)
    run.finish()
    print(f"\nreport: {folder / 'report.html'} (open it in a browser; it needs no network)")


class Paths(NamedTuple):
    """Where things lie in the demo's folder."""

    folder: Path

    def problems(self, split: str) -> Path:
        return self.folder / "problems" / f"{split}.jsonl"

    def samples(self, name: str) -> Path:
        return self.folder / "samples" / f"{name}.jsonl"

    def actor(self, arm: str) -> Path:
        return self.folder / arm / "actor"


class Chain(NamedTuple):
    """Makes the steps of a demo: what all commands have in common."""

    scale: Scale
    config: Config
    paths: Paths

    @property
    def unsafe(self) -> tuple[str, ...]:
        return ("--allow-unsandboxed",) if self.config.allow_unsandboxed else ()

    @property
    def seed(self) -> tuple[str, ...]:
        return ("--seed", str(self.config.seed))

    def steps(self) -> list[Step]:
        """The chain of commands. A step's outputs lie in the folder of its name."""
        return [*self.warming(), *self.judging(), *self.tuning(), *(step for arm in ARMS for step in self.evaluation(arm)), self.check()]

    def warming(self) -> list[Step]:
        """Problems, their validation, and an actor from nothing."""
        from ..pipeline import Step

        s, cores = self.scale, self.config.cores
        sizes = ("--train", s.train, "--tests-only", s.tests_only, "--validation", s.validation, "--heldout", s.heldout, "--sources", *s.sources)
        more = ("--updates", s.warm_updates, "--learning-rate", s.warm_rate, "--threads", cores, "--evaluate-every", s.evaluate_every)
        # four layers of a Llama have about as many weights as two and two of a T5
        fresh = ("--family", "llama", "--layers", 4) if self.config.actor == "decoder-only" else ()
        made = words("problems", "mini", "--out", self.paths.folder / "problems", *sizes, *self.seed)
        return [
            Step("problems", "making programming problems", made),
            Step("warm-start", "warm start: a model learns from references", self.supervised("warm-start", *fresh, *more), ("problems",), cores),
        ]

    def judging(self) -> list[Step]:
        """Programs of the warm-started actor for problems that have only tests, verdicts, critic, token values."""
        from ..pipeline import Step

        s, p, cores = self.scale, self.paths, self.config.cores
        drawn = ("--out", p.samples("programs"), "--greedy", p.samples("greedy"), "-n", s.samples, "--temperature", s.temperature, "--workers", cores)
        judged = ("--verdicts", p.samples("verdicts"), "--stop-at-first-failure", *self.unsafe)
        sample = words("sample", "--model", p.actor("warm-start"), "--problems", p.problems("train_tests_only"), *drawn, *judged, *self.seed)
        greedy = self.grade("train_tests_only", p.samples("greedy"), p.samples("greedy_verdicts"), cores)
        size = ("--updates", s.critic_updates, "--learning-rate", s.critic_rate, "--batch-tokens", 4096)
        files = ("--model", p.actor("warm-start"), *self.of_samples(), "--out", p.folder / "critic")
        critic = words("train-critic", *files, "--prefix-weight", 1, *size, *self.seed)
        score = words("score", "--critic", p.folder / "critic" / "critic", *self.of_samples(), "--out", p.samples("scores"))
        return [
            Step("sample", "the actor writes programs for problems that have only tests, and unit tests judge them", sample, ("warm-start",), cores),
            Step("grade-greedy", "unit tests judge the greedy programs: the baseline", greedy, ("sample",), cores),
            Step("critic", "a critic learns to predict the verdicts", critic, ("sample",)),
            Step("score", "the critic gives every token its value", score, ("critic",)),
        ]

    def tuning(self) -> list[Step]:
        """CodeRL, CodeRL without its critic, more cross-entropy for the CPU time of all of CodeRL."""
        from ..pipeline import Step

        seldom = ("--evaluate-every", 2 * self.scale.evaluate_every)
        same = ("--optimiser", "muon", "--learning-rate", self.scale.control_rate)
        more = ("--model", self.paths.actor("warm-start"), *same, *seldom)
        s, form, baseline = self.scale, form_of(self.config, self.scale), ("--baseline", self.paths.samples("greedy_verdicts"))
        plain = (*form.flags, "--batch-tokens", form.batch_tokens, "--epochs", form.epochs, "--learning-rate", form.rate, *baseline)
        passing = ("--batch-tokens", 1024, "--epochs", s.solution_epochs, "--learning-rate", s.solution_rate)
        # with and without critic the fine-tuning takes the same steps on the same programs, so the cost of the one stands for the other
        budget = (*CODERL_STEPS, "no-critic")
        return [
            Step("no-critic", "fine-tuning without critic", self.finetune("coderl", "no-critic", *plain), ("grade-greedy",)),
            Step("expert", "expert iteration: cross-entropy on the programs that pass", self.finetune("expert", "expert", *passing), ("sample",)),
            Step("control", "control: more cross-entropy for the CPU time of CodeRL", self.supervised("control", *more), ("warm-start",), 1, budget),
            Step(
                "coderl",
                "CodeRL: fine-tuning with the critic's token values",
                self.finetune("coderl", "coderl", *plain, "--scores", self.paths.samples("scores")),
                ("score", "grade-greedy"),
            ),
        ]

    def check(self) -> Step:
        """The reference solutions must pass; last in the list, it fills a core that waits."""
        from ..pipeline import Step

        checked = ("--problems", self.paths.problems("train"), "--out", self.paths.folder / "validate" / "verdicts.jsonl", "--workers", 1)
        return Step("validate", "checking the reference solutions in the judge", words("validate", *checked, *self.unsafe), ("sample",))

    def supervised(self, arm: str, *more: object) -> tuple[str, ...]:
        """Cross-entropy on the references, with looks at the validation problems."""
        looks = ("--validation", self.paths.problems("validation"))
        size = ("--batch-tokens", self.scale.batch_tokens)
        return words(
            "warm-start", "--problems", self.paths.problems("train"), *looks, *size, "--out", self.paths.folder / arm, *more, *self.unsafe, *self.seed
        )

    def of_samples(self) -> tuple[str, ...]:
        p = self.paths
        return words("--problems", p.problems("train_tests_only"), "--programs", p.samples("programs"), "--verdicts", p.samples("verdicts"))

    def finetune(self, stage: str, arm: str, *more: object) -> tuple[str, ...]:
        p = self.paths
        inputs = (*self.of_samples(), "--references", p.problems("train"), "--optimiser", "muon")
        looks = ("--validation", p.problems("validation"), *self.unsafe)
        return words("finetune", stage, "--model", p.actor("warm-start"), *inputs, *more, *looks, "--out", p.folder / arm, *self.seed)

    def grade(self, split: str, programs: Path, verdicts: Path, workers: int) -> tuple[str, ...]:
        files = ("--problems", self.paths.problems(split), "--programs", programs, "--out", verdicts)
        return words("grade", *files, "--stop-at-first-failure", "--workers", workers, *self.unsafe)

    def evaluation(self, arm: str) -> list[Step]:
        """Held-out programs of one arm, their verdicts, and the estimates."""
        from ..pipeline import Step

        out = self.paths.folder / "evaluation" / arm
        programs, greedy, verdicts, greedy_verdicts = (out / f"{name}.jsonl" for name in ("programs", "greedy", "verdicts", "greedy_verdicts"))
        workers = self.config.cores if arm == "control" else 1  # the control comes last and has the machine for itself
        model = ("--model", self.paths.actor(arm), "--problems", self.paths.problems("heldout"))
        drawn = ("--out", programs, "--greedy", greedy, "-n", self.scale.evaluation_samples, "--workers", workers, "--seed", self.config.seed + 1)
        alongside = ("--verdicts", verdicts, "--stop-at-first-failure", *self.unsafe)
        judged = ("--problems", self.paths.problems("heldout"), "--verdicts", verdicts, "--greedy", greedy_verdicts)
        asked = ("--k", *(k for k in (1, 5) if k <= self.scale.evaluation_samples))
        names = ("--out", out / "results.json", "--name", ARMS[arm])
        return [
            Step(f"write-{arm}", f"held-out programs, judged, of: {ARMS[arm]}", words("sample", *model, *drawn, *alongside), (arm,)),
            Step(f"judge-greedy-{arm}", "judging the greedy ones", self.grade("heldout", greedy, greedy_verdicts, 1), (f"write-{arm}",)),
            Step(f"evaluate-{arm}", "pass@k", words("evaluate", *judged, *asked, *names, *self.seed), (f"judge-greedy-{arm}",)),
        ]


def words(*parts: object) -> tuple[str, ...]:
    """A command line from paths, numbers and text."""
    return tuple(str(part) for part in parts)


def read_arms(folder: Path) -> dict[str, dict[str, Any]]:
    """results.json of every arm."""
    from ..evaluation import read_results

    return {arm: read_results(folder / "evaluation" / arm / "results.json") for arm in ARMS}


def arm_costs(costs: Mapping[str, StepCost]) -> dict[str, float]:
    """CPU seconds of each arm beyond the warm start; the warm start's own for itself. Looks at validation problems
    count, the final evaluation does not."""
    shared = sum(costs[name].cpu_seconds for name in CODERL_STEPS)
    sampled = sum(costs[name].cpu_seconds for name in ("sample", "grade-greedy"))
    return {
        "warm-start": costs["warm-start"].cpu_seconds,
        "control": costs["control"].cpu_seconds,
        "expert": costs["sample"].cpu_seconds + costs["expert"].cpu_seconds,
        "no-critic": sampled + costs["no-critic"].cpu_seconds,
        "coderl": shared + costs["coderl"].cpu_seconds,
    }


def print_table(results: Mapping[str, Mapping[str, Any]], costs: Mapping[str, float], seed: int) -> None:
    """Held-out results of the arms, and each arm against the warm start, paired over problems."""
    from rich.console import Console

    from ..evaluation import compare
    from ..records import DIFFICULTIES

    console = Console()
    console = Console(width=max(console.width, 132))  # a narrower terminal wraps lines; a table with cut numbers is worse
    titles = ("arm", "CPU s", "greedy", "pass@1", "pass@5", "pass@1 - warm start")
    rows: list[tuple[str, ...]] = []
    for arm, title in ARMS.items():
        whole = results[arm]["all"]
        against = "" if arm == "warm-start" else difference(compare(results[arm], results["warm-start"], 1, seed))
        cost = f"{costs[arm]:.0f}" if arm == "warm-start" else f"+{costs[arm]:.0f}"
        rows.append((title, cost, interval(whole["greedy"]), interval(whole["pass@k"]["1"]), interval(whole["pass@k"]["5"]), against))
    console.print(table("held-out problems, percent [95 % interval]", titles, rows))
    levels = [level for level in DIFFICULTIES if level in results["coderl"]["by_difficulty"]]
    rows = [(title, *(interval(results[arm]["by_difficulty"][level]["pass@k"]["1"]) for level in levels)) for arm, title in ARMS.items()]
    console.print(table("pass@1 by difficulty", ("arm", *levels), rows))
    control = compare(results["coderl"], results["control"], 1, seed)
    critic = compare(results["coderl"], results["no-critic"], 1, seed)
    print(f"CodeRL against the control: {difference(control)}; against CodeRL without critic: {difference(critic)} (pass@1, paired over problems)")
    errors = sum(r["harness_errors"] for r in results.values())
    print(f"{results['coderl']['problems']} problems, {results['coderl']['samples']} samples an arm, {errors} without a verdict (harness errors)")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table for the terminal; numbers to the right."""
    from rich.table import Table

    result = Table(title=title)
    for column in columns:
        result.add_column(column, justify="left" if column == "arm" else "right", no_wrap=True)
    for row in rows:
        result.add_row(*row)
    return result


def interval(estimate: Mapping[str, float] | None) -> str:
    """`31.2 [27.0, 35.4]`, in percent."""
    if not estimate:
        return "-"
    return f"{100 * estimate['value']:.1f} [{100 * estimate['low']:.1f}, {100 * estimate['high']:.1f}]"


def difference(comparison: Any) -> str:
    """`+4.1 [2.0, 6.2]`, in percentage points."""
    return f"{100 * comparison.difference:+.1f} [{100 * comparison.low:+.1f}, {100 * comparison.high:+.1f}]"


def report(folder: Path, results: Mapping[str, Mapping[str, Any]], config: Config) -> None:
    """The HTML page, through the stage that anyone can run."""
    from . import report as stage

    samples = folder / "samples"
    stage.main(
        stage.Config(
            out=folder / "report.html",
            title=f"coderl demo, seed {config.seed}",
            results=tuple(folder / "evaluation" / arm / "results.json" for arm in results),
            runs=tuple(folder / arm for arm in ("warm-start", "control", "critic", "no-critic", "coderl")),
            problems=folder / "problems" / "train_tests_only.jsonl",
            programs=samples / "programs.jsonl",
            verdicts=samples / "verdicts.jsonl",
            scores=samples / "scores.jsonl",
        )
    )
