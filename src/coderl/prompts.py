"""What the actor reads for a problem.

stdin and call problems: the form of the released CodeRL generation script (`generate_prompt` in generate.py), character for
character, or by name ("training") that of its training set, which differs by newlines and by how it tells a call problem. MBPP-like
ones: the form of CodeRL section 4.4 (description, one sentence, three asserts). HumanEval-like ones: the function head that the program
continues. A problem with a text `prompt` of its own (`Problem.extra`) is asked with that, word for word: few-shot prompts are such.

Differs from the released code: there the training set builds the one prompt and generation the other. Here ONE form serves warm start,
fine-tuning, scoring and sampling, so that a model is always asked the way it was taught: the name of the template is kept with the model's
tokenizer (`template_of`), and an actor and its critic may have different ones. Cutting to the model's length is
`tokens.encode_prompt`'s work; `coderl show-prompt` prints the result of both.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, get_args

from .errors import DataError, ProblemError
from .records import Problem

SHOWN_ASSERTS = 3  # CodeRL section 4.4: MBPP prompts end with the problem's three asserts
Template = Literal["generation", "training"]
"""Which of the released code's two forms stdin and call problems have."""
TEMPLATES: tuple[Template, ...] = get_args(Template)
KEPT_AS = "coderl_template"
"""The entry of tokenizer_config.json that names a model's template."""


def prompt(problem: Problem, template: Template = "generation") -> str:
    """The text that the actor reads.

    Raises:
        ProblemError: an example of an assert problem has no test code, or the problem's own prompt is no text.
    """
    if "prompt" in problem.extra:
        own = problem.extra["prompt"]
        if not isinstance(own, str):
            raise ProblemError(f"problem {problem.id!r} has the prompt {own!r:.60}; it must be a text")
        return own
    if problem.kind == "assert":
        return _assert_prompt(problem)
    return _training_prompt(problem) if template == "training" else _apps_prompt(problem)


def before_stop(problem: Problem, text: str) -> str:
    """What was generated up to the first of the problem's `stop` texts (`Problem.extra`), which a few-shot prompt teaches; else all of it.

    Raises:
        ProblemError: `stop` is no list of texts.
    """
    stops = problem.extra.get("stop", [])
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise ProblemError(f"problem {problem.id!r} has the stop {stops!r:.60}; it must be a list of texts that are not empty")
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


class HasSettings(Protocol):
    """A Hugging Face tokenizer, as far as templates go: its settings are saved with it."""

    init_kwargs: dict[str, Any]


def template_of(tokenizer: HasSettings) -> Template:
    """The template that the tokenizer's model was taught with: the one kept with it, else "generation".

    Raises:
        DataError: it names none of the templates.
    """
    name = tokenizer.init_kwargs.get(KEPT_AS, "generation")
    if name not in TEMPLATES:
        raise DataError(f"the tokenizer's {KEPT_AS} is {name!r}; it must be one of {', '.join(TEMPLATES)}: correct tokenizer_config.json")
    return name


def keep_template(tokenizer: HasSettings, template: Template) -> None:
    """From here on prompts for this tokenizer's model have this template, also after it is saved and loaded."""
    tokenizer.init_kwargs[KEPT_AS] = template


def _training_prompt(problem: Problem) -> str:
    """`generate_prompt` of the released data set: a line for the starter code always, and "call" wherever there is any."""
    form = "Use Call-Based format" if problem.starter_code else "Use Standard Input format"
    return f"\nQUESTION:\n{problem.statement}\n{problem.starter_code}\n\n{form}\n\nANSWER:\n"


def _apps_prompt(problem: Problem) -> str:
    starter = "\n" + problem.starter_code if problem.starter_code else ""
    form = "Use Call-Based format" if problem.kind == "call" else "Use Standard Input format"
    return f"\nQUESTION:\n{problem.statement}{starter}\n{form}\nANSWER:\n"


def _assert_prompt(problem: Problem) -> str:
    if problem.starter_code:  # the head of a function, docstring included: the program goes on from here
        return problem.starter_code
    shown = [_assert_line(problem, number) for number in range(min(SHOWN_ASSERTS, len(problem.examples)))]
    if not shown:
        return problem.statement + "\n"
    return "\n".join([problem.statement, "Your code should satisfy these tests:", *shown]) + "\n"


def _assert_line(problem: Problem, number: int) -> str:
    code = problem.examples[number].code
    if code is None:
        raise ProblemError(
            f"problem {problem.id!r} is of kind assert, but its example {number} has no 'code'; "
            "give every example as an object with 'code', or set the kind to stdin or call"
        )
    return code.strip()
