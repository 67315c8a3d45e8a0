"""What the critic adds: the same fine-tuning on the same samples, with token values of critics of different quality.

    python runs/critics.py --seeds 0 1 2        # resumable; what is in runs/results/critics is only read
    python runs/critics.py --table              # the table of what is there

From the warm start of `runs/compare.py` (regime plateau, made there or here) one offline round: 850 problems with tests only x 8 samples,
CodeRL D on them (`--negative-weight 0.1`, two passes, the rate of compare.py's arm), 10 programs for each of 400 held-out problems.
Only the file of token values differs. Quality is measured on programs of problems that the critic has not seen (`train-critic`'s report).
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compare import GRADIENT, HERE, WORK, Study, chosen_rate, difference, shown

from coderl.evaluation import read_results
from coderl.pipeline import Step, finished_steps, run_steps
from coderl.recipes.demo import PRELOAD, words
from coderl.records import Problem
from coderl.store import atomic_write, read_records, write_records

RESULTS = HERE / "results" / "critics"
PROBLEMS, SAMPLES = 850, 10


class Critic(NamedTuple):
    """Where token values come from.

    Fields:
        title: in the table.
        training: flags of `train-critic`; empty: the values are those of `of`, changed.
        of: the critic that `instead` starts from.
        instead: flag of `score`.
        variant: of `finetune coderl`.
    """

    title: str
    training: tuple[str, ...] = ()
    of: str = ""
    instead: str = ""
    variant: str = "D"


PREFIXES = ("--prefix-weight", "1")
CRITICS = {
    "constant": Critic("constant: every token the same value", of="prefixes", instead="constant"),
    "shuffled": Critic("shuffled: the values of another program", of="prefixes", instead="shuffled"),
    "short": Critic("trained on prefixes for 20 updates", (*PREFIXES, "--updates", "20")),
    "paper": Critic("the paper's loss, whole programs only, 100 updates", ("--updates", "100")),
    "prefixes": Critic("trained on prefixes for 100 updates", (*PREFIXES, "--updates", "100")),
    "long": Critic("trained on prefixes for 400 updates", (*PREFIXES, "--updates", "400")),
    "oracle": Critic("oracle: the true outcome, the same at every token", of="prefixes", instead="oracle"),
    "changes": Critic("changes of p(passed), 100 updates", of="prefixes", variant="changes"),
    "changes-oracle": Critic("changes of the oracle's p(passed): all at the first token", of="prefixes", instead="oracle", variant="changes"),
}


class Offline(NamedTuple):
    """One seed's offline round."""

    seed: int

    @property
    def study(self) -> Study:
        return Study("plateau", self.seed)

    @property
    def folder(self) -> Path:
        return self.study.shared / "critics"

    @property
    def problems(self) -> Path:
        return self.folder / "problems.jsonl"

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def result(self, critic: str) -> Path:
        return RESULTS / critic / f"seed-{self.seed}.json"

    def step(self, name: str, title: str, command: tuple[str, ...], *needs: str) -> Step:
        return Step(f"{name}-s{self.seed}", f"seed {self.seed}: {title}", command, needs)

    @property
    def judged(self) -> tuple[object, ...]:
        return ("--problems", self.problems, "--programs", self.file("programs"), "--verdicts", self.file("verdicts"))

    def sampling(self) -> list[Step]:
        """Programs of the warm start and the greedy ones, judged: what all critics share."""
        drawn = ("--out", self.file("programs"), "--greedy", self.file("greedy"), "-n", 8, "--temperature", 0.9, "--workers", 1, "--seed", self.seed)
        judged = ("--verdicts", self.file("verdicts"), "--stop-at-first-failure")
        write = words("sample", "--model", self.study.start, "--problems", self.problems, *drawn, *judged)
        files = ("--problems", self.problems, "--programs", self.file("greedy"), "--out", self.file("greedy_verdicts"))
        grade = words("grade", *files, "--stop-at-first-failure", "--workers", 1)
        return [
            self.step("sample", "programs, judged", write, self.study.start_step),
            self.step("grade", "greedy programs, judged", grade, f"sample-s{self.seed}"),
        ]

    def values(self, name: str) -> list[Step]:
        """The critic and its token values."""
        one = CRITICS[name]
        body = self.folder / (one.of or name) / "critic"
        size = ("--batch-tokens", 4096, "--seed", self.seed, "--out", body)
        train = words("train-critic", "--model", self.study.start, *self.judged, *one.training, *size)
        instead = ("--instead", one.instead) if one.instead else ()
        score = words("score", "--critic", body / "critic", *self.judged, *instead, "--out", self.folder / name / "scores.jsonl")
        made = [self.step(f"critic-{name}", f"{one.title}: critic", train, f"grade-s{self.seed}")] if one.training else []
        return [*made, self.step(f"score-{name}", f"{one.title}: token values", score, f"critic-{one.of or name}-s{self.seed}")]

    def critic(self, name: str) -> list[Step]:
        """And the actor that learns from them, and its held-out programs."""
        one = CRITICS[name]
        rate = ("--optimiser", "muon", "--learning-rate", chosen_rate("coderl-d"), "--seed", self.seed)
        files = ("--baseline", self.file("greedy_verdicts"), "--scores", self.folder / name / "scores.jsonl", "--variant", one.variant)
        more = ("--references", self.study.problems("train"), *GRADIENT, *rate, "--out", self.folder / name / "run")
        learn = words("finetune", "coderl", "--model", self.study.start, *self.judged, *files, *more)
        steps = [*self.values(name), self.step(f"learn-{name}", f"{one.title}: fine-tuning", learn, f"score-{name}-s{self.seed}")]
        judging = self.study._replace(regime="critics").judging(name, self.folder / name / "run" / "actor", "heldout", SAMPLES, steps[-1].name)
        return [*steps, *judging]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2, help="CPU cores; a step takes one")
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed call keeps what is finished, as Ctrl-C does
    rounds = [Offline(seed) for seed in asked.seeds]
    if not asked.table:
        run(rounds, asked.cores)
    text = table()
    atomic_write(RESULTS / "table.md", text)
    print(text)


