"""The tree of one search as an HTML page of its own: samples, which of them passed, seeds with their token scores as a heat-map, what they became.

Reads records of `critic-sample` (programs.jsonl, examples.jsonl). No script and no request: programs are hostile text, and everything is escaped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import Problem, Program, Verdict
from .tables import text

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}pre{white-space:pre-wrap;margin:.3em 0;padding:.5em;"
    "border:1px solid #8884;border-radius:4px}ul{list-style:none;border-left:2px solid #8886;padding-left:1em;margin-left:.4em}"
    ".yes{color:#1a7f37}.no{color:#b42318}.note{opacity:.75}span.t{color:#111}span.cut{border-right:3px solid #111}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def tree_page(problem: Problem, programs: Sequence[Program], examples: Sequence[Verdict]) -> str:
    """The page. `programs` and `examples` are those of this problem; a program stands below its parent, in the order of indices."""
    verdicts = {v.index: v for v in examples if v.problem == problem.id}
    below: dict[int | None, list[Program]] = defaultdict(list)
    for program in sorted((p for p in programs if p.problem == problem.id), key=lambda p: p.index):
        below[program.parent].append(program)
    count, passing = sum(map(len, below.values())), sum(v.is_pass for v in verdicts.values())
    note = (
        f"{count} programs, {passing} pass the example tests. Token colours: the critic's chance of passing after the token, red 0 to green 1; "
        "the bar is where a seed ends."
    )
    head = f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{text(problem.id)}</title>'
    body = f'<h1>{text(problem.id)}</h1><pre>{text(problem.statement)}</pre><p class="note">{note}</p>{_branch(below, None, verdicts)}'
    return f'<!DOCTYPE html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def _branch(below: Mapping[int | None, Sequence[Program]], parent: int | None, verdicts: Mapping[int, Verdict]) -> str:
    if not below.get(parent):
        return ""
    return "<ul>" + "".join(f"<li>{_node(p, verdicts.get(p.index))}{_branch(below, p.index, verdicts)}</li>" for p in below[parent]) + "</ul>"


def _node(program: Program, verdict: Verdict | None) -> str:
    if verdict is None:
        word = "not tested"
    else:
        why = "" if verdict.is_pass else f" ({text(verdict.error_type or verdict.outcome)})"
        word = f'<b class="{"yes" if verdict.is_pass else "no"}">{"passes" if verdict.is_pass else "fails"}</b>{why}'
    extra: Mapping[str, Any] = program.extra
    given = f", {extra['given']} tokens given" if extra.get("given") else ""
    told = f"#{program.index} {text(program.origin)}, round {text(extra.get('round', '?'))}{given}, score {text(extra.get('score', '-'))}: {word}"
    return f"<div>{told}</div><pre>{_coloured(program)}</pre>"


def _coloured(program: Program) -> str:
    """The program; one that was refined token by token, coloured by score."""
    texts, scores = program.extra.get("token_texts"), program.extra.get("passed")
    if not texts or not scores:
        return text(program.code)
    seed = program.extra.get("seed_tokens", 0)
    parts = []
    for number, (piece, score) in enumerate(zip(texts, scores), start=1):
        style = f"background:hsl({120 * min(max(float(score), 0.0), 1.0):.0f} 70% 75%)"
        parts.append(f'<span class="t{" cut" if number == seed else ""}" style="{style}" title="{float(score):.2f}">{text(piece)}</span>')
    return "".join(parts)
