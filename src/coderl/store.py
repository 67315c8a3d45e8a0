"""Files: JSON Lines in and out, append-only stores that survive a kill, atomic writes.

What is promised: a line is either whole or, if a kill tore it, cut off when the store is opened again; a file written by
`atomic_write` is either the old one or the new one. A store has one writer at a time.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from .errors import CoderlError, DataError


class JsonRecord(Protocol):
    """What a store can hold: anything with `to_json`, `from_json` and `identity` (see records.Record)."""

    @property
    def identity(self) -> tuple[object, ...]: ...

    def to_json(self) -> dict[str, Any]: ...

    @classmethod
    def from_json(cls, data: object) -> Self: ...


R = TypeVar("R", bound=JsonRecord)


def decode_line(line: bytes, path: Path, number: int) -> Any:
    """The JSON of one line; `path` and `number` are for the error.

    Raises:
        DataError: it is no JSON in UTF-8.
    """
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text ({error.reason} at byte {error.start}); save the file as UTF-8", path, number) from None
    except json.JSONDecodeError as error:
        raise DataError(f"not JSON ({error.msg} at column {error.colno}); every line must be one JSON object", path, number) from None
    except RecursionError:
        raise DataError("JSON nested too deeply to read", path, number) from None


def iterate_records(path: str | Path, record: type[R]) -> Iterator[R]:
    """Records of a JSON Lines file, one by one; blank lines are skipped.

    Raises:
        DataError: with file and line: no such file, broken JSON, missing or ill-typed field.
    """
    path = Path(path)
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise DataError("no such file; check the path, or run the stage that writes it first", path) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path) from None
    with stream:
        try:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    try:
                        yield record.from_json(decode_line(line, path, number))
                    except DataError as error:
                        raise error if error.path is not None else DataError(str(error), path, number) from None
        except IsADirectoryError:
            raise DataError("is a folder; give the .jsonl file inside it", path) from None


def read_records(path: str | Path, record: type[R], *, allow_empty: bool = False) -> list[R]:
    """All records of a JSON Lines file.

    Raises:
        DataError: as `iterate_records`; an empty file, unless allowed; two records of the same identity.
    """
    records = list(iterate_records(path, record))
    name = record.__name__.lower()
    if not records and not allow_empty:
        raise DataError(f"holds no {name} records; a file with at least one line is needed", path)
    seen: set[tuple[object, ...]] = set()
    for one in records:
        if one.identity and one.identity in seen:
            which = " #".join(map(str, one.identity))
            raise DataError(f"holds two {name} records for {which}; each may be there once: take one of them out", path)
        seen.add(one.identity)
    return records


def dump_line(data: dict[str, Any]) -> str:
    """One JSON object as one line, UTF-8 safe (lone surrogates are escaped), with its newline."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(data, separators=(",", ":"))
    return text + "\n"


def write_records(path: str | Path, records: Iterable[JsonRecord]) -> int:
    """Write all records in one atomic step; returns how many."""
    count = 0

    def lines() -> Iterator[str]:
        nonlocal count
        for record in records:
            count += 1
            yield dump_line(record.to_json())

    atomic_write(path, lines())
    return count


def atomic_write(path: str | Path, text: str | Iterable[str]) -> None:
    """Write a text file so that a reader sees the old one or the new one, never half of it.

    Raises:
        CoderlError: the file cannot be written (full disk, no permission); the old file is untouched.
    """
    path = Path(path)
    device = _is_device(path)  # /dev/stdout, a pipe: there is nothing to keep, and a file must not take its place
    target = path if device else path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_parts(target, text)
        if not device:
            target.replace(path)
    except OSError as error:
        raise CoderlError(write_failure(path, error)) from None
    finally:
        if not device:
            try:
                target.unlink(missing_ok=True)
            except OSError:  # the first error is the one to report
                pass


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_parts(path: Path, text: str | Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for part in [text] if isinstance(text, str) else text:
            stream.write(part)
        stream.flush()
        if path.is_file():
            os.fsync(stream.fileno())


def write_failure(path: str | Path, error: OSError) -> str:
    """One sentence for a failed write."""
    if isinstance(error, FileExistsError | NotADirectoryError):
        return f"{path}: cannot be written (a file is where a folder is needed); remove that file, or choose another place"
    if isinstance(error, IsADirectoryError):
        return f"{path}: cannot be written (it is a folder); give the name of a file"
    reason = error.strerror or error
    return f"{path}: cannot be written ({reason}); what was finished is kept: free space or choose another place, then run the same command again"


def system_error(error: Exception) -> OSError | None:
    """The system's error behind a library's that names it in its text alone: "(os error 28)" (tokenizers, safetensors), "[Errno 28]" (shutil)."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    found = re.search(r"\(os error (\d+)\)|\[Errno (\d+)\]", str(error))
    number = int(found[1] or found[2]) if found else None
    return OSError(number, os.strerror(number)) if number is not None else None


class AppendStore:
    """An append-only JSON Lines file that a killed run can go on with.

    Opening it cuts off a torn last line and reads the keys that are already there. `key` maps a record to what
    identifies it, e.g. (problem, index). One process at a time writes: a
    second one is refused. Appending a key twice is a programming error and raises ValueError.
    """

    def __init__(self, path: str | Path, record: type[R], key: Callable[[Any], Hashable]) -> None:
        self.path = Path(path)
        self._record = record
        self._key = key
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.keys: set[Hashable] = set()
            self._stream = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise CoderlError(write_failure(self.path, error)) from None
        try:
            if self.path.is_file():  # a device such as /dev/stdout holds nothing that could be read again
                fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)  # first: another writer's last line may be half written
                self._cut_torn_line()
                self.keys |= {key(r) for r in iterate_records(self.path, record)}
        except BlockingIOError:
            self._stream.close()
            raise CoderlError(f"{self.path} is being written by another process; wait until it has ended, or choose another file") from None
        except OSError as error:
            self._stream.close()
            raise CoderlError(write_failure(self.path, error)) from None
        except BaseException:
            self._stream.close()
            raise

    def _cut_torn_line(self) -> None:
        if self.path.stat().st_size == 0:
            return
        with self.path.open("rb+") as stream:
            size = position = stream.seek(0, os.SEEK_END)
            while position > 0:
                start = max(0, position - 65536)
                stream.seek(start)
                block = stream.read(position - start)
                newline = block.rfind(b"\n")
                if newline >= 0:
                    position = start + newline + 1
                    break
                position = start
            if position != size:
                stream.truncate(position)

    def __contains__(self, key: Hashable) -> bool:
        return key in self.keys

    def __len__(self) -> int:
        return len(self.keys)

    def append(self, record: JsonRecord) -> None:
        """Write one record and hand it to the operating system at once."""
        key = self._key(record)
        if key in self.keys:
            raise ValueError(f"{self.path} already holds {key!r}")
        try:
            self._stream.write(dump_line(record.to_json()))
            self._stream.flush()
        except OSError as error:
            raise CoderlError(write_failure(self.path, error)) from None
        self.keys.add(key)

    def close(self) -> None:
        try:
            self._stream.close()
        except OSError as error:
            raise CoderlError(write_failure(self.path, error)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:  # the first error is the one to report
            try:
                self._stream.close()
            except OSError:
                pass
