"""Files of hints: where the chunks of one domain may be, sorted by the first bytes of their ids.

Invariant: a file never changes; every hint that was written into it can be found in it, or damage is reported.  Whether
a hint is true is for the caller to check.

A file is a table of buckets of 512 bytes, and an id's first bytes say which bucket: one small read answers,
and, unlike a page of a mapped file, what was read does not stay in this process.

    up to 42 hints of 12 bytes, ascending ‖ zeros, up to byte 506
    ‖ how many (1 byte) ‖ 1 if more of them are in the next bucket ‖ CRC-32, begun with the bucket's place (4, little)

Hints ascend over the whole file.  Buckets are filled to two thirds, and one that has more leaves the rest to the
next: after the last there are as many more as that takes.
"""

import os
import struct
import weakref
import zlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

from dedupstore.cache.row_formats import FINGERPRINT, HINT_SIZE
from dedupstore.errors import DamageError
from dedupstore.state import atomic

BUCKET = 512
MOST = 42
USUAL = 28
READ = 128 * BUCKET

_SUMMED = BUCKET - 4
_COUNT, _MORE = _SUMMED - 2, _SUMMED - 1
_TOP = 8 * FINGERPRINT
_HINT = struct.Struct(f"{HINT_SIZE}s")
_END = b"\xff" * (HINT_SIZE + 1)  # behind every hint


class HintFile:
    """A file of hints, open; `buckets` are those that ids point to, `size` is in bytes.

    Raises `FileNotFoundError`, and `DamageError` if it has another size.
    """

    def __init__(self, path: Path, buckets: int, size: int) -> None:
        self._buckets = buckets
        self._size = size
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)  # not sooner: another thread may be reading
        if os.fstat(self._descriptor).st_size != size:
            raise DamageError("a file of hints is cut short")

    def find(self, fingerprint: bytes) -> list[bytes]:
        """Return the hints that begin with these bytes; raises `DamageError`."""
        at = (int.from_bytes(fingerprint, "big") * self._buckets >> _TOP) * BUCKET
        found: list[bytes] = []
        while True:
            bucket = os.pread(self._descriptor, BUCKET, at)
            if not _is_sound(bucket, at):
                raise DamageError("a file of hints has other bytes than were written")
            start = bucket.find(fingerprint, 0, MOST * HINT_SIZE)
            while start >= 0:
                if start % HINT_SIZE == 0:
                    found.append(bucket[start : start + HINT_SIZE])
                start = bucket.find(fingerprint, start + 1, MOST * HINT_SIZE)
            if not bucket[_MORE]:
                return found
            at += BUCKET

    def read(self) -> Iterator[list[bytes]]:
        """Yield all hints, ascending, many at once; raises `DamageError`."""
        for at in range(0, self._size, READ):
            data = os.pread(self._descriptor, READ, at)
            buckets = [data[start : start + BUCKET] for start in range(0, min(READ, self._size - at), BUCKET)]
            if not all(map(_is_sound, buckets, count(at, BUCKET))):
                raise DamageError("a file of hints has other bytes than were written")
            column = b"".join([bucket[: HINT_SIZE * bucket[_COUNT]] for bucket in buckets])
            yield [hint for (hint,) in _HINT.iter_unpack(column)]


def merge(sources: Iterable[Iterator[list[bytes]]]) -> Iterator[list[bytes]]:
    """Yield what sources of ascending hints give, ascending, many at once."""
    waiting = [(hints, source) for source in sources if (hints := _next(source))]
    while waiting:
        limit = min(hints[-1] for hints, _ in waiting)
        some: list[bytes] = []
        following = []
        for hints, source in waiting:
            count = bisect_right(hints, limit)
            some += hints[:count]
            if rest := hints[count:] or _next(source):
                following.append((rest, source))
        waiting = following
        some.sort()  # it finds the runs that ascend already, and merges them
        yield some


def write(path: Path, hints: Iterable[list[bytes]], about: int) -> tuple[int, int, int]:
    """Write ascending hints, about so many, to a new file, durably; return its buckets, size and their count.

    Raises `OSError`; then there is no file.
    """
    buckets = max(1, about // USUAL)
    total = 0
    try:
        with os.fdopen(atomic.open_new(path), "wb", buffering=READ) as file:
            for hints_of_bucket, more in _distribute(hints, buckets):
                here = len(hints_of_bucket)
                bucket = b"".join(hints_of_bucket).ljust(_COUNT, b"\0") + bytes((here, more))
                file.write(bucket + _sum(bucket, file.tell()))
                total += here
            size = file.tell()
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return buckets, size, total


def _sum(bucket: bytes, at: int) -> bytes:
    return zlib.crc32(bucket, at & 0xFFFFFFFF).to_bytes(4, "little")


def _is_sound(bucket: bytes, at: int) -> bool:
    return len(bucket) == BUCKET and _sum(bucket[:_SUMMED], at) == bucket[_SUMMED:]


def _distribute(hints: Iterable[list[bytes]], buckets: int) -> Iterator[tuple[list[bytes], bool]]:
    """Yield what is in each bucket, and whether more of it is in the next."""
    source = iter(hints)
    waiting: list[bytes] = []
    start, bucket, ended = 0, 0, False
    while bucket < buckets or start < len(waiting):
        bound = _END
        if bucket < buckets - 1:
            bound = (-(-((bucket + 1) << _TOP) // buckets)).to_bytes(FINGERPRINT, "big")
        while not ended and (not waiting or waiting[-1] < bound):
            some = next(source, None)
            ended = some is None
            waiting, start = waiting[start:] + (some or []), 0
        end = bisect_left(waiting, bound, start)
        first, start = start, min(end, start + MOST)
        yield waiting[first:start], start < end
        bucket += 1


def _next(source: Iterator[list[bytes]]) -> list[bytes]:
    return next((hints for hints in source if hints), [])
