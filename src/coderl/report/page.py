"""The report: one HTML file that opens without network, carries its own plotly.js once, and treats programs as hostile text.

Where it sits: at the very end; `recipes/report.py` wraps it with files, the demo calls it in its own process. What a model wrote can
hold any text, `</script>` included. Three walls keep it from being anything but text: data lie in `application/json` blocks with
`<`, `>` and `&` escaped; `browser.js` puts them on the page as text nodes only; and the page's content security policy runs no script
but the ones whose hashes it names, and loads nothing from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..evaluation import check_results
from ..store import atomic_write
from . import figures, tables
from .browser import BrowserData, pack
from .curves import RunCurves, read_run
from .figures import Figure

OPEN_CHARTS = 9  # learning curves that are open from the start; the others are folded


def write_report(
    out: Path,
    *,
    title: str,
    results: Sequence[Mapping[str, Any]] = (),
    runs: Sequence[RunCurves | Path] = (),
    browser: BrowserData | None = None,
) -> None:
    """Write the page.

    Args:
        out: the HTML file; written in one atomic step.
        title: heading of the page.
        results: records of `evaluation.evaluate`, shown side by side under their names.
        runs: run folders, or curves that were read already; each gives learning curves.
        browser: programs to look at.

    Raises:
        UsageError: there is nothing to show.
        DataError: a run folder or a results record is not what it should be.
        CoderlError: the file cannot be written.
    """
    named = _named([check_results(dict(result)) for result in results])
    curves = [curve for run in runs for curve in ([run] if isinstance(run, RunCurves) else read_run(run))]
    if not named and not curves and browser is None:
        raise UsageError("there is nothing to report; give results, run folders, or programs with their problems")
    charts: list[Figure] = []
    sections = {
        "results": _results(named, charts) if named else "",
        "curves": _curves(curves, charts) if curves else "",
        "programs": "",
    }
    data: dict[str, Any] = {}
    if browser is not None:
        packed = pack(browser)
        data = packed.data
        sections["programs"] = tables.critic_table(browser.scores) + _browser_markup(packed.shown, packed.total)
    atomic_write(out, _assemble(title, sections, charts, data))


def _named(results: Sequence[dict[str, Any]]) -> dict[str, Mapping[str, Any]]:
    named: dict[str, Mapping[str, Any]] = {}
    for number, result in enumerate(results, 1):
        name = wanted = str(result.get("name") or f"run {number}")
        copy = 1
        while name in named:
            copy += 1
            name = f"{wanted} ({copy})"
        named[name] = result
    return named


def _results(results: Mapping[str, Mapping[str, Any]], charts: list[Figure]) -> str:
    ks = [int(k) for result in results.values() for k in result["all"]["pass@k"]]
    drawn = [figures.pass_at_k_by_group(results, str(min(ks)))] if ks else []
    drawn += [figures.pass_at_k_curves(results), figures.outcome_bars(results)]
    origins = tables.origins(results)
    return (
        tables.results_tables(results)
        + _grid(drawn, charts)
        + (f"<h3>Paired differences</h3>{tables.difference_tables(results)}" if len(results) > 1 else "")
        + f"<details><summary>Outcomes in numbers</summary>{tables.outcome_table(results)}</details>"
        + (f"<h3>Where the numbers come from</h3>{origins}" if origins else "")
    )


def _curves(runs: Sequence[RunCurves], charts: list[Figure]) -> str:
    learning, outcomes = figures.learning_curves(runs), figures.outcome_areas(runs)
    if not learning and not outcomes:
        return '<p class="note">The runs have logged nothing that can be drawn.</p>'
    parts = [
        '<fieldset class="choice" id="axis"><legend>x axis</legend>'
        '<label><input type="radio" name="axis" value="step" checked> steps</label> '
        '<label><input type="radio" name="axis" value="cpu_seconds"> CPU seconds</label></fieldset>',
        _grid(learning[:OPEN_CHARTS], charts),
    ]
    if learning[OPEN_CHARTS:]:
        rest = _grid(learning[OPEN_CHARTS:], charts)
        parts.append(f"<details><summary>{len(learning) - OPEN_CHARTS} more curves</summary>{rest}</details>")
    if outcomes:
        parts.append(f"<h3>Outcomes over training</h3>{_grid(outcomes, charts)}")
    return "".join(parts)


def _grid(drawn: Iterable[Figure], charts: list[Figure]) -> str:
    """Places for the figures, which are added to `charts`; a place knows its figure by number."""
    parts = []
    for figure in drawn:
        parts.append(f'<figure><figcaption>{tables.text(figure.title)}</figcaption><div class="chart" data-chart="{len(charts)}"></div></figure>')
        charts.append(figure)
    return f'<div class="grid">{"".join(parts)}</div>'


def _browser_markup(shown: int, total: int) -> str:
    left_out = f"{shown} of {total} programs are here; {total - shown} were left out, evenly over outcome and difficulty, to keep the page light."
    note = left_out if shown < total else f"All {total} programs are here."
    return f'<p class="note">{note}</p>{_asset("browser.html")}'


def _assemble(title: str, sections: Mapping[str, str], charts: Sequence[Figure], programs: Mapping[str, Any]) -> str:
    from plotly.offline import get_plotlyjs

    scripts = []
    if charts:
        scripts += [get_plotlyjs(), _asset("charts.js")]
    if programs:
        scripts.append(_asset("browser.js"))
    headings = {"results": "Results", "curves": "Learning curves", "programs": "Programs"}
    present = [name for name, content in sections.items() if content]
    parts = {
        "policy": _policy(scripts),
        "title": tables.text(title),
        "style": _asset("style.css"),
        "made": f"{time.strftime('%Y-%m-%d %H:%M')}, coderl {__version__}",
        "menu": " ".join(f'<a href="#{name}">{headings[name]}</a>' for name in present),
        "sections": "".join(f'<section id="{name}"><h2>{headings[name]}</h2>{sections[name]}</section>' for name in present),
        "charts": embed([chart.to_json() for chart in charts]),
        "programs": embed(programs),
        "scripts": "".join(f"<script>{script}</script>" for script in scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _asset("template.html"))  # one pass: what is put in is not read again


def embed(data: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    content = json.dumps(data, allow_nan=False, separators=(",", ":"))  # ASCII only, so lone surrogates and U+2028 are escaped too
    return content.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _policy(scripts: Sequence[str]) -> str:
    """A content security policy: these scripts and no others, no requests at all."""
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
