"""Evaluate: verdicts to pass@k, n@k, greedy pass@1 and outcome shares, with intervals; paired comparison with another run.

Reads problems and verdicts, prints a table, writes one results.json. The rules (harness errors, missing verdicts, intervals) are
in `evaluation.py`, the formulas in `formulas/passk.py`. Runs nothing and draws nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..records import Problem, Verdict
from ..run_directory import manifest
from ..store import atomic_write, read_records

if TYPE_CHECKING:
    from ..evaluation import Comparison


@dataclass(frozen=True)
class Config:
    """Compute pass@k, n@k and outcome shares from verdicts, with 95 % intervals; compare two runs."""

    problems: Path
    """problems file (JSON Lines)"""
    verdicts: Path
    """verdicts on the hidden tests (`coderl grade`)"""
    out: Path
    """where to write results.json"""
    k: tuple[int, ...] = (1,)
    """the k of pass@k; every problem needs at least that many samples"""
    examples: Path | None = None
    """verdicts of the same programs on the example tests (`coderl grade --tests example`); adds n@k for each n of --k"""
    ranked: Path | None = None
    """ranked.jsonl of `coderl critic-sample`, whose final programs the verdicts are of; adds n@all by its rule for each n of --k"""
    pool: int | None = None
    """the k of n@k, in samples; without it, the smallest number of samples that a problem has"""
    greedy: Path | None = None
    """verdicts of one greedily decoded program per problem; adds greedy pass@1"""
    name: str = ""
    """what the run is called in tables; without it, the name of the results file or of its folder"""
    compare: Path | None = None
    """results.json of another run on the same problems: print this run minus that one, paired by problem"""
    published: bool = True
    """print the papers' numbers beside ours where all problems are of APPS or of MBPP, and what keeps the two from being compared"""
    allow_missing: bool = False
    """leave problems without verdicts out (their number is printed and stored) instead of failing"""
    seed: int = 0
    """seed of the bootstrap over problems"""


def main(config: Config) -> None:
    from ..evaluation import compare, evaluate, read_results
    from ..handed_in import Ranked, by_rule
    from ..published import benchmark_of, beside, published

    inputs = (config.problems, config.verdicts, config.examples, config.greedy, config.ranked, config.compare)
    other = None if config.compare is None else read_results(config.compare)
    problems = read_records(config.problems, Problem)
    results = evaluate(
        problems,
        read_records(config.verdicts, Verdict),
        config.k,
        None if config.examples is None else read_records(config.examples, Verdict, allow_empty=True),
        None if config.greedy is None else read_records(config.greedy, Verdict),
        config.seed,
        name=config.name or _name_of(config.out),
        pool=config.pool,
        allow_missing=config.allow_missing,
        manifest=manifest(config, [p for p in inputs if p]),
    )
    if config.ranked is not None:
        results["by_rule"] = by_rule(read_records(config.ranked, Ranked), read_records(config.verdicts, Verdict), config.k, config.seed)
    _write(config.out, results)
    print_results(results)
    benchmark = benchmark_of(problems) if config.published else None
    if benchmark:
        print("\n".join(beside(results, benchmark, published())))
    if other is not None:
        found = [compare(results, other, k, config.seed) for k in sorted(set(config.k))]
        rows = [{"other": other.get("name", ""), **row._asdict()} for row in found]
        _write(config.out, {**results, "comparisons": rows})
        print_comparisons(found, results["name"], other.get("name") or str(config.compare))
    print(f"wrote {config.out}")


def print_results(results: Mapping[str, Any]) -> None:
    """The table on stdout: a column for all problems and one per difficulty; percent with 95 % intervals."""
    from rich.console import Console
    from rich.table import Table

    groups = {"all": results["all"], **results["by_difficulty"]}
    table = Table(title=f"{results['name']}: percent of problems solved, 95 % interval", title_justify="left")
    table.add_column("", no_wrap=True)
    for name, group in groups.items():
        table.add_column(f"{name} ({group['problems']})", justify="right", no_wrap=True)
    scores = {name: _scores(group) for name, group in groups.items()}
    for measure in scores["all"]:
        table.add_row(measure, *(_cell(scores[name].get(measure)) for name in groups))
    width = 24 + 28 * len(groups)  # as wide as it needs: cells must not be cut when the output goes to a file
    Console(width=width, markup=False, emoji=False, highlight=False).print(table)
    for line in _notes(results):
        print(line)


def _scores(group: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What a group has, by the name of the measure, in the order of the table."""
    greedy = {"greedy pass@1": group["greedy"]} if "greedy" in group else {}
    return {**{f"pass@{k}": score for k, score in group["pass@k"].items()}, **greedy, **group.get("n@k", {})}


def print_comparisons(found: list[Comparison], name: str, other: str) -> None:
    """One line per k: the paired difference, its interval, and on how many problems each run is ahead."""
    print(f"{name} minus {other}, paired over {found[0].problems} problems, points of percent:")
    for row in found:
        verdict = "above zero" if row.low > 0 else "below zero" if row.high < 0 else "cannot be told from zero"
        print(
            f"  pass@{row.k}: {100 * row.difference:+.1f} [{100 * row.low:+.1f}, {100 * row.high:+.1f}] {verdict}; "
            f"better on {row.better}, worse on {row.worse}, same on {row.same} problems"
        )


def _notes(results: Mapping[str, Any]) -> list[str]:
    group, each = results["all"], results["samples_per_problem"]
    count = f"{each['min']}" if each["min"] == each["max"] else f"{each['min']} to {each['max']}"
    shares = ", ".join(f"{name.replace('_', ' ')} {100 * share:.1f} %" for name, share in group["outcomes"].items())
    errors = results["harness_errors"]
    lines = [
        f"{results['samples']} samples, {count} per problem: {shares}",
        f"{errors} harness error{'' if errors == 1 else 's'}, counted apart (no samples, never a pass)",
    ]
    if results["missing_problems"]:
        lines.append(f"{results['missing_problems']} problems have no verdicts and are left out")
    if group.get("n@k"):
        other = ", ".join(f"{key} {_cell(score['fallback'])}" for key, score in group["n@k"].items())
        lines.append(f"n@k submits nothing when no sample passes the example tests; submitting random ones then: {other}")
    if "by_rule" in results:
        chosen = results["by_rule"]
        scores = ", ".join(f"{name} {_cell(score)}" for name, score in chosen.items() if name.endswith("@all"))
        lines.append(f"programs chosen by the rule {chosen['rule']!r} among those that pass the example tests: {scores}")
    if group.get("without_examples"):
        lines.append(f"{group['without_examples']} problems have no example tests: all their samples survive the filter")
    if group.get("example_harness_errors"):
        lines.append(f"{group['example_harness_errors']} samples are left out of n@k: harness errors on the example tests")
    return lines


def _cell(score: Mapping[str, float | None] | None) -> str:
    if score is None or score["value"] is None or score["low"] is None or score["high"] is None:
        return "-"
    return f"{100 * score['value']:.1f} [{100 * score['low']:.1f}, {100 * score['high']:.1f}]"


def _name_of(out: Path) -> str:
    return out.resolve().parent.name if out.stem == "results" else out.stem


def _write(path: Path, results: Mapping[str, Any]) -> None:
    atomic_write(path, json.dumps(results, indent=1, allow_nan=False) + "\n")
