"""The records that travel between stages: problem, program, verdict, token scores.

Each is a frozen dataclass that reads and writes one JSON object (one line of a `.jsonl` file). Fields that are not known are kept
in `extra` and written back, so files of other tools pass through unharmed. A missing or ill-typed field raises `DataError`; who
reads a file (`store.read_records`) adds its path and line. Nothing here knows about models, judges or files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from typing import Any, ClassVar, Self

from .errors import DataError


class Outcome(StrEnum):
    """What unit tests say of a program: the four outcomes of CodeRL section 3.2, equations (4) to (7).

    `label` is the class number that critics are trained on; it equals the label of the released code
    (0 compile error, 1 runtime error, 2 failed test, 3 passed test).
    """

    COMPILE_ERROR = "compile_error"
    RUNTIME_ERROR = "runtime_error"
    FAILED_TEST = "failed_test"
    PASSED_TEST = "passed_test"

    @property
    def label(self) -> int:
        return OUTCOMES.index(self)


OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
KINDS = ("stdin", "call", "assert")
ORIGINS = ("sample", "greedy", "reference", "refine", "repair")
DIFFICULTIES = ("introductory", "interview", "competition")


def _describe(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _typed(record: str, name: str, value: object, kinds: tuple[type, ...], words: str) -> None:
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise DataError(f"{record} field {name!r} is {_describe(value)}; it must be {words}")


_Types = Mapping[str, tuple[tuple[type, ...], str]]


class Record:
    """Shared reading and writing. Subclasses are frozen dataclasses with an `extra` mapping as their last field."""

    _types: ClassVar[_Types] = {}
    _identity: ClassVar[tuple[str, ...]] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        """What must be unique in a file, e.g. (problem, index); () where nothing needs to be, as for programs that have no index."""
        values = tuple(getattr(self, name) for name in self._identity)
        return () if -1 in values else values

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Build the record from a decoded JSON object.

        Raises:
            DataError: not an object, a required field is missing, or a field has the wrong type or value.
        """
        name = cls.__name__.lower()
        if not isinstance(data, dict):
            raise DataError(f"a {name} must be a JSON object, found {_describe(data)}")
        data = cls._adapt(data)
        known = [f for f in fields(cls) if f.name != "extra"]  # type: ignore[arg-type]
        missing = [f.name for f in known if f.default is MISSING and f.default_factory is MISSING and f.name not in data]
        if missing:
            raise DataError(f"{name} lacks the required field {missing[0]!r}; it has {sorted(map(str, data))}")
        for key, (kinds, words) in cls._types.items():
            if key in data:
                _typed(name, key, data[key], kinds, words)
        names = {f.name for f in known}
        values = {key: cls._read(key, value) for key, value in data.items() if key in names}
        values["extra"] = {key: value for key, value in data.items() if key not in names}
        return cls(**values)

    @classmethod
    def _adapt(cls, data: dict[str, Any]) -> dict[str, Any]:
        return data

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return value

    def to_json(self) -> dict[str, Any]:
        """The JSON object: fields in order, nested records as objects, unknown fields last."""
        result = {f.name: _write(getattr(self, f.name)) for f in fields(self) if f.name != "extra"}  # type: ignore[arg-type]
        return {**result, **self.extra}  # type: ignore[attr-defined]


