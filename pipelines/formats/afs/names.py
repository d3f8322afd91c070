"""All names in a volume, by the vnode that they name.

Invariant: names of one vnode keep the order in which they were added.  A name takes its own length and 17 bytes, and
once 40 more while they are sorted: a volume may have millions.
"""

import struct
from array import array
from bisect import bisect_left
from typing import NamedTuple

from dedupstore.errors import StreamError

_RECORD = struct.Struct("=IIB")  # the directory's vnode, the uniquifier of what is named, the name's length
_LARGEST = 1 << 32


class Name(NamedTuple):
    """Where something is named: the vnode of the directory, the uniquifier of what is meant, and the name."""

    folder: int
    unique: int
    text: bytes


class Names:
    """Filled with `add`, then sorted once, then asked."""

    def __init__(self) -> None:
        self._records = bytearray()
        self._index = array("Q")  # vnode << 32 | where its record is

    def add(self, vnode: int, folder: int, unique: int, text: bytes) -> None:
        """Note a name, of at most 255 bytes, of a vnode.  Raises `StreamError` if there are too many."""
        at = len(self._records)
        if at >= _LARGEST:
            raise StreamError("the volume has more than 4 GB of names", "take it as it is with --raw")
        self._index.append(vnode << 32 | at)
        self._records += _RECORD.pack(folder, unique, len(text)) + text

    def sort(self) -> None:
        """Prepare for `of`."""
        self._index = array("Q", sorted(self._index))

    def of(self, vnode: int) -> list[Name]:
        """Return the names of a vnode."""
        found = []
        here = bisect_left(self._index, vnode << 32)
        while here < len(self._index) and (key := self._index[here]) >> 32 == vnode:
            here += 1
            at = key & (_LARGEST - 1)
            folder, unique, length = _RECORD.unpack_from(self._records, at)
            at += _RECORD.size
            found.append(Name(folder, unique, bytes(self._records[at : at + length])))
        return found
