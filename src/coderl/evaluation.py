"""From verdicts to numbers: pass@k, n@k, greedy pass@1, outcome shares, intervals, and the paired comparison of two runs.

Where it sits: after `grading`, before `report`; `recipes/evaluate.py` wraps it with files. The rules:
- A harness error is no sample: it is counted apart and is never a pass. A problem whose verdicts are all harness errors has no
  samples, and asking pass@1 of it is an error, not a zero.
- Every problem must have verdicts, or the call fails and says how many lack them (`allow_missing` leaves them out and says so).
- Intervals are 95 % percentile bootstrap intervals over problems (2000 resamples, seeded): how much the number would move with
  other problems of the same kind and other samples. They do not cover another training run, and they shrink to nothing when
  every problem scores the same (all solved, none solved), which is then no certainty.
Not here: running tests, drawing samples, figures. The formulas are in `formulas/passk.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import DataError, UsageError
from .formulas.passk import n_at_k, pass_at_k
from .records import DIFFICULTIES, OUTCOMES, Problem, Verdict

FORMAT = "coderl-results/1"
RESAMPLES = 2000
LEVEL = 0.95
Floats = NDArray[np.float64]
_ByIndex = dict[int, Verdict]


class Tally(NamedTuple):
    """What the verdicts say of one problem; samples with a harness error are in `harness_errors` only.

    Fields:
        n, c: samples, correct samples.
        outcomes: samples by outcome.
        m, mc, e, h: for n@k, the samples that also have a verdict on the example tests; of these the correct ones, those that
            pass the example tests (all, where the problem has none), and those that do both.
        greedy: True, False, or None where there is no greedy verdict; greedy_error: the one there is, is a harness error.
    """

    problem: str
    difficulty: str
    has_examples: bool
    n: int
    c: int
    harness_errors: int
    outcomes: Counter[str]
    m: int
    mc: int
    e: int
    h: int
    greedy: bool | None
    greedy_error: bool


class Asked(NamedTuple):
    """What is to be estimated: pass@k for each of `ks`, n@pool for each of `submissions`, with intervals by `seed`."""

    ks: tuple[int, ...]
    submissions: tuple[int, ...]
    pool: int
    greedy: bool
    seed: int


class Comparison(NamedTuple):
    """Two runs on the same problems. `difference`: mean over problems of pass@k of the first minus that of the second, with its
    paired 95 % interval `low`..`high`; `better`, `worse`, `same`: problems on which the first scores so."""

    k: int
    problems: int
    first: float
    second: float
    difference: float
    low: float
    high: float
    better: int
    worse: int
    same: int


def evaluate(
    problems: Sequence[Problem],
    verdicts: Iterable[Verdict],
    ks: Sequence[int],
    example_verdicts: Iterable[Verdict] | None = None,
    greedy: Iterable[Verdict] | None = None,
    seed: int = 0,
    *,
    name: str = "",
    pool: int | None = None,
    allow_missing: bool = False,
    manifest: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The results record, ready for `json.dumps`; its fields are listed in docs/evaluation.md.

    Args:
        problems: what was to be solved; ids are unique.
        verdicts: on the hidden tests, one per (problem, index).
        ks: the k of pass@k; those that are at most `pool` are also the n of n@k.
        example_verdicts: on the example tests of the same samples; gives n@k. A problem without example tests has no filter:
            all its samples survive, and no verdict is needed.
        greedy: verdict of one greedily decoded program per problem; gives greedy pass@1.
        seed: of the bootstrap.
        pool: the k of n@k; None = the smallest number of samples that a problem has.
        allow_missing: leave problems without a verdict out instead of failing; `missing_problems` says how many.
        manifest: who made this (`run_directory.manifest`).

    Raises:
        DataError: verdicts are missing, doubled, or of unknown problems.
        UsageError: no k, or a k that is larger than the number of samples of some problem.
    """
    known = _unique(problems)
    hidden = _by_problem(verdicts, known, "verdicts")
    missing = _refuse_missing(hidden, known, "verdicts", allow_missing)
    examples = None if example_verdicts is None else _by_problem(example_verdicts, known, "example verdicts")
    greedy_of = None if greedy is None else _by_problem(greedy, known, "greedy verdicts")
    if greedy_of is not None:
        _refuse_missing(greedy_of, known, "greedy verdicts", allow_missing)
    tallies = [_tally(problem, hidden[id_], examples, greedy_of) for id_, problem in known.items() if id_ in hidden]
    if examples is not None and not any(tally.has_examples for tally in tallies):
        raise DataError("example verdicts were given, but no problem has example tests: n@k would be pass@n; leave them out")
    asked = _asked(ks, pool, tallies, examples is not None, greedy is not None, seed)
    groups: dict[str, list[Tally]] = defaultdict(list)
    for tally in tallies:
        groups[tally.difficulty].append(tally)
    return {
        "format": FORMAT,
        "name": name,
        "problems": len(tallies),
        "missing_problems": missing,
        "samples": sum(t.n for t in tallies),
        "samples_per_problem": {"min": min(t.n for t in tallies), "max": max(t.n for t in tallies)},
        "harness_errors": sum(t.harness_errors for t in tallies),
        "interval": {"method": "percentile bootstrap over problems", "level": LEVEL, "resamples": RESAMPLES, "seed": seed},
        "all": _summary(tallies, asked),
        "by_difficulty": {difficulty: _summary(groups[difficulty], asked) for difficulty in sorted(groups, key=_difficulty_order)},
        "per_problem": {t.problem: _problem_record(t, asked) for t in tallies},
        "problems_digest": _digest(known[t.problem] for t in tallies),
        "manifest": dict(manifest or {}),
    }


