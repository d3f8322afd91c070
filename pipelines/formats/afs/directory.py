"""Names in AFS directories.

A directory is pages of 2 KiB, in slots of 32 bytes.  Names hang in 128 chains by their hash; the heads are in the
first page.  Sources in OpenAFS 1.8: src/dir/dir.h, src/dir/dir.c (FindItem, EnumerateDir).

Invariant: whatever the bytes are, reading ends, and no name comes twice.
"""

import struct
from collections.abc import Iterator

PAGE = 2048
LIMIT = 65536 * 32  # bytes: a slot's number has 16 bits
_SLOT = 32
_TAG = 1234
_HEADS_AT, _CHAINS = 160, 128
_HEADS = struct.Struct(f">{_CHAINS}H")
_ENTRY = struct.Struct(">BxHII")
_IN_USE = 1
_LONGEST = 255  # bytes of a name: AFSNAMEMAX in src/fsint/common.xg has a zero byte more


def names(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, vnode, uniquifier) of a directory's entries without `.` and `..`, as the file server finds them.

    Of a damaged directory what can be read.  Names that are no names of a file (empty, too long, or with a slash) are
    left out, as is a name that comes again.
    """
    if len(data) < PAGE or data[2:4] != _TAG.to_bytes(2):
        return
    seen = {b"", b".", b".."}
    left = len(data) // _SLOT
    last = len(data) - _ENTRY.size
    for slot in _HEADS.unpack_from(data, _HEADS_AT):
        while slot and left:
            left -= 1  # a chain may lead back into itself
            at = slot * _SLOT
            if at > last:
                break
            flag, slot, vnode, unique = _ENTRY.unpack_from(data, at)
            end = data.find(b"\0", at + _ENTRY.size, at + _ENTRY.size + _LONGEST + 1)
            name = data[at + _ENTRY.size : end]
            if flag != _IN_USE or end < 0:
                break
            if name not in seen and b"/" not in name:
                seen.add(name)
                yield name, vnode, unique
