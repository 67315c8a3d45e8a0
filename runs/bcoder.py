"""B-Coder beside CodeRL from the same start: same samples to learn from, same samples to be judged by, and every ranking on the same candidates.

    python runs/bcoder.py --start 'runs/work/demo-{seed}' --seeds 0 1 2       # held-out problems, the published table
    python runs/bcoder.py --start 'runs/work/demo-{seed}' --seeds 0 --small   # the same chain on 60 validation problems, to see it run
    python runs/bcoder.py --table                                             # the table of what is there

A start is a folder of the demo's shape: problems/, warm-start/actor, samples/ (programs, verdicts, greedy_verdicts), critic/critic,
scores.jsonl or samples/scores.jsonl; coderl/actor is used where it is there, else made as the demo makes it. Arms and seeds go as JSON to
runs/results/bcoder (--small: runs/work/bcoder-small/results); a killed call goes on where it was. The two other learning curves of the paper's
figure 1 are made for the first seed. Settings: docs/lab-log.md. No held-out problem chose anything.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from coderl.examples import Limits, join_verdicts, judged_examples
from coderl.formulas.passk import n_at_k, pass_at_k
from coderl.models.critic import load_critic
from coderl.pipeline import Step, StepCost, run_steps
from coderl.ranking import Candidate, ProgramScore, mean_by_outcome, passing_auc, ranked_pass
from coderl.recipes.demo import FULL, PRELOAD, words
from coderl.records import Problem, Program, Verdict
from coderl.scoring import read_programs
from coderl.store import atomic_write, read_records
from coderl.tokens import load_tokenizer

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "bcoder"
WORK = HERE / "work" / "bcoder"
VALUE_UPDATES, UPDATES, PROBLEMS, SAMPLES, ORDERS = 60, 200, 400, 16, 20
KS = (1, 5)
WRITERS = {"warm-start": "warm start", "coderl": "CodeRL", "bcoder": "B-Coder"}
RANKINGS = {
    "recovered": "recovered reward",
    "logprob": "log-probability",
    "mean-logprob": "log-probability by token",
    "critic": "CodeRL critic",
    "random": "at random",
}
CURVES = {
    "plain": ("plain dueling Q-learning", False, ("--no-conservative",)),
    "initialised": ("+ initialisation", True, ("--no-conservative",)),
    "conservative": ("+ conservative operator: B-Coder", True, ()),
}
PAPER = """The paper's gains on APPS (percentage points, all difficulties; CodeT5 of 770M, 256 candidates): B-Coder ranked against CodeRL quoted,
pass@1 +0.10, pass@5 +0.70 (Table 1); the same without ranking, greedy 0.00, pass@5 -0.40 (Table 8); CodeRL's own samples ranked by B-Coder against
unranked, T = 0.6, pass@1 +0.75, pass@5 +0.39 (Table 3); filtered, pass@1 8.04 against CodeRL's 7.71 (Table 2)."""