def compare(a: Mapping[str, Any], b: Mapping[str, Any], k: int, seed: int) -> Comparison:
    """Paired comparison of two results records on the same problems: pass@k of `a` minus pass@k of `b`.

    Problems are the unit: the difference is taken per problem, and the interval is a bootstrap over problems of its mean. So what
    makes a problem hard cancels, and far smaller differences can be told apart than by two separate intervals.

    Raises:
        DataError: the two do not hold the same problems.
        UsageError: a problem has fewer than k samples in one of them.
    """
    first, second = a["per_problem"], b["per_problem"]
    only_first, only_second = [p for p in first if p not in second], [p for p in second if p not in first]
    names = [str(x.get("name") or fallback) for x, fallback in ((a, "the first"), (b, "the second"))]
    if only_first or only_second:
        example = (only_first or only_second)[0]
        raise DataError(
            f"cannot compare {names[0]!r} with {names[1]!r}: {len(only_first)} problems are only in the first and {len(only_second)} only in "
            f"the second (such as {example!r}); evaluate both on the same problems"
        )
    if a.get("problems_digest") and b.get("problems_digest") and a["problems_digest"] != b["problems_digest"]:
        raise DataError(
            f"cannot compare {names[0]!r} with {names[1]!r}: the problems have the same ids but other statements or tests; "
            "grade and evaluate both with the same problems file"
        )
    scores = [_pass_per_problem(x, list(first), k, name) for x, name in ((first, names[0]), (second, names[1]))]
    difference = scores[0] - scores[1]
    low, high = bootstrap_interval(difference, seed)
    signs = np.sign(np.where(np.abs(difference) < 1e-12, 0.0, difference))
    counts = [int((signs == sign).sum()) for sign in (1, -1, 0)]
    return Comparison(k, len(difference), float(scores[0].mean()), float(scores[1].mean()), float(difference.mean()), low, high, *counts)


