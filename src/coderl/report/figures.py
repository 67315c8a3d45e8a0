"""Figures as plain plotly specifications ({"data", "layout"}); `charts.js` draws them and gives them the page's colours.

Nothing here imports plotly: a specification is JSON. Colours of runs are Paul Tol's "bright" set, which colour-blind readers can
tell apart; outcomes keep their own colours everywhere and are always named in words too.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..formulas.passk import pass_at_k
from ..records import OUTCOMES, Outcome
from .curves import AXES, RunCurves, Series, metric_names, metric_series, outcome_series

RUN_COLOURS = ("#4477AA", "#EE6677", "#228833", "#B09A1E", "#33A5C4", "#AA3377", "#888888")
OUTCOME_COLOURS = {
    Outcome.PASSED_TEST: "#3C9A74",
    Outcome.FAILED_TEST: "#D6A545",
    Outcome.RUNTIME_ERROR: "#CF6A45",
    Outcome.COMPILE_ERROR: "#8E6AA8",
}
MOST_KS = 60  # points of a pass@k curve


class Figure(NamedTuple):
    """A chart. `axes`: for each x axis that the reader can choose, x of every trace; empty where there is one x axis only."""

    title: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    axes: dict[str, list[list[float | None]]]

    def to_json(self) -> dict[str, Any]:
        return {"data": self.data, "layout": self.layout, "axes": self.axes}


def readable(outcome: str) -> str:
    """`failed_test` as words."""
    return outcome.replace("_", " ")


def label(name: str, width: int = 0) -> str:
    """A name as plotly shows it: its own markup escaped, and broken into lines of about `width` characters where that is not 0."""
    lines = textwrap.wrap(name, width) if width else [name]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def pass_at_k_by_group(results: Mapping[str, Mapping[str, Any]], k: str) -> Figure:
    """pass@k of every run, for all problems and by difficulty, with intervals. Runs without that k are left out."""
    data = []
    for i, (name, result) in enumerate(results.items()):
        groups = {"all": result["all"], **result["by_difficulty"]}
        scores = {group: content["pass@k"][k] for group, content in groups.items() if k in content["pass@k"]}
        if not scores:
            continue
        value, low, high = ([100 * score[key] for score in scores.values()] for key in ("value", "low", "high"))
        error = {"type": "data", "array": [h - v for h, v in zip(high, value)], "arrayminus": [v - x for v, x in zip(value, low)], "thickness": 1.5}
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": label(name),
                "x": list(scores),
                "y": value,
                "error_y": error,
                "marker": {"size": 9, "color": RUN_COLOURS[i % len(RUN_COLOURS)]},
                "hovertemplate": "%{y:.1f} %",
            }
        )
    layout = {"scattermode": "group", "yaxis": {"title": {"text": f"pass@{k}, percent"}, "rangemode": "tozero"}, "xaxis": {"type": "category"}}
    return Figure(f"pass@{k}, with 95 % intervals", data, layout, {})


def pass_at_k_curves(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """pass@k of every run over all k that its smallest problem allows, from the counts per problem."""
    data = []
    for i, (name, result) in enumerate(results.items()):
        counts = [(entry["n"], entry["c"]) for entry in result["per_problem"].values()]
        if not counts:
            continue
        n, c = np.array(counts, dtype=np.int64).T
        ks = np.unique(np.geomspace(1, n.min(), MOST_KS).round().astype(int)).tolist()
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": label(name),
                "x": ks,
                "y": [100 * float(pass_at_k(n, c, k).mean()) for k in ks],
                "line": {"color": RUN_COLOURS[i % len(RUN_COLOURS)], "width": 2},
                "marker": {"size": 5},
                "hovertemplate": "k = %{x}: %{y:.1f} %",
            }
        )
    ticks = [m * 10**d for d in range(5) for m in (1, 2, 5)]
    axis = {"title": {"text": "k (samples tried)"}, "type": "log", "tickmode": "array", "tickvals": ticks}
    layout = {"yaxis": {"title": {"text": "pass@k, percent"}, "rangemode": "tozero"}, "xaxis": axis}
    return Figure("pass@k over the number of tries", data, layout, {})


def outcome_bars(results: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Share of each outcome among every run's samples."""
    names = list(results)[::-1]  # a horizontal bar chart counts from the bottom
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": readable(outcome),
            "y": [label(name, 22) for name in names],
            "x": [100 * results[name]["all"].get("outcomes", {}).get(str(outcome), 0.0) for name in names],
            "marker": {"color": OUTCOME_COLOURS[outcome]},
            "texttemplate": "%{x:.0f}",
            "textposition": "inside",
            "insidetextanchor": "middle",
            "hovertemplate": "%{x:.1f} %",
        }
        for outcome in reversed(OUTCOMES)
    ]
    axis = {"title": {"text": "percent of samples"}, "range": [0, 100]}
    layout = {"barmode": "stack", "xaxis": axis, "yaxis": {"automargin": True}, "uniformtext": {"minsize": 9, "mode": "hide"}}
    return Figure("What became of the samples", data, layout, {})


def learning_curves(runs: Sequence[RunCurves]) -> list[Figure]:
    """One chart for each metric, with a line for each run that logs it."""
    figures = []
    colours = {label: RUN_COLOURS[i % len(RUN_COLOURS)] for i, label in enumerate(dict.fromkeys(s.label for s in _all_series(runs)))}
    for metric in metric_names(runs):
        series = metric_series(runs, metric)
        data = [{**_line(one), "line": {"color": colours[one.label], "width": 1.8}} for one in series]
        figures.append(Figure(metric, data, {"yaxis": {"automargin": True}}, _choices(series)))
    return figures


def outcome_areas(runs: Sequence[RunCurves]) -> list[Figure]:
    """One stacked chart for each run that logs outcome shares."""
    figures = []
    for four in outcome_series(runs):
        series = four[::-1]  # passed test at the bottom
        data = [
            {
                **_line(one),
                "name": readable(outcome),
                "stackgroup": "outcomes",
                "groupnorm": "percent",
                "line": {"width": 0.5, "color": OUTCOME_COLOURS[outcome]},
                "hovertemplate": "%{y:.1f} %",
            }
            for outcome, one in zip(reversed(OUTCOMES), series)
        ]
        figures.append(Figure(series[0].label, data, {"yaxis": {"title": {"text": "percent of samples"}, "range": [0, 100]}}, _choices(series)))
    return figures


def _all_series(runs: Sequence[RunCurves]) -> list[Series]:
    return [series for metric in metric_names(runs) for series in metric_series(runs, metric)]


def _line(series: Series) -> dict[str, Any]:
    mode = "lines+markers" if len(series.values) <= 20 else "lines"
    return {"type": "scatter", "mode": mode, "name": label(series.label), "x": _axis(series, AXES[0]), "y": series.values}


def _axis(series: Series, axis: str) -> list[float | None]:
    """x of one axis; the other one where this one was never logged, so that a line is not lost."""
    wanted = series.axes[axis]
    return wanted if any(x is not None for x in wanted) else next(xs for xs in series.axes.values() if any(x is not None for x in xs))


def _choices(series: Sequence[Series]) -> dict[str, list[list[float | None]]]:
    return {axis: [_axis(one, axis) for one in series] for axis in AXES}
