"""The facts of a stream: what a splitter knows about it, in a shape that can do no harm (docs/format.md 10).

Invariant: `load` returns a map of plain values within the format's bounds, or nothing; it never raises, and costs
no more than `layout.MAX_FACTS` bytes allow.  What the keys mean is the business of those who know the format.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from dedupstore.errors import StreamError
from dedupstore.format import layout, records

_DEPTH = 4
_INT = 1 << 64


def dump(facts: Mapping[str, Any], stream: str) -> bytes:
    """Return facts as a stream's record holds them; raises `StreamError` for what no reader would take."""
    if not facts:
        return b""
    try:
        data = records.encode_any(facts)
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise StreamError(f"the stream {stream} cannot be described: {error}") from None
    if len(data) > layout.MAX_FACTS or load(data) is None:
        raise StreamError(
            f"the stream {stream} cannot be described: its facts are too many, or no plain values"
        )
    return data


def load(data: bytes) -> dict[str, Any] | None:
    """Return the facts, an empty map for none, or None for what is not well-formed."""
    if not data:
        return {}
    try:
        facts = records.decoder(dict[str, Any]).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return facts if len(data) <= layout.MAX_FACTS and _is_plain(facts, _DEPTH) else None


def _is_plain(value: Any, depth: int) -> bool:
    if isinstance(value, dict):
        return depth > 0 and all(
            isinstance(key, str) and _is_plain(item, depth - 1) for key, item in value.items()
        )
    if isinstance(value, list):
        return depth > 0 and all(_is_plain(item, depth - 1) for item in value)
    if isinstance(value, int):
        return -_INT // 2 <= value < _INT
    return value is None or isinstance(value, str | bytes)
