"""What the actor reads for a problem.

stdin and call problems: the form of the released CodeRL generation script (`generate_prompt` in generate.py), character for
character. MBPP-like ones: the form of CodeRL section 4.4 (description, one sentence, three asserts). HumanEval-like ones: the
function head that the program continues.

Differs from the released code: there the training set builds another prompt than generation does (one more newline around the
starter code and behind the format line; "call" decided by a file instead of by the tests). Here ONE form serves warm start,
fine-tuning, scoring and sampling, so that a model is always asked the way it was taught. Cutting to the model's length is
`tokens.encode_prompt`'s work; `coderl show-prompt` prints the result of both.
"""

from __future__ import annotations

from .errors import ProblemError
from .records import Problem

SHOWN_ASSERTS = 3  # CodeRL section 4.4: MBPP prompts end with the problem's three asserts


def prompt(problem: Problem) -> str:
    """The text that the actor reads.

    Raises:
        ProblemError: an example of an assert problem has no test code.
    """
    return _assert_prompt(problem) if problem.kind == "assert" else _apps_prompt(problem)


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