def prepare(rounds: Sequence[Offline], cores: int) -> list[Step]:
    """The warm starts, and the problems of the round, which come from their folders; the steps that made them."""
    steps = [step for one in rounds for step in one.study.beginning()]
    run_steps(steps, WORK / "critics", cores, preload=PRELOAD)
    for one in rounds:
        one.folder.mkdir(parents=True, exist_ok=True)
        write_records(one.problems, read_records(one.study.problems("train_tests_only"), Problem)[:PROBLEMS])
    return steps


def run(rounds: Sequence[Offline], cores: int) -> None:
    """Everything that has no result yet."""
    waiting = [one for one in rounds if not all(one.result(name).exists() for name in CRITICS)]
    if not waiting:
        return
    steps = prepare(waiting, cores)
    steps += [step for one in waiting for step in (*one.sampling(), *(s for name in CRITICS for s in one.critic(name)))]
    try:
        run_steps(steps, WORK / "critics", cores, preload=PRELOAD)
    finally:
        done = finished_steps(steps, WORK / "critics")
        for one in waiting:
            for name in CRITICS:
                if one.study._replace(regime="critics").name(f"evaluate-{name}") in done:
                    keep(one, name)


def keep(one: Offline, name: str) -> None:
    """What lasts: held-out counts and estimates, and what the critic knows of programs that it has not seen."""
    critic = CRITICS[name]
    data = read_results(one.folder / name / "results.json")
    report = json.loads((one.folder / (critic.of or name) / "critic" / "report.json").read_text(encoding="utf-8"))["held_out"]
    data["critic"] = report if not critic.instead else None
    one.result(name).parent.mkdir(parents=True, exist_ok=True)
    atomic_write(one.result(name), json.dumps(data, separators=(",", ":")).replace(f"{HERE.parent}/", "") + "\n")


KNOWN = {"constant": ("-", "50"), "shuffled": ("-", "50"), "oracle": ("100", "100"), "changes-oracle": ("100", "100")}


def table() -> str:
    """Markdown: quality of each critic beside what its actor gained."""
    found = {name: {int(p.stem.removeprefix("seed-")): read_results(p) for p in sorted((RESULTS / name).glob("seed-*.json"))} for name in CRITICS}
    lines = [
        "## What the critic adds: one offline round, only the token values differ",
        "",
        f"Held-out pass@1, 400 problems x {SAMPLES}; percent; paired differences with 95 % intervals over seeds and problems.",
        "",
        "| token values | seeds | critic right | AUC within a problem: whole; at 50 / 75 / 100 % | greedy | pass@1 | against the constant |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, results in found.items():
        if results:
            lines.append("| " + " | ".join(cells(name, results, found["constant"])) + " |")
    return "\n".join(lines) + "\n"


def cells(name: str, results: Mapping[int, Any], constant: Mapping[int, Any]) -> list[str]:
    """One line of the table."""
    runs = list(results.values())

    def mean(values: Sequence[float]) -> str:
        return f"{100 * statistics.mean(values):.1f}"

    right, ranks = KNOWN.get(name, ("", ""))
    if name not in KNOWN:
        reports = [run["critic"] for run in runs]
        right = f"{mean([r['accuracy'] for r in reports])} (most frequent outcome {mean([r['majority'] for r in reports])})"
        parts = [[r["auc_within"] for r in reports], *([r["auc_within_at"][at] for r in reports] for at in ("50", "75", "100"))]
        ranks = mean(parts[0]) + ": " + " / ".join(mean(part) for part in parts[1:])
    shared = [seed for seed in results if seed in constant]
    against = shown(difference([results[s] for s in shared], [constant[s] for s in shared], 1)) if shared and name != "constant" else ""
    greedy, sampled = mean([r["all"]["greedy"]["value"] for r in runs]), mean([r["all"]["pass@k"]["1"]["value"] for r in runs])
    return [CRITICS[name].title, str(len(runs)), right, ranks, greedy, sampled, against]


if __name__ == "__main__":
    main()