class Study(NamedTuple):
    """One seed: where its files lie and which commands make them."""

    seed: int
    start: Path
    small: bool
    curves: bool

    @property
    def folder(self) -> Path:
        return WORK.with_name("bcoder-small" if self.small else "bcoder") / f"seed-{self.seed}"

    @property
    def results(self) -> Path:
        return self.folder.parent / "results" if self.small else RESULTS

    @property
    def judged(self) -> Path:
        """Problems that everything is measured on."""
        return self.folder / "judged.jsonl"

    def problems(self, split: str) -> Path:
        return self.start / "problems" / f"{split}.jsonl"

    def actor(self, writer: str) -> Path:
        known = {"warm-start": self.start / "warm-start" / "actor", "bcoder": self.folder / "bcoder" / "model"}
        made = self.start / "coderl" / "actor"
        return known[writer] if writer in known else made if made.is_dir() else self.folder / "coderl" / "actor"

    def steps(self) -> list[Step]:
        curves = self.curve_steps() if self.curves else []
        return [*self.learning(), *curves, *(step for writer in WRITERS for step in self.judging(writer))]

    def step(self, name: str, title: str, command: tuple[str, ...], *needs: str) -> Step:
        return Step(name, title, command, needs)

    def learnt(self) -> tuple[str, ...]:
        samples = self.start / "samples"
        files = ("--problems", self.problems("train_tests_only"), "--programs", samples / "programs.jsonl", "--verdicts", samples / "verdicts.jsonl")
        return words(*files, "--references", self.problems("train"), "--seed", self.seed)

    def learning(self) -> list[Step]:
        """CodeRL's fine-tuning, unless the start has it, and B-Coder's two stages, from the same actor on the same samples."""
        start, samples = ("--model", self.actor("warm-start")), self.start / "samples"
        scores = self.start / "scores.jsonl"
        more = ("--baseline", samples / "greedy_verdicts.jsonl", "--scores", scores if scores.exists() else samples / "scores.jsonl")
        size = ("--epochs", FULL.epochs, "--learning-rate", FULL.rate, "--rl-weight", FULL.rl_weight)
        coderl = words("finetune", "coderl", *start, *self.learnt(), *more, *size, "--out", self.folder / "coderl")
        updates = (8, 8) if self.small else (VALUE_UPDATES, UPDATES)
        value = words("bcoder", "value", *start, *self.learnt(), "--updates", updates[0], "--out", self.folder / "value")
        made = [] if (self.start / "coderl" / "actor").is_dir() else [self.step("coderl", "CodeRL", coderl)]
        return [
            *made,
            self.step("value", "B-Coder: values", value),
            self.step("bcoder", "B-Coder: fine-tuning", self.finetune("bcoder", True, ()), "value"),
        ]

    def finetune(self, name: str, initialised: bool, flags: tuple[str, ...]) -> tuple[str, ...]:
        model = self.folder / "value" / "model" if initialised else self.actor("warm-start")
        looks = ("--validation", self.problems("validation"), "--updates", 8 if self.small else UPDATES)
        return words("bcoder", "finetune", "--model", model, *self.learnt(), *looks, *flags, "--out", self.folder / name)

    def curve_steps(self) -> list[Step]:
        """The other two lines of the paper's figure 1; the third is B-Coder itself."""
        return [
            self.step(f"curve-{name}", title, self.finetune(f"curve-{name}", initialised, flags), *(("value",) if initialised else ()))
            for name, (title, initialised, flags) in CURVES.items()
            if name != "conservative"
        ]

    def judging(self, writer: str) -> list[Step]:
        """Programs of one actor, judged on hidden and example tests, and scored by B-Coder."""
        out, problems = self.folder / "judged" / writer, ("--problems", self.judged)
        programs, greedy, verdicts = (out / f"{name}.jsonl" for name in ("programs", "greedy", "verdicts"))
        drawn = ("--greedy", greedy, "-n", SAMPLES, "--workers", 1, "--seed", self.seed + 1, "--verdicts", verdicts, "--stop-at-first-failure")
        needs = (writer,) if not self.actor(writer).is_dir() or writer == "bcoder" else ()
        grade = ("--stop-at-first-failure", "--workers", 1)
        hidden = words("grade", *problems, "--programs", greedy, "--out", out / "greedy_verdicts.jsonl", *grade)
        example = words("grade", *problems, "--programs", programs, "--out", out / "example_verdicts.jsonl", "--tests", "example", *grade)
        rank = words("bcoder", "rank", "--model", self.actor("bcoder"), *problems, "--programs", programs, "--out", out / "scores.jsonl")
        write = words("sample", "--model", self.actor(writer), *problems, "--out", programs, *drawn)
        return [
            self.step(f"write-{writer}", f"programs of {WRITERS[writer]}, judged", write, *needs),
            self.step(f"greedy-{writer}", "greedy programs, judged", hidden, f"write-{writer}"),
            self.step(f"examples-{writer}", "example tests", example, f"write-{writer}"),
            self.step(f"rank-{writer}", "recovered rewards", rank, f"write-{writer}", "bcoder"),
        ]


class Pool(NamedTuple):
    """What one actor wrote: for each problem its programs with verdicts, in the order of drawing."""

    problems: dict[str, Problem]
    programs: dict[tuple[str, int], Program]
    verdicts: dict[tuple[str, int], Verdict]
    survives: dict[tuple[str, int], bool]
    greedy: dict[str, bool]

    def of(self, problem: str) -> list[tuple[str, int]]:
        return sorted(key for key in self.verdicts if key[0] == problem)


