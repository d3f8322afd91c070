"""The ids of chunks, computed many at a time, for storing and for verifying.

Invariant: a chunk's id is the keyed BLAKE3 of all its bytes, and nothing is taken to be a chunk without it.

Many chunks are hashed side by side, in C and without the interpreter's lock.  Where that was not built, as the BLAKE3
team's C code was not there (setup.py), the ids are the same, one chunk after the other.
"""

from array import array
from collections.abc import Callable, Sequence
from itertools import accumulate, chain
from struct import iter_unpack

from blake3 import blake3

_side_by_side: Callable[[memoryview, bytes, bytes, bytes], bytes] | None
try:
    from dedupstore.chunks import _identify
except ImportError:
    _side_by_side = None
else:
    _side_by_side = _identify.identify


def identify(data: memoryview, starts: Sequence[int], ends: Sequence[int], key: bytes) -> list[bytes]:
    """Return the ids of the chunks of `data` from each start to its end (offsets)."""
    ids = _identify_all(data, array("Q", starts), array("Q", ends), key)
    return list(chain.from_iterable(iter_unpack("32s", ids)))


def proven(data: memoryview, at: int, lengths: Sequence[int], ids: Sequence[bytes], key: bytes) -> bool:
    """Return whether chunks of these lengths, one after the other from `at` on, are what their ids say."""
    return all_proven(data, [(at, lengths, ids)], key)


def all_proven(
    data: memoryview, runs: Sequence[tuple[int, Sequence[int], Sequence[bytes]]], key: bytes
) -> bool:
    """Return the same for several runs of chunks, each with its start, its lengths and its ids."""
    starts, ends = array("Q"), array("Q")
    for at, lengths, _ in runs:
        bounds = array("Q", accumulate(lengths, initial=at))
        if bounds[-1] > len(data):
            return False
        starts += bounds[:-1]
        ends += bounds[1:]
    wanted = b"".join(chain.from_iterable(ids for _, _, ids in runs))
    return wanted == _identify_all(data, starts, ends, key)


def short_ids(data: memoryview, lengths: "array[int]", key: bytes) -> bytes:
    """Return the column of short ids of chunks that follow one another from the first byte on."""
    bounds = array("Q", accumulate(lengths, initial=0))
    ids = _identify_all(data, bounds[:-1], bounds[1:], key)
    return b"".join(chain.from_iterable(iter_unpack("16s16x", ids)))


def _identify_all(data: memoryview, starts: "array[int]", ends: "array[int]", key: bytes) -> bytes:
    if _side_by_side is not None:
        return _side_by_side(data, starts.tobytes(), ends.tobytes(), key)
    return b"".join(
        blake3(data[start:end], key=key).digest() for start, end in zip(starts, ends, strict=True)
    )
