"""Tables as HTML text: results side by side, paired differences, where the numbers come from. Everything is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import CoderlError
from ..evaluation import Comparison, compare
from ..records import OUTCOMES, TokenScores
from .figures import readable

MOST_COLUMNS = 8  # of the table of paired differences; with more runs each is set against the first only
Results = Mapping[str, Mapping[str, Any]]


def text(value: object) -> str:
    """Any value as escaped text that UTF-8 can hold."""
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str) -> str:
    """A table of ready HTML cells; the first cell of a row is its heading."""
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in (list(row) for row in rows)
    )
    columns = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    content = f"<caption><span>{caption}</span></caption><thead><tr>{columns}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll" tabindex="0"><table>{content}</table></div>'


def score(value: Mapping[str, Any] | None) -> str:
    """A share in percent with its interval."""
    if not value or value.get("value") is None:
        return '<span class="faint">-</span>'
    result = f"<b>{100 * value['value']:.1f}</b>"
    if value.get("low") is not None and value.get("high") is not None:
        result += f' <span class="interval">[{100 * value["low"]:.1f}, {100 * value["high"]:.1f}]</span>'
    return result


def results_tables(results: Results) -> str:
    """One table for all problems and one for each difficulty; runs are rows."""
    groups = list(dict.fromkeys(group for result in results.values() for group in result["by_difficulty"]))
    parts = [_group_table("All problems", {name: result["all"] for name, result in results.items()})]
    if len(groups) > 1 or (groups and groups != ["unknown"]):
        for group in groups:
            content = {name: result["by_difficulty"][group] for name, result in results.items() if group in result["by_difficulty"]}
            parts.append(_group_table(group.capitalize(), content))
    return "".join(parts) + _notes(results)


def _group_table(title: str, groups: Mapping[str, Mapping[str, Any]]) -> str:
    ks = sorted({int(k) for group in groups.values() for k in group["pass@k"]})
    filtered = list(dict.fromkeys(key for group in groups.values() for key in group.get("n@k", {})))
    greedy = any("greedy" in group for group in groups.values())
    head = ["run", *(f"pass@{k}" for k in ks), *(["greedy pass@1"] if greedy else []), *map(text, filtered), "problems", "samples", "harness errors"]
    rows = [
        [
            text(name),
            *(score(group["pass@k"].get(str(k))) for k in ks),
            *([score(group.get("greedy"))] if greedy else []),
            *(score(group.get("n@k", {}).get(key)) for key in filtered),
            *(text(group.get(key, "-")) for key in ("problems", "samples", "harness_errors")),
        ]
        for name, group in groups.items()
    ]
    return table(head, rows, f"{text(title)}: percent solved [95 % interval]")


def _notes(results: Results) -> str:
    notes = [
        "Intervals come from resampling problems; they do not cover another training run. "
        "Harness errors are programs that could not be judged: they are no samples and never passes."
    ]
    if any(result["all"].get("n@k") for result in results.values()):
        notes.append("n@k: of k samples those that pass the example tests survive, and n of them are submitted; when none survives, nothing is.")
    for name, result in results.items():
        if result.get("missing_problems"):
            notes.append(f"{text(name)}: {result['missing_problems']} problems without verdicts are left out.")
    return "".join(f'<p class="note">{note}</p>' for note in notes)


def difference_tables(results: Results) -> str:
    """Paired differences of pass@k at the smallest and the largest k that all runs have: the row's run minus the column's."""
    if len(results) < 2:
        return ""
    common = set.intersection(*({int(k) for k in result["all"]["pass@k"]} for result in results.values()))
    if not common:
        return '<p class="note">The runs have no k in common, so they cannot be compared.</p>'
    parts: list[str] = []
    problems: dict[str, None] = {}
    columns = list(results) if len(results) <= MOST_COLUMNS else list(results)[:1]
    for k in sorted({min(common), max(common)}):
        rows = []
        for name, result in results.items():
            cells = []
            for column in columns:
                found = None if column == name else _compared(result, results[column], k)
                if isinstance(found, CoderlError):
                    problems[str(found)] = None
                cells.append(_difference(found))
            rows.append([text(name), *cells])
        caption = f"pass@{k}: the row's run minus the column's, points of percent [95 % interval], paired by problem"
        parts.append(table(["", *map(text, columns)], rows, caption))
    key = '<p class="note">▲ above zero, ▼ below zero: the interval leaves zero out. ○ cannot be told from zero.</p>'
    return "".join(parts) + key + "".join(f'<p class="note">{text(problem)}</p>' for problem in problems)


def _compared(first: Mapping[str, Any], second: Mapping[str, Any], k: int) -> Comparison | CoderlError:
    try:
        return compare(first, second, k, int(first.get("interval", {}).get("seed", 0)))
    except CoderlError as error:
        return error


def _difference(found: Comparison | CoderlError | None) -> str:
    if found is None:
        return '<span class="faint">·</span>'
    if isinstance(found, CoderlError):
        return '<span class="faint">not the same problems</span>'
    sign, kind = ("▲", "up") if found.low > 0 else ("▼", "down") if found.high < 0 else ("○", "faint")
    counts = f"better on {found.better}, worse on {found.worse}, same on {found.same} problems"
    return (
        f'<span title="{counts}"><span class="{kind}">{sign}</span> <b>{100 * found.difference:+.1f}</b> '
        f'<span class="interval">[{100 * found.low:+.1f}, {100 * found.high:+.1f}]</span></span>'
    )


def outcome_table(results: Results) -> str:
    """Share of each outcome among the samples; the figure's numbers in words."""
    rows = []
    for name, result in results.items():
        shares = result["all"].get("outcomes", {})
        rows.append([text(name), *(f"{100 * shares[str(o)]:.1f}" if str(o) in shares else "-" for o in OUTCOMES)])
    return table(["run", *(readable(o) for o in OUTCOMES)], rows, "Outcomes, percent of samples")


def critic_table(scores: Sequence[TokenScores]) -> str:
    """What the critic held for most likely against what the tests said, in programs."""
    if not scores:
        return ""
    rows = []
    for actual in OUTCOMES:
        counts = [sum(s.outcome is actual and s.predicted is predicted for s in scores) for predicted in OUTCOMES]
        rows.append([f"{readable(actual)} <span class='faint'>({sum(counts)})</span>", *map(str, counts)])
    right = sum(s.outcome is s.predicted for s in scores)
    most = max(sum(s.outcome is actual for s in scores) for actual in OUTCOMES)
    caption = (
        f"The critic is right on {right} of {len(scores)} programs ({100 * right / len(scores):.1f} %); always naming the most frequent "
        f"outcome would be right on {100 * most / len(scores):.1f} %. Rows: what the tests said. Columns: what the critic held for most likely."
    )
    return table(["tests", *(f"critic: {readable(o)}" for o in OUTCOMES)], rows, caption)


def origins(results: Results) -> str:
    """Each results file's manifest, folded."""
    parts = []
    for name, result in results.items():
        made = result.get("manifest") or {}
        if made:
            content = text(json.dumps(made, indent=2, ensure_ascii=False, default=str))
            parts.append(f"<details><summary>{text(name)}</summary><pre>{content}</pre></details>")
    return "".join(parts)
