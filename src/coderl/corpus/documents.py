"""Where a corpus comes from: folders of source files, JSON Lines (plain or gzip) and parquet, one document at a time.

Rows of CodeSearchNet, github-code and The Stack are read by the names that these give their fields; another name by `text_field`. A
folder may hold source files and data files both. Nothing is judged here (filters.py, duplicates.py), and no file is ever held whole, one
source file apart.
"""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from ..errors import CoderlError, DataError
from ..records import Record

TEXT_FIELDS = ("original_string", "whole_func_string", "code", "content", "text")
"""CodeSearchNet as published, its Hugging Face form, github-code, The Stack, anything else; the first that a row has counts."""
LICENCE_FIELDS = ("license", "licence", "licenses", "max_stars_repo_licenses")
LANGUAGE_FIELDS = ("language", "lang")
JSON_LINES, PARQUET = (".jsonl", ".jsonl.gz"), (".parquet",)


@dataclass(frozen=True)
class Document(Record):
    """One piece of code that is kept: a file or a function. `id` says where it was read."""

    id: str
    text: str
    licence: str | None = None
    language: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    _identity: ClassVar[tuple[str, ...]] = ("id",)
    _types: ClassVar[Mapping[str, tuple[tuple[type, ...], str]]] = {
        "id": ((str,), "a string"),
        "text": ((str,), "a string"),
        "licence": ((str, type(None)), "a string or null"),
        "language": ((str, type(None)), "a string or null"),
    }


class Found(NamedTuple):
    """What a source holds at one place.

    Fields:
        id: where, e.g. "lib/json/decoder.py" or "train_0.jsonl.gz:17".
        text: None where the bytes are no UTF-8 text.
        licences: lower case; () where the source says none.
        size: bytes of the source's files that are read with it, so that their sum is `source_size`.
    """

    id: str
    text: str | None
    licences: tuple[str, ...]
    language: str | None
    size: float


class Reading(NamedTuple):
    """How sources are read.

    Fields:
        suffixes: of the source files in a folder, e.g. (".py",).
        leave_out: patterns of paths inside a folder, e.g. ("*/site-packages/*",).
        text_field: the field of a row that holds the code; None: the first of `TEXT_FIELDS` that it has.
    """

    suffixes: tuple[str, ...] = (".py",)
    leave_out: tuple[str, ...] = ()
    text_field: str | None = None


def source_files(source: Path, reading: Reading) -> list[Path]:
    """The files of a source, in an order that does not depend on the machine.

    Raises:
        DataError: no such path, a file that is no data file, or a folder in which nothing is of use.
    """
    wanted = (*reading.suffixes, *JSON_LINES, *PARQUET)
    if source.is_file():
        if not source.name.endswith(wanted):
            raise DataError(f"is a file of an unknown kind; a source is a folder or a file that ends in {', '.join(wanted)}", source)
        return [source]
    if not source.is_dir():
        raise DataError("no such file or folder; check the path behind --sources", source)
    found = []
    for folder, inner, names in os.walk(source):
        inner.sort()
        for name in sorted(names):
            path = Path(folder, name)
            inside = f"/{path.relative_to(source).as_posix()}"
            if name.endswith(wanted) and path.is_file() and not any(fnmatch(inside, pattern) for pattern in reading.leave_out):
                found.append(path)
    if not found:
        raise DataError(f"holds no file that ends in {', '.join(wanted)} and is not left out; check --sources, --suffixes and --leave-out", source)
    return found


def source_size(sources: Sequence[Path], reading: Reading) -> int:
    """Bytes of all files that will be read."""
    return sum(path.stat().st_size for source in sources for path in source_files(source, reading))


def read_sources(sources: Sequence[Path], reading: Reading) -> Iterator[Found]:
    """Everything that the sources hold, source after source, file after file, row after row.

    Raises:
        DataError: a path or a row cannot be read; names file and line.
    """
    for source in sources:
        for path in source_files(source, reading):
            name = path.relative_to(source).as_posix() if source.is_dir() else path.name
            if path.name.endswith(JSON_LINES):
                yield from _json_rows(path, name, reading.text_field)
            elif path.name.endswith(PARQUET):
                yield from _parquet_rows(path, name, reading.text_field)
            else:
                yield _source_file(path, name)


def _source_file(path: Path, name: str) -> Found:
    data = path.read_bytes()
    try:
        text: str | None = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        text = None
    return Found(name, text, (), None, len(data))


def _json_rows(path: Path, name: str, text_field: str | None) -> Iterator[Found]:
    packed = path.suffix == ".gz"
    before = number = 0
    with path.open("rb") as stored, gzip.open(stored) if packed else nullcontext(stored) as lines:
        try:
            for number, line in enumerate(lines, 1):
                after = stored.tell() if packed else before + len(line)
                size, before = after - before, after
                if line.strip():
                    yield _row(_object(line, path, number), f"{name}:{number}", path, number, text_field)._replace(size=size)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"the compressed file is broken ({error}); fetch it again", path, number) from None


def _object(line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error}); every line must be one JSON object", path, number) from None
    if not isinstance(row, dict):
        raise DataError("not a JSON object; every line must be one", path, number)
    return row


def _parquet_rows(path: Path, name: str, text_field: str | None) -> Iterator[Found]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise CoderlError(f"{path} is a parquet file, which needs pyarrow: pip install 'coderl[corpus]'") from None
    try:
        with ParquetFile(path) as file:
            known = set(file.schema_arrow.names)
            wanted = {*((text_field,) if text_field else TEXT_FIELDS), *LICENCE_FIELDS, *LANGUAGE_FIELDS}
            size = path.stat().st_size / max(1, file.metadata.num_rows)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=sorted(known & wanted)):
                for row in batch.to_pylist():
                    number += 1
                    yield _row(row, f"{name}:{number}", path, number, text_field)._replace(size=size)
    except (ArrowException, OSError) as error:
        raise DataError(f"cannot be read as parquet ({str(error).splitlines()[0]}); fetch it again", path) from None


def _row(row: Mapping[str, Any], name: str, path: Path, number: int, text_field: str | None) -> Found:
    """A row as a document of size 0."""
    names = (text_field,) if text_field else TEXT_FIELDS
    present = next((name for name in names if name in row), None)
    if present is None:
        raise DataError(f"has no field {' or '.join(names)}; it has {', '.join(sorted(row)) or 'none'}: name one by --text-field", path, number)
    text = row[present]
    if not isinstance(text, str):
        raise DataError(f"field {present!r} is {text!r:.60}; it must be a string", path, number)
    licence = next((row[name] for name in LICENCE_FIELDS if row.get(name)), ())
    language = next((row[name] for name in LANGUAGE_FIELDS if row.get(name)), None)
    licences = tuple(str(one).lower() for one in (licence if isinstance(licence, list) else [licence] if licence else []))
    return Found(name, _sound(text), licences, str(language).lower() if language else None, 0)


def _sound(text: str) -> str | None:
    """The text with newlines as line ends; None where JSON smuggled in half a character, which no file could hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return None
    return text.replace("\r\n", "\n")
