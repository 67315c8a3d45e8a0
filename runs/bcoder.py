"""B-Coder beside CodeRL from the same start: same samples to learn from, every ranking on the same candidates.

    python runs/bcoder.py --tune                # the trials that chose B-Coder's settings, on validation problems of seed 100
    python runs/bcoder.py --seeds 0 1 2 3 4     # resumable; what is in runs/results/bcoder is only read
    python runs/bcoder.py --table               # the table of what is there

Start, samples, critic and token values are those of `runs/critics.py` (made there or here): the warm start of `runs/compare.py`, 850 problems
with tests only x 8 programs. From these CodeRL learns in the paper's form (D) and in ours, and B-Coder in its two stages, whose updates are
so many that it costs the CPU time of D with its critic (the table says how much); then 16 programs for each of 400 held-out problems. The
learning curves of the paper's figure 1 are runs of their own, for as many seeds as `--curves` says. No held-out problem chose anything.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from compare import GRADIENT, HERE, TUNING_SEED, WORK, chosen_rate, paired, shown, trials
from critics import Offline, prepare

from coderl.examples import Limits, join_verdicts, judged_examples
from coderl.formulas.passk import n_at_k, pass_at_k
from coderl.models.critic import load_critic
from coderl.pipeline import Step, StepCost, finished_steps, run_steps
from coderl.ranking import Candidate, ProgramScore, mean_by_outcome, passing_auc, ranked_pass
from coderl.recipes.demo import PRELOAD, words
from coderl.records import Problem, Program, Verdict
from coderl.scoring import read_programs
from coderl.store import atomic_write, read_records
from coderl.tokens import load_tokenizer

RESULTS = HERE / "results" / "bcoder"
UPDATES = (20, 60)  # of the value stage and of fine-tuning: B-Coder then costs what CodeRL D costs with its critic
TRIAL_UPDATES = (40, 80)
SAMPLES, ORDERS = 16, 20
KS = (1, 5)


class Form(NamedTuple):
    """Settings of B-Coder: flags of the value stage and of fine-tuning, beside the updates."""

    value: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()


MUON = ("--optimiser", "muon", "--learning-rate")
FORMS = {
    "as given": Form(),
    "rate 1.5e-4": Form((), ("--learning-rate", "1.5e-4")),
    "rate 1.5e-3": Form((), ("--learning-rate", "1.5e-3")),
    "muon 3e-4": Form((), (*MUON, "3e-4")),
    "muon 1e-3": Form((), (*MUON, "1e-3")),
    "muon 3e-3": Form((), (*MUON, "3e-3")),
    "muon 1e-3, alpha 0.3": Form(("--alpha", "0.3"), (*MUON, "1e-3")),
    "muon 1e-3, alpha 0.1": Form(("--alpha", "0.1"), (*MUON, "1e-3")),
    "muon 1e-3, advantage weight 1": Form((), (*MUON, "1e-3", "--advantage-weight", "1")),
    "muon 1e-3, half the weight on references": Form((), (*MUON, "1e-3", "--real-share", "0.25", "--ce-weight", "0.25")),
    "muon 3e-4, alpha 0.1": Form(("--alpha", "0.1"), (*MUON, "3e-4")),
    "muon 3e-4, alpha 0.03": Form(("--alpha", "0.03"), (*MUON, "3e-4")),
    "muon 3e-4, alpha 0.1, half the weight on references": Form(("--alpha", "0.1"), (*MUON, "3e-4", "--real-share", "0.25", "--ce-weight", "0.25")),
    "rate 1.5e-4, alpha 0.1": Form(("--alpha", "0.1"), ("--learning-rate", "1.5e-4")),
}
WRITERS = {"warm-start": "warm start", "coderl": "CodeRL, D", "ours": "CodeRL, ours", "bcoder": "B-Coder"}
RANKINGS = {
    "recovered": "recovered reward",
    "advantage": "its advantages alone",
    "logprob": "log-probability",
    "mean-logprob": "log-probability by token",
    "critic": "CodeRL critic",
    "random": "at random",
}
CURVES = {
    "plain": ("plain dueling Q-learning", False, ("--no-conservative",)),  # from an actor: with α = 1, whatever the form has
    "initialised": ("+ initialisation", True, ("--no-conservative",)),
    "conservative": ("+ conservative operator: B-Coder", True, ()),
}
PAPER = """The paper's gains on APPS (percentage points, all difficulties; CodeT5 of 770M, 256 candidates): B-Coder ranked against CodeRL quoted,
pass@1 +0.10, pass@5 +0.70 (Table 1); the same without ranking, greedy 0.00, pass@5 -0.40 (Table 8); CodeRL's own samples ranked by B-Coder against
unranked, T = 0.6, pass@1 +0.75, pass@5 +0.39 (Table 3); filtered, pass@1 8.04 against CodeRL's 7.71 (Table 2)."""


