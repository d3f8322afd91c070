"""The fields of tar headers: numbers, extended headers; read from a stream with bounds.

Formats: see `tar`.  Invariant: no number leaves here that does not fit in 63 bits and a sign.
"""

import re

from dedupstore.errors import StreamError
from pipelines.formats.stream import InputStream

BLOCK = 512
MAX_HEADER = 1 << 20  # bytes of extended headers of one member, and of one long name

_MAX = 2**63 - 1
_PAX_NUMBER = re.compile(rb"(-?\d{1,19})(\.\d*)?")

Records = list[tuple[bytes, bytes]]


def number(field: bytes, at: int) -> int:
    """Read octal digits, or GNU's base 256 where the first bit is set; an empty field is 0."""
    if field[0] & 0x80:
        value = int.from_bytes(field, signed=True) if field[0] == 0xFF else int.from_bytes(field[1:])
        return min(max(value, -_MAX), _MAX)
    digits = field.split(b"\0")[0].strip()
    if digits.strip(b"01234567"):
        raise StreamError(f"the tar's header at byte {at} has a field that is not a number")
    return int(digits or b"0", 8)


def number_or_none(field: bytes, at: int) -> int | None:
    """Read a number that nothing depends on, such as an owner's; None for one that is none."""
    try:
        return number(field, at)
    except StreamError:
        return None


def checked_size(value: int, at: int) -> int:
    """Return a size, or raise `StreamError` for one that cannot be."""
    if not 0 <= value <= _MAX:
        raise StreamError(f"the tar's header at byte {at} has an impossible size: {value}")
    return value


def exactly(stream: InputStream, count: int) -> bytes:
    """Return the next bytes, all of them; raises `StreamError` at the end."""
    data = stream.read(count)
    if len(data) < count:
        raise StreamError(f"the tar is cut short at byte {stream.position}")
    return bytes(data)


def extension(stream: InputStream, size: int) -> bytes:
    """Return the data of an extended header that has so many bytes."""
    if size > MAX_HEADER:
        raise StreamError(f"the tar has an extended header of {size} bytes at byte {stream.position}")
    return exactly(stream, padded(size))[:size]


def padded(size: int) -> int:
    """Return what a size is in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def pax_records(data: bytes, at: int) -> Records:
    """Read records of `LENGTH KEY=VALUE` and a line end, the length being that of the whole record."""
    records = []
    begin = 0
    while begin < len(data):
        digits, space, _ = data[begin : begin + 20].partition(b" ")
        end = begin + int(digits) if space and digits.isdigit() else begin
        key, equals, value = data[begin + len(digits) + 1 : end].partition(b"=")
        if not equals or not value.endswith(b"\n") or end > len(data):
            raise StreamError(f"the tar's extended header at byte {at} is not well-formed")
        records.append((key, value[:-1]))
        begin = end
    return records


def pax_number(records: dict[bytes, bytes], key: bytes, otherwise: int, at: int) -> int:
    """Return the number that an extended header gives for a key, without its fraction."""
    value = records.get(key)
    if not value:  # an empty one takes back what was said before
        return otherwise
    found = pax_decimal(value)
    if found is None:
        raise StreamError(f"the tar's extended header at byte {at} has a field that is not a number")
    return found[0]


def pax_decimal(value: bytes) -> tuple[int, int] | None:
    """Return the whole part of a decimal, rounded down, and billionths; None for what is no number."""
    found = _PAX_NUMBER.fullmatch(value)
    if not found:
        return None
    whole, billionths = int(found[1]), int(((found[2] or b".")[1:] + b"0" * 9)[:9])
    if value.startswith(b"-") and billionths:
        whole, billionths = whole - 1, 10**9 - billionths
    return min(max(whole, -_MAX), _MAX), billionths
