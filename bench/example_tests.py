"""Example tests: ours, read from statements, beside the released ones; and what is wrong with the released 5,000.

    python bench/example_tests.py DATA        DATA: folder with apps/ and apps_test_example_tests/

Prints the tables of docs/data.md, and the problems whose examples differ. Nothing is run.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from coderl.problems import apps
from coderl.records import Problem, Test

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
    for problem in ours:
        other = given[problem.id]
        if words(problem.examples) != words(other.examples):
            print(f"\n{problem.id}\n  ours     {words(problem.examples)}\n  released {words(other.examples)}")


if __name__ == "__main__":
    main()
