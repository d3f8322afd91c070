"""What the splitters must find, worked out slowly and on its own: whole streams in memory, nothing shared with C.

Sources: for dumps, ReadDumpHeader, ReadVolumeHeader, ReadVnodes and HandleUnknownTag of OpenAFS; XXH64 from its
specification; for tars, Python's own tarfile.
"""

import io
import itertools
import struct
import tarfile
from typing import Any, NamedTuple

from pipelines.formats.splitters import AfsSplitter, TarSplitter

SMALLEST = 512
RECORD = struct.Struct("<IIIBxxxQQ")


class Range(NamedTuple):
    length: int
    content: bool
    ends: bool = False


def ranges(column: bytes) -> list[Range]:
    """Decode what `split` returns, and check what holds for every answer."""
    found = [
        Range(value >> 2, bool(value & 1), bool(value & 2)) for (value,) in struct.iter_unpack("<Q", column)
    ]
    assert all(part.length > 0 and (part.content or not part.ends) for part in found)
    pairs = itertools.pairwise(found)
    assert all(one.content != other.content or one.ends for one, other in pairs)
    return found


def joined(parts: list[Range]) -> list[Range]:
    """Put together what buffers have divided."""
    whole: list[Range] = []
    for part in parts:
        if whole and whole[-1].content == part.content and not whole[-1].ends:
            part = Range(whole.pop().length + part.length, part.content, part.ends)
        whole.append(part)
    return whole


def split_at(splitter: AfsSplitter | TarSplitter, data: bytes, cuts: list[int]) -> list[Range]:
    """Split a stream that comes in buffers which end at these offsets; every answer must cover its buffer."""
    parts: list[Range] = []
    bounds = [0, *sorted(cut for cut in cuts if cut <= len(data)), len(data)]
    for start, end in itertools.pairwise(bounds):
        found = ranges(splitter.split(memoryview(data)[start:end], False))
        assert end - start == sum(part.length for part in found)
        parts += found
    assert b"" == splitter.split(b"", True)
    return joined(parts)


def laid_out(contents: list[tuple[int, int, bool]], size: int) -> list[Range]:
    """Make ranges of the (start, length, ends) of all contents in a stream of `size` bytes."""
    parts, at = [], 0
    for start, length, ends in contents:
        parts += [Range(start - at, False), Range(length, True, ends)]
        at = start + length
    parts.append(Range(size - at, False))
    return joined([part for part in parts if part.length])


class Walk(NamedTuple):
    """What a dump holds; `vnodes` as AfsSplitter.vnodes gives them."""

    ranges: list[Range]
    unparsed: int | None
    complete: bool
    trailing: int
    vnodes: list[tuple[int, ...]]


class _StopError(Exception):
    """The dump is over, or `at` is the first byte that makes no sense."""

    def __init__(self, at: int | None) -> None:
        super().__init__(at)
        self.at = at


