"""What reinforcement learning is worth: many arms and seeds at equal CPU time after the same warm start.

    python runs/compare.py --seeds 0 1 2 3 4 --arms main        # nothing, cross-entropy, CodeRL, constant critic, expert iteration, GRPO
    python runs/compare.py --seeds 0 1 2 --arms all             # and the others
    python runs/compare.py --tune                               # the trials that chose each arm's learning rate, on validation problems
    python runs/compare.py --table                              # the table of what is there

A seed makes its own problems (words and letters; 300 with references, 4,000 with tests only), warm start and samples. An arm is one
`coderl` command with a budget of CPU seconds, judging and sampling included, then 20 programs for each of 400 held-out problems. An arm
and seed that is in runs/results/compare is only read, so that a new arm costs only itself; work lies in runs/work/compare, and a killed
call goes on where it was. Two regimes: `plateau`, where cross-entropy on 300 references hardly gains any more, and `early`, where it has not
(how they were chosen, on validation problems of seed 100: docs/lab-log.md). An arm's learning rate is the best of its trials on validation
problems of seed 100 (trials.jsonl; but for two of 180 s made with 200 references and rounds of other sizes, the rates were kept); arms that
differ in one switch take the rate of the arm they are like, and so does ours, whose own trials are of its first form. Held-out seed 0 was
seen before the last form of ours (docs/lab-log.md).
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coderl.evaluation import read_results
from coderl.formulas.passk import pass_at_k
from coderl.pipeline import Step, StepCost, finished_steps, run_steps
from coderl.recipes.demo import FULL, PRELOAD, words
from coderl.records import Program
from coderl.store import atomic_write, read_records

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "compare"
WORK = HERE / "work" / "compare"
BUDGET, TRIAL_BUDGET, TUNING_SEED = 180, 50, 100
SOURCES = ("words", "letters")
REFERENCES, TESTS_ONLY, VALIDATION, HELD_OUT, SAMPLES = 300, 4000, 300, 400, 20
UPDATES = {"plateau": 3000, "early": 500}
KS = (1, 5, 10)


class Arm(NamedTuple):
    """One way to use the budget.

    Fields:
        title: in the table.
        flags: of `rounds`, or for "ce" of `warm-start`; empty: nothing is done.
        main: five seeds instead of three.
        like: the arm whose trials chose the rate; empty: its own.
    """

    title: str
    flags: tuple[str, ...]
    main: bool = False
    like: str = ""


RATES = (5e-4, 1e-3, 3e-3)
# --problems-per-round: such that two or three rounds fit into the budget
GRADIENT = ("--epochs", "2", "--batch-tokens", "2048")  # of the policy gradients: more passes over frozen negatives make them worse
SOLUTIONS = ("--batch-tokens", "1024", "--reuse", "passing")
CODERL = (*GRADIENT, "--algorithm", "coderl")
CRITIC = (*CODERL, "--critic", "frozen", "--problems-per-round", "600")  # the critic takes a fifth of the budget
EXPERT = (*SOLUTIONS, "--algorithm", "expert", "--epochs", "8", "--problems-per-round", "700")
OURS = (*SOLUTIONS, "--algorithm", "coderl", "--solutions", "3", "--epochs", "8", "--problems-per-round", "700")
PAPER = ("--negative-weight", "1", "--no-scaled", "--reduction", "program-sum", "--critic-prefix-weight", "0")
ARMS = {
    "nothing": Arm("nothing", (), True),
    "ce": Arm("more cross-entropy", ("warm-start",), True),
    "coderl-d": Arm("CodeRL, D", (*CRITIC, "--variant", "D"), True),
    "coderl-a": Arm("CodeRL, A: constant critic", (*CODERL, "--problems-per-round", "800", "--variant", "A"), True),
    "expert": Arm("expert iteration", EXPERT, True),
    "grpo": Arm("GRPO", (*GRADIENT, "--problems-per-round", "500", "--algorithm", "grpo"), True),
    "ours": Arm("ours: CodeRL on its own solutions", (*OURS, "--variant", "A"), True, like="expert"),
    "ours-critic": Arm("ours, with the critic", (*OURS, "--critic", "frozen", "--variant", "D"), like="expert"),
    "coderl-b": Arm("CodeRL, B: no baseline", (*CRITIC, "--variant", "B"), like="coderl-d"),
    "coderl-c": Arm("CodeRL, C: linear decay", (*CODERL, "--problems-per-round", "800", "--variant", "C"), like="coderl-a"),
    "coderl-changes": Arm("CodeRL with the changes of p(passed)", (*CRITIC, "--variant", "changes"), like="coderl-d"),
    "coderl-paper": Arm("CodeRL, D, as in the paper: full negatives, unscaled, program sums", (*CRITIC, "--variant", "D", *PAPER), like="coderl-d"),
    "reinforce": Arm("REINFORCE, greedy baseline", (*GRADIENT, "--problems-per-round", "800", "--algorithm", "reinforce")),
    "leave-one-out": Arm("REINFORCE, leave-one-out", (*GRADIENT, "--problems-per-round", "500", "--algorithm", "leave-one-out"), like="reinforce"),
    "ppo": Arm("PPO", (*GRADIENT, "--problems-per-round", "500", "--algorithm", "ppo")),
    "rltf": Arm("RLTF-style", (*GRADIENT, "--problems-per-round", "500", "--algorithm", "rltf")),
    "mix": Arm("the cross-entropy steps of expert iteration alone", (*EXPERT, "--rl-weight", "0"), like="expert"),
}


class Study(NamedTuple):
    """One seed in one regime: where its files lie and which commands make them."""

    regime: str
    seed: int

    @property
    def shared(self) -> Path:
        """What the regimes of a seed share: problems and the warm start."""
        return WORK / f"seed-{self.seed}"

    @property
    def folder(self) -> Path:
        return self.shared / self.regime

    def problems(self, split: str) -> Path:
        return self.shared / "problems" / f"{split}.jsonl"

    @property
    def start(self) -> Path:
        return self.folder / "start" / "actor"

    @property
    def start_step(self) -> str:
        return self.name("start")

    def name(self, step: str) -> str:
        return f"{step}-{self.regime}-s{self.seed}"

    def result(self, arm: str) -> Path:
        return RESULTS / self.regime / arm / f"seed-{self.seed}.json"

    def step(self, name: str, title: str, command: tuple[str, ...], *needs: str) -> Step:
        return Step(self.name(name), f"{self.regime}, seed {self.seed}: {title}", command, needs)

    def beginning(self) -> list[Step]:
        """Problems and the start that all arms share."""
        sizes = ("--train", REFERENCES, "--tests-only", TESTS_ONLY, "--validation", VALIDATION, "--heldout", HELD_OUT, "--sources", *SOURCES)
        made = words("problems", "mini", "--out", self.shared / "problems", *sizes, "--seed", self.seed)
        size = ("--batch-tokens", FULL.batch_tokens, "--updates", UPDATES[self.regime], "--learning-rate", FULL.warm_rate)
        looks = ("--validation", self.problems("validation"), "--evaluate-every", 500)
        warm = words("warm-start", "--problems", self.problems("train"), *size, *looks, "--out", self.folder / "start", "--seed", self.seed)
        problems = f"problems-s{self.seed}"
        return [Step(problems, f"seed {self.seed}: problems", made), self.step("start", "warm start", warm, problems)]

    def learning(self, arm: str, rate: float, budget: int, name: str) -> list[Step]:
        """The arm itself; "nothing" has no step."""
        flags = ARMS[arm].flags
        if not flags:
            return []
        out, spent = self.folder / name / "run", ("--cpu-seconds", budget, "--learning-rate", rate, "--seed", self.seed)
        if arm == "ce":
            more = ("--optimiser", "muon", "--batch-tokens", FULL.batch_tokens, "--evaluate-every", 10**6)
            command = words("warm-start", "--model", self.start, "--problems", self.problems("train"), "--out", out, *more, *spent)
        else:
            files = ("--model", self.start, "--problems", self.problems("train_tests_only"), "--references", self.problems("train"), "--out", out)
            command = words("rounds", *files, *flags, "--rounds", 99, "--cores", 1, "--optimiser", "muon", *spent)
        return [self.step(name, f"{ARMS[arm].title}, rate {rate:g}", command, self.start_step)]

    def judging(self, name: str, actor: Path, split: str, samples: int, needs: str) -> list[Step]:
        """Programs of one actor for one split, judged, and the estimates."""
        out, problems = self.folder / name, self.problems(split)
        programs, greedy, verdicts, greedy_verdicts = (out / f"{n}.jsonl" for n in ("programs", "greedy", "verdicts", "greedy_verdicts"))
        drawn = ("--greedy", greedy, "-n", samples, "--workers", 1, "--seed", self.seed + 1, "--verdicts", verdicts, "--stop-at-first-failure")
        known = ("--verdicts", verdicts, "--greedy", greedy_verdicts, "--k", *(k for k in KS if k <= samples), "--name", name)
        write = words("sample", "--model", actor, "--problems", problems, "--out", programs, *drawn)
        grade = words("grade", "--problems", problems, "--programs", greedy, "--out", greedy_verdicts, "--stop-at-first-failure", "--workers", 1)
        estimate = words("evaluate", "--problems", problems, *known, "--out", out / "results.json", "--seed", self.seed)
        return [
            self.step(f"write-{name}", "programs, judged", write, needs),
            self.step(f"greedy-{name}", "greedy programs, judged", grade, self.name(f"write-{name}")),
            self.step(f"evaluate-{name}", "pass@k", estimate, self.name(f"greedy-{name}")),
        ]

    def arm(self, arm: str, rate: float) -> list[Step]:
        """An arm and its held-out evaluation."""
        actor = self.folder / arm / "run" / "actor" if ARMS[arm].flags else self.start
        learnt = self.learning(arm, rate, BUDGET, arm)
        return [*learnt, *self.judging(arm, actor, "heldout", SAMPLES, self.name(arm) if learnt else self.start_step)]

    def trial(self, arm: str, rate: float, budget: int) -> list[Step]:
        """One learning rate of an arm, on validation problems."""
        name = trial_name(arm, rate, budget)
        actor = self.folder / name / "run" / "actor"
        return [*self.learning(arm, rate, budget, name), *self.judging(name, actor, "validation", 8, self.name(name))]


def trial_name(arm: str, rate: float, budget: int) -> str:
    return f"trial-{arm}-{rate:g}-{budget}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=["main"], help=f"main, all, or names: {', '.join(ARMS)}")
    parser.add_argument("--regime", choices=[*UPDATES], default="plateau", help="where the arms begin")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores; an arm takes one")
    parser.add_argument("--tune", action="store_true", help="try the learning rates of these arms on validation problems")
    parser.add_argument("--rates", type=float, nargs="+", default=RATES, help="learning rates to try with --tune")
    parser.add_argument("--trial-seconds", type=int, default=TRIAL_BUDGET, help="CPU seconds of a trial; an arm's longest ones choose")
    parser.add_argument("--table", action="store_true", help="only collect what is finished and make the table anew")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed call keeps what is finished, as Ctrl-C does
    if unknown := set(asked.arms) - {"main", "all", *ARMS}:
        parser.error(f"--arms has {', '.join(sorted(unknown))}; there is main, all, {', '.join(ARMS)}")
    arms = [name for name, arm in ARMS.items() if "all" in asked.arms or name in asked.arms or ("main" in asked.arms and arm.main)]
    studies = [Study(asked.regime, seed) for seed in asked.seeds]
    if asked.tune:
        tune(
            Study("plateau", TUNING_SEED),
            [arm for arm in arms if ARMS[arm].flags and not ARMS[arm].like],
            asked.rates,
            asked.trial_seconds,
            asked.cores,
        )
    elif asked.table:
        keep_finished([Study(regime, seed) for regime in UPDATES for seed in range(20)], list(ARMS))
    else:
        compare(studies, arms, asked.cores)
    text = "\n".join([*(table(regime) for regime in UPDATES if any((RESULTS / regime).glob("*/*.json"))), trial_table()])
    atomic_write(RESULTS / "table.md", text)
    print(text)


def compare(studies: Sequence[Study], arms: Sequence[str], cores: int) -> None:
    """Run what is not there yet of all seeds, as one chain, so that no core waits."""
    steps: list[Step] = []
    for study in studies:
        missing = [arm for arm in arms if not study.result(arm).exists()]
        new = [*study.beginning(), *(step for arm in missing for step in study.arm(arm, chosen_rate(arm)))] if missing else []
        known = {step.name for step in steps}
        steps += [step for step in new if step.name not in known]
    try:
        if steps:
            run_steps(steps, WORK, cores, preload=PRELOAD)
    finally:
        keep_finished(studies, arms)


def keep_finished(studies: Sequence[Study], arms: Sequence[str]) -> None:
    """Keep the results of arms that have been evaluated since."""
    for study in studies:
        path = WORK / "steps.jsonl"
        costs = {cost.step: cost for cost in read_records(path, StepCost)} if path.exists() else {}
        for arm in arms:
            if study.name(f"evaluate-{arm}") in costs and not study.result(arm).exists():
                keep(study, arm, costs.get(study.name(arm)))


def keep(study: Study, arm: str, cost: StepCost | None) -> None:
    """What lasts of an arm and seed: its estimates, counts of each problem, cost, the command, how many distinct programs it wrote."""
    folder = study.folder / arm
    data = read_results(folder / "results.json")
    programs = read_records(folder / "programs.jsonl", Program)
    distinct: dict[str, set[str]] = {}
    for program in programs:
        distinct.setdefault(program.problem, set()).add(program.code)
    data["distinct"] = statistics.mean(len(texts) for texts in distinct.values())
    data["tokens"] = statistics.mean(p.tokens or 0 for p in programs)
    data["cpu_seconds"] = spent(folder / "run", cost)
    data["command"] = " ".join(cost.command) if cost else ""
    data["rounds"] = rounds_of(folder / "run")
    study.result(arm).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(study.result(arm), json.dumps(data, separators=(",", ":")).replace(f"{HERE.parent}/", "") + "\n")


def spent(run: Path, cost: StepCost | None) -> float:
    """CPU seconds of an arm: those of the steps of its rounds, which are processes of their own, or of its one step."""
    rounds = run / "steps.jsonl"
    if rounds.exists():
        return sum(one.cpu_seconds for one in read_records(rounds, StepCost))
    return cost.cpu_seconds if cost else 0.0


def rounds_of(run: Path) -> list[dict[str, Any]]:
    """The lines of `rounds` about its rounds; none for other stages."""
    path = run / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return [line for line in lines if line.get("stage") == "rounds"]


def tune(study: Study, arms: Sequence[str], rates: Sequence[float], budget: int, cores: int) -> None:
    """Each learning rate of each arm, on validation problems; trials that are written down are not made again."""
    path = RESULTS / "trials.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    known = {(line["arm"], line["rate"], line["budget"]) for line in trials()}
    wanted = [(arm, rate) for arm in arms for rate in rates if (arm, rate, budget) not in known]
    steps = [*study.beginning(), *(step for arm, rate in wanted for step in study.trial(arm, rate, budget))]
    try:
        if wanted:
            run_steps(steps, WORK / "trials", cores, preload=PRELOAD)
    finally:
        costs = finished_steps(steps, WORK / "trials")
        for arm, rate in wanted:
            name = trial_name(arm, rate, budget)
            if study.name(f"evaluate-{name}") in costs:
                found = read_results(study.folder / name / "results.json")["all"]
                line = {
                    "arm": arm,
                    "rate": rate,
                    "budget": budget,
                    "references": REFERENCES,
                    "seed": study.seed,
                    "cpu_seconds": spent(study.folder / name / "run", costs[study.name(name)]),
                }
                line |= {"pass@1": found["pass@k"]["1"]["value"], "greedy": found["greedy"]["value"], "outcomes": found["outcomes"]}
                with path.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(line) + "\n")


def trials(results: Path = RESULTS) -> list[dict[str, Any]]:
    """The lines of a study's trials.jsonl; none before the first."""
    path = results / "trials.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def trial_table() -> str:
    """Markdown: every trial, and the rate that was taken."""
    lines = [
        f"## Trials: validation pass@1 of seed {TUNING_SEED}, percent",
        "",
        "| arm | rate | CPU s, wanted and spent | references | pass@1 | greedy | rate taken |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in trials():
        taken = f"{chosen_rate(line['arm']):g}" if line["arm"] in ARMS else "see expert"
        numbers = f"{line['budget']}, {line['cpu_seconds']:.0f} | {line['references']} | {100 * line['pass@1']:.1f} | {100 * line['greedy']:.1f}"
        lines.append(f"| {line['arm']} | {line['rate']:g} | {numbers} | {taken} |")
    return "\n".join(lines) + "\n"


def chosen_rate(arm: str) -> float:
    """The rate of the best of the longest trials of the arm, or of the one it is like; without trials the middle one."""
    tried = [line for line in trials() if line["arm"] == (ARMS[arm].like or arm)]
    return float(max(tried, key=lambda line: (line["budget"], line["pass@1"]))["rate"]) if tried else RATES[1]


def per_problem(data: Mapping[str, Any], k: int) -> dict[str, float]:
    """pass@k of each problem."""
    names = list(data["per_problem"])
    n, c = (np.array([data["per_problem"][name][key] for name in names]) for key in ("n", "c"))
    return dict(zip(names, pass_at_k(n, c, k), strict=True))


def difference(first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], k: int) -> tuple[float, float, float]:
    """Mean of pass@k of `first` minus `second`, seed by seed, with its 95 % interval."""
    gaps = []
    for one, other in zip(first, second, strict=True):
        a, b = per_problem(one, k), per_problem(other, k)
        gaps.append(np.array([a[name] - b[name] for name in a]))
    return over_seeds(gaps)


