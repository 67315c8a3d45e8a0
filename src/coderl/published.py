"""The papers' tables beside a result of ours, in their form, with a warning wherever the two were not made in the same way.

The numbers are in `published.toml`, each with its source and the way its programs were drawn and chosen. Papers mix these ways in one table, and
differences between them are larger than those between methods: the same checkpoint has 2.20 pass@1 by beam search and 1.30 by sampling.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from .records import DIFFICULTIES, Problem

BENCHMARKS = ("apps", "mbpp")
WAYS = ("sampled", "greedy", "filtered", "beam", "critic sampling", "ranked", "quoted")
"""Protocols; the first three are what `evaluate` computes (pass@k, greedy pass@1, n@k)."""
TEST_PROBLEMS = {"apps": {"introductory": 1000, "interview": 3000, "competition": 1000}, "mbpp": {"": 500}}
"""Problems that the published numbers are of: APPS's test split by difficulty, MBPP's test split."""


class Row(NamedTuple):
    """One line of a published table. `scores`: "pass@5" or "1@1000" to percents as printed, by difficulty and all, None where none is printed."""

    table: str
    source: str
    benchmark: str
    model: str
    protocol: str
    note: str
    scores: dict[str, tuple[float | None, ...]]


def published() -> list[Row]:
    """Every row of the data file."""
    data = tomllib.loads(resources.files("coderl").joinpath("published.toml").read_text(encoding="utf-8"))
    return [Row(note=row.pop("note", ""), scores={name: _numbers(text) for name, text in row.pop("scores").items()}, **row) for row in data["row"]]


def _numbers(text: str) -> tuple[float | None, ...]:
    return tuple(None if part == "-" else float(part) for part in text.split("/"))


def benchmark_of(problems: Iterable[Problem]) -> str | None:
    """The benchmark that all of the problems are from, if numbers on it are published."""
    sources = {problem.source for problem in problems}
    return sources.pop() if len(sources) == 1 and sources <= set(BENCHMARKS) else None


def beside(results: Mapping[str, Any], benchmark: str, rows: Sequence[Row]) -> list[str]:
    """Lines to print: for each measure of ours that papers have, their rows and ours in one form; then what keeps them from being compared."""
    lines: list[str] = []
    ways: set[str] = set()
    for measure, ours in measures(results).items():
        theirs = [row for row in rows if row.benchmark == benchmark and measure in row.scores]
        if theirs:
            width = max(len(row.model) for row in theirs)
            levels = "/".join((*DIFFICULTIES, "all")) if benchmark == "apps" else "all"
            lines.append(f"{measure}, percent ({levels}), ours beside what is published:")
            lines.append(f"  {results['name'] or 'this run':{width}}  {_shown(_by_level(ours, benchmark)):27}  {way_of(measure)}")
            lines += [f"  {row.model:{width}}  {_shown(row.scores[measure]):27}  {row.protocol}; {_said(row)}" for row in theirs]
            ways |= {row.protocol for row in theirs} - {way_of(measure)}
    return lines + warnings(results, benchmark, ways) if lines else []


def measures(results: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Our scores by the papers' name of the measure: percent by difficulty and "all"."""
    groups = {**results["by_difficulty"], "all": results["all"]}
    names = {f"pass@{k}": ("pass@k", k) for k in results["all"]["pass@k"]} | {key: ("n@k", key) for key in results["all"].get("n@k", {})}
    found = {name: {level: _value(group[part][key]) for level, group in groups.items()} for name, (part, key) in names.items()}
    if "greedy" in results["all"]:
        found["greedy pass@1"] = {level: _value(group["greedy"]) for level, group in groups.items()}
    return found


def _value(score: Mapping[str, float | None]) -> float | None:
    return None if score["value"] is None else 100 * score["value"]


def way_of(measure: str) -> str:
    """How a number of ours is made, by its measure."""
    return "greedy" if measure.startswith("greedy") else "sampled" if measure.startswith("pass@") else "filtered"


def _by_level(scores: Mapping[str, float | None], benchmark: str) -> tuple[float | None, ...]:
    return tuple(scores.get(level) for level in ((*DIFFICULTIES, "all") if benchmark == "apps" else ("all",)))


def _shown(numbers: Sequence[float | None]) -> str:
    return "/".join("-" if number is None else f"{number:.2f}" for number in numbers)


def _said(row: Row) -> str:
    return f"{row.table} ({row.note})" if row.note else row.table


_DIFFERS = {
    "beam": "beam search gives other numbers than sampling (CodeRL's released checkpoint: 2.20 and 1.30 pass@1)",
    "critic sampling": "critic sampling looks at the example tests of the statement before it answers",
    "ranked": "ranked numbers choose the best of many samples (B-Coder: 256 for k = 1 and 5), plain pass@k takes any",
    "quoted": "quoted numbers do not say how they were made",
    "filtered": "filtered numbers choose by the example tests",
    "sampled": "sampled numbers are an estimate over draws",
    "greedy": "greedy numbers are of one program without chance",
}


def warnings(results: Mapping[str, Any], benchmark: str, ways: Iterable[str]) -> list[str]:
    """What keeps ours from being compared with the rows: protocols (`ways`), other problems, an interval."""
    lines = [f"not comparable: {_DIFFERS[way]}" for way in WAYS if way in set(ways)]
    counts = {name: group["problems"] for name, group in results["by_difficulty"].items()} if benchmark == "apps" else {"": results["problems"]}
    if counts != TEST_PROBLEMS[benchmark]:
        wanted = " + ".join(str(n) for n in TEST_PROBLEMS[benchmark].values())
        lines.append(f"not comparable: published numbers are of the {wanted} problems of the test split, these are of {results['problems']}")
    outside = [name for name in results["per_problem"] if "/train/" in name]
    if outside:
        lines.append(f"not comparable: {len(outside)} of the problems are of the training split (first: {outside[0]})")
    return [*lines, "published numbers have no interval and are of one training run"]
