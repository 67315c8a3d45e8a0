"""Runs the commands of a recipe's dry run, one after the other in one process, so that torch is imported once.

    python runs/dry_run.py COMMANDS        a command a line: `coderl STAGE ...`, `python runs/pick.py ...`, `tiny-codet5 FOLDER TOKENIZER`

Called by recipe.sh. The tiny model has CodeT5's shape (T5 without gates, 32,100 rows, its tokenizer) and random weights.
"""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

from coderl import cli


def tiny_codet5(folder: Path, tokenizer: Path) -> None:
    """A CodeT5 of 0.5 million parameters: one layer of width 16. `tokenizer`: a folder somewhere below which its vocabulary lies."""
    from coderl.models.actor import Actor, save_actor, small_t5
    from coderl.tokens import load_tokenizer

    found = sorted(tokenizer.rglob("*vocab.json"))
    if not found:
        sys.exit(f"dry_run.py: {tokenizer} has no vocabulary of CodeT5 (*vocab.json) in it")
    model = small_t5(32_100, seed=0, width=16, layers=1, heads=2, feed_forward=32, dropout=0.1)
    save_actor(Actor(model, load_tokenizer(found[0].parent)), folder)


def run(words: Sequence[str]) -> None:
    """One command; ends the process where it fails."""
    print(f"+ {shlex.join(words)}", flush=True)
    if words[0] == "tiny-codet5":
        tiny_codet5(Path(words[1]), Path(words[2]))
    elif words[0] == "coderl":
        if code := cli.main(words[1:]):
            sys.exit(f"dry_run.py: exit code {code} of: {shlex.join(words)}")
    else:
        with patch.object(sys, "argv", list(words[1:])):
            runpy.run_path(words[1], run_name="__main__")


def main(words: Sequence[str]) -> None:
    if len(words) != 1:
        sys.exit("usage: python runs/dry_run.py COMMANDS")
    for line in Path(words[0]).read_text(encoding="utf-8").splitlines():
        run(shlex.split(line))


if __name__ == "__main__":
    main(sys.argv[1:])
