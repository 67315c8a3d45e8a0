"""Stage `demo`: the whole method from nothing on two CPU cores, and what each step of it was worth.

    problems mini -> validate -> warm-start -> sample -> grade -> train-critic -> score -> finetune coderl -> evaluate -> report

Beside CodeRL two arms show where a gain comes from: the same fine-tuning without the critic (every token has the same weight), and
the control: more cross-entropy on the references for as much CPU time as the whole of CodeRL took (sampling, judging, critic,
scoring, fine-tuning). Every step is a `coderl` command, printed as it starts; a killed demo goes on where it was.

How the numbers below were found, on the validation problems only: docs/lab-log.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from ..pipeline import Step, StepCost


@dataclass(frozen=True)
class Config:
    """The whole method from nothing: problems, warm start, critic, CodeRL, table, report."""

    out: Path | None = None
    """folder for everything the demo makes; default runs/demo, with --quick runs/demo-quick"""
    quick: bool = False
    """the same story in under 3 minutes, on less of everything: expect little of its numbers"""
    seed: int = 0
    """seed of problems, weights and samples"""
    cores: int = 2
    """CPU cores to use"""
    allow_unsandboxed: bool = False
    """judge even where this machine offers no isolation (unsafe)"""


class Scale(NamedTuple):
    """How much of everything.

    Fields:
        train, tests_only, validation, heldout: problems in each split.
        warm_updates, warm_rate: steps and peak learning rate of the warm start; evaluate_every: steps between looks at validation.
        samples, temperature: programs per tests-only problem, and how they are drawn.
        critic_updates, critic_rate: of the critic.
        epochs, rate, rl_weight: passes over the samples, peak learning rate and weight of L_rl, the same with and without critic.
        control_rate: peak learning rate of the control.
        evaluation_samples: programs per held-out problem.
    """

    train: int
    tests_only: int
    validation: int
    heldout: int
    warm_updates: int
    warm_rate: float
    evaluate_every: int
    samples: int
    temperature: float
    critic_updates: int
    critic_rate: float
    epochs: float
    rate: float
    rl_weight: float
    control_rate: float
    evaluation_samples: int


FULL = Scale(1200, 4000, 200, 400, 3600, 3e-3, 600, 8, 0.8, 400, 1e-3, 2.0, 5e-4, 1.0, 1e-3, 20)
QUICK = Scale(600, 600, 60, 100, 500, 3e-3, 250, 8, 0.8, 80, 1e-3, 1.0, 5e-4, 1.0, 1e-3, 10)

ARMS = {
    "warm-start": "warm start",
    "control": "more cross-entropy, equal time (control)",
    "no-critic": "CodeRL without critic",
    "coderl": "CodeRL",
}
CODERL_STEPS = ("sample", "grade", "grade-greedy", "critic", "score")


def main(config: Config) -> None:
    from ..pipeline import run_steps
    from ..store import RunDirectory, manifest

    scale = QUICK if config.quick else FULL
    folder = config.out or Path("runs/demo-quick" if config.quick else "runs/demo")
    run = RunDirectory(folder)
    run.start(manifest(config) | {"scale": scale._asdict()})
    print(f"coderl demo -> {folder} (seed {config.seed}, {config.cores} cores)")
    costs = run_steps(steps(scale, folder, config), folder, config.cores)
    results = read_arms(folder)
    print_table(results, arm_costs(costs), config.seed)
    report(folder, results, config)
    run.finish()
    print(f"\nreport: {folder / 'report.html'} (open it in a browser; it needs no network)")


def steps(scale: Scale, folder: Path, config: Config) -> list[Step]:
    """The chain of commands. A step's outputs lie in the folder of its name."""
    from ..pipeline import Step

    unsafe = ("--allow-unsandboxed",) if config.allow_unsandboxed else ()
    seed = ("--seed", str(config.seed))
    problems, samples = folder / "problems", folder / "samples"
    train, tests_only = problems / "train.jsonl", problems / "train_tests_only.jsonl"
    warm, critic = folder / "warm-start", folder / "critic"

    def command(*parts: object) -> tuple[str, ...]:
        return tuple(str(p) for p in parts)

    def finetune(out: Path, *more: object) -> tuple[str, ...]:
        return command(
            *("finetune", "coderl", "--model", warm / "actor", "--problems", tests_only, "--references", train, "--out", out),
            *("--programs", samples / "programs.jsonl", "--verdicts", samples / "verdicts.jsonl", "--baseline", samples / "greedy_verdicts.jsonl"),
            *("--epochs", scale.epochs, "--learning-rate", scale.rate, "--rl-weight", scale.rl_weight, *more, *seed),
        )

    def grade(programs: Path, verdicts: Path, of: Path, *more: object) -> tuple[str, ...]:
        return command("grade", "--problems", of, "--programs", programs, "--out", verdicts, "--stop-at-first-failure", *more, *unsafe)

    sizes = ("--train", scale.train, "--tests-only", scale.tests_only, "--validation", scale.validation, "--heldout", scale.heldout)
    start = (
        "warm-start",
        "--problems",
        train,
        "--validation",
        problems / "validation.jsonl",
        "--evaluate-every",
        scale.evaluate_every,
        *unsafe,
        *seed,
    )
    of_samples = ("--problems", tests_only, "--programs", samples / "programs.jsonl", "--verdicts", samples / "verdicts.jsonl")
    chain = [
        Step("problems", "making programming problems", command("problems", "mini", "--out", problems, *sizes, *seed)),
        Step(
            "warm-start",
            "warm start: a T5 learns from reference solutions, from nothing",
            command(*start, "--out", warm, "--updates", scale.warm_updates, "--learning-rate", scale.warm_rate, "--threads", config.cores),
            ("problems",),
            config.cores,
        ),
        Step(
            "validate",
            "checking the reference solutions in the judge",
            command("validate", "--problems", train, "--out", folder / "validate" / "verdicts.jsonl", "--workers", config.cores, *unsafe),
            ("problems",),
        ),
        Step(
            "sample",
            "the actor writes programs for problems that have only tests",
            command(
                *("sample", "--model", warm / "actor", "--problems", tests_only, "--out", samples / "programs.jsonl", "-n", scale.samples),
                *("--temperature", scale.temperature, "--greedy", samples / "greedy.jsonl", "--workers", config.cores, *seed),
            ),
            ("warm-start",),
            config.cores,
        ),
        Step(
            "grade",
            "unit tests judge them",
            grade(samples / "programs.jsonl", samples / "verdicts.jsonl", tests_only, "--workers", config.cores),
            ("sample",),
            config.cores,
        ),
        Step(
            "grade-greedy",
            "unit tests judge the greedy programs: the baseline",
            grade(samples / "greedy.jsonl", samples / "greedy_verdicts.jsonl", tests_only, "--workers", config.cores),
            ("sample",),
            config.cores,
        ),
        Step(
            "critic",
            "a critic learns to predict the verdicts",
            command(
                *("train-critic", "--model", warm / "actor", *of_samples, "--out", critic),
                *("--updates", scale.critic_updates, "--learning-rate", scale.critic_rate, *seed),
            ),
            ("grade",),
        ),
        Step("no-critic", "fine-tuning without critic", finetune(folder / "no-critic"), ("grade", "grade-greedy")),
        Step(
            "score",
            "the critic gives every token its value",
            command("score", "--critic", critic / "critic", *of_samples, "--out", samples / "scores.jsonl"),
            ("critic",),
        ),
        Step(
            "control",
            "control: more cross-entropy for the CPU time of all of CodeRL",
            command(*start, "--model", warm / "actor", "--out", folder / "control", "--learning-rate", scale.control_rate),
            ("warm-start",),
            1,
            (*CODERL_STEPS, "no-critic"),  # fine-tuning with and without critic takes the same steps on the same programs
        ),
        Step(
            "coderl",
            "CodeRL: fine-tuning with the critic's token values",
            finetune(folder / "coderl", "--scores", samples / "scores.jsonl"),
            ("score", "grade-greedy"),
        ),
    ]
    for arm in ARMS:
        chain += evaluation(scale, folder, arm, config, grade)
    return chain


