"""Print the prompt that the actor reads for a problem and, with a tokenizer, how many tokens it has and what would be cut.

Writes nothing. Look here first when a model does badly on long statements.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError, UsageError
from ..prompts import prompt
from ..records import Problem
from ..store import read_records

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Config:
    """Print the prompt of one problem; with a tokenizer also its length in tokens and what is cut."""

    problems: Path
    """problems file (JSON Lines)"""
    id: str | None = None
    """id of the problem; without it, the first of the file"""
    tokenizer: Path | None = None
    """model folder or tokenizer folder to count tokens with"""
    max_source_tokens: int = 600
    """tokens of a prompt that the model reads; longer ones lose their middle (CodeRL: 600)"""


def main(config: Config) -> None:
    if config.max_source_tokens < 1:
        raise UsageError(f"--max-source-tokens is {config.max_source_tokens}; it must be 1 or more")
    problem = _find(read_records(config.problems, Problem), config)
    shown, more = (prompt(problem), "") if config.tokenizer is None else _read(problem, config.tokenizer, config.max_source_tokens)
    print(shown, end="" if shown.endswith("\n") else "\n")
    if more:
        print(f"--\n{more}")


def _find(problems: Sequence[Problem], config: Config) -> Problem:
    if config.id is None:
        return problems[0]
    for problem in problems:
        if problem.id == config.id:
            return problem
    close = difflib.get_close_matches(config.id, [p.id for p in problems], n=3) or [p.id for p in problems[:3]]
    raise DataError(f"has no problem {config.id!r} among its {len(problems)}; for example it has {', '.join(close)}", config.problems)


def _read(problem: Problem, directory: Path, limit: int) -> tuple[str, str]:
    """The prompt as this tokenizer's model is asked, in its template and with a chat template around it where that is so; and what `_length`
    says of it."""
    from ..chat import around, is_chat, request
    from ..prompts import template_of
    from ..tokens import load_tokenizer

    tokenizer = load_tokenizer(directory)
    text = prompt(problem, template_of(tokenizer))
    front, back = around(tokenizer) if is_chat(tokenizer) else ("", "")
    return (front + request(text) + back if front + back else text), _length(text, tokenizer, limit)


def _length(text: str, tokenizer: PreTrainedTokenizerBase, limit: int) -> str:
    """One or two sentences: tokens of the prompt, and the stretch that `encode_prompt` takes out."""
    from ..tokens import decode, encode_prompt

    whole, _ = encode_prompt(tokenizer, text, limit=len(text.encode("utf-8")) + 1)
    kept, cut = encode_prompt(tokenizer, text, limit)
    if not cut:
        return f"{len(whole)} tokens; the model reads {limit}: nothing is cut"
    start = next((i for i, (a, b) in enumerate(zip(whole, kept)) if a != b), len(kept))
    gone = decode(tokenizer, whole[start : start + len(whole) - len(kept)])
    return (
        f"{len(whole)} tokens; the model reads {limit}: {len(whole) - len(kept)} tokens are cut, from {_short(gone, True)} to {_short(gone, False)}"
    )


def _short(text: str, beginning: bool, width: int = 40) -> str:
    return repr(text[:width] if beginning else text[-width:])
