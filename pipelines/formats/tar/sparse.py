"""Sparse files in a tar: where their data belong.

Formats: GNU tar's manual, "Basic Tar Format" (old sparse files) and "Storing Sparse Files" (pax formats 0.0, 0.1
and 1.0).

Invariant: regions are in order, do not overlap and lie within the file.
"""

from array import array
from collections.abc import Iterator
from typing import NamedTuple

from dedupstore.errors import StreamError
from pipelines.formats.entries import Hole
from pipelines.formats.stream import InputStream
from pipelines.formats.tar.fields import BLOCK, Records, checked_size, exactly, number, pax_number

MAX_REGIONS = 1 << 18

_OLD_SPARSE = slice(386, 482)  # four regions; the first byte after them tells whether more follow
_OLD_SPARSE_SIZE = slice(483, 495)
_MORE_REGIONS = slice(0, 504)  # in a block of its own


class Sparse(NamedTuple):
    """A file with holes: its whole size, and offset and length of each region, one after the other.

    With `inside`, the regions are listed at the beginning of the data.
    """

    size: int
    regions: "array[int]"
    inside: bool = False


def pax_sparse(records: Records, last: dict[bytes, bytes], at: int) -> Sparse:
    """Read what pax headers say of a sparse file; `last` has the last value of each key."""
    if b"GNU.sparse.major" in last:
        size = pax_number(last, b"GNU.sparse.realsize", -1, at)
        return Sparse(checked_size(size, at), array("Q"), inside=True)
    if listed := last.get(b"GNU.sparse.map"):  # format 0.1
        numbers = listed.split(b",")
    else:  # format 0.0: both keys in turn
        numbers = [value for key, value in records if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes")]
    size = checked_size(pax_number(last, b"GNU.sparse.size", -1, at), at)
    return Sparse(size, _regions([_decimal(number, at) for number in numbers], size, at))


def old_sparse(stream: InputStream, block: bytes) -> Sparse:
    """Read the regions of GNU's old format from a header and the blocks that follow it."""
    at = stream.position
    size = checked_size(number(block[_OLD_SPARSE_SIZE], at), at)
    numbers: array[int] = array("Q")
    fields, more = block[_OLD_SPARSE], block[_OLD_SPARSE.stop]
    while True:
        for start in range(0, len(fields), 24):
            if not fields[start]:
                break
            numbers.append(checked_size(number(fields[start : start + 12], at), at))
            numbers.append(checked_size(number(fields[start + 12 : start + 24], at), at))
        if not more:
            return Sparse(size, _regions(numbers, size, at))
        if len(numbers) > 2 * MAX_REGIONS:
            raise _too_many(at)
        following = exactly(stream, BLOCK)
        fields, more = following[_MORE_REGIONS], following[_MORE_REGIONS.stop]


def _regions(numbers: "list[int] | array[int]", size: int, at: int) -> "array[int]":
    """Check that regions are in order and within the file."""
    if len(numbers) % 2:
        raise StreamError(f"the tar's list of a sparse file's regions at byte {at} is not well-formed")
    if len(numbers) > 2 * MAX_REGIONS:
        raise _too_many(at)
    ends = [0, *(offset + length for offset, length in zip(numbers[::2], numbers[1::2], strict=True))]
    starts = [*numbers[::2], size]
    if any(start < end for start, end in zip(starts, ends, strict=True)):
        raise StreamError(f"the tar's sparse file at byte {at} has regions that overlap or exceed it")
    return array("Q", numbers)


def _too_many(at: int) -> StreamError:
    return StreamError(f"the tar's sparse file at byte {at} has more than {MAX_REGIONS} regions")


def expanded(stream: InputStream, stored: int, sparse: Sparse) -> Iterator[bytes | memoryview | Hole]:
    """Yield a sparse file's data with its holes."""
    begin, done = stream.position, 0
    regions = _listed_inside(stream, sparse, stored) if sparse.inside else sparse.regions
    if stream.position - begin + sum(regions[1::2]) != stored:
        raise StreamError(f"the tar's sparse file at byte {begin} has other data than its regions say")
    for offset, length in zip(regions[::2], regions[1::2], strict=True):
        if offset > done:
            yield Hole(offset - done)
        yield from stream.copy(length)
        done = offset + length
    if sparse.size > done:
        yield Hole(sparse.size - done)


def _listed_inside(stream: InputStream, sparse: Sparse, stored: int) -> "array[int]":
    """Read the regions of sparse format 1.0: their number, then the numbers, a line each, padded to a block."""
    at = stream.position
    lines: list[bytes] = []
    wanted, rest = 1, b""
    while len(lines) < wanted:
        if stream.position - at + BLOCK > stored or len(rest) > BLOCK:
            raise StreamError(f"the tar's sparse file at byte {at} has a list of regions without an end")
        *more, rest = (rest + exactly(stream, BLOCK)).split(b"\n")
        lines += more
        if wanted == 1 and lines:
            wanted += 2 * _decimal(lines[0], at)
            if wanted > 2 * MAX_REGIONS:
                raise _too_many(at)
    return _regions([_decimal(line, at) for line in lines[1:wanted]], sparse.size, at)


def _decimal(digits: bytes, at: int) -> int:
    if not digits.isdigit() or len(digits) > 19:
        raise StreamError(f"the tar's list of a sparse file's regions at byte {at} is not well-formed")
    return int(digits)
