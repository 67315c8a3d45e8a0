"""Every error that coderl raises on purpose.

    CoderlError            a stage failed: exit code 1, one sentence, no traceback unless --debug
    ├── DataError          a file holds something that cannot be read; names file and line
    ├── ProblemError       a problem cannot be judged (no tests, no entry point)
    ├── ModelError         a model directory or tokenizer cannot be used
    ├── SandboxError       the judge cannot run programs safely here
    └── UsageError         the command line or a config file is wrong: exit code 2

A message says what is wrong, the value seen, what is accepted and what to do next. Failures of a *program under test* are never
exceptions: they are verdicts (`records.Verdict`). Programming errors propagate.
"""

from __future__ import annotations

from pathlib import Path


class CoderlError(Exception):
    """A stage failed for a reason that one sentence explains."""


class DataError(CoderlError):
    """A file holds something that cannot be read; the message starts with `path:line:` where a line is known."""

    def __init__(self, message: str, path: str | Path | None = None, line: int | None = None) -> None:
        where = "" if path is None else f"{path}: " if line is None else f"{path}:{line}: "
        super().__init__(where + message)
        self.path = path
        self.line = line


class ProblemError(CoderlError):
    """A problem cannot be judged: it has no tests, or no entry point, or names a comparator that does not exist."""


class ModelError(CoderlError):
    """A model directory, a head or a tokenizer cannot be used."""


class SandboxError(CoderlError):
    """The judge cannot run programs safely on this machine."""


class UsageError(CoderlError):
    """The command line or a config file is wrong; exit code 2."""