def evaluation(scale: Scale, folder: Path, arm: str, config: Config, grade: Any) -> list[Step]:
    """Held-out programs of one arm, their verdicts on hidden and on example tests, and the estimates."""
    from ..pipeline import Step

    heldout, out = folder / "problems" / "heldout.jsonl", folder / "evaluation" / arm
    files = {name: out / f"{name}.jsonl" for name in ("programs", "greedy", "verdicts", "greedy_verdicts", "example_verdicts")}
    sample = (
        *("sample", "--model", folder / arm / "actor", "--problems", heldout, "--out", files["programs"], "--greedy", files["greedy"]),
        *("-n", scale.evaluation_samples, "--workers", 1, "--seed", config.seed + 1),
    )
    estimate = (
        *("evaluate", "--problems", heldout, "--verdicts", files["verdicts"], "--greedy", files["greedy_verdicts"]),
        *("--examples", files["example_verdicts"], "--k", 1, 5, 10, "--out", out / "results.json", "--name", ARMS[arm], "--seed", config.seed),
    )
    hidden = grade(files["programs"], files["verdicts"], heldout, "--workers", 1)
    greedy = grade(files["greedy"], files["greedy_verdicts"], heldout, "--workers", 1)
    example = grade(files["programs"], files["example_verdicts"], heldout, "--workers", 1, "--tests", "example")
    return [
        Step(f"write-{arm}", f"held-out programs of: {ARMS[arm]}", tuple(str(p) for p in sample), (arm,)),
        Step(f"judge-{arm}", "judging them", hidden, (f"write-{arm}",)),
        Step(f"judge-greedy-{arm}", "judging the greedy ones", greedy, (f"write-{arm}",)),
        Step(f"judge-examples-{arm}", "judging them on the example tests", example, (f"write-{arm}",)),
        Step(
            f"evaluate-{arm}",
            "pass@k and n@k",
            tuple(str(p) for p in estimate),
            (f"judge-{arm}", f"judge-greedy-{arm}", f"judge-examples-{arm}"),
        ),
    ]


