"""References for Mini problems in several styles: one expression, named steps, a loop, an accumulator, map/filter, while, ...

Every style is built from the same code of the parts, so that a part looks alike wherever it occurs. The text written here is
never run to compute expected outputs; tests judge it against them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from .mini_compose import Spec, Step
from .mini_parts import Access, Element, Filter, Map

ELEMENT_NAMES = {Element.NUMBER: ("x", "i", "v", "num"), Element.WORD: ("w", "x", "word"), Element.LETTER: ("c", "x", "ch")}
RESULT_NAMES = ("res", "result", "out", "kept")
ANSWER_NAMES = ("ans", "answer", "total")
STEP_NAMES = (("b", "c"), ("first", "second"), ("kept", "res"), ("p", "q"))


class Names(NamedTuple):
    """The variable names of one program: input variables, element, collected list, answer, named steps."""

    inputs: tuple[str, ...]
    x: str
    result: str
    answer: str
    steps: tuple[str, str]


class Draft(NamedTuple):
    """A program without its frame: lines, then the expression of the answer."""

    lines: list[str]
    value: str


def references(spec: Spec, variables: tuple[str, ...], function: str, random: Random, count: int = 4) -> tuple[str, ...]:
    """Up to `count` different programs for a spec; `variables` and `function` are the names that the call form is given."""
    styles = [style for style, suits in STYLES if suits(spec)]
    random.shuffle(styles)
    found: list[str] = []
    for style in (*styles, *styles):  # the second round brings other names
        text = write(spec, style, draw_names(spec, variables, random), function)
        if text not in found:
            found.append(text)
        if len(found) == count:
            break
    return tuple(found)


Style = Callable[[Spec, Names], Draft]


def write(spec: Spec, style: Style, names: Names, function: str) -> str:
    """One whole program in the given style."""
    draft = style(spec, names)
    if spec.stdin:
        return "\n".join([*draft.lines, f"print({_starred(draft.value) if spec.terminal.many else draft.value})"]) + "\n"
    body = [*draft.lines, f"return {draft.value}"]
    return f"def {function}({', '.join(names.inputs)}):\n" + "".join(f"    {line}\n" for line in body)


def draw_names(spec: Spec, variables: tuple[str, ...], random: Random) -> Names:
    """Variable names that do not clash; the call form's parameters are kept."""
    inputs = random.choice(spec.source.stdin.names) if spec.stdin else variables
    return Names(
        inputs,
        random.choice([name for name in ELEMENT_NAMES[spec.source.element] if name not in inputs]),
        random.choice(RESULT_NAMES),
        random.choice(ANSWER_NAMES),
        random.choice([pair for pair in STEP_NAMES if not set(pair) & set(inputs)]),
    )


def _starred(value: str) -> str:
    inner = re.fullmatch(r"list\((map\(.*\)|filter\(.*\))\)", value)
    return f"*{inner.group(1) if inner else value}"


def _access(spec: Spec) -> Access:
    return spec.source.stdin if spec.stdin else spec.source.call


def _read(spec: Spec, names: Names) -> list[str]:
    line = _access(spec).read
    return [line.format(*names.inputs)] if line else []


def _put(code: str, x: str, loose: bool, k: object) -> str:
    """The code with its element; parentheses where the element is a loose expression and the code does not enclose it."""
    wrapped = x if not loose or "({x})" in code else f"({x})"
    return code.format(x=wrapped, k=k)


class Fused(NamedTuple):
    """All steps over one variable: the element's expression and the conditions."""

    x: str
    conditions: list[str]


def _fuse(steps: tuple[Step, ...], x: str) -> Fused:
    loose = False
    conditions = []
    for part, k in steps:
        text = _put(part.code, x, loose, k)
        if isinstance(part, Filter):
            conditions.append(text)
        else:
            x, loose = text, part.loose
    return Fused(x, conditions)


def _comprehension(steps: tuple[Step, ...], x: str, iterable: str) -> str:
    """`[element for x in iterable if ...]`, or the iterable itself where there is no step."""
    fused = _fuse(steps, x)
    condition = f" if {' and '.join(fused.conditions)}" if fused.conditions else ""
    return f"[{fused.x} for {x} in {iterable}{condition}]" if steps else iterable


def _finish(spec: Spec, lines: list[str], collection: str, name: str) -> Draft:
    """The terminal's code around a collection; it gets a name first where the code mentions it twice."""
    code = spec.terminal.code
    if code.count("{xs}") > 1 and not collection.isidentifier():
        lines, collection = [*lines, f"{name} = {collection}"], name
    elif "({xs})" in code and not spec.terminal.twice and collection.startswith("["):
        collection = collection[1:-1]  # a generator will do
    return Draft(lines, code.format(xs=collection, k=spec.k))


