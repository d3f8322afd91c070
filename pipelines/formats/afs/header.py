"""The two headers of an AFS volume dump: what was dumped, from when to when, and the volume's own properties.

The bytes are kept as they came, so that what this program does not know goes through it unchanged.
Sources in OpenAFS 1.8: src/volser/dumpstuff.c (DumpDumpHeader, DumpVolumeHeader, ReadDumpHeader, ReadVolumeHeader).

Invariant: a header that was read is whole; its dates and numbers are 32 bits without sign.
"""

import struct
import time
from typing import NamedTuple

from dedupstore.errors import StreamError
from pipelines.formats.afs import tags
from pipelines.text import safe

READ_WRITE = 0  # kind of a volume that can change; its clones have others

_BEGIN = struct.Struct(">BII")
_SPAN = struct.Struct(">HII")
_PROPERTIES = {"id": "i", "kind": "t", "parent": "p", "uniquifier": "u", "creation": "C"}


class Header(NamedTuple):
    """The dump's header; dates are Unix seconds.

    `volume` and `name` are of what was dumped, which may be a clone.  Everything that changed at `since` or later
    and before `until` is in the dump; a full one has `since` 0.
    """

    raw: bytes
    volume: int
    name: bytes
    since: int
    until: int
    span_at: int  # where in `raw` the two dates stand

    @property
    def is_full(self) -> bool:
        """Whether it has everything."""
        return self.since == 0

    def __str__(self) -> str:
        """Name the dump for a message."""
        name = safe(self.name.decode(errors="surrogateescape"))
        if self.is_full:
            return f"the full dump of {name} up to {shown(self.until)}"
        return f"the incremental dump of {name} from {shown(self.since)} to {shown(self.until)}"

    def as_full(self) -> bytes:
        """Return the same header for a dump that has everything."""
        span = _SPAN.pack(2, 0, self.until)
        return self.raw[: self.span_at] + span + self.raw[self.span_at + len(span) :]


class VolumeHeader(NamedTuple):
    """The volume's header: the properties that tell whether two dumps are of one volume.

    `parent` is the number of the read-write volume.  `uniquifier` grows with each file that is made.
    `creation` is a Unix date: of a clone, when it was cloned.
    """

    raw: bytes
    id: int
    kind: int
    parent: int
    uniquifier: int
    creation: int


def shown(seconds: int) -> str:
    """Return a date in local time, and as the number that `vos dump -time` takes."""
    return f"{time.strftime('%Y.%m.%dT%H:%M:%S', time.localtime(seconds))} ({seconds})"


def read_header(data: bytes) -> tuple[Header, int]:
    """Return the dump's header, which `data` begins with, and where it ends.

    Raises `IndexError` if more data are needed, `StreamError`, `UnknownTagError`.
    """
    if len(data) < _BEGIN.size:
        raise IndexError
    if _BEGIN.unpack_from(data) != (tags.DUMP, tags.BEGIN_MAGIC, tags.VERSION):
        raise StreamError("it does not begin as an AFS volume dump", "ask for another stream")
    found, end = _section(data, _BEGIN.size, tags.DUMP_TAGS)
    for tag, what in (("v", "volume it is of"), ("t", "time it is from")):
        if tag not in found:
            raise StreamError(
                f"the dump does not say which {what}", "it cannot be understood; take it with --raw"
            )
    start, stop = found["t"]
    if stop - start != _SPAN.size:
        raise StreamError(
            "the dump is of several spans of time", "it cannot be understood; take it with --raw"
        )
    _, since, until = _SPAN.unpack_from(data, start)
    name = data[slice(*found["n"])][:-1] if "n" in found else b""
    return Header(data[:end], _number(data, found, "v"), name, since, until, start), end


def read_volume_header(data: bytes, at: int) -> tuple[VolumeHeader, int]:
    """Return the volume's header, which begins at `at`, and where it ends.  Raises as `read_header`."""
    if data[at] != tags.VOLUME:
        raise StreamError("the dump has no volume header", "it is damaged; take an older backup")
    found, end = _section(data, at + 1, tags.VOLUME_TAGS)
    fields = {name: _number(data, found, tag) for name, tag in _PROPERTIES.items()}
    return VolumeHeader(data[at:end], **fields), end


def _section(data: bytes, at: int, widths: tags.Widths) -> tuple[dict[str, tuple[int, int]], int]:
    """Return where the value of each tag stands, and where the section ends, with others after it."""
    found: dict[str, tuple[int, int]] = {}
    for tag, start, stop in tags.walk(data, at, widths):
        found[chr(tag)] = start, stop
        at = stop
    return found, tags.skip_others(data, at)


def _number(data: bytes, found: dict[str, tuple[int, int]], tag: str) -> int:
    return int.from_bytes(data[slice(*found[tag])]) if tag in found else 0
