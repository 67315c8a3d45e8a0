"""The collapse that users of the released CodeRL met (its issue #30: pass@5 3.40 after the warm start, 0.84 after RL), in small, and diagnosed.

    python runs/collapse.py                          # makes its own start with the demo's commands: about ten CPU minutes more
    python runs/collapse.py --start runs/work/demo-0 # problems, actor, judged samples and scores of a demo's folder

Every arm fine-tunes the same actor on the same judged programs (of the first problems with tests only), for as many passes:

    released        the released script's recipe: a few programs an update, the warm start's rate, L_rl and L_ce in turn, token mean, negative
                    returns at full weight, token values unscaled
    lower-rate, larger-batches, light-negatives    the same with one thing changed
    default         `finetune coderl` as it is

The last actor is evaluated (`--keep last`), on held-out problems, so that nothing hides the fall. What lasts goes to runs/results/collapse/: one
JSON file an arm, with what `coderl diagnose` says, and table.md. A killed run goes on where it was; with all files there they are only read.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from coderl.diagnosis.facts import read_facts
from coderl.diagnosis.rules import findings
from coderl.diagnosis.words import what_happened
from coderl.evaluation import compare, read_results
from coderl.pipeline import Step, run_steps
from coderl.recipes import demo
from coderl.records import Problem, Program, TokenScores, Verdict
from coderl.store import atomic_write, read_records, write_records

HERE = Path(__file__).resolve().parent
RESULTS, WORK = HERE / "results" / "collapse", HERE / "work" / "collapse"
PROBLEMS, LOOKED_AT, HELDOUT, SAMPLES, EPOCHS = 300, 60, 150, 5, 1
RATE = demo.FULL.warm_rate  # the released scripts take one rate, 2e-5, for the warm start and for RL
RELEASED = {"--negative-weight": 1, "--learning-rate": RATE, "--batch-tokens": 512}
FLAGS = ("--no-scaled", "--alternate", "--reduction", "token-mean")
ARMS: dict[str, tuple[object, ...]] = {
    "released": (*FLAGS, *(word for pair in RELEASED.items() for word in pair)),
    "default": (),
    "lower-rate": (*FLAGS, *(word for pair in (RELEASED | {"--learning-rate": 1e-4}).items() for word in pair)),
    "light-negatives": (*FLAGS, *(word for pair in (RELEASED | {"--negative-weight": 0.1}).items() for word in pair)),
    "larger-batches": (*FLAGS, *(word for pair in (RELEASED | {"--batch-tokens": 8192}).items() for word in pair)),
}


class Files:
    """Where things lie: the start's own folder, laid out as the demo's, and what is taken from it."""

    def __init__(self, start: Path, work: Path) -> None:
        self.start, self.work = start, work
        self.actor = start / "warm-start" / "actor"
        self.problems = work / "problems.jsonl"
        self.validation, self.heldout = work / "validation.jsonl", work / "heldout.jsonl"

    def samples(self, name: str) -> Path:
        return self.work / f"{name}.jsonl"

    def take(self) -> None:
        """The first problems with tests only, what was sampled for them, and the first held-out problems."""
        problems = read_records(self.start / "problems" / "train_tests_only.jsonl", Problem)[:PROBLEMS]
        names = {p.id for p in problems}
        kinds = {"programs": Program, "verdicts": Verdict, "greedy_verdicts": Verdict, "scores": TokenScores}
        for name, kind in kinds.items():
            path = self.start / "samples" / f"{name}.jsonl"
            path = path if path.exists() else self.start / f"{name}.jsonl"
            write_records(self.samples(name), [r for r in read_records(path, kind) if r.problem in names])
        for path, size in ((self.validation, LOOKED_AT), (self.heldout, HELDOUT)):
            write_records(path, read_records(self.start / "problems" / path.name, Problem)[:size])
        write_records(self.problems, problems)  # last: it says that all is there


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, help="a demo's folder with a warm start and judged, scored samples; without it one is made")
    parser.add_argument("--work", type=Path, default=WORK, help="folder for what is made on the way")
    parser.add_argument("--cores", type=int, default=1, help="CPU cores to use")
    asked = parser.parse_args()
    if not all((RESULTS / f"{arm}.json").exists() for arm in ("start", *ARMS)):
        run(asked.start, asked.work, asked.cores)
    table = summary()
    atomic_write(RESULTS / "table.md", table)
    print(table)


def run(start: Path | None, work: Path, cores: int) -> None:
    """Make what is missing and keep what lasts."""
    if start is None:
        start = work / "start"
        chain = demo.Chain(demo.FULL, demo.Config(out=start, cores=cores), demo.Paths(start))
        run_steps([*chain.warming(), *chain.judging()], start, cores, preload=demo.PRELOAD)
    files = Files(start, work)
    if not files.problems.exists():
        files.take()
    chain: list[Step] = []
    for arm in ("start", *ARMS):
        chain += steps(files, arm)
        costs = run_steps(chain, work, cores, preload=demo.PRELOAD)
        results = read_results(work / "evaluation" / arm / "results.json")
        results.pop("manifest")  # of the evaluation alone; the run's own is kept below
        spent = sum(cost.cpu_seconds for name, cost in costs.items() if name == f"tune-{arm}")
        record = {"arm": arm, "tuning_cpu_seconds": spent, "results": results} | (told(work / arm) if arm in ARMS else {})
        atomic_write(RESULTS / f"{arm}.json", json.dumps(record, indent=1).replace(f"{HERE.parent}/", "") + "\n")
        atomic_write(RESULTS / "table.md", summary())


def told(folder: Path) -> dict[str, Any]:
    """What `coderl diagnose` says, and what it read."""
    facts = read_facts(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return {
        "config": {
            name: manifest["config"].get(name) for name in ("learning_rate", "batch_tokens", "negative_weight", "scaled", "alternate", "epochs")
        },
        "versions": manifest["versions"],
        "commit": manifest["commit"],
        "programs_per_update": facts.programs_per_update,
        "gradient_norm": facts.mean("gradient_norm"),
        "gradient_clipped": facts.mean("gradient_clipped"),
        "looks": [look._asdict() for look in facts.looks],
        "kept_would_be": max((look.greedy, look.step) for look in facts.looks)[1],
        "happened": what_happened(facts),
        "findings": [finding._asdict() for finding in findings(facts)],
    }


def steps(files: Files, arm: str) -> list[Step]:
    """Fine-tune, write held-out programs, judge, evaluate."""
    found: list[Step] = []
    if arm in ARMS:
        inputs = demo.words("--problems", files.problems, *(w for n in ("programs", "verdicts", "scores") for w in (f"--{n}", files.samples(n))))
        more = ("--baseline", files.samples("greedy_verdicts"), "--references", files.start / "problems" / "train.jsonl", "--epochs", EPOCHS)
        looks = ("--validation", files.validation, "--keep", "last", "--out", files.work / arm)
        command = demo.words("finetune", "coderl", "--model", files.actor, *inputs, *more, *looks, *ARMS[arm])
        found.append(Step(f"tune-{arm}", f"fine-tuning: {arm}", command))
    actor = files.work / arm / "actor" if arm in ARMS else files.actor
    out = files.work / "evaluation" / arm
    drawn = ("--out", out / "programs.jsonl", "--verdicts", out / "verdicts.jsonl", "-n", SAMPLES, "--seed", 1, "--workers", 1)
    written = demo.words("sample", "--model", actor, "--problems", files.heldout, *drawn, "--stop-at-first-failure")
    judged = demo.words("evaluate", "--problems", files.heldout, "--verdicts", out / "verdicts.jsonl", "--k", 1, SAMPLES, "--name", arm)
    found.append(Step(f"write-{arm}", f"held-out programs of: {arm}", written, (f"tune-{arm}",) if arm in ARMS else ()))
    return [*found, Step(f"evaluate-{arm}", "pass@k", (*judged, "--out", str(out / "results.json")), (f"write-{arm}",))]


def summary() -> str:
    """The table in Markdown, of the arms that are there."""
    there = [arm for arm in ("start", *ARMS) if (RESULTS / f"{arm}.json").exists()]
    records = {arm: json.loads((RESULTS / f"{arm}.json").read_text(encoding="utf-8")) for arm in there}
    start = records["start"]["results"]
    lines = [
        f"{start['problems']} held-out problems, {SAMPLES} samples each, the last actor of each arm; percent, 95 % intervals paired over "
        "problems. One seed.",
        "",
        "| arm | rate | programs an update | pass@1 | against the start | pass@5 | validation, greedy | KL | causes that `coderl diagnose` names |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for arm, record in records.items():
        whole = record["results"]["all"]["pass@k"]
        against = compare(record["results"], start, 1, 0)
        shift = f"{100 * against.difference:+.1f} [{100 * against.low:+.1f}, {100 * against.high:+.1f}]"
        looks = record.get("looks", [])
        cells = [
            arm,
            f"{record['config']['learning_rate']:g}" if looks else "",
            f"{record['programs_per_update']:.0f}" if looks else "",
            f"{100 * whole['1']['value']:.1f}",
            shift if looks else "",
            f"{100 * whole[str(SAMPLES)]['value']:.1f}",
            " ".join(f"{100 * look['greedy']:.0f}" for look in looks),
            f"{looks[-1]['kl']:.3f}" if looks else "",
            "; ".join(f["title"] for f in record.get("findings", []) if f["cause"]) or ("none" if looks else ""),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
