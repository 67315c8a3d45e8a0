"""The actor of the best look at the validation problems, kept while the last one goes on learning. Not a stage.

It lies in RUN/best as a checkpoint does (run_directory.RunDirectory), one at a time: a kill leaves the one before or the new one, whole. A run
that resumes goes on with it, also when its look came after the checkpoint that is resumed from: it was measured, and it is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..run_directory import RunDirectory

FOLDER = "best"


class Kept(NamedTuple):
    """The best look so far: its step, its greedy pass rate, and the folder with the actor."""

    step: int
    greedy: float
    folder: Path


def keeping(look: Callable[[int], Mapping[str, float]], run: RunDirectory, save: Callable[[Path], None]) -> Callable[[int], Mapping[str, float]]:
    """`look`, which also saves the actor when none before solved more; of equals the last one stays.

    Args:
        save: writes the actor as it is now into a folder that is there.
    """
    from ..run_directory import RunDirectory
    from ..store import atomic_write

    best = RunDirectory(run / FOLDER)

    def evaluate(step: int) -> Mapping[str, float]:
        found = look(step)
        greedy, known = float(found["validation/greedy"]), kept(run)

        def write(folder: Path) -> None:
            save(folder)
            atomic_write(folder / "look.json", json.dumps({"step": step, "greedy": greedy}) + "\n")

        if greedy == greedy and (known is None or greedy >= known.greedy):  # NaN: no program could be judged
            best.write_checkpoint(step, write)
        return found

    return evaluate


def kept(run: RunDirectory) -> Kept | None:
    """What RUN/best holds; None where there is nothing whole."""
    from ..run_directory import RunDirectory

    folder = RunDirectory(run / FOLDER).newest_checkpoint() if (run / FOLDER).is_dir() else None
    if folder is None:
        return None
    look = json.loads((folder / "look.json").read_text(encoding="utf-8"))
    return Kept(look["step"], look["greedy"], folder)


def copy_to(folder: Path, best: Kept) -> None:
    """Everything of the kept actor into `folder`, as it was saved."""
    shutil.copytree(best.folder, folder, ignore=shutil.ignore_patterns("look.json", "complete"), dirs_exist_ok=True)


def forget(run: RunDirectory) -> None:
    """Remove RUN/best."""
    shutil.rmtree(run / FOLDER, ignore_errors=True)
