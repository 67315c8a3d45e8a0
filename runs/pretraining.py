"""What pretraining is worth: the same small model warm-started on few references from nothing, from masked spans, and from masked spans and
next tokens, as rows of CodeRL's Table 5.

    python runs/pretraining.py --seeds 0 1 2            # two to three CPU minutes an arm and seed; a killed call goes on where it was
    python runs/pretraining.py --seeds 0 1 2 --arms nothing spans spans-next longer
    python runs/pretraining.py --table                  # the table of what is there

Corpus: the standard library of the Python that runs this, tests left out. The tokenizer learns from it and from Mini problems of a seed of their
own, so that both kinds of text are short in it; all arms share it. A seed makes its own problems, weights, spans, pivots and samples. `spans`
takes all its updates with masked spans, `spans-next` half of them and then next tokens, about equal CPU time; `longer` is warm-started for
all that `spans` cost, pretraining included. Settings were not tuned for any arm; no problem chose anything. Results: runs/results/pretraining.
"""

from __future__ import annotations

import argparse
import json
import platform
import signal
import statistics
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compare import difference, shown

from coderl.evaluation import read_results
from coderl.pipeline import Step, StepCost, finished_steps, run_steps
from coderl.recipes.demo import PRELOAD, words
from coderl.store import atomic_write

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "pretraining"
WORK = HERE / "work" / "pretraining"
LIBRARY = sysconfig.get_path("stdlib")
LEFT_OUT = ("*/site-packages/*", "*/test/*", "*/tests/*", "*/idlelib/*", "*/lib2to3/*")
VOCABULARY, VOCABULARY_SEED = 1024, 1000
SPAN_UPDATES, NEXT_UPDATES, BLOCK, HALF, BATCH = 600, 220, 128, 96, 8
REFERENCES, HELD_OUT, SAMPLES, WARM_UPDATES = 300, 300, 8, 1000
SOURCES = ("words", "letters")
RATE = ("--optimiser", "muon", "--learning-rate", 3e-3)
ARMS = {
    "nothing": "no pretraining",
    "spans": "masked spans",
    "spans-next": "masked spans, then next tokens",
    "longer": "no pretraining, warm start for the CPU time of both",
}


