"""The demo with several seeds, and the table of README.md: mean over seeds, 95 % interval, number of seeds.

    python runs/demo_seeds.py --seeds 0 1 2          # about a quarter of an hour a seed on two quiet cores; resumable

A seed changes problems, weights and samples. The work lies in runs/work/demo-SEED; what lasts, results.json of every arm with its
manifest, what every step cost, and `table.md`, goes to runs/results/demo/.
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import time
from pathlib import Path

from scipy.stats import t as student

from coderl.evaluation import compare, read_results
from coderl.pipeline import StepCost
from coderl.recipes.demo import ARMS, arm_costs
from coderl.store import atomic_write, read_records

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds to run; those that are complete are only read")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores of a demo; with 1 it takes twice as long and minds no other job")
    asked = parser.parse_args()
    seeds = asked.seeds
    for seed in seeds:
        work, kept = HERE / "work" / f"demo-{seed}", RESULTS / f"seed-{seed}"
        if not (kept / "steps.jsonl").exists():
            fresh, began = not work.exists(), time.monotonic()
            subprocess.run([sys.executable, "-m", "coderl", "demo", "--seed", str(seed), "--out", str(work), "--cores", str(asked.cores)], check=True)
            keep(work, kept, time.monotonic() - began if fresh and asked.cores == 2 else None)
    table = summary(seeds)
    atomic_write(RESULTS / "table.md", table)
    print(table)


def keep(work: Path, kept: Path, wall_seconds: float | None) -> None:
    """Copy what lasts; the list of costs comes last and marks the seed as complete. No wall time for a demo that was resumed, or had one core."""
    kept.mkdir(parents=True, exist_ok=True)
    for arm in ARMS:
        shutil.copy(work / "evaluation" / arm / "results.json", kept / f"{arm}.json")
    manifest = json.loads((work / "manifest.json").read_text()) | {"wall_seconds": wall_seconds}
    atomic_write(kept / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    shutil.copy(work / "steps.jsonl", kept / "steps.jsonl")
    for path in kept.iterdir():  # where the repository lies is nobody's business
        atomic_write(path, path.read_text(encoding="utf-8").replace(f"{HERE.parent}/", ""))


def mean_interval(values: list[float]) -> str:
    """Mean over seeds with its 95 % interval (Student's t over seeds), in percent."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{100 * mean:.1f}"
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))
    half = student.ppf(0.975, len(values) - 1) * deviation / math.sqrt(len(values))
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


def summary(seeds: list[int]) -> str:
    """The table in Markdown."""
    results = {arm: [read_results(RESULTS / f"seed-{s}" / f"{arm}.json") for s in seeds] for arm in ARMS}
    costs = [arm_costs({c.step: c for c in read_records(RESULTS / f"seed-{s}" / "steps.jsonl", StepCost)}) for s in seeds]
    walls = [json.loads((RESULTS / f"seed-{s}" / "manifest.json").read_text()).get("wall_seconds") for s in seeds]
    lines = [
        f"{len(seeds)} seeds ({', '.join(map(str, seeds))}); mean over seeds ± half of the 95 % interval (Student's t over seeds); percent.",
        "",
        "| arm | CPU s | greedy | pass@1 | pass@5 | pass@1 against warm start | by seed, with its paired 95 % interval over problems |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, title in ARMS.items():
        whole = [r["all"] for r in results[arm]]
        against = [compare(r, w, 1, s) for r, w, s in zip(results[arm], results["warm-start"], seeds)]
        cells = [
            title,
            f"{sum(c[arm] for c in costs) / len(costs):.0f}",
            mean_interval([w["greedy"]["value"] for w in whole]),
            mean_interval([w["pass@k"]["1"]["value"] for w in whole]),
            mean_interval([w["pass@k"]["5"]["value"] for w in whole]),
            "" if arm == "warm-start" else mean_interval([c.difference for c in against]),
            "" if arm == "warm-start" else "; ".join(f"{100 * c.difference:+.1f} [{100 * c.low:+.1f}, {100 * c.high:+.1f}]" for c in against),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    problems, samples = results["coderl"][0]["problems"], results["coderl"][0]["samples"]
    errors = sum(r["harness_errors"] for runs in results.values() for r in runs)
    lines += ["", f"{problems} held-out problems and {samples} samples for each arm and seed; {errors} programs without a verdict (harness errors)."]
    if any(walls):
        lines.append(f"Wall time of the whole demo on two cores: {', '.join(f'{w / 60:.1f}' for w in walls if w)} minutes.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