class Study(NamedTuple):
    """One seed: where its files lie and which commands make them.

    Fields:
        curves: with the lines of the paper's figure 1.
        trial: the form of a trial, which is judged on validation problems; empty: the form that the trials chose.
    """

    seed: int
    curves: bool = False
    trial: str = ""

    @property
    def form(self) -> Form:
        return FORMS[self.trial or chosen_form()]

    @property
    def start(self) -> Offline:
        return Offline(self.seed)

    @property
    def folder(self) -> Path:
        return self.start.study.shared / "bcoder" / (self.label or "held-out")

    @property
    def label(self) -> str:
        """Of a trial, in names of steps and folders."""
        return self.trial.replace(" ", "-").replace(",", "")

    @property
    def judged(self) -> Path:
        """Problems that everything is measured on."""
        return self.start.study.problems("validation" if self.trial else "heldout")

    def actor(self, writer: str) -> Path:
        if writer == "warm-start":
            return self.start.study.start
        return self.folder / writer / ("model" if writer == "bcoder" else "actor")

    def steps(self) -> list[Step]:
        if self.trial:
            return [*self.bcoder(), *self.judging("bcoder")]
        curves = self.curve_steps() if self.curves else []
        return [*self.learning(), *curves, *(step for writer in WRITERS for step in self.judging(writer))]

    def step(self, name: str, title: str, command: tuple[str, ...], *needs: str) -> Step:
        return Step(self.name(name), f"seed {self.seed}{self.trial and ', '}{self.trial}: {title}", command, needs)

    def name(self, step: str) -> str:
        return f"{step}{self.label and '-'}{self.label}-s{self.seed}"

    def learnt(self) -> tuple[str, ...]:
        return words(*self.start.judged, "--references", self.start.study.problems("train"), "--seed", self.seed)

    def learning(self) -> list[Step]:
        """CodeRL's fine-tuning in two forms and B-Coder's two stages, from the same actor on the same samples."""
        model, greedy = ("--model", self.actor("warm-start")), ("--baseline", self.start.file("greedy_verdicts"))
        coderl = words("finetune", "coderl", *model, *self.learnt(), *greedy, "--optimiser", "muon")
        rates = [("--learning-rate", chosen_rate(arm)) for arm in ("coderl-d", "ours")]
        paper = words("--scores", self.start.folder / "prefixes" / "scores.jsonl", *GRADIENT, *rates[0], "--out", self.folder / "coderl")
        ours = words("--variant", "A", "--solutions", 3, "--epochs", 8, "--batch-tokens", 1024, *rates[1], "--out", self.folder / "ours")
        return [
            self.step("coderl", WRITERS["coderl"], (*coderl, *paper), f"score-prefixes-s{self.seed}"),
            self.step("ours", WRITERS["ours"], (*coderl, *ours), self.sampled),
            *self.bcoder(),
        ]

    @property
    def sampled(self) -> str:
        """The step that everything learns from."""
        return f"grade-s{self.seed}"

    def bcoder(self) -> list[Step]:
        """The two stages."""
        files = ("--model", self.actor("warm-start"), *self.learnt())
        value = words("bcoder", "value", *files, "--updates", self.updates[0], *self.form.value, "--out", self.folder / "value")
        return [
            self.step("value", "B-Coder: values", value, self.sampled),
            self.step("bcoder", "B-Coder: fine-tuning", self.finetune("bcoder", True, ()), self.name("value")),
        ]

    @property
    def updates(self) -> tuple[int, int]:
        return TRIAL_UPDATES if self.trial else UPDATES

    @property
    def settings(self) -> dict[str, Any]:
        """What results are made with; those of other settings are refused."""
        return {"form": self.trial or chosen_form(), "updates": list(self.updates)}

    def finetune(self, name: str, initialised: bool, flags: tuple[object, ...]) -> tuple[str, ...]:
        model = self.folder / "value" / "model" if initialised else self.actor("warm-start")
        how = ("--updates", self.updates[1], *self.form.finetune, *flags)
        return words("bcoder", "finetune", "--model", model, *self.learnt(), *how, "--out", self.folder / name)

    def curve_steps(self) -> list[Step]:
        """The lines of the paper's figure 1: fine-tuning with looks at validation problems, which cost time and change nothing."""
        looks = ("--validation", self.start.study.problems("validation"))
        steps = []
        for name, (title, initialised, flags) in CURVES.items():
            command = self.finetune(f"curve-{name}", initialised, (*flags, *looks))
            steps.append(self.step(f"curve-{name}", title, command, self.name("value") if initialised else self.sampled))
        return steps

    def judging(self, writer: str) -> list[Step]:
        """Programs of one actor, judged on hidden and example tests, and scored by B-Coder."""
        out, problems = self.folder / "judged" / writer, ("--problems", self.judged)
        programs, greedy, verdicts = (out / f"{name}.jsonl" for name in ("programs", "greedy", "verdicts"))
        samples = 8 if self.trial else SAMPLES
        drawn = ("--greedy", greedy, "-n", samples, "--workers", 1, "--seed", self.seed + 1)
        judged = ("--verdicts", verdicts, "--stop-at-first-failure")
        needs = self.start.study.start_step if writer == "warm-start" else self.name(writer)
        grade = ("--stop-at-first-failure", "--workers", 1)
        hidden = words("grade", *problems, "--programs", greedy, "--out", out / "greedy_verdicts.jsonl", *grade)
        example = words("grade", *problems, "--programs", programs, "--out", out / "example_verdicts.jsonl", "--tests", "example", *grade)
        rank = words("bcoder", "rank", "--model", self.actor("bcoder"), *problems, "--programs", programs, "--out", out / "scores.jsonl")
        write = words("sample", "--model", self.actor(writer), *problems, "--out", programs, *drawn, *judged)
        return [
            self.step(f"write-{writer}", f"programs of {WRITERS[writer]}, judged", write, needs),
            self.step(f"greedy-{writer}", "greedy programs, judged", hidden, self.name(f"write-{writer}")),
            self.step(f"examples-{writer}", "example tests", example, self.name(f"write-{writer}")),
            self.step(f"rank-{writer}", "recovered rewards", rank, self.name(f"write-{writer}"), self.name("bcoder")),
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

    def log_probability(self, key: tuple[str, int]) -> float:
        return self.programs[key].logprob or 0.0


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
    folder = study.start.folder / "prefixes" / "critic" / "critic"
    judged = join_verdicts([pool.programs[key] for key in pool.verdicts], pool.verdicts.values())
    examples = judged_examples(load_tokenizer(folder), pool.problems, judged, Limits(192, 128)).examples
    found = read_programs(load_critic(folder), examples)
    return {(one.program.problem, one.program.index): reading.probabilities[-1] for one, reading in zip(judged, found, strict=True)}


def scores_of(study: Study, writer: str, pool: Pool) -> dict[str, Callable[[tuple[str, int]], float]]:
    """Every ranking's score of a program; "random" apart."""
    scores = {(s.problem, s.index): s for s in read_records(study.folder / "judged" / writer / "scores.jsonl", ProgramScore)}
    critic = critic_scores(study, pool)
    return {
        "recovered": lambda key: scores[key].score,
        "advantage": lambda key: scores[key].advantage,
        "logprob": pool.log_probability,
        "mean-logprob": lambda key: pool.log_probability(key) / max(1, pool.programs[key].tokens or 1),
        "critic": critic.__getitem__,
    }


def keep(study: Study, costs: Mapping[str, StepCost]) -> None:
    """One JSON for each arm of this seed: an actor unranked, or an actor's programs under one ranking."""
    critic = sum(costs[study.name(name)].cpu_seconds for name in ("critic-prefixes", "score-prefixes"))
    spent = {name: costs[study.name(name)].cpu_seconds for name in ("coderl", "ours", "value", "bcoder")}
    learning = {"coderl": critic + spent["coderl"], "ours": spent["ours"], "bcoder": spent["value"] + spent["bcoder"]}
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
                more["greedy_first"] = greedy_first(study, pool, score)
                more["by_outcome"] = {str(o): tuple(m) for o, m in mean_by_outcome(scores, pool.verdicts.values()).items()}
            write(study, f"{writer}-{ranking}", about | more | {"per_problem": with_difficulty(pool, ranked(pool, score))})
        write(study, f"{writer}-random", about | {"ranking": "random", "per_problem": with_difficulty(pool, at_random(pool, study.seed))})
    runs = {name: study.folder / f"curve-{name}" for name in CURVES}
    steps = {c.step: [" ".join(c.command), c.cpu_seconds] for c in costs.values() if c.step.endswith(study.name(""))}
    write(study, "curves", {"curves": {name: looks(run) for name, run in runs.items()} if study.curves else {}, "steps": steps})


def greedy_first(study: Study, pool: Pool, score: Callable[[tuple[str, int]], float]) -> tuple[int, int]:
    """Problems whose candidates hold B-Coder's own greedy program, whose advantages are 0, the most there is; and in how many it is first."""
    greedy = {p.problem: p.code for p in read_records(study.folder / "judged" / "bcoder" / "greedy.jsonl", Program)}
    held = [name for name in pool.problems if greedy[name] in {pool.programs[key].code for key in pool.of(name)}]
    return len(held), sum(pool.programs[max(pool.of(name), key=score)].code == greedy[name] for name in held)


def with_difficulty(pool: Pool, lines: Mapping[str, dict[str, float]]) -> dict[str, dict[str, Any]]:
    return {name: {"difficulty": pool.problems[name].difficulty, **line} for name, line in lines.items()}


def looks(run: Path) -> list[tuple[int, float]]:
    """Steps and greedy pass@1 on validation problems."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line["validation/greedy"]) for line in lines if "validation/greedy" in line]


def write(study: Study, arm: str, data: Mapping[str, Any]) -> None:
    path = RESULTS / arm / f"seed-{study.seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seed": study.seed, "settings": study.settings, **data}, separators=(",", ":"))
    atomic_write(path, text.replace(f"{HERE.parent}/", "") + "\n")


def table(results: Path) -> str:
    """Markdown of all arms and seeds that are there."""
    found: dict[str, dict[int, Any]] = {}
    for path in sorted(results.glob("*/seed-*.json")):
        found.setdefault(path.parent.name, {})[int(path.stem.removeprefix("seed-"))] = json.loads(path.read_text(encoding="utf-8"))
    if "bcoder" not in found:
        return "\n".join(["no results yet", "", *trial_lines()]) + "\n"
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
    arms = [("warm-start", ""), *((w, r) for w in ("coderl", "ours", "bcoder") for r in ("", *RANKINGS))]
    lines += ["| " + " | ".join(cells(found, *arm)) + " |" for arm in arms if "-".join(filter(None, arm)) in found]
    lines += ["", "Mean recovered return by outcome:", "", *outcome_lines(found)]
    lines += [
        "",
        "Greedy pass@1 on validation problems along fine-tuning (first to last look), means over seeds:",
        "",
        *curve_lines(found),
        "",
        *trial_lines(),
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
        return shown(paired(runs, found[other], measure))

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
    for writer in ("coderl", "ours", "bcoder"):
        runs = found.get(f"{writer}-recovered", {}).values()
        names = list(dict.fromkeys(name for r in runs for name in r["by_outcome"]))
        means = [f"{name} {statistics.mean(r['by_outcome'][name][0] for r in runs if name in r['by_outcome']):.2f}" for name in names]
        held, first = np.sum([r["greedy_first"] for r in runs], axis=0) if runs else (0, 0)
        own = f"; B-Coder's own greedy program is a candidate in {held / len(runs):.0f} problems, first in {first / len(runs):.0f}" if runs else ""
        lines.append(f"- programs of {WRITERS[writer]}: " + ", ".join(means) + own)
    return lines


def curve_lines(found: Mapping[str, Mapping[int, Any]]) -> list[str]:
    lines = []
    for name, (title, _, _) in CURVES.items():
        runs = [dict(r["curves"][name]) for r in found.get("curves", {}).values() if name in r["curves"]]
        steps = sorted(set.intersection(*(set(r) for r in runs))) if runs else []
        lines.append(f"- {title} ({len(runs)} seeds): " + ", ".join(f"{100 * statistics.mean(r[s] for r in runs):.1f}" for s in steps))
    return lines


def chosen_form() -> str:
    """The form of the trial with the best mean of what B-Coder is measured by: pass@1 unranked and by recovered reward; without trials as given."""
    return max(trials(RESULTS), key=lambda line: line["pass@1"] + line["recovered"])["form"] if trials(RESULTS) else "as given"


def tune(cores: int) -> None:
    """Every form on validation problems; trials that are written down are not made again."""
    known = [{name: line[name] for name in ("form", "updates")} for line in trials(RESULTS)]
    wanted = [study for study in (Study(TUNING_SEED, trial=form) for form in FORMS) if study.settings not in known]
    if not wanted:
        return
    start = wanted[0].start
    steps = [*prepare([start], cores), *start.sampling(), *(step for study in wanted for step in study.steps())]
    chain(steps, WORK / "bcoder-trials", cores, wanted, keep_trial)


def keep_trial(study: Study, costs: Mapping[str, StepCost]) -> None:
    """One line: pass@1 unranked and under two rankings, cost."""
    pool = read_pool(study, "bcoder")
    scores = {(s.problem, s.index): s.score for s in read_records(study.folder / "judged" / "bcoder" / "scores.jsonl", ProgramScore)}
    plain = unranked(pool)
    best = {"recovered": ranked(pool, scores.__getitem__), "logprob": ranked(pool, pool.log_probability)}
    line: dict[str, Any] = {**study.settings, "seed": study.seed}
    line["cpu_seconds"] = round(sum(costs[study.name(name)].cpu_seconds for name in ("value", "bcoder")))
    line |= {m: round(statistics.mean(one[m] for one in plain.values()), 4) for m in ("pass@1", "greedy")}
    line |= {name: round(statistics.mean(one["pass@1"] for one in found.values()), 4) for name, found in best.items()}
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "trials.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def trial_lines() -> list[str]:
    lines = [
        f"Trials on validation problems of seed {TUNING_SEED} (8 samples), percent; taken: {chosen_form()}.",
        "",
        "| form | updates: values, fine-tuning | CPU s | pass@1 | greedy | ranked by recovered reward | by log-probability |",
        "|---|---|---|---|---|---|---|",
    ]
    for line in trials(RESULTS):
        shares = " | ".join(f"{100 * line[m]:.1f}" for m in ("pass@1", "greedy", "recovered", "logprob"))
        lines.append(f"| {line['form']} | {', '.join(map(str, line['updates']))} | {line['cpu_seconds']} | {shares} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--curves", type=int, default=3, help="the first so many seeds also make the learning curves of figure 1")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores; a step takes one")
    parser.add_argument("--tune", action="store_true", help="try B-Coder's settings on validation problems")
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed call keeps what is finished, as Ctrl-C does
    if asked.tune:
        tune(asked.cores)
    elif not asked.table:
        run([Study(seed, i < asked.curves) for i, seed in enumerate(asked.seeds)], asked.cores)
    text = table(RESULTS)
    atomic_write(RESULTS / "table.md", text)
    print(text)


def finished(study: Study) -> bool:
    """Are this seed's results there? Those of other settings end the call."""
    path = RESULTS / "curves" / f"seed-{study.seed}.json"  # written last
    if path.exists() and (made := json.loads(path.read_text(encoding="utf-8"))["settings"]) != study.settings:
        raise SystemExit(f"{path} was made with {made}, now they are {study.settings}; move {RESULTS} away, but for trials.jsonl")
    return path.exists()


def run(studies: Sequence[Study], cores: int) -> None:
    """Everything that has no result yet, as one chain."""
    waiting = [study for study in studies if not finished(study)]
    if not waiting:
        return
    before = prepare([study.start for study in waiting], cores)
    before += [step for study in waiting for step in (*study.start.sampling(), *study.start.values("prefixes"))]
    steps = [*before, *(step for study in waiting for step in study.steps())]
    chain(steps, WORK / "critics", cores, waiting, keep)


def chain(steps: Sequence[Step], folder: Path, cores: int, studies: Sequence[Study], kept: Callable[[Study, Mapping[str, StepCost]], None]) -> None:
    """Run the steps; studies that are finished are kept, whatever happens to the others."""
    try:
        run_steps(steps, folder, cores, preload=PRELOAD)
    finally:
        done = finished_steps(steps, folder)
        for study in studies:
            if all(step.name in done for step in study.steps()):
                kept(study, done)


if __name__ == "__main__":
    main()