def bootstrap_interval(values: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values`, shape (P,): quantiles 0.025 and 0.975 of the means of 2000
    resamples of P values with repetition. Source: Efron and Tibshirani 1993, chapter 13. Equal sizes and seeds draw equal resamples."""
    rng = np.random.default_rng(seed)
    size, chunk = len(values), 100  # chunks keep thousands of problems in a few MB
    means = [values[rng.integers(0, size, (chunk, size))].mean(axis=1) for _ in range(RESAMPLES // chunk)]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def read_results(path: str | Path) -> dict[str, Any]:
    """A results.json that `evaluate` wrote.

    Raises:
        DataError: no such file, no JSON, or some other JSON.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no such file; write it with `coderl evaluate ... --out results.json`", path) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror}); a results.json is needed", path) from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise DataError(f"not a results.json: not JSON ({type(error).__name__}); write it with `coderl evaluate`", path) from None
    return check_results(data, path)


def check_results(data: Any, path: str | Path | None = None) -> dict[str, Any]:
    """The record itself when it looks like what `evaluate` returns; DataError says what is missing."""
    wanted = {"problems": int, "samples": int, "harness_errors": int, "all": dict, "by_difficulty": dict, "per_problem": dict}
    if not isinstance(data, dict):
        raise DataError(f"not a results.json: it holds a {type(data).__name__}, not an object; write it with `coderl evaluate`", path)
    for key, kind in wanted.items():
        if not isinstance(data.get(key), kind):
            raise DataError(f"not a results.json: the field {key!r} is missing or no {kind.__name__}; write it with `coderl evaluate`", path)
    for group in (data["all"], *data["by_difficulty"].values()):
        if not isinstance(group, dict) or not isinstance(group.get("pass@k"), dict):
            raise DataError("not a results.json: a group lacks its 'pass@k'; write it with `coderl evaluate`", path)
    return data


def _unique(problems: Sequence[Problem]) -> dict[str, Problem]:
    known: dict[str, Problem] = {}
    for problem in problems:
        if problem.id in known:
            raise DataError(f"problem {problem.id!r} comes twice in the problems; ids must be unique")
        known[problem.id] = problem
    if not known:
        raise DataError("there are no problems to evaluate; give a problems file with at least one")
    return known


def _by_problem(verdicts: Iterable[Verdict], known: Collection[str], what: str) -> dict[str, _ByIndex]:
    found: dict[str, _ByIndex] = defaultdict(dict)
    for verdict in verdicts:
        if verdict.problem not in known:
            raise DataError(
                f"the {what} name the problem {verdict.problem!r}, which is not among the {len(known)} problems; use the file that was graded"
            )
        if verdict.index in found[verdict.problem]:
            raise DataError(f"the {what} hold two verdicts on {verdict.problem!r} #{verdict.index}; one per problem and index is needed")
        found[verdict.problem][verdict.index] = verdict
    return dict(found)


def _refuse_missing(found: Collection[str], known: Collection[str], what: str, allowed: bool) -> int:
    missing = [id_ for id_ in known if id_ not in found]
    if len(missing) == len(known):
        raise DataError(f"none of the {len(known)} problems has {what}; grade programs first")
    if missing and not allowed:
        raise DataError(
            f"{len(missing)} of {len(known)} problems have no {what} (first: {missing[0]!r}); finish `coderl grade`, "
            "or leave them out with --allow-missing"
        )
    return len(missing)


def _tally(problem: Problem, hidden: _ByIndex, examples: dict[str, _ByIndex] | None, greedy: dict[str, _ByIndex] | None) -> Tally:
    samples = {index: verdict for index, verdict in hidden.items() if verdict.outcome is not None}
    survives = _survivors(problem, samples, examples)
    greedy_verdicts = list((greedy or {}).get(problem.id, {}).values())
    if len(greedy_verdicts) > 1:
        raise DataError(f"problem {problem.id!r} has {len(greedy_verdicts)} greedy verdicts; one greedily decoded program per problem is needed")
    decided = [verdict.is_pass for verdict in greedy_verdicts if verdict.outcome is not None]
    return Tally(
        problem=problem.id,
        difficulty=problem.difficulty or "unknown",
        has_examples=bool(problem.examples),
        n=len(samples),
        c=sum(v.is_pass for v in samples.values()),
        harness_errors=len(hidden) - len(samples),
        outcomes=Counter(str(v.outcome) for v in samples.values()),
        m=len(survives),
        mc=sum(samples[index].is_pass for index in survives),
        e=sum(survives.values()),
        h=sum(alive and samples[index].is_pass for index, alive in survives.items()),
        greedy=decided[0] if decided else None,
        greedy_error=len(decided) < len(greedy_verdicts),
    )


def _survivors(problem: Problem, samples: _ByIndex, examples: dict[str, _ByIndex] | None) -> dict[int, bool]:
    """Which samples pass the example tests; those whose example verdict is a harness error are left out."""
    if examples is None:
        return {}
    if not problem.examples:
        return dict.fromkeys(samples, True)
    found = examples.get(problem.id, {})
    lacking = [index for index in samples if index not in found]
    if lacking:
        raise DataError(
            f"{len(lacking)} of {len(samples)} samples of problem {problem.id!r} have no verdict on the example tests (first: #{lacking[0]}); "
            "grade the same programs with `--tests example`"
        )
    return {index: found[index].is_pass for index in samples if found[index].outcome is not None}


def _asked(ks: Sequence[int], pool: int | None, tallies: Sequence[Tally], filtered: bool, greedy: bool, seed: int) -> Asked:
    if not ks or min(ks) < 1:
        raise UsageError(f"--k is {list(ks)}; give one or more whole numbers from 1 up")
    ks = tuple(sorted(set(ks)))
    fewest = min(tallies, key=lambda tally: tally.n)
    if ks[-1] > fewest.n:
        apart = f" besides {fewest.harness_errors} harness errors" if fewest.harness_errors else ""
        remedy = f"draw more samples, or ask for k <= {fewest.n}" if fewest.n else "grade it again"
        raise UsageError(f"pass@{ks[-1]} needs {ks[-1]} samples of every problem, but {fewest.problem!r} has {fewest.n}{apart}; {remedy}")
    if not filtered:
        return Asked(ks, (), 0, greedy, seed)
    smallest = min(tallies, key=lambda tally: tally.m)
    pool = smallest.m if pool is None else pool
    if not 1 <= pool <= smallest.m:
        raise UsageError(
            f"n@{pool} needs {max(pool, 1)} samples with a verdict on the example tests of every problem; "
            f"{smallest.problem!r} has {smallest.m}; choose a pool from 1 to that number"
        )
    return Asked(ks, tuple(k for k in ks if k <= pool), pool, greedy, seed)


def _summary(tallies: Sequence[Tally], asked: Asked) -> dict[str, Any]:
    n, c, m, mc, e, h = (np.array([getattr(t, field) for t in tallies]) for field in ("n", "c", "m", "mc", "e", "h"))
    samples = int(n.sum())
    result: dict[str, Any] = {
        "problems": len(tallies),
        "samples": samples,
        "harness_errors": sum(t.harness_errors for t in tallies),
        "pass@k": {str(k): _estimate(pass_at_k(n, c, k), asked.seed) for k in asked.ks},
        "outcomes": {str(o): sum(t.outcomes[str(o)] for t in tallies) / samples for o in OUTCOMES},
    }
    if asked.submissions:
        both = {f"{s}@{asked.pool}": n_at_k(m, e, mc, h, n=s, k=asked.pool) for s in asked.submissions}
        result["n@k"] = {key: {**_estimate(x.strict, asked.seed), "fallback": _estimate(x.fallback, asked.seed)} for key, x in both.items()}
        result["without_examples"] = sum(not t.has_examples for t in tallies)
        result["example_harness_errors"] = int((n - m).sum())
    if asked.greedy:
        solved = np.array([t.greedy for t in tallies if t.greedy is not None], dtype=np.float64)
        counts = {"problems": len(solved), "harness_errors": sum(t.greedy_error for t in tallies)}
        result["greedy"] = {**(_estimate(solved, asked.seed) if len(solved) else {"value": None, "low": None, "high": None}), **counts}
    return result


def _estimate(per_problem: Floats, seed: int) -> dict[str, float]:
    low, high = bootstrap_interval(per_problem, seed)
    return {"value": float(per_problem.mean()), "low": low, "high": high}


def _problem_record(tally: Tally, asked: Asked) -> dict[str, Any]:
    record: dict[str, Any] = {"n": tally.n, "c": tally.c, "difficulty": tally.difficulty}
    if asked.submissions:
        record["examples"] = {"n": tally.m, "c": tally.mc, "e": tally.e, "h": tally.h}
    return {**record, "greedy": tally.greedy} if asked.greedy else record


def _pass_per_problem(per_problem: Mapping[str, Any], order: Sequence[str], k: int, name: str) -> Floats:
    try:
        n, c = (np.array([per_problem[problem][key] for problem in order], dtype=np.int64) for key in ("n", "c"))
    except (KeyError, TypeError, ValueError):
        raise DataError(f"the results of {name!r} lack the counts 'n' and 'c' of some problem; write them with `coderl evaluate`") from None
    if len(n) == 0:
        raise DataError(f"the results of {name!r} hold no problems; there is nothing to compare")
    if k > n.min():
        raise UsageError(f"pass@{k} of {name!r} cannot be compared: problem {order[int(n.argmin())]!r} has {n.min()} samples; ask for k <= {n.min()}")
    return pass_at_k(n, c, k)


def _difficulty_order(difficulty: str) -> tuple[int, str]:
    return (DIFFICULTIES.index(difficulty) if difficulty in DIFFICULTIES else len(DIFFICULTIES), difficulty)


def _digest(problems: Iterable[Problem]) -> str:
    """SHA-256 over what decides a verdict, so that equal ids with other tests are noticed; the order of problems does not matter."""
    lines = []
    for problem in problems:
        data = problem.to_json()
        kept = {key: data[key] for key in ("id", "statement", "kind", "tests", "entry_point", "setup", "comparator")}
        kept |= {"checker": data["checker"]} if "checker" in data else {}
        lines.append(json.dumps(kept, sort_keys=True, default=str))
    return hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogatepass")).hexdigest()