class Study(NamedTuple):
    """One seed: where its files lie and which commands make them."""

    seed: int

    @property
    def folder(self) -> Path:
        return WORK / f"seed-{self.seed}"

    def name(self, step: str) -> str:
        return f"{step}-s{self.seed}"

    def result(self, arm: str) -> Path:
        return RESULTS / arm / f"seed-{self.seed}.json"

    def step(self, name: str, title: str, command: tuple[str, ...], *needs: str, budget_of: tuple[str, ...] = ()) -> Step:
        return Step(self.name(name), f"seed {self.seed}: {title}", (*command, "--seed", str(self.seed)), needs, budget_of=budget_of)

    def beginning(self) -> list[Step]:
        """Problems and random weights."""
        sizes = ("--train", REFERENCES, "--tests-only", 0, "--validation", 0, "--heldout", HELD_OUT, "--sources", *SOURCES)
        model = words("new-model", "--tokenizer", WORK / "tokenizer", "--out", self.folder / "model")
        return [
            self.step("problems", "problems", words("problems", "mini", "--out", self.folder / "problems", *sizes)),
            self.step("model", "random weights", model, "tokenizer"),
        ]

    def pretraining(self, arm: str) -> list[Step]:
        """What an arm learns from the corpus."""
        if arm not in ("spans", "spans-next"):
            return []
        same = ("--tokens", WORK / "tokens", "--batch", BATCH, *RATE)
        updates = SPAN_UPDATES if arm == "spans" else SPAN_UPDATES // 2
        first = ("--model", self.folder / "model" / "actor", "--out", self.folder / f"{arm}-msp", "--block-tokens", BLOCK, "--updates", updates)
        steps = [self.step(f"{arm}-msp", f"{arm}: masked spans", words("pretrain", "spans", *first, *same), "tokens", self.name("model"))]
        if arm == "spans-next":
            limits = ("--max-source-tokens", HALF, "--max-target-tokens", HALF, "--updates", NEXT_UPDATES)
            second = ("--model", self.folder / f"{arm}-msp" / "actor", "--out", self.folder / f"{arm}-ntp", *limits)
            steps.append(self.step(f"{arm}-ntp", f"{arm}: next tokens", words("pretrain", "next", *second, *same), self.name(f"{arm}-msp")))
        return steps

    def arm(self, arm: str) -> list[Step]:
        """An arm, its warm start and its held-out evaluation."""
        before, out, problems = self.pretraining(arm), self.folder / arm, self.folder / "problems"
        start = {"spans": f"{arm}-msp", "spans-next": f"{arm}-ntp"}.get(arm, "model")
        files = ("--model", self.folder / start / "actor", "--problems", problems / "train.jsonl", "--out", out / "warm")
        # with a budget the number of updates counts for nothing
        warm = words("warm-start", *files, *RATE, "--batch-tokens", 1024, "--updates", WARM_UPDATES, "--evaluate-every", 10**6)
        budget = (self.name("spans-msp"), self.name("nothing")) if arm == "longer" else ()
        held = ("--problems", problems / "heldout.jsonl", "--verdicts", out / "verdicts.jsonl")
        drawn = ("--model", out / "warm" / "actor", "--out", out / "programs.jsonl", "-n", SAMPLES, "--workers", 1, "--stop-at-first-failure")
        estimate = words("evaluate", *held, "--k", 1, 5, "--out", out / "results.json", "--name", ARMS[arm])
        return [
            *before,
            self.step(arm, f"{arm}: warm start", warm, self.name(start), self.name("problems"), budget_of=budget),
            self.step(f"write-{arm}", f"{arm}: held-out programs, judged", words("sample", *held, *drawn), self.name(arm)),
            self.step(f"evaluate-{arm}", f"{arm}: pass@k", estimate, self.name(f"write-{arm}")),
        ]


def shared() -> list[Step]:
    """Corpus, tokenizer, tokens: what all seeds have in common."""
    known = ("--licences", "unknown", "--leave-out", *LEFT_OUT)
    documents, problems = WORK / "corpus" / "documents.jsonl", WORK / "vocabulary"
    sizes = ("--train", 100, "--tests-only", 2000, "--validation", 0, "--heldout", 0, "--sources", *SOURCES, "--seed", VOCABULARY_SEED)
    texts = ("--corpus", documents, "--problems", problems / "train.jsonl", problems / "train_tests_only.jsonl")
    return [
        Step("corpus", "the standard library", words("corpus", "collect", "--sources", LIBRARY, *known, "--out", WORK / "corpus")),
        Step("vocabulary", "problems for the tokenizer", words("problems", "mini", "--out", problems, *sizes)),
        Step(
            "tokenizer",
            "a tokenizer",
            words("corpus", "tokenizer", *texts, "--vocabulary", VOCABULARY, "--out", WORK / "tokenizer"),
            ("corpus", "vocabulary"),
        ),
        Step(
            "tokens",
            "the corpus as tokens",
            words("corpus", "encode", "--corpus", documents, "--tokenizer", WORK / "tokenizer", "--out", WORK / "tokens"),
            ("tokenizer",),
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["nothing", "spans", "spans-next"])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a killed call keeps what is finished, as Ctrl-C does
    if not asked.table:
        study([Study(seed) for seed in asked.seeds], asked.arms, asked.cores)
    text = table()
    atomic_write(RESULTS / "table.md", text)
    print(text)


def study(studies: Sequence[Study], arms: Sequence[str], cores: int) -> None:
    """Run what is not there yet, seed after seed, and keep the results of each arm that is finished."""
    steps = shared()
    for one in studies:
        missing = [arm for arm in arms if not one.result(arm).exists()]
        steps += [*one.beginning(), *(step for arm in missing for step in one.arm(arm))] if missing else []
    try:
        run_steps(steps, WORK, cores, preload=PRELOAD)
    finally:
        costs = finished_steps(steps, WORK)
        for one in studies:
            for arm in arms:
                if one.name(f"evaluate-{arm}") in costs and not one.result(arm).exists():
                    keep(one, arm, costs)


def keep(study: Study, arm: str, costs: Mapping[str, StepCost]) -> None:
    """What lasts of an arm and seed: its estimates, counts of each problem, what its steps cost, and their commands."""
    data = read_results(study.folder / arm / "results.json")
    names = [step.name for step in study.pretraining(arm)]
    data["python"] = platform.python_version()
    data["pretraining_seconds"] = sum(costs[name].cpu_seconds for name in names)
    data["warm_start_seconds"] = costs[study.name(arm)].cpu_seconds
    data["commands"] = [" ".join(costs[name].command) for name in (*names, study.name(arm), study.name(f"write-{arm}"))]
    data["losses"] = {name: held_out_losses(study.folder / name.removesuffix(f"-s{study.seed}")) for name in names}
    data["corpus"] = json.loads((WORK / "corpus" / "counts.json").read_text(encoding="utf-8"))
    study.result(arm).parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, separators=(",", ":")).replace(f"{HERE.parent}/", "").replace(LIBRARY, "LIBRARY")
    atomic_write(study.result(arm), text + "\n")


