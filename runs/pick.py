"""Small work on files of problems and programs between the stages of a recipe: take some lines, deal them out, put references among programs.

python runs/pick.py first K FILE                    keep the first K problems
python runs/pick.py hold-out EVERY FILE REST TAKEN  every EVERY-th problem to TAKEN, the others to REST
python runs/pick.py mbpp-test FILE OUT              MBPP's test split, 500 problems
python runs/pick.py with-examples PROBLEMS PROGRAMS OUT   the programs of problems that have example tests
python runs/pick.py deal N FILE FOLDER              FOLDER/problems-0.jsonl ... -(N-1).jsonl, in turns
python runs/pick.py references PROBLEMS PROGRAMS    append two reference solutions of each problem to its programs (dry runs)
python runs/pick.py corpus PROBLEMS OUT             the reference solutions as rows of code with a licence (dry runs)
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from coderl.records import Problem, Program
from coderl.store import atomic_write, iterate_records, read_records, write_records


def first(count: str, path: str) -> None:
    write_records(Path(path), read_records(Path(path), Problem)[: int(count)])


def hold_out(every: str, path: str, rest: str, taken: str) -> None:
    problems, step = read_records(Path(path), Problem), int(every)
    write_records(Path(rest), [p for i, p in enumerate(problems, start=1) if i % step])
    write_records(Path(taken), problems[step - 1 :: step])


def mbpp_test(path: str, out: str) -> None:
    write_records(Path(out), [p for p in read_records(Path(path), Problem) if p.extra.get("split") == "test"])


def with_examples(problems: str, programs: str, out: str) -> None:
    shown = {p.id for p in read_records(Path(problems), Problem) if p.examples}
    write_records(Path(out), (p for p in iterate_records(Path(programs), Program) if p.problem in shown))


def deal(count: str, path: str, folder: str) -> None:
    problems, hands = read_records(Path(path), Problem), int(count)
    for hand in range(hands):
        write_records(Path(folder) / f"problems-{hand}.jsonl", problems[hand::hands])


def references(problems: str, programs: str, most: int = 2) -> None:
    drawn = [p for p in read_records(Path(programs), Program) if p.origin != "reference"]
    count = Counter(p.problem for p in drawn)
    known = [
        Program(problem.id, code, count[problem.id] + i, origin="reference")
        for problem in read_records(Path(problems), Problem)
        for i, code in enumerate(sorted(problem.solutions, key=len)[:most])
    ]
    write_records(Path(programs), drawn + known)


def corpus(problems: str, out: str) -> None:
    rows = [{"content": code, "license": "mit", "language": "Python"} for p in read_records(Path(problems), Problem) for code in p.solutions]
    atomic_write(Path(out), (json.dumps(row) + "\n" for row in rows))


WORK: dict[str, Callable[..., None]] = {
    "first": first,
    "hold-out": hold_out,
    "mbpp-test": mbpp_test,
    "with-examples": with_examples,
    "deal": deal,
    "references": references,
    "corpus": corpus,
}


def main(words: Sequence[str]) -> None:
    if not words or words[0] not in WORK:
        sys.exit(f"pick.py: {' '.join(words[:1]) or 'nothing'} is no work; there is {', '.join(WORK)}")
    WORK[words[0]](*words[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
