"""Cut a stream of bytes into chunks where its content says so, with a secret of the repository's own.

Invariant: the cuts depend on the key, the sizes and the bytes alone: not on the machine, nor on how the
stream was divided into buffers.  They belong to format 1 and never change: a chunker that cuts elsewhere
finds nothing to deduplicate.

The rolling hash and the normalised thresholds are those of FastCDC (Xia et al., USENIX ATC 2016 and IEEE
TPDS 2020), with a keyed gear table, so that chunk lengths tell an outsider nothing about known content.  Skeletons
repeat themselves within its window of 32 bytes, and have a hash of 1024 (docs/decisions/0022).
"""

from typing import NamedTuple

from blake3 import blake3

from dedupstore.chunks import _chunker


class ChunkSizes(NamedTuple):
    """Bounds of a chunk's length, in bytes.

    64 <= minimum < average < maximum <= 2 MiB; the average is a power of two, 256 or more.  The wide hash
    needs 1024 < minimum.
    """

    minimum: int
    average: int
    maximum: int


class Chunker:
    """Finds the cuts of one repository; holds no state between calls, so threads may share it."""

    def __init__(self, key: bytes, sizes: ChunkSizes, *, wide: bool = False) -> None:
        """Derive the gear table from the repository's 32-byte chunker key; `wide` hashes 1024 bytes, not 32.

        Raises ValueError for a key of another length or sizes outside the bounds of ChunkSizes.
        """
        self._gear = blake3(b"dedup1 gear", key=key).digest(length=1024)
        self.sizes = sizes
        self._find = _chunker.cuts_wide if wide else _chunker.cuts
        self._find(b"", self._gear, *sizes, True)  # the bounds are checked in one place only, in C

    def cuts(self, data: bytes | bytearray | memoryview, *, final: bool, ends: bytes = b"") -> list[int]:
        """Return the ascending end offsets of the chunks in `data`, whose first byte begins a chunk.

        Only cuts that later bytes cannot move are returned: put `data[last cut:]`, always shorter than
        the maximum, in front of the next buffer.  With `final`, whatever remains is the last chunk.  What
        is put in front is scanned again, so let buffers be several times the maximum.  The GIL is released.
        Chunks also end at each of `ends`: ascending offsets, a column of u64 in the machine's order.

        Raises BufferError or TypeError if `data` is not one contiguous buffer of bytes.
        """
        return self._find(data, self._gear, *self.sizes, final, ends)
