"""The data files of the released CodeRL, which lie in the folder of each APPS problem, read and written.

    gen_solutions.json                 [{"code", "result", "error_type"}]       sampled programs with their outcomes
    baseline_solutions.json            [{"code", "result"}]                     the greedy program, one entry
    gen_solutions_critic_scores.pkl    {"code", "prompt", "gt_error_type", "pred_error_type", "error_hidden_states"}
    solutions.json                     [program, ...]                           references (problems/apps.py reads them)

`result` is -2 compile error, -1 runtime error, false failed test, true passed. The scores hold n rows of `PROGRAM` token ids (-100 behind the
end), n rows of `PROMPT` ids (the end token behind the end), and what the critic's head says at every position, (n, PROGRAM, 4), before the
token there is read. Not here: tokenizers and critics (released_scores.py), folders (recipes/released.py).
"""

from __future__ import annotations

import json
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import CoderlError, DataError
from ..records import Outcome, Program, Verdict, code_digest
from ..store import atomic_write, write_failure
from .pickles import read_pickle
from .reading import field, optional, read_json

SAMPLES, BASELINE, SCORES = "gen_solutions.json", "baseline_solutions.json", "gen_solutions_critic_scores.pkl"
PROMPT, PROGRAM = 600, 512
RESULTS: dict[Outcome, int | bool] = {
    Outcome.COMPILE_ERROR: -2,
    Outcome.RUNTIME_ERROR: -1,
    Outcome.FAILED_TEST: False,
    Outcome.PASSED_TEST: True,
}
WORDS = {Outcome.FAILED_TEST: "failed unit tests", Outcome.PASSED_TEST: "passed unit tests"}


class Judged(NamedTuple):
    """A program and its verdict, as a data file has them."""

    program: Program
    verdict: Verdict


class Scores(NamedTuple):
    """What a critic said of the n sampled programs of one problem.

    Fields:
        programs: (n, PROGRAM) int64 token ids, -100 behind the end. prompts: (n, PROMPT) int64.
        outcomes, predicted: (n,) int64, 0 to 3.
        logits: (n, PROGRAM, 4) float32.
    """

    programs: NDArray[np.int64]
    prompts: NDArray[np.int64]
    outcomes: NDArray[np.int64]
    predicted: NDArray[np.int64]
    logits: NDArray[np.float32]


def read_judged(path: Path, problem: str, origin: str) -> list[Judged]:
    """The programs of `gen_solutions.json` or `baseline_solutions.json` with verdicts that say what the file says, and no more.

    Args:
        problem: its id. origin: "sample" or "greedy".

    Raises:
        DataError: not such a file; names it and the entry.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise DataError(f"is {entries!r:.60}; it must be a list of objects with code and result", path)
    found = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"entry {index} is {entry!r:.60}; it must be an object with code and result", path)
        program = Program(problem, field(entry, "code", str, path), index, origin, model="released")
        outcome = _outcome(entry, index, path)
        words = optional(entry, "error_type", "", path)
        verdict = Verdict(
            problem=problem,
            index=index,
            outcome=outcome,
            error_type=None if words in WORDS.values() else words or None,
            trust="released",
            comparator="apps",
            extra={"code_digest": code_digest(program)},
        )
        found.append(Judged(program, verdict))
    return found


def _outcome(entry: dict[str, Any], index: int, path: Path) -> Outcome:
    result = entry.get("result")
    for outcome, number in RESULTS.items():
        if type(result) is type(number) and result == number:
            return outcome
    raise DataError(f"entry {index} has the result {result!r:.60}; it must be -2, -1, false or true", path)


def write_judged(path: Path, judged: list[Judged], baseline: bool) -> None:
    """Write programs in the released form; `baseline` leaves out the words of the outcome, as their file does.

    Raises:
        DataError: a program has no outcome (harness error).
    """
    rows = []
    for program, verdict in judged:
        if verdict.outcome is None:
            raise DataError(f"program {program.index} of {program.problem!r} has no outcome ({verdict.harness_error}); grade it again")
        words = WORDS.get(verdict.outcome) or (verdict.error_type or str(verdict.outcome)).lower()
        rows.append({"code": program.code, "result": RESULTS[verdict.outcome], **({} if baseline else {"error_type": words})})
    atomic_write(path, json.dumps(rows) + "\n")


def read_scores(path: Path) -> Scores:
    """A critic's scores; the file is read without running what is in it (pickles.py).

    Raises:
        DataError: not such a file, or its parts do not fit together.
    """
    data = read_pickle(path)
    if not isinstance(data, dict):
        raise DataError(f"is a {type(data).__name__}; it must be a dictionary with code, prompt and error_hidden_states", path)
    programs, prompts, outcomes, predicted = (_array(data, name, np.int64, path) for name in ("code", "prompt", "gt_error_type", "pred_error_type"))
    logits = _array(data, "error_hidden_states", np.float32, path)
    n = len(programs)
    shapes = {"prompt": len(prompts), "gt_error_type": len(outcomes), "pred_error_type": len(predicted), "error_hidden_states": len(logits)}
    for name, size in shapes.items():
        if size != n:
            raise DataError(f"has {n} programs and {size} rows of {name}; there must be as many of both", path)
    if programs.ndim != 2 or logits.shape != (*programs.shape, 4):
        raise DataError(f"has programs of shape {programs.shape} and scores of shape {logits.shape}; scores must be (programs, tokens, 4)", path)
    if n and not (int(outcomes.min()) >= 0 and int(outcomes.max()) <= 3):
        raise DataError(f"has outcomes from {outcomes.min()} to {outcomes.max()}; they must be 0 to 3", path)
    return Scores(programs, prompts, outcomes.reshape(-1), predicted.reshape(-1), logits)


def _array(data: dict[str, Any], name: str, kind: type, path: Path) -> NDArray[Any]:
    if name not in data:
        raise DataError(f"lacks the field {name!r}; it has {sorted(map(str, data))}", path)
    try:
        return np.asarray(data[name]).astype(kind)
    except (TypeError, ValueError):
        raise DataError(f"field {name!r} is no array of numbers with rows of one length", path) from None


def write_scores(path: Path, scores: Scores) -> None:
    """Write scores in the released form: lists of ids, arrays of float32.

    Raises:
        CoderlError: the file cannot be written.
    """
    data = {
        "code": scores.programs.tolist(),
        "prompt": scores.prompts.tolist(),
        "gt_error_type": scores.outcomes.tolist(),
        "pred_error_type": scores.predicted,
        "error_hidden_states": scores.logits,
    }
    partial = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(pickle.dumps(data, protocol=4))
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise CoderlError(write_failure(path, error)) from None
