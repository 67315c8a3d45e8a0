"""Mini problems as compositions: what a skeleton is, which skeletons make sense, what the answer is, and common mistakes.

A `Skeleton` (source, steps, terminal, form) has no constants; a `Spec` adds them. Answers are computed here, from the parts'
`meaning`, and never by running a reference. A `Variant` is a spec with one typical mistake: the tests of a problem must fail it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import product
from random import Random
from typing import Any, NamedTuple

from .mini_parts import Constant, Constants, Element, Filter, Map, Source, Terminal, Undefined
from .mini_steps import FILTERS, MAPS, WRONG_FILTERS
from .mini_terminals import TERMINALS, WRONG_TERMINALS

Part = Filter | Map
PARTS: dict[str, Part] = {part.name: part for part in (*FILTERS, *MAPS, *WRONG_FILTERS)}
ENDS: dict[str, Terminal] = {part.name: part for part in (*TERMINALS, *WRONG_TERMINALS)}
NEED_SEVERAL_DIGITS = ("lowend", "shows", "digitsum", "backwards")
SHAPES: dict[str, tuple[str, ...]] = {  # F filter, M map, T a terminal other than the plain one; all shapes of a difficulty
    "introductory": ("T", "F", "M"),
    "interview": ("FT", "MT", "FM"),
    "competition": ("FMT", "MFT", "FFT", "MMT"),
}


class Skeleton(NamedTuple):
    """What is asked, without constants and wording. `stdin` False = call form."""

    source: Source
    steps: tuple[Part, ...]
    terminal: Terminal
    stdin: bool

    @property
    def name(self) -> str:
        """E.g. "list|even>square|sum|call"."""
        return f"{self.composition}|{'stdin' if self.stdin else 'call'}"

    @property
    def composition(self) -> str:
        """The skeleton without its form: what is asked, however it is read and given back."""
        steps = ">".join(step.name for step in self.steps)
        return f"{self.source.name}|{steps}|{self.terminal.name}"


class Step(NamedTuple):
    """A filter or map with its constant."""

    part: Part
    k: Constant


class Spec(NamedTuple):
    """A skeleton with constants: one problem up to wording and tests. `shortened` = the source's own common mistake is made."""

    source: Source
    steps: tuple[Step, ...]
    terminal: Terminal
    k: Constant
    stdin: bool
    shortened: bool = False


class Run(NamedTuple):
    """The answer for one input. `size` = elements that reached the terminal; `lively` = every step changed the collection."""

    answer: Any
    size: int
    lively: bool


class Variant(NamedTuple):
    """A spec with one common mistake. `essential`: if no input tells it from the right one, the problem is degenerate."""

    name: str
    spec: Spec
    essential: bool


def shown_by(source: Source, steps: tuple[Part, ...]) -> str:
    """The terminal that only shows the collection, and so counts as no operation."""
    letters = source.element is Element.LETTER and element_after(source, steps) is not Element.NUMBER
    return "joined" if letters else "list"


def element_after(source: Source, steps: tuple[Part, ...]) -> Element | None:
    """What the collection holds after the steps; None if a step does not take what it gets."""
    element = source.element
    for part in steps:
        if element not in part.takes:
            return None
        if isinstance(part, Map) and part.gives is not None:
            element = part.gives
    return element


@cache
def skeletons(source: Source, shape: str) -> tuple[Skeleton, ...]:
    """All skeletons of a source and shape that make sense, in a fixed order."""
    choices: list[tuple[Part, ...]] = [FILTERS if letter == "F" else MAPS for letter in shape if letter != "T"]
    found = []
    for steps in product(*choices):
        element = element_after(source, steps)
        if element is not None and _sensible_steps(source, steps):
            for terminal in TERMINALS:
                if element in terminal.takes and _sensible_end(source, shape, steps, terminal):
                    found += [Skeleton(source, steps, terminal, stdin) for stdin in (True, False)]
    return tuple(found)


def _sensible_steps(source: Source, steps: tuple[Part, ...]) -> bool:
    if len({part.name for part in steps}) < len(steps):
        return False
    if source.name == "digits" and steps and steps[0].name in NEED_SEVERAL_DIGITS:
        return False
    words = source.element is not Element.NUMBER
    return not (words and len(steps) == 2 and isinstance(steps[0], Map) and isinstance(steps[1], Filter) and steps[0].gives is not Element.NUMBER)


