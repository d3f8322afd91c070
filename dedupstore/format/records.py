"""What all records of format 1 have in common: they are MessagePack maps, bounded (docs/format.md 7 to 12).

Invariant: what these types accept is well-formed: every byte string has its length, every number its range.
Whether it is *true* is for the callers, who hold keys and other files against it.

What a file may hold many of lies in columns, byte strings of fixed-width items: decoding one makes one object,
however many items there are, so a small file cannot claim much memory.
"""

from threading import Lock
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dedupstore.errors import DamageError
from dedupstore.format import layout

Bin16 = Annotated[bytes, Meta(min_length=16, max_length=16)]
Bin32 = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Sequence = Annotated[int, Meta(ge=0, lt=layout.MAX_SEQUENCE)]

Text = Annotated[str, Meta(max_length=layout.MAX_STREAM_NAME)]

T = TypeVar("T")


def check_column(column: bytes, width: int, most: int | None = None) -> None:
    """Raise `ValueError` unless these are whole items of that width, and at most so many."""
    count, odd = divmod(len(column), width)
    if odd or (most is not None and count > most):
        raise ValueError("a column is cut short, or too long")


def names(column: bytes) -> list[bytes]:
    """Return the items of a column of 32 bytes each."""
    return [column[at : at + 32] for at in range(0, len(column), 32)]


_encoder = msgspec.msgpack.Encoder()
_decoders: "dict[type[Any], msgspec.msgpack.Decoder[Any]]" = {}
_preparing = Lock()


def encode(record: msgspec.Struct) -> bytes:
    """Return the record as MessagePack."""
    return _encoder.encode(record)


def encode_any(value: object) -> bytes:
    """Return plain lists and byte strings as MessagePack."""
    return _encoder.encode(value)


def decoder(kind: type[T]) -> "msgspec.msgpack.Decoder[T]":
    """Return what reads a type.

    One thread at a time makes one: msgspec (0.22) crashes when two are the first to read a struct.
    """
    found = _decoders.get(kind)
    if found is None:
        with _preparing:
            found = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    return found


def decode(data: bytes | memoryview, kind: type[T], name: str) -> T:
    """Read a record; `name` is the file it came from, for the error.

    Raises `DamageError` if it is not MessagePack of that shape.
    """
    try:
        return decoder(kind).decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise DamageError(f"{name} is not well-formed: {error}") from None
