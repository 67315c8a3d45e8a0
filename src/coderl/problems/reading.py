"""Reading the files of other people's data sets: every failure is a `DataError` that names the file (and line) in one sentence.

JSON Lines (plain or gzipped), a JSON array, or parquet; a folder stands for the data files in it. Rows come one by one.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import DataError
from ..records import Problem


class Row(NamedTuple):
    """One object of a file and the line it is on (None in a JSON array; in a parquet file, the number of the row)."""

    data: dict[str, Any]
    line: int | None


def read_text(path: Path) -> str:
    """A UTF-8 text file; `.gz` files are unpacked."""
    with _failures(path):
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")


def read_json(path: Path) -> Any:
    """A file that holds one JSON value."""
    return decode(read_text(path), path, None)


def decode(text: str, path: Path, line: int | None) -> Any:
    """One JSON value; NaN and Infinity are read as Python reads them."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at line {error.lineno}, column {error.colno})", path, line) from None
    except RecursionError:
        raise DataError("JSON nested too deeply to read", path, line) from None


FORMS: tuple[tuple[str, ...], ...] = ((".parquet",), (".jsonl", ".jsonl.gz"), (".json", ".json.gz"))
"""Ends of the names of data files, the form that is taken first coming first: a folder of parquet files may hold JSON that describes them."""


def files_of(source: Path) -> list[Path]:
    """The data files that a source names: itself, or of a folder and the folders in it all parquet files, else JSON Lines, else JSON, by name.

    Raises:
        DataError: a folder without data files.
    """
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.rglob("*") if path.is_file())
    for ends in FORMS:
        found = [path for path in files if path.name.endswith(ends)]
        if found:
            return found
    raise DataError(f"holds no data files; give a file, or a folder with files in {', '.join(end for ends in FORMS for end in ends)}", source)


def read_rows(path: Path) -> Iterator[Row]:
    """The objects of a parquet file (by its name), a JSON Lines file or a JSON array (by the first character), one by one.

    Fields that are null are left out: a column of a parquet file is null where JSON would lack the field, and tools that make JSON Lines of
    parquet write the nulls.
    """
    for row in _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path):
        yield Row({name: value for name, value in row.data.items() if value is not None}, row.line)


def _json_rows(path: Path) -> Iterator[Row]:
    lines = _lines(path)
    for number, line in lines:
        if not line.strip():
            continue
        if number == 1 and line.lstrip().startswith("["):
            whole = line + "".join(text for _, text in lines)
            for place, item in enumerate(decode(whole, path, None)):
                yield Row(_object(item, path, None, f"entry {place}"), None)
            return
        yield Row(_object(decode(line, path, number), path, number, "a line"), number)


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow.parquet as parquet
        from pyarrow import ArrowException
    except ImportError:
        raise DataError("is parquet, which needs pyarrow; `pip install coderl[parquet]`, or give the data as JSON Lines", path) from None
    try:
        with parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=64):
                for data in batch.to_pylist():
                    number += 1
                    yield Row(data, number)
    except FileNotFoundError:
        raise DataError("no such file; check the path", path) from None
    except (ArrowException, OSError) as error:
        raise DataError(f"not a whole parquet file ({str(error).splitlines()[0]}); fetch it again", path) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines of a UTF-8 text file, line ends kept; `.gz` files are unpacked as they are read."""
    with _failures(path), gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            yield number, line.decode("utf-8")


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    """What can go wrong in reading a text file, as a DataError."""
    try:
        yield
    except FileNotFoundError:
        raise DataError("no such file; check the path", path) from None
    except IsADirectoryError:
        raise DataError("is a folder; give the file inside it", path) from None
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason} at byte {error.start}); save the file as UTF-8", path) from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"not a whole gzip file ({error}); fetch it again", path) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path) from None


def _object(item: Any, path: Path, line: int | None, what: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise DataError(f"{what} is {item!r:.60}; it must be a JSON object", path, line)
    return item


def field(data: dict[str, Any], name: str, kind: type | tuple[type, ...], path: Path, line: int | None = None) -> Any:
    """A required field of the given type."""
    if name not in data:
        raise DataError(f"lacks the field {name!r}; it has {sorted(map(str, data))}", path, line)
    return _typed(data[name], name, kind, path, line)


def optional(data: dict[str, Any], name: str, default: Any, path: Path, line: int | None = None) -> Any:
    """A field of the default's type, or the default where it is absent or null."""
    return default if data.get(name) is None else _typed(data[name], name, type(default), path, line)


def _typed(value: Any, name: str, kind: type | tuple[type, ...], path: Path, line: int | None) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        words = " or ".join(k.__name__ for k in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataError(f"field {name!r} is {value!r:.60}; it must be of type {words}", path, line)
    return value


def strings(data: dict[str, Any], name: str, path: Path, line: int | None = None) -> list[str]:
    """A list of strings; absent = empty."""
    values = optional(data, name, [], path, line)
    for value in values:
        if not isinstance(value, str):
            raise DataError(f"field {name!r} holds {value!r:.60}; it must be a list of strings", path, line)
    return list(values)


def checked(problems: list[Problem], path: Path) -> list[Problem]:
    """The problems, of which there must be at least one, with no id twice."""
    if not problems:
        raise DataError("holds no problems; check that it is the right file or folder", path)
    seen: set[str] = set()
    for problem in problems:
        if problem.id in seen:
            raise DataError(f"problem id {problem.id!r} occurs twice; ids must be unique", path)
        seen.add(problem.id)
    return problems