def _source_text(spec: Spec, names: Names) -> str:
    """The elements from the input variables; as a list where nothing else makes one and the terminal needs it."""
    access = _access(spec)
    needs_list = not spec.steps and (spec.terminal.twice or spec.terminal.many)
    return (access.listed if needs_list else access.iterable).format(*names.inputs)


def one_expression(spec: Spec, names: Names) -> Draft:
    """Everything in the printed or returned expression; the input is read in place where it can be."""
    access = _access(spec)
    if access.inline and (spec.steps or not spec.terminal.twice):
        return _finish(spec, [], _comprehension(spec.steps, names.x, access.inline), names.result)
    return _finish(spec, _read(spec, names), _comprehension(spec.steps, names.x, _source_text(spec, names)), names.result)


def named_input(spec: Spec, names: Names) -> Draft:
    """The input is named first, then one expression."""
    return _finish(spec, _read(spec, names), _comprehension(spec.steps, names.x, _source_text(spec, names)), names.result)


def named_result(spec: Spec, names: Names) -> Draft:
    """The filtered and mapped list is named."""
    line = f"{names.result} = {_comprehension(spec.steps, names.x, _source_text(spec, names))}"
    return _finish(spec, [*_read(spec, names), line], names.result, names.result)


def named_answer(spec: Spec, names: Names) -> Draft:
    """The answer is named."""
    draft = named_input(spec, names)
    return Draft([*draft.lines, f"{names.answer} = {draft.value}"], names.answer)


def named_steps(spec: Spec, names: Names) -> Draft:
    """One line for each step."""
    lines, collection = _read(spec, names), _source_text(spec, names)
    for step, name in zip(spec.steps, names.steps, strict=False):
        lines.append(f"{name} = {_comprehension((step,), names.x, collection)}")
        collection = name
    return _finish(spec, lines, collection, names.result)


def _loop(spec: Spec, names: Names, update: str) -> list[str]:
    """`for` over the source with the steps inside; `update` gets the finished element as {x}."""
    lines = [f"for {names.x} in {_access(spec).iterable.format(*names.inputs)}:"]
    indent, value = "    ", names.x
    for index, (part, k) in enumerate(spec.steps):
        text = _put(part.code, value, False, k)
        if isinstance(part, Filter):
            lines.append(f"{indent}if {text}:")
            indent += "    "
        elif index == len(spec.steps) - 1:
            value = text
        else:
            lines.append(f"{indent}{names.x} = {text}")
    return [*lines, indent + update.replace("{x}", value)]


def loop(spec: Spec, names: Names) -> Draft:
    """A list is collected in a loop."""
    lines = [*_read(spec, names), f"{names.result} = []", *_loop(spec, names, f"{names.result}.append({{x}})")]
    return _finish(spec, lines, names.result, names.result)


def accumulate(spec: Spec, names: Names) -> Draft:
    """The answer is accumulated in a loop, without a list."""
    update = spec.terminal.update.replace("{total}", names.answer)
    return Draft([*_read(spec, names), f"{names.answer} = {spec.terminal.start}", *_loop(spec, names, update)], names.answer)


def functional(spec: Spec, names: Names) -> Draft:
    """`map` and `filter` with lambdas."""
    collection = _access(spec).iterable.format(*names.inputs)
    for part, k in spec.steps:
        word = "filter" if isinstance(part, Filter) else "map"
        collection = f"{word}(lambda {names.x}: {_put(part.code, names.x, False, k)}, {collection})"
    bare = "({xs})" in spec.terminal.code and not spec.terminal.twice
    return _finish(spec, _read(spec, names), collection if bare else f"list({collection})", names.result)


def consume(spec: Spec, names: Names) -> Draft:
    """`while` takes elements off a list until none is left."""
    access = _access(spec)
    lines = [*_read(spec, names), f"{names.result} = []"]
    pile = access.listed.format(*names.inputs)
    if not pile.isidentifier():
        lines.append(f"todo = {pile}")
        pile = "todo"
    inner = _loop(spec, names, f"{names.result}.append({{x}})")[1:]
    return _finish(spec, [*lines, f"while {pile}:", f"    {names.x} = {pile}.pop(0)", *inner], names.result, names.result)


def _any(spec: Spec) -> bool:
    return True


def _has_step(spec: Spec) -> bool:
    return bool(spec.steps)


def _has_two(spec: Spec) -> bool:
    return len(spec.steps) == 2


def _can_accumulate(spec: Spec) -> bool:
    return bool(spec.terminal.start)


def _can_consume(spec: Spec) -> bool:
    return spec.stdin and spec.source.name in ("list", "words", "digits") and any(isinstance(step.part, Map) for step in spec.steps[-1:])


STYLES: tuple[tuple[Style, Callable[[Spec], bool]], ...] = (
    (one_expression, _any),
    (named_input, _any),
    (named_result, _has_step),
    (named_answer, _any),
    (named_steps, _has_two),
    (loop, _has_step),
    (accumulate, _can_accumulate),
    (functional, _has_step),
    (consume, _can_consume),
)
