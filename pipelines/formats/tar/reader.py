"""What a tar holds: a walk from header to header that fetches contents only when asked.

Formats: POSIX.1-2017 (`pax` utility: ustar and pax interchange formats), GNU tar's manual, "Basic Tar Format" (long
names), Unix v7; sparse files are in `sparse`.

Invariant: every number is bounded before anything is allocated by it, and the walk only moves forward, so a tar
from a stranger costs no more memory than its longest header.  Only what carries structure stops the walk: a size, a
checksum, an extended header.  Any other field that is no number is reported, and taken for 0.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple

from dedupstore.errors import StreamError
from pipelines.formats import detect
from pipelines.formats.entries import Contents, Entries, Entry, Kind
from pipelines.formats.stream import InputStream
from pipelines.formats.tar.fields import (
    BLOCK,
    Records,
    checked_size,
    extension,
    number,
    number_or_none,
    padded,
    pax_decimal,
    pax_number,
    pax_records,
)
from pipelines.formats.tar.sparse import Sparse, expanded, old_sparse, pax_sparse
from pipelines.text import safe

_ZEROS = bytes(BLOCK)
_CHECKSUM = slice(148, 156)
# name mode uid gid size mtime checksum typeflag linkname magic version uname gname major minor prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8xc100s8s32x32x8x8x155s12x")
_FOR_ALL = (b"path", b"linkpath", b"uid", b"gid", b"size", b"mtime")  # what a global header may set

_KINDS: dict[bytes, Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",  # "contiguous"
    b"S": "file",  # GNU's old sparse file
    b"1": "hardlink",
    b"2": "symlink",
    b"5": "dir",
    b"D": "dir",  # GNU's, with a list of names as its data
}
_NOT_MEMBERS = (b"V", b"N")  # a volume's label; names in a way that GNU tar gave up in 1994
_ATTRIBUTES = (b"SCHILY.xattr.", b"SCHILY.acl.", b"LIBARCHIVE.xattr.")
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")  # whatever their size field says


class _Member(NamedTuple):
    """One header, with what extended headers before it say instead."""

    type: bytes
    name: bytes
    target: bytes
    mode: int
    owner: int
    group: int
    size: int  # of the data as they are stored
    mtime: int
    nanoseconds: int = 0
    attributes: tuple[tuple[bytes, bytes], ...] = ()
    flaws: tuple[str, ...] = ()  # fields that are no numbers


def entries(stream: InputStream, warn: Callable[[str], None] = lambda text: None) -> Entries:
    """Yield the members of a tar in its order; a name may come again, and then the later one counts.

    Raises `StreamError` where it is not a tar or is cut short; `warn` gets what is odd, and harmless to the rest.
    """
    everywhere: dict[bytes, bytes] = {}
    records: Records = []
    long_name = long_target = b""
    while (block := _header_block(stream)) is not None:
        at = stream.position - BLOCK
        member = _read_header(block, at)
        if member.type in b"xXg":
            found = pax_records(extension(stream, member.size), at)
            if member.type == b"g":
                everywhere |= {key: value for key, value in found if key in _FOR_ALL}
            else:
                records = found
        elif member.type == b"L":
            long_name = extension(stream, member.size).split(b"\0")[0]
        elif member.type == b"K":
            long_target = extension(stream, member.size).split(b"\0")[0]
        else:
            if long_name or long_target:
                member = member._replace(name=long_name or member.name, target=long_target or member.target)
            sparse = None
            if everywhere or records:
                member, sparse = _apply(member, [*everywhere.items(), *records], at)
            if member.type == b"S":
                sparse = old_sparse(stream, block)
            if member.type in (b"0", b"\0") and member.name.endswith(b"/"):
                member = member._replace(type=b"5")  # as before there were types
            end = stream.position
            if member.type not in _WITHOUT_DATA:
                end += padded(member.size)
            if member.type not in _NOT_MEMBERS:
                for flaw in member.flaws:
                    warn(
                        f"{safe(_tidy(member.name).decode(errors='backslashreplace'))}: {flaw}, so it is taken for 0"
                    )
                yield _entry(member, sparse), _contents(stream, member, sparse)
            stream.skip(end - stream.position)
            records, long_name, long_target = [], b"", b""


def _header_block(stream: InputStream) -> bytes | None:
    """Return the next header; None at the end: a block of zeros, or nothing more, as some programs end a tar."""
    block = stream.read(BLOCK)
    if not block or block == _ZEROS:
        return None
    if not _is_sound(block):
        raise StreamError(f"the tar has no header at byte {stream.position - len(block)}")
    return block


def _is_sound(block: bytes) -> bool:
    """Tell what `detect.has_tar_header` tells, but sooner for the usual."""
    digits = block[_CHECKSUM].rstrip(b" \0")
    if digits.isdigit() and len(block) == BLOCK:
        summed = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
        if digits == b"%0*o" % (len(digits), summed):
            return True
    return detect.has_tar_header(block)


def _read_header(block: bytes, at: int) -> _Member:
    name, mode, owner, group, size, mtime, type_, target, magic, prefix = _HEADER.unpack(block)
    name = name.split(b"\0")[0]
    if magic.startswith(b"ustar\0") and prefix[0]:  # GNU's own magic has other things in place of the prefix
        name = prefix.split(b"\0")[0] + b"/" + name
    fields = {"mode": mode, "owner": owner, "group": group, "date": mtime}
    numbers = {field: number_or_none(value, at) for field, value in fields.items()}
    return _Member(
        type_,
        name,
        target.split(b"\0")[0],
        (numbers["mode"] or 0) & 0o7777,
        numbers["owner"] or 0,
        numbers["group"] or 0,
        checked_size(number(size, at), at),
        numbers["date"] or 0,
        flaws=tuple(f"its {field} is not a number" for field, value in numbers.items() if value is None),
    )


def _apply(member: _Member, records: Records, at: int) -> tuple[_Member, Sparse | None]:
    last = dict(records)
    sparse = None
    name = last.get(b"path") or member.name
    if any(key.startswith(b"GNU.sparse.") for key in last):
        name = last.get(b"GNU.sparse.name") or name
        sparse = pax_sparse(records, last, at)
    owner, group, date = (
        _loose(last, key, otherwise)
        for key, otherwise in ((b"uid", member.owner), (b"gid", member.group), (b"mtime", member.mtime))
    )
    size = checked_size(pax_number(last, b"size", member.size, at), at)
    if sparse is not None and sparse.inside and size == sparse.size and member.size:
        size = member.size  # some give the size of the file for that of its data
    applied = member._replace(
        name=name,
        target=last.get(b"linkpath") or member.target,
        owner=owner[0],
        group=group[0],
        size=size,
        mtime=date[0],
        nanoseconds=date[1],
        attributes=tuple((key, value) for key, value in last.items() if key.startswith(_ATTRIBUTES)),
        flaws=(*member.flaws, *(flaw for _, _, flaw in (owner, group, date) if flaw)),
    )
    return applied, sparse


def _loose(records: dict[bytes, bytes], key: bytes, otherwise: int) -> tuple[int, int, str]:
    """Return a number, its billionths, and what is wrong with it."""
    if not (value := records.get(key)):
        return otherwise, 0, ""
    if (found := pax_decimal(value)) is None:
        return 0, 0, f"its {key.decode()} is not a number"
    return *found, ""


def _entry(member: _Member, sparse: Sparse | None) -> Entry:
    kind = _KINDS.get(member.type, "other")
    size, target = 0, b""
    if kind == "file":
        size = sparse.size if sparse else member.size
    elif kind == "symlink":
        size, target = len(member.target), member.target
    elif kind == "hardlink":
        target = _tidy(member.target)
    return Entry(
        _tidy(member.name),
        kind,
        member.mode,
        member.owner,
        member.group,
        member.mtime,
        size,
        target,
        nanoseconds=member.nanoseconds,
        attributes=member.attributes,
    )


def _tidy(path: bytes) -> bytes:
    """Make a path relative, without what means nothing; `..` stays, as it means something."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b"."))


def _contents(stream: InputStream, member: _Member, sparse: Sparse | None) -> Contents | None:
    if _KINDS.get(member.type) != "file":
        return None
    if sparse is None:
        return lambda: stream.copy(member.size)
    return lambda: expanded(stream, member.size, sparse)