def read_pool(study: Study, writer: str) -> Pool:
    """Programs without a verdict (harness errors) are no candidates."""
    out = study.folder / "judged" / writer
    verdicts = {(v.problem, v.index): v for v in read_records(out / "verdicts.jsonl", Verdict) if v.outcome is not None}
    examples = {(v.problem, v.index): v.is_pass for v in read_records(out / "example_verdicts.jsonl", Verdict)}
    programs = {(p.problem, p.index): p for p in read_records(out / "programs.jsonl", Program)}
    greedy = {v.problem: v.is_pass for v in read_records(out / "greedy_verdicts.jsonl", Verdict)}
    return Pool({p.id: p for p in read_records(study.judged, Problem)}, programs, verdicts, examples, greedy)


def unranked(pool: Pool) -> dict[str, dict[str, float]]:
    """pass@k and, of those that pass the example tests, k at random: by problem."""
    found = {}
    for name in pool.problems:
        keys = pool.of(name)
        n, c = len(keys), sum(pool.verdicts[k].is_pass for k in keys)
        e, h = sum(pool.survives[k] for k in keys), sum(pool.survives[k] and pool.verdicts[k].is_pass for k in keys)
        counts = [np.array([x]) for x in (n, e, c, h)]
        line = {f"pass@{k}": float(pass_at_k(counts[0], counts[2], k)[0]) for k in KS}
        line |= {f"{k}@m": float(n_at_k(*counts, n=k, k=n).strict[0]) for k in KS}
        found[name] = line | {"greedy": float(pool.greedy[name])}
    return found


def ranked(pool: Pool, score: Callable[[tuple[str, int]], float]) -> dict[str, dict[str, float]]:
    """The same of the k best by a score; `fallback`: of all where none passes the example tests."""
    found = {}
    for name in pool.problems:
        candidates = [Candidate(pool.programs[k].code, score(k), pool.verdicts[k].is_pass, pool.survives[k]) for k in pool.of(name)]
        passes = {k: ranked_pass(candidates, k) for k in KS}
        found[name] = {f"pass@{k}": p.plain for k, p in passes.items()} | {f"{k}@m": p.filtered for k, p in passes.items()}
        found[name] |= {f"{k}@m fallback": p.fallback for k, p in passes.items()}
    return found


def at_random(pool: Pool, seed: int) -> dict[str, dict[str, float]]:
    """The mean over many random orders."""
    draw = random.Random(seed)
    tables = [ranked(pool, lambda key: draw.random()) for _ in range(ORDERS)]
    return {name: {m: statistics.mean(t[name][m] for t in tables) for m in tables[0][name]} for name in pool.problems}


def critic_scores(study: Study, pool: Pool) -> dict[tuple[str, int], float]:
    """p(passed | W, D) of CodeRL's critic, eq. (12)."""
    folder = study.start / "critic" / "critic"
    judged = join_verdicts([pool.programs[key] for key in pool.verdicts], pool.verdicts.values())
    examples = judged_examples(load_tokenizer(folder), pool.problems, judged, Limits(192, 128)).examples
    found = read_programs(load_critic(folder), examples)
    return {(one.program.problem, one.program.index): reading.probabilities[-1] for one, reading in zip(judged, found, strict=True)}


def scores_of(study: Study, writer: str, pool: Pool) -> dict[str, Callable[[tuple[str, int]], float]]:
    """Every ranking's score of a program; "random" apart."""
    recovered = {(s.problem, s.index): s.score for s in read_records(study.folder / "judged" / writer / "scores.jsonl", ProgramScore)}
    critic = critic_scores(study, pool)
    return {
        "recovered": recovered.__getitem__,
        "logprob": lambda key: pool.programs[key].logprob or 0.0,
        "mean-logprob": lambda key: (pool.programs[key].logprob or 0.0) / max(1, pool.programs[key].tokens or 1),
        "critic": critic.__getitem__,
    }


