"""The English of Mini: a statement from a spec, in one of many wordings, with the example tests at its end.

The description ends with what to print or return; then each example has its own line: `Example: input 3 1 output 4`. Call-form
examples show Python literals. Which wording is used is drawn from the given generator and from nothing else.
"""

from __future__ import annotations

from random import Random
from typing import Any

from .mini_compose import Spec, Step
from .mini_inputs import Case
from .mini_parts import Filter

OPENINGS = ("You are given {text}.", "Given is {text}.", "There is {text}.", "Take {text}.")
STDIN_OPENINGS = ("Read {text}.", "The input is {text}.", "The input has {text}.", *OPENINGS)
CALL_OPENINGS = ("The function gets {text}.", "Write a function for {text}.", *OPENINGS)
KEEP = (
    "keep only the {nouns} that {what}",
    "take only the {nouns} that {what}",
    "select the {nouns} that {what}",
    "ignore all {nouns} except those that {what}",
    "look only at {nouns} that {what}",
)
PRINT = ("print", "output", "write")
RETURN = ("return", "give back")
FIRST_EACH = ("each {noun}", "every {noun}")
LATER_EACH = ("each of them", "each one", "every one")
FILTERED = (("the remaining {nouns}", "remaining {nouns}"), ("the {nouns} that are left", "{nouns} left"), ("these {nouns}", "such {nouns}"))
MAPPED = (("the results", "results"), ("the new values", "new values"), ("the resulting values", "resulting values"))
UNTOUCHED = (("the {nouns}", "{nouns}"), ("all {nouns}", "{nouns}"), ("these {nouns}", "{nouns}"))


def statement(spec: Spec, variables: tuple[str, ...], examples: list[Case], random: Random) -> str:
    """The whole statement. `variables` are the names that the text may mention (parameters of the call form)."""
    access = spec.source.stdin if spec.stdin else spec.source.call
    text = random.choice(access.text).format(*variables)
    opening = random.choice(STDIN_OPENINGS if spec.stdin else CALL_OPENINGS).format(text=text)
    steps = [_step(spec, index, random) for index in range(len(spec.steps))]
    lines = [f"{opening} {_join(steps, _end(spec, random), random)}"]
    lines += [f"Example: input {input_text(spec, case.arguments)} output {output_text(spec, case.answer)}" for case in examples]
    return "\n".join(lines)


def input_text(spec: Spec, arguments: tuple[Any, ...]) -> str:
    """The input as a program of this form gets it: a stdin line, or Python literals."""
    if not spec.stdin:
        return ", ".join(map(_literal, arguments))
    return " ".join(" ".join(map(str, value)) if isinstance(value, list) else str(value) for value in arguments)


def output_text(spec: Spec, answer: Any) -> str:
    """The answer as it is printed (stdin) or as a Python literal (call)."""
    if not spec.stdin:
        return _literal(answer)
    return " ".join(map(str, answer)) if isinstance(answer, list) else str(answer)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _noun(spec: Spec, index: int) -> str:
    """What an element is called before step `index`."""
    noun = spec.source.noun
    for part, _ in spec.steps[:index]:
        if not isinstance(part, Filter):
            noun = "result"
    return noun


def _step(spec: Spec, index: int, random: Random) -> str:
    part, k = spec.steps[index]
    noun = _noun(spec, index)
    text = random.choice(part.text)
    if isinstance(part, Filter):
        return random.choice(KEEP).format(nouns=noun + "s", what=text.format(k=k))
    each = random.choice(LATER_EACH if index else FIRST_EACH).format(noun=noun)
    return text.format(each=each, k=k)


def _end(spec: Spec, random: Random) -> str:
    noun = _noun(spec, len(spec.steps))
    them, bare = (text.format(nouns=noun + "s") for text in random.choice(_references(spec.steps)))
    text = random.choice(spec.terminal.text).format(them=them, bare=bare, k=spec.k)
    verb = random.choice(PRINT if spec.stdin else RETURN)
    return f"{verb} {text}{', separated by spaces' if spec.terminal.many and spec.stdin else ''}"


def _references(steps: tuple[Step, ...]) -> tuple[tuple[str, str], ...]:
    if not steps:
        return UNTOUCHED
    return FILTERED if isinstance(steps[-1].part, Filter) else MAPPED


def _join(steps: list[str], end: str, random: Random) -> str:
    if not steps:
        return f"{_upper(end)}."
    style = random.randrange(4)
    if style == 0:
        return f"{_upper(', '.join(steps))} and {end}."
    if style == 1:
        return " ".join(f"{_upper(part)}." for part in (*steps, end))
    if style == 2:
        return f"{_upper(', then '.join(steps))}. Finally {end}."
    return f"First {', then '.join(steps)}. Then {end}."


def _upper(text: str) -> str:
    return text[0].upper() + text[1:]
