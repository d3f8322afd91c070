"""What the header of one vnode says.

Source in OpenAFS 1.8: src/volser/dumpstuff.c (DumpVnode, ReadVnodes).  volserver writes the tags in one order and
leaves out nothing but the group when it is 0, so that order is read at once, and any other tag by tag.

Invariant: both ways give the same for the same bytes.
"""

import struct
from typing import NamedTuple

from pipelines.formats.afs import tags

# vnode, uniquifier, then tag and value in turn; directories have their access list before the contents
_HEAD = ">xIIBBBHBIBIBIBIBHBIBI"
_FILE = struct.Struct(f"{_HEAD}BI")
_FOLDER = struct.Struct(f"{_HEAD}B{tags.ACL_SIZE}sBI")
_USUAL = ((_FILE, tuple(b"tlvmaobpsf")), (_FOLDER, tuple(b"tlvmaobpsAf")))
NAMED = struct.Struct(">xII")  # number and uniquifier: all that there is of a vnode that is only named


class Status(NamedTuple):
    """A vnode's properties.  `modified` is the time that users see, in Unix seconds; `size` is of the contents.

    `acl` are the bytes of a directory's access list, empty for others.
    """

    vnode: int
    unique: int
    kind: int
    version: int
    modified: int
    owner: int
    group: int
    mode: int
    parent: int
    acl: bytes
    size: int


def measure(data: bytes, at: int) -> tuple[int, int]:
    """Return where the header of the vnode that begins at `at` ends, and how long its contents are.

    Raises `IndexError` if more data are needed, `UnknownTagError`.
    """
    for layout, usual in _USUAL:
        try:
            values = layout.unpack_from(data, at)
        except struct.error:  # not so many bytes are left, but there may be fewer in this header
            break
        if values[2::2] == usual:
            return at + layout.size, values[-1]
    end, size = at + NAMED.size, 0
    for tag, start, stop in tags.walk(data, end, tags.VNODE_TAGS):
        end = stop
        if tag in tags.CONTENT:
            size = int.from_bytes(data[start:stop])
    return end, size


def read_status(head: bytes) -> Status:
    """Return what a vnode's header says; `head` is exactly one."""
    for layout, usual in _USUAL:
        if len(head) == layout.size:
            v = layout.unpack(head)
            if v[2::2] == usual:
                acl = v[21] if layout is _FOLDER else b""
                return Status(v[0], v[1], v[3], v[7], v[9], v[13], 0, v[15], v[17], acl, v[-1])
    return _by_tags(head)


def _by_tags(head: bytes) -> Status:
    section = head + bytes([tags.VNODE])  # so that it ends also where no contents follow
    found = tags.walk(section, NAMED.size, tags.VNODE_TAGS)
    values = {chr(tag): section[start:stop] for tag, start, stop in found}
    kind, version, modified, owner, group, mode, parent = (
        int.from_bytes(values.get(tag, b"")) for tag in "tvmogbp"
    )
    size = int.from_bytes(values.get("f") or values.get("h", b""))
    vnode, unique = NAMED.unpack_from(head)
    return Status(
        vnode, unique, kind, version, modified, owner, group, mode, parent, values.get("A", b""), size
    )