def keep(study: Study, costs: Mapping[str, StepCost]) -> None:
    """One JSON for each arm of this seed: an actor unranked, or an actor's programs under one ranking."""
    spent = {name: cost.cpu_seconds for name, cost in costs.items()}
    learning = {"coderl": spent.get("coderl", 0.0), "bcoder": spent["value"] + spent["bcoder"]}
    for writer in WRITERS:
        pool = read_pool(study, writer)
        about = {"writer": writer, "cpu_seconds": learning.get(writer, 0.0), "samples": SAMPLES, "programs": len(pool.verdicts)}
        about["harness_errors"] = len(pool.programs) - len(pool.verdicts)
        write(study, writer, about | {"per_problem": with_difficulty(pool, unranked(pool))})
        if writer == "warm-start":
            continue
        labels = [pool.verdicts[key].outcome.label for key in pool.verdicts]  # type: ignore[union-attr]
        for ranking, score in scores_of(study, writer, pool).items():
            auc = passing_auc([score(key) for key in pool.verdicts], labels)
            more: dict[str, Any] = {"ranking": ranking, "auc": None if math.isnan(auc) else auc}  # none where all programs fare alike
            if ranking == "recovered":
                scores = read_records(study.folder / "judged" / writer / "scores.jsonl", ProgramScore)
                more["by_outcome"] = {str(o): tuple(m) for o, m in mean_by_outcome(scores, pool.verdicts.values()).items()}
            write(study, f"{writer}-{ranking}", about | more | {"per_problem": with_difficulty(pool, ranked(pool, score))})
        write(study, f"{writer}-random", about | {"ranking": "random", "per_problem": with_difficulty(pool, at_random(pool, study.seed))})
    runs = {name: study.folder / ("bcoder" if name == "conservative" else f"curve-{name}") for name in CURVES}
    curves = {name: looks(run) for name, run in runs.items() if study.curves or name == "conservative"}
    write(study, "curves", {"curves": curves, "steps": {c.step: [" ".join(c.command), c.cpu_seconds] for c in costs.values()}})


