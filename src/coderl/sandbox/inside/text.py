"""JSON text without the layers of the json module, which build functions and match patterns at each call: every object that they touch
is a page of memory that a forked process copies. Runs on both sides."""

import json
from typing import Any

_to_parts = json.encoder.c_make_encoder(None, None, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, False)  # type: ignore[attr-defined]
_scan = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def to_text(data: Any) -> str:
    """Lists, dicts with string keys, text and finite numbers, as ASCII. Raises ValueError for other numbers, TypeError for other data."""
    return "".join(_to_parts(data, 0))


def from_text(text: str) -> Any:
    """What `to_text` was given. Raises ValueError (or RecursionError) for other text."""
    try:
        data, end = _scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return data
