"""Mini: a generated family of programming problems in the manner of APPS, small enough for a model made from nothing.

`generate` writes four splits that share no skeleton (a composition of parts, see mini_compose.py): training problems with
references, training problems with tests only, validation and held-out problems. So held-out problems are unseen combinations of
parts that training shows often. Everything follows from the seed; expected outputs are computed from the parts' meaning, and no
program text is run here. docs/mini.md has the measured numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from random import Random
from typing import NamedTuple

from ..errors import UsageError
from ..records import DIFFICULTIES, Problem, Test
from .mini_compose import SHAPES, Skeleton, Spec, draw_spec, skeletons
from .mini_inputs import Case, Cases, choose_tests
from .mini_programs import references
from .mini_sources import SOURCES
from .mini_text import input_text, output_text, statement

SOURCE_NAMES = tuple(source.name for source in SOURCES)
SPLITS = ("train", "train_tests_only", "validation", "heldout")
SHARES = {"introductory": 0.3, "interview": 0.4, "competition": 0.3}
# How the skeletons of a difficulty are dealt out to the splits, in percent. There are few introductory ones.
DEAL = {"introductory": (30, 30, 20, 20), "interview": (20, 60, 10, 10), "competition": (20, 60, 10, 10)}
SOURCE_WEIGHTS = {"list": 5, "range": 3, "between": 2, "digits": 3, "words": 4, "letters": 3}
SHAPE_WEIGHTS = {"T": 2, "F": 2, "M": 2, "FT": 3, "MT": 3, "FM": 2, "FMT": 5, "MFT": 2, "FFT": 1, "MMT": 2}
FUNCTIONS = ("solve", "f", "compute", "process", "calc")
TRIES = 3  # draws of constants and inputs before a skeleton is given up
MOST_CHARACTERS = 400  # of statement and starter code; at 0.4 tokens a character (BPE of 1,024) that is 160 tokens; longest seen: 383
CPU_SECONDS = 1.0  # limit of a test: references take less than a thousandth of that, and what loops should not take four times as long
PATIENCE = 400  # skeletons tried in a row without a problem before generation gives up


class MiniSplits(NamedTuple):
    """The four splits. `train_tests_only` has no references."""

    train: list[Problem]
    train_tests_only: list[Problem]
    validation: list[Problem]
    heldout: list[Problem]


def generate(
    seed: int,
    train: int = 1200,
    tests_only: int = 10000,
    validation: int = 400,
    heldout: int = 400,
    hardest: str = DIFFICULTIES[-1],
    sources: Sequence[str] = SOURCE_NAMES,
) -> MiniSplits:
    """Generate the four splits: problems up to the difficulty `hardest` over `sources`. Equal arguments give equal problems on every machine.

    Each split is drawn from its own generator, so that its size does not change the problems of another split.

    Raises:
        UsageError: there is no such difficulty or source, or a size is negative or more than the family can give without repeating a statement.
    """
    if hardest not in DIFFICULTIES:
        raise UsageError(f"the hardest difficulty is {hardest!r}; it must be one of {', '.join(DIFFICULTIES)}")
    if not sources or not set(sources) <= set(SOURCE_NAMES):
        raise UsageError(f"the sources are {', '.join(sources) or 'none'}; give one or more of {', '.join(SOURCE_NAMES)}")
    sizes = dict(zip(SPLITS, (train, tests_only, validation, heldout), strict=True))
    for split, size in sizes.items():
        if size < 0:
            raise UsageError(f"the size of {split} is {size}; it must be 0 or more")
    difficulties = DIFFICULTIES[: DIFFICULTIES.index(hardest) + 1]
    made = {split: _split(seed, split, size, difficulties, sources) for split, size in sizes.items()}
    made["train_tests_only"] = [replace(problem, solutions=()) for problem in made["train_tests_only"]]
    return MiniSplits(*made.values())


def _split(seed: int, split: str, size: int, difficulties: Sequence[str], sources: Sequence[str]) -> list[Problem]:
    random = Random(f"mini/{seed}/{split}")
    found: list[Problem] = []
    statements: set[str] = set()
    left = size
    total = sum(SHARES[difficulty] for difficulty in difficulties)
    for difficulty in difficulties:
        wanted = left if difficulty == difficulties[-1] else round(size * SHARES[difficulty] / total)
        left -= wanted
        found += _take(_problems(seed, split, difficulty, sources, statements, random), wanted, split, difficulty)
    random.shuffle(found)
    return [replace(problem, id=f"mini/{split}/{index:05d}") for index, problem in enumerate(found, 1)]


def _take(problems: Iterator[Problem], wanted: int, split: str, difficulty: str) -> list[Problem]:
    found = list(islice(problems, wanted))
    if len(found) < wanted:
        raise UsageError(f"the family gives only {len(found)} {difficulty} problems for {split}, {wanted} were asked for; choose a smaller size")
    return found


def split_of(seed: int, difficulty: str, skeleton: Skeleton) -> str:
    """The split that a skeleton belongs to: a hash of seed and composition, so it never depends on what else is generated, and both
    forms of a composition (stdin and call) are in one split."""
    digest = hashlib.blake2b(f"{seed}/{skeleton.composition}".encode(), digest_size=8).digest()
    place = int.from_bytes(digest, "big") % 100
    for split, percent in zip(SPLITS, DEAL[difficulty], strict=True):
        if place < percent:
            return split
        place -= percent
    raise AssertionError("the deal adds up to 100")


class _Pile:
    """Skeletons of one source and shape in random order, dealt again from the start once all were used."""

    def __init__(self, items: list[Skeleton], random: Random) -> None:
        self.items = items
        self.next = 0
        random.shuffle(items)

    def draw(self) -> Skeleton:
        skeleton = self.items[self.next % len(self.items)]
        self.next += 1
        return skeleton

    def drop(self) -> None:
        """Never deal the last one again."""
        self.next = (self.next - 1) % len(self.items)
        del self.items[self.next]


def _problems(seed: int, split: str, difficulty: str, sources: Sequence[str], statements: set[str], random: Random) -> Iterator[Problem]:
    """Problems of one split and difficulty, as long as new ones can be found."""
    piles: dict[tuple[str, str], _Pile] = {}
    for source in [source for source in SOURCES if source.name in sources]:
        for shape in SHAPES[difficulty]:
            items = [skeleton for skeleton in skeletons(source, shape) if split_of(seed, difficulty, skeleton) == split]
            if items:
                piles[source.name, shape] = _Pile(items, random)
    failures = 0
    while piles and failures < PATIENCE:
        keys = list(piles)
        key = random.choices(keys, [SOURCE_WEIGHTS[source] * SHAPE_WEIGHTS[shape] for source, shape in keys])[0]
        skeleton = piles[key].draw()
        problem = _try(skeleton, difficulty, random)
        if problem is None:
            piles[key].drop()
            if not piles[key].items:
                del piles[key]
            failures += 1
        elif problem.statement in statements:
            failures += 1
        else:
            failures = 0
            statements.add(problem.statement)
            yield problem


def _try(skeleton: Skeleton, difficulty: str, random: Random) -> Problem | None:
    for _ in range(TRIES):
        spec = draw_spec(skeleton, random)
        cases = choose_tests(spec, random)
        problem = _problem(spec, skeleton, difficulty, cases, random) if cases is not None else None
        if problem is not None:
            return problem
    return None


def _problem(spec: Spec, skeleton: Skeleton, difficulty: str, cases: Cases, random: Random) -> Problem | None:
    """The record; None if the statement came out too long."""
    access = spec.source.stdin if spec.stdin else spec.source.call
    variables = random.choice(access.names)
    function = random.choice(FUNCTIONS)
    text = statement(spec, variables, cases.examples, random)
    starter = "" if spec.stdin else f"def {function}({', '.join(variables)}):\n"
    if len(text) + len(starter) > MOST_CHARACTERS:
        return None
    return Problem(
        id="",
        statement=text,
        kind="stdin" if spec.stdin else "call",
        tests=tuple(_test(spec, case) for case in cases.hidden),
        examples=tuple(_test(spec, case) for case in cases.examples),
        solutions=references(spec, variables, function, random),
        entry_point=None if spec.stdin else function,
        starter_code=starter,
        difficulty=difficulty,
        source="mini",
        limits={"cpu_seconds": CPU_SECONDS},
        extra={"skeleton": skeleton.name},
    )


def _test(spec: Spec, case: Case) -> Test:
    if spec.stdin:
        return Test(input=input_text(spec, case.arguments) + "\n", output=output_text(spec, case.answer) + "\n")
    return Test(input=list(case.arguments), output=case.answer)