def _write(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_json()
    if isinstance(value, tuple):
        return [_write(v) for v in value]
    return value


_TEXT = ((str,), "a string")
_OPTIONAL_TEXT = ((str, type(None)), "a string or null")
_WHOLE = ((int,), "a whole number")
_OPTIONAL_WHOLE = ((int, type(None)), "a whole number or null")
_NUMBER = ((int, float), "a number")
_LIST = ((list, tuple), "a list")


@dataclass(frozen=True)
class Test(Record):
    """One unit test. call: `input` = list of positional arguments, `output` = return value; stdin: both text; assert: `code`."""

    __test__ = False  # not a pytest class

    input: Any = None
    output: Any = None
    code: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    _types: ClassVar[_Types] = {"code": _OPTIONAL_TEXT}

    def to_json(self) -> dict[str, Any]:
        return {"code": self.code, **self.extra} if self.code is not None else {"input": self.input, "output": self.output, **self.extra}


@dataclass(frozen=True)
class Problem(Record):
    """A programming problem. `tests` are hidden; `examples` are the tests that the statement shows.

    Fields:
        id: unique, e.g. "apps/train/0001".
        kind: "stdin" (text in, text out), "call" (`entry_point` is called), "assert" (test code calls the program).
        setup: code that runs before assert tests.
        limits: optional {"cpu_seconds": s, "memory_mib": MiB}; what is absent comes from the judge's own limits.
        comparator: "strict" or "apps" (see sandbox/comparators.py), or "checker": then `extra` has a field `checker`, the source of a
            function `check(input, expected, got)` that gives True for a right answer (kinds stdin and call).
    """

    id: str
    statement: str
    kind: str
    tests: tuple[Test, ...] = ()
    examples: tuple[Test, ...] = ()
    solutions: tuple[str, ...] = ()
    entry_point: str | None = None
    starter_code: str = ""
    setup: str = ""
    difficulty: str = ""
    source: str = ""
    limits: dict[str, float] | None = None
    comparator: str = "strict"
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("id",)
    _types: ClassVar[_Types] = {
        "id": _TEXT,
        "statement": _TEXT,
        "kind": _TEXT,
        "tests": _LIST,
        "examples": _LIST,
        "solutions": _LIST,
        "entry_point": _OPTIONAL_TEXT,
        "starter_code": _TEXT,
        "setup": _TEXT,
        "difficulty": _TEXT,
        "source": _TEXT,
        "limits": ((dict, type(None)), "an object or null"),
        "comparator": _TEXT,
    }

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "kind" and value not in KINDS:
            raise DataError(f"problem field 'kind' is {_describe(value)}; it must be one of {', '.join(KINDS)}")
        if name in ("tests", "examples"):
            return tuple(Test.from_json(v) for v in value)
        if name == "limits":
            for key, number in (value or {}).items():
                _typed("problem", f"limits.{key}", number, (int, float), "a number more than 0")
                if not 0 < number < 1e9:
                    raise DataError(f"problem field 'limits.{key}' is {number}; it must be a number more than 0 and less than 1e9")
        if name == "solutions":
            for solution in value:
                _typed("problem", "solutions", solution, (str,), "a list of strings")
            return tuple(value)
        return value


@dataclass(frozen=True)
class Program(Record):
    """A program written for a problem. Also read from `{"task_id", "completion"}` and `{"task_id", "solution"}` lines.

    A `completion` continues the problem's prompt (HumanEval); `completion` is then True in `extra`, and who judges puts the
    problem's `starter_code` in front (`program_text`). `index` -1 = not given: the reader numbers it within its problem.
    """

    problem: str
    code: str
    index: int = -1
    origin: str = "sample"
    seed: int | None = None
    parent: int | None = None
    model: str = ""
    logprob: float | None = None
    tokens: int | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("problem", "index")
    _types: ClassVar[_Types] = {
        "problem": _TEXT,
        "code": _TEXT,
        "index": _WHOLE,
        "origin": _TEXT,
        "seed": _OPTIONAL_WHOLE,
        "parent": _OPTIONAL_WHOLE,
        "model": _TEXT,
        "logprob": ((int, float, type(None)), "a number or null"),
        "tokens": _OPTIONAL_WHOLE,
    }

    @classmethod
    def _adapt(cls, data: dict[str, Any]) -> dict[str, Any]:
        if "task_id" not in data or "problem" in data:
            return data
        rest = {key: value for key, value in data.items() if key not in ("task_id", "completion", "solution")}
        if "solution" in data:
            return {"problem": data["task_id"], "code": data["solution"], **rest}
        if "completion" in data:
            return {"problem": data["task_id"], "code": data["completion"], "completion": True, **rest}
        return data

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "origin" and value not in ORIGINS:
            raise DataError(f"program field 'origin' is {_describe(value)}; it must be one of {', '.join(ORIGINS)}")
        return value


def program_text(problem: Problem, program: Program) -> str:
    """The whole source text to run: a HumanEval `completion` is put behind the problem's prompt (`starter_code`)."""
    return problem.starter_code + program.code if program.extra.get("completion") is True else program.code


def answer_text(program: Program) -> str:
    """All that a model wrote: the program, or the answer that it was found in (`text`: chat models; chat.py)."""
    text = program.extra.get("text")
    return text if isinstance(text, str) else program.code


def code_digest(program: Program) -> str:
    """16 hex digits of the program's text: a verdict keeps them as `code_digest`, so that it is never read as another program's."""
    return hashlib.blake2b(program.code.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


@dataclass(frozen=True)
class TestResult(Record):
    """What happened in one test. `cpu_seconds` is the program's own CPU time in it."""

    __test__ = False  # not a pytest class

    outcome: Outcome
    error_type: str | None = None
    cpu_seconds: float = 0.0
    extra: dict[str, Any] = field(default_factory=dict)

    _types: ClassVar[_Types] = {"outcome": _TEXT, "error_type": _OPTIONAL_TEXT, "cpu_seconds": _NUMBER}

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        return _outcome(value) if name == "outcome" else value


@dataclass(frozen=True)
class Verdict(Record):
    """The judge's word on one program.

    `outcome` is None exactly when `harness_error` says why no verdict could be had: such a program is counted apart and is never
    a pass. `passed` of `total` tests passed, as far as they were run (`tests`). `tier` is the isolation it ran under; `trust` is
    "parent" when the parent decided from data alone, "checker" when code of the problem's did, from data, in a process of its own,
    "child" when the program could have touched what decided, "released" when a file of the released CodeRL says so and nothing was run.
    In `extra`: `run_again` (a borderline time-out got its second run), `cpu_limit` (a calibrated one, seconds).
    """

    problem: str
    index: int
    outcome: Outcome | None
    error_type: str | None = None
    error_message: str | None = None
    error_line: int | None = None
    tests: tuple[TestResult, ...] = ()
    passed: int = 0
    total: int = 0
    cpu_seconds: float = 0.0
    tier: str = ""
    trust: str = "parent"
    comparator: str = "strict"
    harness_error: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("problem", "index")
    _types: ClassVar[_Types] = {
        "problem": _TEXT,
        "index": _WHOLE,
        "outcome": _OPTIONAL_TEXT,
        "error_type": _OPTIONAL_TEXT,
        "error_message": _OPTIONAL_TEXT,
        "error_line": _OPTIONAL_WHOLE,
        "tests": _LIST,
        "passed": _WHOLE,
        "total": _WHOLE,
        "cpu_seconds": _NUMBER,
        "tier": _TEXT,
        "trust": _TEXT,
        "comparator": _TEXT,
        "harness_error": _OPTIONAL_TEXT,
    }

    def __post_init__(self) -> None:
        if (self.outcome is None) != (self.harness_error is not None):
            raise DataError(
                f"verdict of {self.problem} #{self.index} has outcome {self.outcome} and harness_error {self.harness_error!r}; "
                "exactly one of them must be null"
            )

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name == "outcome":
            return None if value is None else _outcome(value)
        return tuple(TestResult.from_json(v) for v in value) if name == "tests" else value

    @property
    def is_pass(self) -> bool:
        return self.outcome is Outcome.PASSED_TEST


@dataclass(frozen=True)
class TokenScores(Record):
    """A critic's reading of one program, token by token (T tokens).

    Fields:
        tokens: the program's tokens as text, length T; joined they are the program.
        values: q̂(w_t), the critic's probability of the outcome that the tests gave, after reading w_t; length T (CodeRL eq. 10).
        passed: p(passed test | w_1..w_t), length T.
        predicted: the outcome the critic holds for most likely, over the whole program.
        outcome: what the tests said.
    """

    problem: str
    index: int
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    passed: tuple[float, ...]
    predicted: Outcome
    outcome: Outcome
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("problem", "index")
    _types: ClassVar[_Types] = {
        "problem": _TEXT,
        "index": _WHOLE,
        "tokens": _LIST,
        "values": _LIST,
        "passed": _LIST,
        "predicted": _TEXT,
        "outcome": _TEXT,
    }

    @classmethod
    def _read(cls, name: str, value: Any) -> Any:
        if name in ("predicted", "outcome"):
            return _outcome(value)
        return tuple(value) if name in ("tokens", "values", "passed") else value


def _outcome(value: Any) -> Outcome:
    try:
        return Outcome(value)
    except ValueError:
        raise DataError(f"outcome is {_describe(value)}; it must be one of {', '.join(OUTCOMES)}") from None
