"""Example tests out of a statement, in the forms that APPS statements use; and out of lists of texts.

Forms read: `-----Example(s)-----` followed by pairs of `Input` / `Output` lines (Codeforces); `-----Sample Input-----` and
`-----Sample Output-----` sections (other judges); `Example 1:` with `Input: ...` and `Output: ...` on one line (LeetCode, call
form). What cannot be read for certain is left out: an example that is wrong misleads critic sampling more than one that is missing.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from ..records import Test

_SECTION = re.compile(r"^[ \t]*-{3,}[ \t]*(?P<title>[^-\n]+?)[ \t]*-{3,}[ \t]*$", re.MULTILINE)
_BARE = re.compile(r"^[ \t]*(?P<title>(?:Sample|Example) (?:Input|Output)(?: ?\d+)?)[ \t]*:?[ \t]*$", re.MULTILINE | re.IGNORECASE)
_MARK = re.compile(r"^[ \t]*(?P<word>Input|Output)[ \t]*:?[ \t]*$", re.MULTILINE)
_INLINE = re.compile(r"^[ \t]*Input:?[ \t]*(?P<input>\S.*?)\s*^[ \t]*Output:?[ \t]*(?P<output>\S[^\n]*)", re.MULTILINE | re.DOTALL)
_CONSTANTS = {"true": True, "false": False, "null": None}


def parse(statement: str, kind: str) -> tuple[Test, ...]:
    """The example tests of a statement; empty if there are none that can be read.

    Args:
        statement: the text of the problem.
        kind: "stdin" gives texts, "call" lists of arguments and return values; "assert" statements have no such examples.
    """
    if kind == "call":
        pairs = [(match["input"], match["output"]) for match in _INLINE.finditer(statement)]
    elif kind == "stdin":
        pairs = _pairs(_sections(statement))
    else:
        pairs = []
    return from_texts(pairs, kind)


def from_texts(pairs: Iterable[tuple[str, str]], kind: str) -> tuple[Test, ...]:
    """Tests from (input, output) texts. A call example is `arr = [1, 2], k = 3` or plain literals; unreadable ones are left out."""
    if kind == "stdin":
        return tuple(Test(input=given, output=expected) for given, expected in pairs)
    tests = []
    for given, expected in pairs:
        try:
            tests.append(Test(input=_arguments(given), output=_value(re.split(r"Explanation|Note", expected)[0])))
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return tuple(tests)


def _sections(statement: str) -> list[tuple[str, str]]:
    """(title in lower case, text) of each dashed section; of undashed `Sample Input` headings where there is no dashed one."""
    heads = list(_SECTION.finditer(statement)) or list(_BARE.finditer(statement))
    return [(head["title"].lower().rstrip(":"), text) for head, text in _behind(heads, statement)]


def _behind(heads: list[re.Match[str]], text: str) -> list[tuple[re.Match[str], str]]:
    """Each heading with the text up to the next one."""
    ends = [*(head.start() for head in heads[1:]), len(text)]
    return [(head, text[head.end() : end]) for head, end in zip(heads, ends, strict=False)]


def _pairs(sections: list[tuple[str, str]]) -> list[tuple[str, str]]:
    found = []
    for title, text in sections:
        if re.fullmatch(r"(sample|example)s?( tests?)?( \d+)?", title):
            found += _marked(text)
    for (title, text), (next_title, next_text) in pairwise(sections):
        if re.match(r"(sample|example) input", title) and re.match(r"(sample|example) output", next_title):
            found.append((_clean(text), _clean(next_text)))
    return found


def _marked(text: str) -> list[tuple[str, str]]:
    """Pairs of an `Input` block and the `Output` block behind it."""
    blocks = [(mark["word"], _clean(block)) for mark, block in _behind(list(_MARK.finditer(text)), text)]
    return [(first[1], second[1]) for first, second in pairwise(blocks) if (first[0], second[0]) == ("Input", "Output")]


def _clean(text: str) -> str:
    return text.strip("\n").rstrip() + "\n" if text.strip() else ""


def _arguments(text: str) -> list[Any]:
    """The arguments of `a = 1, b = [2]` or `1, [2]`, in order."""
    call = ast.parse(f"f({text.strip()})", mode="eval").body
    if not isinstance(call, ast.Call) or (call.args and call.keywords) or not (call.args or call.keywords):
        raise ValueError("not a list of arguments")
    return [_literal(node) for node in (call.args or [keyword.value for keyword in call.keywords])]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return _literal(ast.parse(text.strip(), mode="eval").body)


def _literal(node: ast.expr) -> Any:
    """A Python literal in which true, false and null may stand for True, False and None."""
    if isinstance(node, ast.Name) and node.id.lower() in _CONSTANTS:
        return _CONSTANTS[node.id.lower()]
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)
