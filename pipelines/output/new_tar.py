"""A new tar out of entries, in the pax format (POSIX.1-2017), as a stream.

AFS access lists become the extended attribute `user.afs.acl` of their folder, in the way in which GNU tar,
bsdtar and star write these (SCHILY.xattr): a program that does not ask for attributes does not see them.

Invariant: what is written is a whole number of blocks, whatever the names hold.
"""

import tarfile
from collections.abc import Iterator

from pipelines.formats.entries import Contents, Entry, Hole
from pipelines.output.file_names import exact, shown
from pipelines.output.safe_paths import LeftOutError, not_made, parts

ACL_KEY = "SCHILY.xattr.user.afs.acl"

_TYPES = {
    "file": tarfile.REGTYPE,
    "dir": tarfile.DIRTYPE,
    "symlink": tarfile.SYMTYPE,
    "mount": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
}
END = bytes(2 * tarfile.BLOCKSIZE)


def member(
    entry: Entry, path: bytes, target: bytes, contents: Contents | None
) -> Iterator[bytes | memoryview]:
    """Yield an entry as a member called `path`; `target` is what a link leads to.

    Raises `LeftOutError`, before the first byte, for what a tar had better not hold.
    """
    if path:
        parts(path)
    if entry.kind not in _TYPES:
        raise not_made(path)
    info = tarfile.TarInfo(exact(path or b"."))
    info.type = _TYPES[entry.kind]
    info.linkname = exact(target)
    info.mode, info.uid, info.gid = entry.mode, entry.owner, entry.group
    info.mtime = entry.mtime
    if entry.kind == "file":
        info.size = entry.size
    if b"\0" in target:
        raise LeftOutError(f"{shown(path)} is left out: its target holds a zero byte")
    info.pax_headers = {exact(key): exact(value) for key, value in entry.attributes}
    if entry.nanoseconds:
        info.pax_headers["mtime"] = _decimal(entry.mtime * 10**9 + entry.nanoseconds)
    if entry.acl is not None:
        info.pax_headers[ACL_KEY] = entry.acl.text()
    yield info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    if entry.kind == "file" and contents is not None:
        for piece in contents():
            yield from piece.zeros() if isinstance(piece, Hole) else [piece]
        yield bytes(-entry.size % tarfile.BLOCKSIZE)


def _decimal(nanoseconds: int) -> str:
    """Return seconds with nine places."""
    whole, rest = divmod(abs(nanoseconds), 10**9)
    return f"{'-' if nanoseconds < 0 else ''}{whole}.{rest:09}"
