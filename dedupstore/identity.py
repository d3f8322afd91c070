"""Which chunk is it? The ids of chunks that lie one after the other, for those who store and those who verify.

Invariant: a chunk's id is the keyed BLAKE3 of all its bytes, and nothing is taken to be a chunk without it.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from threading import Lock

from blake3 import blake3

# BLAKE3 gives up the interpreter for microseconds.  Two threads that do so in turn wake each other all the time;
# one at a time, beside others that compress, decrypt, read or write, is faster, at less cost.
_turn = Lock()


def identify(data: memoryview, bounds: Iterable[int], key: bytes) -> list[bytes]:
    """Return the ids of the chunks of `data` between each of the bounds (offsets) and the next."""
    with _turn:
        return [blake3(data[start:end], key=key).digest() for start, end in pairwise(bounds)]


def proven(data: memoryview, at: int, lengths: Iterable[int], ids: Sequence[bytes], key: bytes) -> bool:
    """Tell whether chunks of these lengths, one after the other from `at` on, are what their ids say."""
    bounds = list(accumulate(lengths, initial=at))
    return bounds[-1] <= len(data) and ids == identify(data, bounds, key)
