"""Example tests: ours, read from statements, beside the released ones; and what is wrong with the released 5,000.

    python bench/example_tests.py DATA [--judge]        DATA: folder with apps/ and apps_test_example_tests/

Prints the tables of docs/data.md. An example is right when a reference that passes the hidden tests passes it too: `--judge` runs them.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from coderl.problems import apps
from coderl.records import Problem, Program, Test
from coderl.sandbox import Judge, Limits

DEFECTS: dict[str, str] = {
    "explanation, note or next example in an output": r"(?i)\b(explanation|note|example)\b",
    "call-form arguments as one text": r"^\s*[A-Za-z_]\w*\s*=\s*\S",
    "the word example or sample in an input": r"(?i)\b(example|sample)\b",
}


def words(tests: Sequence[Test]) -> list[tuple[list[str], list[str]]]:
    """Inputs and outputs without their white space, which no comparator of APPS looks at."""
    return [(str(test.input).split(), str(test.output).split()) for test in tests]


def agreement(ours: Sequence[Problem], theirs: dict[str, Problem]) -> dict[str, Counter[str]]:
    """By kind: how many problems have the same examples on both sides, on one only, or different ones."""
    found: dict[str, Counter[str]] = {}
    for problem in ours:
        other = theirs[problem.id]
        count = found.setdefault(problem.kind, Counter())
        count["problems"] += 1
        count["ours"] += bool(problem.examples)
        count["released"] += bool(other.examples)
        if problem.examples and other.examples:
            count["same" if words(problem.examples) == words(other.examples) else "different"] += 1
    return found


def right(judge: Judge, problems: Sequence[Problem]) -> dict[str, Counter[str]]:
    """By kind: of the problems with examples and a passing reference, how many have a reference that passes all of the examples."""
    found: dict[str, Counter[str]] = {}
    known = {p.id: p for p in problems if p.examples and p.solutions}
    passing = {v.problem: v.index for v in judge.grade_many(references(known.values())) if v.is_pass}
    asked = [(replace(p, tests=p.examples), Program(p.id, p.solutions[passing[p.id]], 0, "reference")) for p in known.values() if p.id in passing]
    for verdict in judge.grade_many(asked):
        count = found.setdefault(known[verdict.problem].kind, Counter())
        count["judged"] += 1
        count["right"] += verdict.is_pass
        if not verdict.is_pass:
            print(f"  {verdict.problem}: {verdict.outcome} ({verdict.error_message})")
    return found


def references(problems: Iterable[Problem]) -> list[tuple[Problem, Program]]:
    """The first two references of each problem, which is enough to find one that passes."""
    return [(p, Program(p.id, code, i, "reference")) for p in problems for i, code in enumerate(p.solutions[:2])]


def defects(given: apps.Given) -> Counter[str]:
    """What a look at the texts alone shows of the released examples: problems, by defect."""
    count = Counter({"all": len(given), "without examples": sum(not pairs for pairs in given.values())})
    for pairs in given.values():
        outputs, inputs = "\n".join(o for _, o in pairs or ()), [i for i, _ in pairs or ()]
        texts = {
            "explanation, note or next example in an output": [outputs],
            "call-form arguments as one text": inputs,
            "the word example or sample in an input": inputs,
        }
        for name, pattern in DEFECTS.items():
            count[name] += any(re.search(pattern, text) for text in texts[name])
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--judge", action="store_true", help="run references on the examples")
    options = parser.parse_args()
    folder = options.data / "apps"
    given = {p.id: p for p in apps.load(folder / "train", folder / "train_example_tests.json")}
    numbers = set(apps.read_examples(folder / "train_example_tests.json"))
    ours = [p for p in apps.load(folder / "train") if p.id.split("/")[-1] in numbers]
    print("| kind | problems | with examples: ours | released | the same | different |\n|---|---|---|---|---|---|")
    for kind, c in agreement(ours, given).items():
        print(f"| {kind} | {c['problems']} | {c['ours']} | {c['released']} | {c['same']} | {c['different']} |")
    print("\n| released, test split | problems |\n|---|---|")
    for name, number in defects(apps.read_examples(options.data / "apps_test_example_tests" / "apps_test_example_tests.jsonl.gz")).items():
        print(f"| {name} | {number} |")
    if options.judge:
        with Judge(workers=1, limits=Limits(cpu_seconds=20)) as judge:
            for name, problems in (("ours", ours), ("released", [given[p.id] for p in ours])):
                for kind, c in right(judge, problems).items():
                    print(f"| {name} | {kind} | {c['judged']} | {c['right']} |")


if __name__ == "__main__":
    main()
