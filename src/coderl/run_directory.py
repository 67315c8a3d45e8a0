"""Run directories: the folder of a stage's run, with its manifest, its metrics, its checkpoints and the marker of a complete run.

A stage whose marker is present has finished; a checkpoint whose marker is missing does not count. Records are in `store`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import CoderlError
from .store import atomic_write, decode_line, dump_line, write_failure


def file_hash(path: str | Path) -> str:
    """SHA-256 of a file, hex."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def git_commit() -> str | None:
    """The commit of the source tree that runs, or None outside a checkout; "+" is added when the tree has changes."""
    here = Path(__file__).resolve().parent
    try:
        commit = subprocess.run(["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10)
        if commit.returncode != 0:
            return None
        status = subprocess.run(["git", "-C", str(here), "status", "--porcelain", "-uno"], capture_output=True, text=True, timeout=10)
        return commit.stdout.strip() + ("+" if status.stdout.strip() else "")
    except (OSError, subprocess.TimeoutExpired):
        return None


def manifest(config: Any, inputs: Iterable[str | Path] = ()) -> dict[str, Any]:
    """Who made this: command, config, versions, commit, machine, and the hashes of the files that were read.

    `config` is a dataclass instance (its fields are stored, seeds included) or a plain dict.
    """
    values = config if isinstance(config, dict) else dataclasses.asdict(config)
    versions: dict[str, str | None] = {}
    for name in ("coderl", "torch", "transformers", "accelerate", "tokenizers", "numpy"):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "command": sys.argv,
        "config": _settings(values),
        "python": platform.python_version(),
        "versions": versions,
        "commit": git_commit(),
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "inputs": {str(path): file_hash(path) for path in inputs if Path(path).is_file()},
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _settings(values: dict[str, Any]) -> Any:
    """As JSON; options that a config keeps in a part of its own (`recipes.training.Training`) beside its others, as the command line takes them."""
    parts = [value for value in values.values() if isinstance(value, dict)]
    flat = {name: value for name, value in values.items() if not isinstance(value, dict)} | {k: v for part in parts for k, v in part.items()}
    return json.loads(json.dumps(flat, default=str))


ANY_WAY = ("threads", "allow_unsandboxed", "checkpoint_every", "gradient_checkpointing", "rounds")
"""Settings that a run may go on with in another way: they do not move its results."""


class RunDirectory:
    """A folder for one stage's run: `manifest.json`, `metrics.jsonl`, the stage's outputs, and a marker once it is complete."""

    MARKER = "COMPLETE"
    WHOLE = "complete"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CoderlError(write_failure(self.path, error)) from None

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def complete(self) -> bool:
        return (self.path / self.MARKER).exists()

    def settings(self) -> dict[str, Any]:
        """The options that the run was made with, by its manifest."""
        path = self.path / "manifest.json"
        return json.loads(path.read_text(encoding="utf-8")).get("config", {}) if path.exists() else {}

    def is_done(self, config: Any) -> bool:
        """Is there nothing left to do for these settings (a dataclass instance)? Paths may be spelled otherwise; the number of processes may differ.

        Raises:
            CoderlError: the complete run was made with another value of a setting that both have; its results are not what is asked for.
        """
        made, asked = self.settings() if self.complete else {}, _settings(dataclasses.asdict(config))
        for key in sorted((set(made) & set(asked)).difference(ANY_WAY, ("out", "accumulate"))):
            old, new = made[key], asked[key]
            if Path(str(old)).resolve() != Path(str(new)).resolve():  # what is no path is compared as one all the same
                ways = "choose another --out, or remove the folder"
                raise CoderlError(f"{self.path} holds a complete run whose {key} was {old}, now it is {new}; {ways}")
        return self.complete

    def start(self, data: dict[str, Any], begun: bool = False) -> None:
        """Write the manifest and take the marker away: from here on the run is unfinished.

        Args:
            begun: there is work of this run to go on with; a checkpoint says so by itself.

        Raises:
            CoderlError: what would be gone on with has other settings or inputs; it would be continued under a false name.
        """
        if begun or self.newest_checkpoint() is not None:
            self._refuse_another_run(data)
        (self.path / self.MARKER).unlink(missing_ok=True)
        atomic_write(self.path / "manifest.json", json.dumps(data, indent=2) + "\n")

    def _refuse_another_run(self, data: dict[str, Any]) -> None:
        path = self.path / "manifest.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else data
        for part in ("config", "inputs"):
            old, new = before.get(part, {}), data.get(part, {})
            for key in sorted(set(old) | set(new)):
                if key not in ANY_WAY and old.get(key) != new.get(key):
                    raise CoderlError(
                        f"{self.path} holds an unfinished run whose {key} was {old.get(key)}, now it is {new.get(key)}; "
                        "go on with the old settings, remove the folder, or choose another --out"
                    )

    def newest_checkpoint(self) -> Path | None:
        """The folder `checkpoint-NNNNNN` of the highest number that is complete; one whose writing was interrupted does not count."""
        return max((folder for folder in self._checkpoints() if (folder / self.WHOLE).exists()), default=None, key=_number)

    def write_checkpoint(self, number: int, write: Callable[[Path], None]) -> None:
        """Let `write` fill a new folder `checkpoint-NNNNNN`, mark it complete once all of it is on the disk, and remove the others.

        Raises:
            CoderlError: it cannot be written; the checkpoint before is untouched.
        """
        folder = self.path / f"checkpoint-{number:06d}"
        try:
            _remove(folder, self.WHOLE)
            folder.mkdir()
            write(folder)
            for file in folder.rglob("*"):
                _to_disk(file)
            _to_disk(folder)
        except OSError as error:
            raise CoderlError(write_failure(folder, error)) from None
        atomic_write(folder / self.WHOLE, f"{number}\n")
        self.remove_checkpoints(keep=folder)

    def remove_checkpoints(self, keep: Path | None = None) -> None:
        """Remove all checkpoints, whole or not, but `keep`."""
        for folder in self._checkpoints():
            if folder != keep:
                _remove(folder, self.WHOLE)

    def _checkpoints(self) -> list[Path]:
        return [path for path in self.path.glob("checkpoint-*") if path.is_dir() and path.name.removeprefix("checkpoint-").isdecimal()]

    def log(self, **values: Any) -> None:
        """Append one line to `metrics.jsonl`."""
        try:
            with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as stream:
                stream.write(dump_line(values))
        except OSError as error:
            raise CoderlError(write_failure(self.path / "metrics.jsonl", error)) from None

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines of `metrics.jsonl`, oldest first."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]  # a torn last line has no newline
        return [decode_line(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]

    def keep_metrics(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Leave only the wanted lines in `metrics.jsonl`: a run that resumes drops what lies behind its checkpoint."""
        lines = self.metrics()
        kept = [line for line in lines if wanted(line)]
        if len(kept) < len(lines):
            atomic_write(self.path / "metrics.jsonl", map(dump_line, kept))

    def finish(self) -> None:
        """Put the marker: everything that this run writes is there."""
        atomic_write(self.path / self.MARKER, time.strftime("%Y-%m-%dT%H:%M:%S%z") + "\n")


def _number(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def _remove(folder: Path, marker: str) -> None:
    """A folder and what is in it; the marker goes first, so that what a kill leaves of it is not taken for whole."""
    (folder / marker).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