def with_difficulty(pool: Pool, lines: Mapping[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: {"difficulty": pool.problems[name].difficulty, **line} for name, line in lines.items()}


def looks(run: Path) -> list[tuple[int, float]]:
    """Steps and greedy pass@1 on validation problems."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line["validation/greedy"]) for line in lines if "validation/greedy" in line]


def write(study: Study, arm: str, data: Mapping[str, Any]) -> None:
    path = study.results / arm / f"seed-{study.seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seed": study.seed, **data}, separators=(",", ":"))
    atomic_write(path, text.replace(f"{HERE.parent}/", "").replace(f"{study.start}/", "START/") + "\n")


def difference(first: Mapping[int, Any], second: Mapping[int, Any], measure: str) -> tuple[float, float, float]:
    """Mean over shared seeds of `first` minus `second`, paired by problem, with its 95 % bootstrap interval over seeds and problems.

    A bootstrap over S seeds has (S - 1) / S of the variance between them; it is widened by sqrt(S / (S - 1)).
    """
    rng, gaps = np.random.default_rng(0), []
    for seed in sorted(first.keys() & second.keys()):
        a, b = first[seed]["per_problem"], second[seed]["per_problem"]
        gaps.append(np.array([a[name][measure] - b[name][measure] for name in a]))
    seeds, mean = len(gaps), float(np.mean([gap.mean() for gap in gaps]))
    means = [np.mean([rng.choice(gaps[s], len(gaps[s])).mean() for s in rng.integers(0, seeds, seeds)]) for _ in range(2000)]
    low, high = np.quantile(means, [0.025, 0.975]) - mean
    wider = math.sqrt(seeds / (seeds - 1)) if seeds > 1 else 1.0
    return mean, mean + float(low) * wider, mean + float(high) * wider


def table(results: Path) -> str:
    """Markdown of all arms and seeds that are there."""
    found: dict[str, dict[int, Any]] = {}
    for path in sorted(results.glob("*/seed-*.json")):
        found.setdefault(path.parent.name, {})[int(path.stem.removeprefix("seed-"))] = json.loads(path.read_text(encoding="utf-8"))
    if "bcoder" not in found:
        return "no results yet\n"
    problems = len(next(iter(found["bcoder"].values()))["per_problem"])
    seeds = ", ".join(map(str, sorted(found["bcoder"])))
    lines = [
        f"{problems} problems x {SAMPLES} samples, seeds {seeds}; percent, means over seeds; k@m: of those that pass the example tests; "
        "differences paired by problem, 95 % intervals over seeds and problems.",
        "",
        "| programs of | ranked by | CPU s | greedy | pass@1 | pass@5 | 1@m | 5@m | introductory / interview / competition | AUC "
        "| pass@1 against warm start | pass@1 against its own programs unranked | pass@5 against a random order | 1@m against unranked |",
        "|" + "---|" * 14,
    ]
    arms = [("warm-start", ""), *((w, r) for w in ("coderl", "bcoder") for r in ("", *RANKINGS))]
    lines += ["| " + " | ".join(cells(found, *arm)) + " |" for arm in arms if "-".join(filter(None, arm)) in found]
    lines += ["", "Mean recovered return by outcome:", "", *outcome_lines(found)]
    lines += [
        "",
        "Greedy pass@1 on validation problems along fine-tuning (first to last look), means over seeds:",
        "",
        *curve_lines(found),
        "",
        PAPER,
    ]
    return "\n".join(lines) + "\n"


def cells(found: Mapping[str, Mapping[int, Any]], writer: str, ranking: str) -> list[str]:
    runs = found["-".join(filter(None, (writer, ranking)))]

    def mean(measure: str, difficulty: str | None = None) -> str:
        values = [
            statistics.mean(line[measure] for line in r["per_problem"].values() if difficulty in (None, line["difficulty"]))
            for r in runs.values()
            if any(measure in line and difficulty in (None, line["difficulty"]) for line in r["per_problem"].values())
        ]
        return f"{100 * statistics.mean(values):.1f}" if values else ""

    def against(other: str, measure: str) -> str:
        if other not in found or found[other] is runs:
            return ""
        gap, low, high = difference(runs, found[other], measure)
        return f"{100 * gap:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"

    auc = [r["auc"] for r in runs.values() if r.get("auc") is not None]
    return [
        WRITERS[writer],
        RANKINGS[ranking] if ranking else "-",
        "" if ranking else f"{statistics.mean(r['cpu_seconds'] for r in runs.values()):.0f}",
        *(mean(m) for m in ("greedy", "pass@1", "pass@5", "1@m", "5@m")),
        " / ".join(mean("pass@1", d) for d in ("introductory", "interview", "competition")),
        f"{statistics.mean(auc):.2f}" if auc else "",
        against("warm-start", "pass@1"),
        against(writer, "pass@1") if ranking else "",
        against(f"{writer}-random", "pass@5") if ranking else "",
        against(writer, "1@m") if ranking else "",
    ]


def outcome_lines(found: Mapping[str, Mapping[int, Any]]) -> list[str]:
    lines = []
    for writer in ("coderl", "bcoder"):
        runs = found.get(f"{writer}-recovered", {}).values()
        names = list(dict.fromkeys(name for r in runs for name in r["by_outcome"]))
        means = [f"{name} {statistics.mean(r['by_outcome'][name][0] for r in runs if name in r['by_outcome']):.2f}" for name in names]
        lines.append(f"- programs of {WRITERS[writer]}: " + ", ".join(means))
    return lines


def curve_lines(found: Mapping[str, Mapping[int, Any]]) -> list[str]:
    lines = []
    for name, (title, _, _) in CURVES.items():
        runs = [dict(r["curves"][name]) for r in found.get("curves", {}).values() if name in r["curves"]]
        steps = sorted(set.intersection(*(set(r) for r in runs))) if runs else []
        lines.append(f"- {title} ({len(runs)} seeds): " + ", ".join(f"{100 * statistics.mean(r[s] for r in runs):.1f}" for s in steps))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="runs/work/demo-{seed}", help="folder that a seed starts from; {seed} stands for the seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--small", action="store_true", help="a few updates, on 60 validation problems: to see the chain run, not to measure")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores; a step takes one")
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    asked = parser.parse_args()
    studies = [Study(seed, Path(asked.start.format(seed=seed)), asked.small, seed == asked.seeds[0]) for seed in asked.seeds]
    for study in [] if asked.table else studies:
        if not (study.results / "curves" / f"seed-{study.seed}.json").exists():  # written last
            study.folder.mkdir(parents=True, exist_ok=True)
            judged = study.problems("validation" if study.small else "heldout").read_text(encoding="utf-8").splitlines(keepends=True)
            atomic_write(study.judged, "".join(judged[: 60 if study.small else PROBLEMS]))
            keep(study, run_steps(study.steps(), study.folder, asked.cores, preload=PRELOAD))
    text = table(studies[0].results)
    if not asked.small:
        atomic_write(RESULTS / "table.md", text)
    print(text)


if __name__ == "__main__":
    main()
