"""Reading other people's pickles without running what is in them: numbers, texts, plain containers and numpy arrays, nothing else.

A pickle can name any function and have it called, and write into what the call gives. Here a fixed list of names is known, and none of them
is handed out: each has a stand-in that keeps what it is given, as plain Python values, and refuses to be written into. Arrays are made when
the reading is over, from bytes that are there and a kind of number or text; so no pickle gets at numpy's own objects, which would take bytes
as addresses. Numpy's single numbers become Python's. Not covered: a pickle that is huge, or nested deeply enough to exhaust memory.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError

_LETTERS = re.compile(r"b1|[iu][1248]|f[248]|c(8|16)|[SU][1-9][0-9]{0,8}")
"""What numpy writes for the kinds that are read: truth values, whole numbers, floats, complex numbers, bytes and texts of one length."""


_TORN = (pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, MemoryError, RecursionError)
"""What Python and numpy say of bytes that are no pickle, or part of one."""


def read_pickle(path: Path) -> Any:
    """The value of a pickle file.

    Raises:
        DataError: no such file, no whole pickle, or one that holds anything but numbers, texts, containers and arrays.
    """
    try:
        return _finished(_Plain(io.BytesIO(path.read_bytes())).load(), {})
    except DataError as error:
        raise DataError(str(error), path) from None
    except FileNotFoundError:
        raise DataError("no such file; check the path", path) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path) from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        LookupError,
        ArithmeticError,
        AttributeError,
        MemoryError,
        RecursionError,
    ) as error:
        raise DataError(f"not a whole pickle ({error or type(error).__name__}); fetch it again", path) from None


@dataclass(slots=True)
class _Name:
    """A known name: what a pickle may call, and no more."""

    called: Callable[..., object]

    def __call__(self, *arguments: object) -> object:
        return self.called(*arguments)

    def __setstate__(self, state: object) -> None:
        raise DataError("writes into a function or a type, which is not read")


@dataclass(slots=True)
class _Kind:
    """Stands in for numpy's dtype: letter and size ("f4"), and the order of bytes."""

    letters: str
    order: str = "<"

    def __setstate__(self, state: object) -> None:
        match state:  # version, order, parts, names, fields; then sizes and flags, which the letters say already
            case (int(), "<" | ">" | "|" as order, None, None, None, *_):
                self.order = str(order)
            case _:
                raise DataError(f"holds an array of the kind {state!r:.60}; it must be of plain numbers or texts")


@dataclass(slots=True)
class _Array:
    """Stands in for an array; empty until the pickle fills it."""

    kind: _Kind | None = None
    shape: tuple[int, ...] = ()
    data: bytes | bytearray = b""
    order: Literal["C", "F"] = "C"

    def __setstate__(self, state: object) -> None:
        match state:
            case (int(), tuple() as shape, _Kind() as kind, bool(fortran), (bytes() | bytearray()) as data):
                self.kind, self.shape, self.data, self.order = kind, _checked(shape), data, "F" if fortran else "C"
            case _:
                raise DataError("holds an array that is not made of bytes; it must be of plain numbers or texts")

    def made(self) -> NDArray[Any]:
        if self.kind is None:
            raise DataError("holds an array that is never filled; fetch it again")
        kind = np.dtype(self.kind.order + self.kind.letters)
        if math.prod(self.shape) * kind.itemsize != len(self.data):
            raise DataError(f"holds {len(self.data)} bytes for an array of shape {self.shape!r:.60}; fetch it again")
        return np.ndarray(self.shape, kind, bytes(self.data), order=self.order).copy(order="K")


def _not_called(*_: object) -> object:
    raise DataError("makes an array as numpy does not write it; it must be a plain array")


_NDARRAY = _Name(_not_called)


def _kind(letters: object, *_: object) -> _Kind:
    if not isinstance(letters, str) or not _LETTERS.fullmatch(letters):
        raise DataError(f"holds numpy data of the kind {letters!r:.60}; it must be of plain numbers or texts")
    return _Kind(letters)


def _checked(shape: tuple[object, ...]) -> tuple[int, ...]:
    sizes = tuple(size for size in shape if isinstance(size, int) and size >= 0)
    if len(sizes) != len(shape):
        raise DataError(f"holds an array of shape {shape!r:.60}; it must be of numbers from 0 up")
    return sizes


def _empty_array(kind: object, shape: object, letter: object) -> _Array:
    """What an array is filled into; numpy writes the shape (0,) here."""
    if kind is not _NDARRAY or shape != (0,):
        raise DataError(f"holds an array that numpy does not write so (shape {shape!r:.60}); it must be a plain array")
    return _Array()


def _array_of(data: object, kind: object, shape: object, order: object, axes: object = None) -> _Array:
    """How protocol 5 writes arrays."""
    if axes is not None:
        raise DataError("holds an array with its axes in another order; copy it before it is saved")
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", data))
    return array


def _scalar(kind: object, data: object) -> object:
    """One of numpy's numbers or texts, as Python's."""
    array = _Array()
    array.__setstate__((1, (), kind, False, data))
    return array.made().item()


def _bytes_of(text: object, encoding: object) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1" or not isinstance(text, str):
        raise DataError(f"holds text in the encoding {encoding!r:.60}; bytes are written as latin1")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How protocol 2 writes no bytes. A number, of which Python would make as many, is refused (TypeError)."""
    return b""


_KNOWN = {("numpy", "ndarray"): _NDARRAY, ("numpy", "dtype"): _Name(_kind), ("_codecs", "encode"): _Name(_bytes_of)}
for _builtins in ("__builtin__", "builtins"):  # how protocols 2 and 3 write sets
    _KNOWN |= {(_builtins, "bytes"): _Name(_no_bytes), (_builtins, "set"): _Name(set), (_builtins, "frozenset"): _Name(frozenset)}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _KNOWN |= {(f"{_core}.multiarray", "_reconstruct"): _Name(_empty_array), (f"{_core}.multiarray", "scalar"): _Name(_scalar)}
    _KNOWN |= {(f"{_core}.numeric", "_frombuffer"): _Name(_array_of)}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise DataError(f"holds a {module}.{name}, which is not read: only numbers, texts, lists, dictionaries and numpy arrays are") from None

    def persistent_load(self, pid: Any) -> Any:
        raise DataError("refers to data outside of itself, which is not read")


def _finished(value: object, known: dict[int, tuple[object, object]]) -> object:
    """A value with arrays in the place of their stand-ins, which cannot be in sets or keys (they have no hash).

    Args:
        known: what was met before and what it became, by identity; a pickle may hold one thing many times, or a list in itself.
    """
    if isinstance(value, _Name | _Kind):
        raise DataError("holds a function or a type, which is not read: only numbers, texts, lists, dictionaries and numpy arrays are")
    if not isinstance(value, list | tuple | dict | _Array):
        return value
    if id(value) in known:
        return known[id(value)][1]
    if isinstance(value, list):
        known[id(value)] = value, value
        value[:] = [_finished(one, known) for one in value]
    elif isinstance(value, dict):
        known[id(value)] = value, value
        value.update([(key, _finished(one, known)) for key, one in value.items()])
    else:
        made = value.made() if isinstance(value, _Array) else tuple(_finished(one, known) for one in value)
        known[id(value)] = value, made
    return known[id(value)][1]