def read_arms(folder: Path) -> dict[str, dict[str, Any]]:
    """results.json of every arm."""
    from ..evaluation import read_results

    return {arm: read_results(folder / "evaluation" / arm / "results.json") for arm in ARMS}


def arm_costs(costs: Mapping[str, StepCost]) -> dict[str, float]:
    """CPU seconds of each arm beyond the warm start; the warm start's own for itself. Evaluation is not counted."""
    shared = sum(costs[name].cpu_seconds for name in CODERL_STEPS)
    sampled = sum(costs[name].cpu_seconds for name in ("sample", "grade", "grade-greedy"))
    return {
        "warm-start": costs["warm-start"].cpu_seconds,
        "control": costs["control"].cpu_seconds,
        "no-critic": sampled + costs["no-critic"].cpu_seconds,
        "coderl": shared + costs["coderl"].cpu_seconds,
    }


def print_table(results: Mapping[str, Mapping[str, Any]], costs: Mapping[str, float], seed: int) -> None:
    """Held-out results of the arms, and each arm against the warm start, paired over problems."""
    from rich.console import Console
    from rich.table import Table

    from ..evaluation import compare

    console = Console()
    table = Table(title="held-out problems, percent [95 % interval]")
    for column in ("arm", "CPU s", "greedy", "pass@1", "pass@5", "introductory", "interview", "competition", "pass@1 against warm start"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, title in ARMS.items():
        result = results[arm]
        whole = result["all"]
        against = "" if arm == "warm-start" else difference(compare(result, results["warm-start"], 1, seed))
        levels = [
            interval(result["by_difficulty"].get(level, {}).get("pass@k", {}).get("1")) for level in ("introductory", "interview", "competition")
        ]
        cost = f"{costs[arm]:.0f}" if arm == "warm-start" else f"+{costs[arm]:.0f}"
        cells = (interval(whole["greedy"]), interval(whole["pass@k"]["1"]), interval(whole["pass@k"]["5"]))
        table.add_row(title, cost, *cells, *levels, against)
    console.print(table)
    control = compare(results["coderl"], results["control"], 1, seed)
    critic = compare(results["coderl"], results["no-critic"], 1, seed)
    print(f"CodeRL against the control: {difference(control)}; against CodeRL without critic: {difference(critic)} (pass@1, paired over problems)")
    errors = sum(r["harness_errors"] for r in results.values())
    print(f"{results['coderl']['problems']} problems, {results['coderl']['samples']} samples an arm, {errors} without a verdict (harness errors)")


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