_WIDTHS: dict[int, dict[str, int]] = {
    1: {"v": 4},
    2: dict.fromkeys("ivupcqmdfaoCAUEBDZV", 4) | dict.fromkeys("sbt", 1),
    3: dict.fromkeys("vmsaogp", 4) | {"l": 2, "b": 2, "t": 1, "A": 192},
}
_TEXTS = {1: "n", 2: "nOM", 3: ""}


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.contents: list[tuple[int, int, bool]] = []
        self.vnodes: list[tuple[int, ...]] = []
        self.trailing = 0
        self.complete = self.critical = False

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _StopError(None)
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count))

    def refuse(self) -> None:
        """Give up at the byte that was taken last."""
        raise _StopError(self.at - 1)

    def walk(self) -> None:
        if self.take(1) != b"\x01":
            self.refuse()
        if self.number(8) >> 32 != 0xB3A11322:
            self.refuse()
        if self.others(self.section(1, [])) != 2:
            self.refuse()
        tag = self.others(self.section(2, []))
        while tag == 3:
            vnode = [self.number(4), self.number(4), 0, 0, 0, 0, 0]
            tag = self.section(3, vnode)
            if tag >= 3 and not (tag > 4 and self.critical):
                self.vnodes.append(tuple(vnode[:6]))
            tag = self.others(tag)
        if tag != 4 or self.number(4) != 0x3A214B6E:
            self.refuse()
        self.complete = True
        self.trailing = len(self.data) - self.at
        self.contents += [(self.at, self.trailing, False)] if self.trailing else []

    def section(self, section: int, vnode: list[int]) -> int:
        """Read fields up to the next section's tag.  `vnode` is a record, and the vnode's type."""
        critical = False
        while (tag := self.number(1)) > 20:
            letter, must_be_known, critical = chr(tag), critical, tag == 0x7E
            if vnode:
                vnode[3] |= 1
            if section == 3 and letter in "fh":
                self.file(self.number(4 if letter == "f" else 8), vnode)
            elif letter in _WIDTHS[section]:
                value = self.number(_WIDTHS[section][letter])
                if section == 3 and letter in "vt":
                    vnode[2 if letter == "v" else 6] = value
            elif letter in _TEXTS[section]:
                while self.take(1) != b"\0":
                    pass
            elif (section, letter) in [(1, "t"), (2, "W")]:
                count = self.number(2)
                if section == 1 and count % 2:
                    self.refuse()
                self.take(4 * count)
            elif not critical:
                self.unknown(tag, must_be_known)
        self.critical = critical
        return tag

    def others(self, tag: int) -> int:
        """Skip sections that are not known; return the tag of the next one that is."""
        while 4 < tag <= 20:
            if self.critical:
                self.refuse()
            self.skip()
            tag = self.number(1)
            if tag > 20:
                self.refuse()
        return tag

    def skip(self) -> None:
        length = self.number(1)
        if length == 0x80 or length > 0x88:
            self.refuse()
        if length > 0x80:
            length = self.number(length - 0x80)
        if length >> 63:
            self.refuse()
        self.take(length)

    def unknown(self, tag: int, critical: bool) -> None:
        if critical or tag > 0x7F:
            self.refuse()
        if tag <= 0x60:
            self.skip()
        elif tag <= 0x7A:
            self.take(4)

    def file(self, length: int, vnode: list[int]) -> None:
        if length >> 63:
            self.refuse()
        start, here = self.at, min(length, len(self.data) - self.at)
        if vnode[6] == 1 and length >= SMALLEST and here:
            self.contents.append((start, here, here == length))
        data = self.take(length)
        if not vnode[3] & 2:
            vnode[3:6] = [vnode[3] | 2, length, xxh64(data)]


def walk_dump(data: bytes) -> Walk:
    """Parse a dump that may be damaged."""
    reader, unparsed = _Reader(data), None
    try:
        reader.walk()
    except _StopError as stop:
        unparsed = stop.at
        if unparsed is not None:
            reader.contents.append((unparsed, len(data) - unparsed, False))
    found = laid_out(reader.contents, len(data))
    return Walk(found, unparsed, reader.complete, reader.trailing, reader.vnodes)


def walk_tar(data: bytes) -> list[Range]:
    """Find the contents of a sound tar by Python's tarfile."""
    contents = []
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            sparse: Any = member.sparse  # a list of pairs
            stored = sum(size for _, size in sparse) if member.issparse() else member.size
            if member.isreg() and stored >= SMALLEST:
                contents.append((member.offset_data, stored, True))
    return laid_out(contents, len(data))


_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)
_M = 2**64 - 1


def _rotate(value: int, bits: int) -> int:
    return (value << bits | (value & _M) >> (64 - bits)) & _M


def _round(lane: int, word: int) -> int:
    return _rotate((lane + word * _P2) & _M, 31) * _P1 & _M


def xxh64(data: bytes) -> int:
    """XXH64 with seed 0."""
    lanes = [(_P1 + _P2) & _M, _P2, 0, -_P1 & _M]
    striped = len(data) // 32 * 32
    for words in struct.iter_unpack("<4Q", data[:striped]):
        lanes = [_round(lane, word) for lane, word in zip(lanes, words, strict=True)]
    value = _P5
    if striped:
        value = sum(_rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & _M
        for lane in lanes:
            value = ((value ^ _round(0, lane)) * _P1 + _P4) & _M
    value = (value + len(data)) & _M
    rest = data[striped:]
    while len(rest) >= 8:
        value = (_rotate(value ^ _round(0, int.from_bytes(rest[:8], "little")), 27) * _P1 + _P4) & _M
        rest = rest[8:]
    if len(rest) >= 4:
        word = int.from_bytes(rest[:4], "little") * _P1 & _M
        value = (_rotate(value ^ word, 23) * _P2 + _P3) & _M
        rest = rest[4:]
    for byte in rest:
        value = _rotate(value ^ byte * _P5 & _M, 11) * _P1 & _M
    for shift, prime in ((33, _P2), (29, _P3)):
        value = (value ^ value >> shift) * prime & _M
    return value ^ value >> 32
