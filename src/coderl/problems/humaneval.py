"""HumanEval (Chen et al., 2021): `HumanEval.jsonl`, plain or gzipped, 164 problems; also HumanEval+ as on the hub (evalplus/humanevalplus).

Kind "assert". The one hidden test is the data set's own code, which defines `check(candidate)`; the judge calls it with the entry
point. The prompt is both the statement and the starter code, so that a program given as `completion` is put behind it
(`records.program_text`); the reference is prompt and canonical solution. There are no example tests apart from the docstring.
"""

from __future__ import annotations

from pathlib import Path

from ..records import Problem, Test
from .reading import Row, checked, field, files_of, read_rows


def load(source: Path) -> list[Problem]:
    """All problems of the file, or of the files of a folder; ids are the data set's own ("HumanEval/0").

    Raises:
        DataError: names file and line.
    """
    return checked([_problem(row, path) for path in files_of(source) for row in read_rows(path)], source)


def _problem(row: Row, path: Path) -> Problem:
    data, line = row
    text = {name: field(data, name, str, path, line) for name in ("task_id", "prompt", "entry_point", "canonical_solution", "test")}
    return Problem(
        id=text["task_id"],
        statement=text["prompt"],
        kind="assert",
        tests=(Test(code=text["test"]),),
        solutions=(text["prompt"] + text["canonical_solution"],),
        entry_point=text["entry_point"],
        starter_code=text["prompt"],
        source="humaneval",
    )