def paired(first: Mapping[int, Any], second: Mapping[int, Any], measure: str, group: str = "") -> tuple[float, float, float]:
    """The same of a measure that the results (seed -> record) hold by problem, on the seeds that both have; `group`: of one difficulty."""
    gaps = []
    for seed in sorted(first.keys() & second.keys()):
        a, b = first[seed]["per_problem"], second[seed]["per_problem"]
        gaps.append(np.array([a[name][measure] - b[name][measure] for name in a if group in ("", a[name]["difficulty"])]))
    return over_seeds(gaps)


def over_seeds(gaps: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Mean of paired differences, an array over problems for each seed, with the 95 % interval of a bootstrap over seeds and, within each, problems.

    With few seeds the bootstrap over seeds is too narrow (S seeds have (S-1)/S of the variance); it is widened by sqrt(S / (S - 1)).
    """
    rng = np.random.default_rng(0)
    mean = float(np.mean([gap.mean() for gap in gaps]))
    seeds = len(gaps)
    means = [np.mean([rng.choice(gaps[s], len(gaps[s])).mean() for s in rng.integers(0, seeds, seeds)]) for _ in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975]) - mean
    wider = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    return mean, mean + float(low) * wider, mean + float(high) * wider


def shown(found: tuple[float, float, float]) -> str:
    mean, low, high = found
    return f"{100 * mean:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def table(regime: str) -> str:
    """Markdown: every arm that has results, beside "nothing" and "ce" of the same seeds."""
    found: dict[str, dict[int, Any]] = {}
    for arm in ARMS:
        paths = sorted((RESULTS / regime / arm).glob("seed-*.json"))
        found[arm] = {int(path.stem.removeprefix("seed-")): read_results(path) for path in paths}
    lines = [
        f"## Regime `{regime}`: after {UPDATES[regime]} updates of warm start; {BUDGET} CPU seconds for each arm",
        "",
        f"{HELD_OUT} held-out problems x {SAMPLES} samples; percent; means over seeds; differences paired, 95 % intervals over seeds and problems.",
        "",
        "| arm | seeds | CPU s | greedy | pass@1 | pass@5 | pass@10 | pass@1 against nothing | pass@10 against nothing | pass@1 against more CE "
        "| ours against it | introductory / interview / competition | compile / runtime / failed | distinct of 20 |",
        "|" + "---|" * 14,
    ]
    for arm, results in found.items():
        if results:
            lines.append("| " + " | ".join(cells(arm, results, found)) + " |")
    return "\n".join(lines) + "\n"


def cells(arm: str, results: Mapping[int, Any], found: Mapping[str, Mapping[int, Any]]) -> list[str]:
    """One line of the table."""
    runs = list(results.values())

    def mean(values: Sequence[float], digits: int = 1, scale: float = 100) -> str:
        return f"{scale * statistics.mean(values):.{digits}f}"

    def against(other: str, k: int, turned: bool = False) -> str:
        shared = [s for s in results if s in found[other]]
        if arm == other or not shared:
            return ""
        pair = [results[s] for s in shared], [found[other][s] for s in shared]
        return shown(difference(*(reversed(pair) if turned else pair), k))

    levels = [mean([r["by_difficulty"][d]["pass@k"]["1"]["value"] for r in runs]) for d in ("introductory", "interview", "competition")]
    outcomes = [mean([r["all"]["outcomes"][o] for r in runs], 0) for o in ("compile_error", "runtime_error", "failed_test")]
    return [
        ARMS[arm].title,
        str(len(runs)),
        mean([r["cpu_seconds"] for r in runs], 0, 1),
        mean([r["all"]["greedy"]["value"] for r in runs]),
        *(mean([r["all"]["pass@k"][str(k)]["value"] for r in runs]) for k in KS),
        against("nothing", 1),
        against("nothing", 10),
        against("ce", 1),
        against("ours", 1, turned=True),
        " / ".join(levels),
        " / ".join(outcomes),
        mean([r["distinct"] for r in runs], 1, 1),
    ]


if __name__ == "__main__":
    main()
