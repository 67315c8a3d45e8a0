"""Reading other people's pickles without running what is in them: numbers, texts, plain containers and numpy arrays, nothing else.

A pickle can name any function and have it called. Here a fixed list of names is known, each mapped to a function of ours or to numpy's own
array type; every other name ends the reading. Not covered: a pickle that is huge, or nested deeply enough to exhaust memory.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import DataError


def read_pickle(path: Path) -> Any:
    """The value of a pickle file.

    Raises:
        DataError: no such file, no whole pickle, or one that holds anything but numbers, texts, containers and arrays.
    """
    try:
        return _Plain(io.BytesIO(path.read_bytes())).load()
    except DataError as error:
        raise DataError(str(error), path) from None
    except FileNotFoundError:
        raise DataError("no such file; check the path", path) from None
    except OSError as error:
        raise DataError(f"cannot be opened ({error.strerror})", path) from None
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, MemoryError, RecursionError) as error:
        raise DataError(f"not a whole pickle ({error or type(error).__name__}); fetch it again", path) from None


def _empty_array(kind: type, shape: tuple[int, ...], letter: bytes) -> np.ndarray[Any, Any]:
    """What an array is filled into. numpy writes the shape (0,) here; another one could ask for any amount of memory."""
    if kind is not np.ndarray or shape != (0,):
        raise DataError(f"holds an array that numpy does not write so (shape {shape!r}); it must be a plain array")
    return np.ndarray((0,), dtype="b")


def _bytes_of(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise DataError(f"holds text in the encoding {encoding!r}; bytes are written as latin1")
    return text.encode("latin1")


def _scalar(kind: np.dtype[Any], data: bytes) -> Any:
    if kind.hasobject:
        raise DataError("holds a numpy number of type object; it must be a plain number")
    return np.frombuffer(data, dtype=kind, count=1)[0]


def _array_of(
    data: bytes, kind: np.dtype[Any], shape: tuple[int, ...], order: Literal["C", "F"], axes: tuple[int, ...] | None = None
) -> np.ndarray[Any, Any]:
    """How protocol 5 writes arrays; one of objects is refused by numpy (ValueError)."""
    if axes is not None:
        raise DataError("holds an array with its axes in another order; copy it before it is saved")
    return np.frombuffer(data, dtype=kind).reshape(shape, order=order)


_KNOWN: dict[tuple[str, str], object] = {("numpy", "ndarray"): np.ndarray, ("numpy", "dtype"): np.dtype, ("_codecs", "encode"): _bytes_of}
for _builtins in ("__builtin__", "builtins"):  # how protocols 2 and 3 write sets
    _KNOWN |= {(_builtins, "set"): set, (_builtins, "frozenset"): frozenset}
for _core in ("numpy.core", "numpy._core"):  # before numpy 2, and since
    _KNOWN |= {(f"{_core}.multiarray", "_reconstruct"): _empty_array, (f"{_core}.multiarray", "scalar"): _scalar}
    _KNOWN |= {(f"{_core}.numeric", "_frombuffer"): _array_of}


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _KNOWN[module, name]
        except KeyError:
            raise DataError(f"holds a {module}.{name}, which is not read: only numbers, texts, lists, dictionaries and numpy arrays are") from None

    def persistent_load(self, pid: Any) -> Any:
        raise DataError("refers to data outside of itself, which is not read")
