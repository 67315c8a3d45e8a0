"""Samples and verdicts as one table, a row for each program, for data tools that read parquet; and a model card from a run's manifest.

Columns are flat and of one type, so that a reader needs nothing of coderl's: what a record holds beside them (`extra`) is not exported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CoderlError, DataError, UsageError
from .records import Problem, Program, Verdict
from .store import write_failure

if TYPE_CHECKING:
    import pyarrow

COLUMNS: dict[str, str] = {
    "problem": "string",
    "index": "int64",
    "origin": "string",
    "model": "string",
    "seed": "int64",
    "parent": "int64",
    "code": "string",
    "logprob": "double",
    "tokens": "int64",
    "difficulty": "string",
    "source": "string",
    "kind": "string",
    "outcome": "string",
    "error_type": "string",
    "error_message": "string",
    "error_line": "int64",
    "passed": "int64",
    "total": "int64",
    "cpu_seconds": "double",
    "tier": "string",
    "trust": "string",
    "comparator": "string",
    "harness_error": "string",
    "tests": "string",
}
"""Name and type; `tests` is the JSON of the verdict's results, `passed` to `tests` are null where a program has no verdict."""
ROWS = 4096
"""Rows that are held, and written, at a time."""
_OF_PROGRAM = ("problem", "index", "origin", "model", "seed", "parent", "code", "logprob", "tokens")
_OF_PROBLEM = ("difficulty", "source", "kind")
_OF_VERDICT = (
    "outcome",
    "error_type",
    "error_message",
    "error_line",
    "passed",
    "total",
    "cpu_seconds",
    "tier",
    "trust",
    "comparator",
    "harness_error",
)


def rows(programs: Iterable[Program], verdicts: Mapping[tuple[str, int], Verdict], problems: Mapping[str, Problem]) -> Iterator[dict[str, Any]]:
    """A row for each program, with what its verdict and its problem say where they are given."""
    for program in programs:
        row: dict[str, Any] = {name: getattr(program, name) for name in _OF_PROGRAM}
        problem, verdict = problems.get(program.problem), verdicts.get((program.problem, program.index))
        row |= {name: getattr(problem, name) if problem else None for name in _OF_PROBLEM}
        row |= {name: getattr(verdict, name) if verdict else None for name in _OF_VERDICT}
        row["outcome"] = str(verdict.outcome) if verdict and verdict.outcome else None
        row["tests"] = json.dumps([test.to_json() for test in verdict.tests]) if verdict else None
        yield row


def write_parquet(path: Path, found: Iterable[Mapping[str, Any]], facts: Mapping[str, str]) -> int:
    """Write rows as they come, compressed; returns how many. `facts` go into the file's metadata.

    Raises:
        UsageError: pyarrow is not installed.
        CoderlError: the file cannot be written; one that was there is untouched.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError("parquet needs pyarrow, which is not installed; `pip install coderl[parquet]`") from None
    schema = pyarrow.schema([(name, getattr(pyarrow, {"double": "float64"}.get(kind, kind))()) for name, kind in COLUMNS.items()])
    schema = schema.with_metadata({name: value.encode() for name, value in facts.items()})
    target, count = path.with_name(f".{path.name}.tmp"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with parquet.ParquetWriter(target, schema, compression="zstd") as file:
            for part in _parts(found):
                file.write_batch(_batch(part, schema))
                count += len(part)
        target.replace(path)
    except OSError as error:  # pyarrow's own have sentences of its own for the reason
        plain = OSError(error.errno, os.strerror(error.errno)) if error.errno else error
        raise CoderlError(write_failure(path, plain)) from None
    finally:
        with suppress(OSError):  # the first error is the one to report
            target.unlink(missing_ok=True)
    return count


def _parts(found: Iterable[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    part: list[Mapping[str, Any]] = []
    for row in found:
        part.append(row)
        if len(part) == ROWS:
            yield part
            part = []
    if part:
        yield part


def _batch(part: Sequence[Mapping[str, Any]], schema: pyarrow.Schema) -> pyarrow.RecordBatch:
    import pyarrow

    columns = {name: [_text(row[name]) for row in part] for name in COLUMNS}
    return pyarrow.RecordBatch.from_pydict(columns, schema=schema)


def _text(value: Any) -> Any:
    """Text that parquet can hold: half characters (lone surrogates), which generated programs may have, as they are escaped in Python."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def model_card(name: str, manifests: Sequence[tuple[str, Mapping[str, Any]]], results: Sequence[Mapping[str, Any]]) -> str:
    """A README.md for a model folder: what made the model, from its manifests, and what was measured.

    Args:
        name: of the model.
        manifests: name of each stage's folder and its manifest.json, oldest first; names may repeat (every round's actor is `tuned`).
        results: results.json records (`coderl evaluate`).

    Raises:
        DataError: a manifest has no command.
    """
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags: [code, reinforcement-learning, coderl]", "---", ""]
    lines += [
        f"# {name}",
        "",
        "A code model trained with [coderl](https://arxiv.org/abs/2207.01780). Everything below is from the files of its runs.",
        "",
    ]
    for folder, manifest in manifests:
        lines += _section(folder, manifest)
    if results:
        lines += ["## Measured", "", "Percent of problems solved, with 95 % intervals over problems.", ""]
        lines += [line for record in results for line in _measured(record)]
    lines += [
        "## What is not said here",
        "",
        "Interval and seed are of one training run. Programs that the model writes are untrusted code: run them in a sandbox.",
    ]
    return "\n".join(lines) + "\n"


def _section(folder: str, manifest: Mapping[str, Any]) -> list[str]:
    if not isinstance(manifest.get("command"), list):
        raise DataError(f"the manifest of {folder} has no command; give run folders that a stage has written")
    versions = ", ".join(f"{name} {version}" for name, version in manifest.get("versions", {}).items() if version)
    lines = [f"## Run `{folder}`", "", "```", _command(manifest["command"]), "```", ""]
    lines += [f"- code: commit {manifest.get('commit') or 'unknown'}, Python {manifest.get('python', 'unknown')}, {versions}"]
    lines += [f"- started {manifest.get('started', 'unknown')} on {manifest.get('machine', {}).get('system', 'an unknown system')}"]
    lines += [f"- read `{Path(path).name}`, SHA-256 {digest[:16]}..." for path, digest in manifest.get("inputs", {}).items()]
    settings = {key: value for key, value in manifest.get("config", {}).items() if value is not None and not isinstance(value, str | list)}
    return [*lines, "- settings: " + ", ".join(f"{key} {value}" for key, value in settings.items()), ""]


def _command(words: Sequence[str]) -> str:
    """The command without the place of the program, which is of a machine."""
    return " ".join(["coderl", *map(str, words[1:])])


def _measured(record: Mapping[str, Any]) -> list[str]:
    groups = {"all": record["all"], **record["by_difficulty"]}
    names = list(record["all"]["pass@k"])
    lines = [f"### {record.get('name') or 'results'}: {record['problems']} problems, {record['samples']} samples", ""]
    lines += ["| | problems | " + " | ".join(f"pass@{k}" for k in names) + " |", "|---" * (2 + len(names)) + "|"]
    for group, found in groups.items():
        cells = (found["pass@k"][k] for k in names)
        values = (f"{100 * c['value']:.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}]" for c in cells)
        lines.append(f"| {group} | {found['problems']} | " + " | ".join(values) + " |")
    return [*lines, ""]