def held_out_losses(run: Path) -> list[tuple[int, float]]:
    """Updates and nats a token on held-out code, of each look."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [(line["step"], line["held_out_loss"]) for line in lines if "held_out_loss" in line]


def table() -> str:
    """Markdown: every arm that has results, beside `nothing` of the same seeds."""
    found: dict[str, dict[int, Any]] = {}
    for arm in ARMS:
        paths = sorted((RESULTS / arm).glob("seed-*.json"))
        found[arm] = {int(path.stem.removeprefix("seed-")): read_results(path) for path in paths}
    lines = [
        f"{REFERENCES} references, {HELD_OUT} held-out problems x {SAMPLES} samples; percent; means over seeds; differences paired, 95 % intervals "
        "over seeds and problems.",
        "",
        "| pretraining | seeds | CPU s, pretraining + warm start | pass@1 | pass@5 | introductory / interview / competition | pass@1 against none "
        "| pass@5 against none | pass@1 against masked spans |",
        "|" + "---|" * 9,
    ]
    lines += ["| " + " | ".join(cells(arm, found)) + " |" for arm in ARMS if found[arm]]
    return "\n".join(lines) + "\n"


def cells(arm: str, found: Mapping[str, Mapping[int, Any]]) -> list[str]:
    """One line of the table."""
    results = found[arm]
    runs = list(results.values())

    def against(other: str, k: int) -> str:
        both = [seed for seed in results if seed in found[other]]
        return shown(difference([results[s] for s in both], [found[other][s] for s in both], k)) if arm != other and both else ""

    def mean(k: int) -> str:
        return f"{100 * statistics.mean(run['all']['pass@k'][str(k)]['value'] for run in runs):.1f}"

    levels = [
        100 * statistics.mean(r["by_difficulty"][d]["pass@k"]["1"]["value"] for r in runs) for d in ("introductory", "interview", "competition")
    ]
    seconds = [statistics.mean(run[part] for run in runs) for part in ("pretraining_seconds", "warm_start_seconds")]
    return [
        ARMS[arm],
        str(len(runs)),
        " + ".join(f"{one:.0f}" for one in seconds),
        mean(1),
        mean(5),
        " / ".join(f"{level:.1f}" for level in levels),
        against("nothing", 1),
        against("nothing", 5),
        "" if arm == "nothing" else against("spans", 1),
    ]


if __name__ == "__main__":
    main()
