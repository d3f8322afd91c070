"""The letters of AFS volume dumps: what follows which tag, and how unknown ones are stepped over.

A dump is a sequence of sections.  A byte up to 20 begins one, a larger byte is a tag in it, and its value follows.
All numbers are big endian.  Sources in OpenAFS 1.8: src/volser/dump.h, src/volser/dumpstuff.c (DumpDumpHeader,
DumpVolumeHeader, DumpVnode, ReadVnodes, SkipTag).  The AFS3 Dump Stream Tag Registry says what lengths are, and that
new sections (0x05 to 0x14) have one.

Invariant: `walk` either finds where each value ends or raises; it never guesses a width.
"""

from collections.abc import Iterator, Mapping

from pipelines.formats.detect import DUMP_BEGIN, DUMP_END

DUMP, VOLUME, VNODE, END = 1, 2, 3, 4  # what begins a section
LAST_SECTION = 20  # those after END are a length and so many bytes
BEGIN_MAGIC, END_MAGIC = (int.from_bytes(mark[1:]) for mark in (DUMP_BEGIN, DUMP_END))
VERSION = 1

DIRECTORY, FILE, SYMLINK = 2, 1, 3  # kinds of vnode
ACL_SIZE = 192

_TEXT, _COUNTED = -1, -2  # up to a zero byte; as many numbers of 4 bytes as the first 2 bytes say
Widths = Mapping[int, int]


def _widths(by_width: Mapping[str, int]) -> Widths:
    return {ord(tag): width for tags, width in by_width.items() for tag in tags}


DUMP_TAGS = _widths({"v": 4, "n": _TEXT, "t": _COUNTED})
VOLUME_TAGS = _widths({"ivupcqmdfaoCAUEBDZV": 4, "sbt": 1, "nOM": _TEXT, "W": _COUNTED})
VNODE_TAGS = _widths({"vmaogps": 4, "t": 1, "lb": 2, "A": ACL_SIZE})
CONTENT = {ord("f"): 4, ord("h"): 8}  # their length; they follow


class UnknownTagError(Exception):
    """A tag whose width nobody can know; `args` are the tag and where it stands."""


def walk(data: bytes, at: int, widths: Widths) -> Iterator[tuple[int, int, int]]:
    """Yield (tag, where its value begins, where it ends) from `at` on, up to the next section or to contents.

    Of contents their length is the value.  Raises `IndexError` if `data` ends before that, `UnknownTagError`.
    """
    while (tag := data[at]) > LAST_SECTION:
        start = at + 1
        width = widths.get(tag, 0)
        if width > 0:
            at = start + width
        elif width == _TEXT:
            at = data.find(0, start) + 1 or _short()
        elif width == _COUNTED:
            at = start + 2 + 4 * int.from_bytes(_exactly(data, start, 2))
        elif widths is VNODE_TAGS and tag in CONTENT:
            at = start + CONTENT[tag]
        else:
            at = _unknown(data, tag, start)
        if at > len(data):
            _short()
        yield tag, start, at
        if widths is VNODE_TAGS and tag in CONTENT:
            return


def is_other(tag: int) -> bool:
    """Tell whether a tag begins a section that is not known."""
    return END < tag <= LAST_SECTION


def value(data: bytes, start: int, tag: int) -> tuple[int, int]:
    """Return where the value begins and ends whose length stands at `start`.

    Raises `IndexError` if more data are needed, `UnknownTagError` if the length is none.
    """
    length, begin = data[start], start + 1
    if length == 0x80 or length > 0x88:  # not said, or none
        raise UnknownTagError(tag, start - 1)
    if length > 0x80:
        size = length & 0x7F
        length = int.from_bytes(_exactly(data, begin, size))
        begin += size
        if length >> 63:
            raise UnknownTagError(tag, start - 1)
    return begin, begin + length


def skip_others(data: bytes, at: int) -> int:
    """Return where the sections that are not known end that begin at `at`, if any.  Raises as `value`."""
    while is_other(tag := data[at]):
        _, at = value(data, at + 1, tag)
    return at


def _unknown(data: bytes, tag: int, start: int) -> int:
    """Return where the value of an unknown tag ends, as volserver's SkipTag steps over it."""
    if tag <= 0x60:
        return value(data, start, tag)[1]
    if tag <= 0x7A:
        return start + 4
    if tag <= 0x7F:
        return start
    raise UnknownTagError(tag, start - 1)


def _exactly(data: bytes, start: int, count: int) -> bytes:
    value = data[start : start + count]
    return value if len(value) == count else bytes(_short())


def _short() -> int:
    raise IndexError
