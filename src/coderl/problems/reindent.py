"""Indentation as the released CodeRL writes it: one tab a level.

Their code does this to reference solutions before training and to sampled programs before the critic scores them; sampled programs are trained
on as they are. It works on lines and knows nothing of Python: a string that spans lines is changed as well.
"""

from __future__ import annotations


def reindent(code: str) -> str:
    """The program with one tab for every level of indentation, and a newline at its end.

    The unit is the white space in front of the first indented line that is not blank, taken for tabs if it begins with one and for spaces
    otherwise. Of every line from there on, whole units in front become tabs; what is left of a unit stays. "\\r\\n" becomes "\\n". A program
    without an indented line keeps its text; an empty one stays empty.
    """
    lines = code.split("\n")
    if lines[-1] == "":
        lines.pop()
    unit, result = "", []
    for line in lines:
        line = line.rstrip("\r")
        unit = unit or _unit(line)
        level = 0
        while unit and line.startswith(unit * (level + 1)):
            level += 1
        result.append("\t" * level + line[len(unit) * level :])
    return "".join(f"{line}\n" for line in result)


def _unit(line: str) -> str:
    """One level of indentation, if this line shows it."""
    size = len(line) - len(line.lstrip(" \t"))
    return (line[0] * size) if size and line.strip() else ""
