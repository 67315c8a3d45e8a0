"""Report: one HTML page with results side by side, learning curves, and the programs with their verdicts and token values.

Reads what the other stages wrote and writes one file that opens without network. What the page holds is in `report/page.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..records import Problem, Program, TokenScores, Verdict
from ..store import read_records

if TYPE_CHECKING:
    from ..report.browser import BrowserData


@dataclass(frozen=True)
class Config:
    """Make one HTML page of results, learning curves and programs."""

    out: Path
    """HTML file to write"""
    results: tuple[Path, ...] = ()
    """results.json files (`coderl evaluate`), shown side by side in this order"""
    runs: tuple[Path, ...] = ()
    """run folders with a metrics.jsonl, or a folder of such folders: learning curves"""
    problems: Path | None = None
    """problems of the programs (JSON Lines); needed with --programs"""
    programs: Path | None = None
    """programs to look at (JSON Lines)"""
    verdicts: Path | None = None
    """verdicts of these programs (`coderl grade`)"""
    scores: Path | None = None
    """token values of these programs (`coderl score`)"""
    tree: str | None = None
    """instead: the page of one problem's search, by its id; --programs and --verdicts: programs.jsonl and examples.jsonl of critic-sample"""
    limit: int = 2000
    """programs on the page at most; more are thinned out evenly over outcome and difficulty"""
    title: str = "coderl report"
    """heading of the page"""


def main(config: Config) -> None:
    from ..evaluation import read_results
    from ..report.page import write_report

    if config.tree is not None:
        _write_tree(config, config.tree)
        return
    results = [read_results(path) for path in config.results]
    write_report(config.out, title=config.title, results=results, runs=config.runs, browser=_browser(config))
    print(f"wrote {config.out} ({config.out.stat().st_size / 1e6:.1f} MB); it opens in any browser, without network")


def _write_tree(config: Config, name: str) -> None:
    from ..report.search_tree import tree_page
    from ..store import atomic_write

    if config.problems is None or config.programs is None:
        raise UsageError("--tree needs --problems and --programs; give the problems file and programs.jsonl of critic-sample")
    known = {p.id: p for p in read_records(config.problems, Problem)}
    if name not in known:
        raise UsageError(f"--tree is {name!r}, which is not among the {len(known)} problems of {config.problems} (such as {next(iter(known))!r})")
    examples = [] if config.verdicts is None else read_records(config.verdicts, Verdict)
    atomic_write(config.out, tree_page(known[name], read_records(config.programs, Program), examples))
    print(f"wrote {config.out}; it opens in any browser, without network")


def _browser(config: Config) -> BrowserData | None:
    from ..report.browser import BrowserData

    if config.programs is None:
        for name, path in (("--verdicts", config.verdicts), ("--scores", config.scores)):
            if path is not None:
                raise UsageError(f"{name} is given without --programs; give the programs that {path} is about")
        return None
    if config.problems is None:
        raise UsageError("--programs is given without --problems; give the problems file that the programs were written for")
    return BrowserData(
        problems=read_records(config.problems, Problem),
        programs=read_records(config.programs, Program),
        verdicts=() if config.verdicts is None else read_records(config.verdicts, Verdict),
        scores=() if config.scores is None else read_records(config.scores, TokenScores),
        limit=config.limit,
    )