def _sensible_end(source: Source, shape: str, steps: tuple[Part, ...], terminal: Terminal) -> bool:
    if not shape.endswith("T"):
        return terminal.name == shown_by(source, steps)
    if terminal.name in ("list", shown_by(source, steps)):
        return False
    return not (terminal.name == "count" and steps and isinstance(steps[-1], Map))  # a map never changes the count


def draw_spec(skeleton: Skeleton, random: Random) -> Spec:
    """The skeleton with constants drawn at random."""
    steps = tuple(Step(part, _draw(part.constants, random)) for part in skeleton.steps)
    return Spec(skeleton.source, steps, skeleton.terminal, _draw(skeleton.terminal.constants, random), skeleton.stdin)


def _draw(constants: Constants, random: Random) -> Constant:
    everything: tuple[Constant, ...] = constants
    return random.choice(everything) if everything else None


def run(spec: Spec, arguments: tuple[Any, ...]) -> Run:
    """The answer of a spec for one input.

    Raises:
        Undefined: the statement does not say what happens for this input.
        ValueError, IndexError, TypeError: likewise (the maximum of nothing); only wrong variants get that far.
    """
    elements = spec.source.wrong if spec.shortened and spec.source.wrong else spec.source.elements
    values: Any = elements(*arguments)
    lively = True
    for part, k in spec.steps:
        meaning = part.meaning
        if isinstance(part, Filter):
            kept = [x for x in values if meaning(x, k)]
            lively = lively and len(kept) < len(values)
        else:
            kept = [meaning(x, k) for x in values]
            lively = lively and kept != list(values)
        values = kept
    return Run(spec.terminal.meaning(values, spec.k), len(values), lively and len(values) >= spec.terminal.least)


def outcome(spec: Spec, arguments: tuple[Any, ...]) -> Any:
    """The answer of a (wrong) spec, or None where it fails: no Mini answer is None."""
    try:
        return run(spec, arguments).answer
    except (Undefined, ValueError, IndexError, TypeError, ZeroDivisionError):
        return None


def wrong_variants(spec: Spec) -> list[Variant]:
    """The spec with common mistakes: a step dropped or confused, a constant off, another terminal, steps swapped, a short range."""
    found = [*_wrong_steps(spec), *_wrong_ends(spec)]
    if len(spec.steps) == 2:
        found.append(Variant("swapped steps", spec._replace(steps=spec.steps[::-1]), False))
    if spec.source.wrong is not None:
        found.append(Variant("short range", spec._replace(shortened=True), False))
    return [variant for variant in found if _well_typed(variant.spec)]


def _well_typed(spec: Spec) -> bool:
    element = element_after(spec.source, tuple(step.part for step in spec.steps))
    return element is not None and element in spec.terminal.takes


def _wrong_steps(spec: Spec) -> Iterator[Variant]:
    for index, (part, k) in enumerate(spec.steps):
        before, after = spec.steps[:index], spec.steps[index + 1 :]
        yield Variant(f"no {part.name}", spec._replace(steps=before + after), True)
        for other in _other_constants(part.constants, k):
            yield Variant(f"{part.name} {other} for {k}", spec._replace(steps=(*before, Step(part, other), *after)), True)
        for name in part.confused:
            yield Variant(f"{name} for {part.name}", spec._replace(steps=(*before, Step(PARTS[name], k), *after)), True)


def _wrong_ends(spec: Spec) -> Iterator[Variant]:
    for other in _other_constants(spec.terminal.constants, spec.k):
        yield Variant(f"{spec.terminal.name} {other} for {spec.k}", spec._replace(k=other), True)
    for name in spec.terminal.confused:
        yield Variant(f"{name} for {spec.terminal.name}", spec._replace(terminal=ENDS[name]), True)


def _other_constants(constants: Constants, k: Constant) -> tuple[Constant, ...]:
    if isinstance(k, int):
        return (k - 1, k + 1)
    return () if k is None else tuple(other for other in constants if other != k)[:2]
