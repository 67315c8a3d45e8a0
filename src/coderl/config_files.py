"""`--config file.toml`: values of a TOML file become a stage's defaults; flags override them.

Keys are the field names of the stage's `Config` ("max_source_tokens"; "max-source-tokens" is read too), at the top level of the
file. Every value is checked against the field's type here, so that a wrong one is told with file and key. Nothing here knows a stage.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UsageError


def read_toml(path: Path) -> dict[str, Any]:
    """The file's values.

    Raises:
        UsageError: no such file, not readable, not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such config file; check the path behind --config") from None
    except OSError as error:
        raise UsageError(f"{path}: the config file cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8 text; a config file is TOML, saved as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not TOML ({error}); a config file has lines like  seed = 0  and  out = 'run/samples.jsonl'") from None


def file_defaults(config: type, path: Path) -> dict[str, Any]:
    """Field values that the file gives for the dataclass `config`, in the types of its fields.

    Raises:
        UsageError: a key that is no field, or a value of the wrong type.
    """
    hints = get_type_hints(config)
    parts = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}  # their fields stand beside the others
    inner = {name: (part, hint) for part, kind in parts.items() for name, hint in get_type_hints(kind).items()}
    names = [field.name for field in dataclasses.fields(config) if field.name not in parts] + list(inner)
    values: dict[str, Any] = {}
    changed: dict[str, dict[str, Any]] = {}
    for key, value in read_toml(path).items():
        name = key.replace("-", "_")
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"{path}: {key!r} is no setting of this stage; {hint}it takes {', '.join(names)}")
        if name in inner:
            part, hint = inner[name]
            changed.setdefault(part, {})[name] = typed(value, hint, f"{path}: {key!r}")
        else:
            values[name] = typed(value, hints[name], f"{path}: {key!r}")
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(config)}
    return values | {part: dataclasses.replace(defaults[part], **given) for part, given in changed.items()}


def typed(value: object, hint: Any, where: str) -> Any:
    """`value` as TOML gave it, turned into the type `hint` (Path, tuple, Literal, optional ones and plain types).

    Raises:
        UsageError: it does not fit; the message starts with `where`.
    """
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if type(None) in options and value in ("none", "None"):
        return None
    for option in options:
        fitting = _fit(value, option, where)
        if fitting is not None:
            return fitting
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    raise UsageError(f"{where} is {shown}; it must be {' or '.join(_words(option) for option in options)}")


def _fit(value: object, hint: Any, where: str) -> Any:
    """The value in type `hint`, or None where it does not fit."""
    if get_origin(hint) is Literal:
        return value if value in get_args(hint) else None
    if get_origin(hint) in (tuple, list, Sequence):
        return _fit_list(value, hint, where)
    if hint is Path:
        return Path(value) if isinstance(value, str) else None
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is int and isinstance(value, bool):
        return None
    return value if isinstance(hint, type) and isinstance(value, hint) else None


def _fit_list(value: object, hint: Any, where: str) -> Any:
    if not isinstance(value, list):
        return None
    inner = get_args(hint)
    if get_origin(hint) is tuple and Ellipsis not in inner and len(inner) != len(value):
        return None
    items = [typed(item, inner[min(i, len(inner) - 1)] if Ellipsis not in inner else inner[0], where) for i, item in enumerate(value)]
    return items if get_origin(hint) is list else tuple(items)


def _words(hint: Any) -> str:
    """A type in words: "a whole number", "one of hidden, example"."""
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in get_args(hint))
    if get_origin(hint) in (tuple, list, Sequence):
        inner = [i for i in get_args(hint) if i is not Ellipsis]
        return f"a list, each {_words(inner[0])}" if Ellipsis in get_args(hint) or len(inner) == 1 else f"a list of {len(inner)} values"
    names = {int: "a whole number", float: "a number", str: "a string", bool: "true or false", Path: "a path (a string)", type(None): '"none"'}
    return names.get(hint, f"a {getattr(hint, '__name__', hint)}")
