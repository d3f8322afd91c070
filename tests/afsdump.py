"""Read, compare and make OpenAFS volume dumps, for tests only.

This reader is written on its own, apart from the one in the product, so that each can catch the other's
mistakes.  It holds a whole dump in memory.

Formats, all numbers big endian.  Dump: OpenAFS src/volser/dump.h and dumpstuff.c (DumpVnode, DumpHeader).
Directory: src/dir/dir.h and dir.c.  Access list: src/libacl/acl.h.
"""

import hashlib
import struct
from dataclasses import dataclass, field

FILE, DIRECTORY = 1, 2
ADMINISTRATORS, ANYUSER, ALL, READ = -204, -101, 0x7F, 0x09

_BEGIN = b"\x01" + struct.pack(">II", 0xB3A11322, 1)
_END = b"\x04" + struct.pack(">I", 0x3A214B6E)
_TEXT, _COUNTED = -1, -2  # up to a zero byte; as many numbers of 4 bytes as the first 2 bytes say
_WIDTH = {  # bytes that follow a tag; the same letter can mean another thing in another section
    "header": {"v": 4, "n": _TEXT, "t": _COUNTED},
    "volume": dict.fromkeys("ivupcqmdfaoCAUEBDZV", 4) | dict.fromkeys("sbt", 1) | dict.fromkeys("nOM", _TEXT),
    "vnode": dict.fromkeys("vmaogps", 4) | {"t": 1, "l": 2, "b": 2, "A": 192},
}
_WIDTH["volume"]["W"] = _COUNTED
# What a restore sets anew, or what changes by merely looking: numbers, name, kind, dates, next unique number,
# use counts, message of the moment, and the file count, which is 0 in a new volume until it is cloned.
_RESTORE_CHANGES = set("ipcntCAUEBuWDZOf")

Fields = dict[str, int | bytes]


@dataclass
class Dump:
    """A parsed dump; fields go by the letters of the format.

    `vnodes`: by (vnode, unique).  A vnode that an incremental names as unchanged has no fields.  Its
    contents are in `data` of a directory, and as `size` and `digest` (SHA-256) of anything else.
    """

    header: Fields = field(default_factory=dict)
    volume: Fields = field(default_factory=dict)
    vnodes: dict[tuple[int, int], Fields] = field(default_factory=dict)
    span: tuple[int, int] = (0, 0)  # everything changed since .. until, in seconds; (0, x) is a full


def parse(data: bytes) -> Dump:
    """Read a whole dump.  Raises ValueError if it is damaged, cut off or followed by anything."""
    try:
        return _parse(data)
    except (IndexError, KeyError, struct.error) as error:
        raise ValueError("the dump is cut off or has no known order") from error


def _parse(data: bytes) -> Dump:
    if not data.startswith(_BEGIN):
        raise ValueError("not a volume dump")
    dump, at = Dump(), len(_BEGIN)
    at = _section(data, at, "header", dump.header)
    dump.span = struct.unpack(">2xII", dump.header.pop("t"))  # type: ignore[arg-type]
    if data[at] != 2:
        raise ValueError(f"no volume header at byte {at}")
    at = _section(data, at + 1, "volume", dump.volume)
    while data[at] == 3:
        name = struct.unpack_from(">II", data, at + 1)
        if name in dump.vnodes:
            raise ValueError(f"vnode {name} comes twice")
        dump.vnodes[name] = {}
        at = _section(data, at + 9, "vnode", dump.vnodes[name])
    if data[at:] != _END:
        raise ValueError(f"no end mark at byte {at}")
    return dump


def _section(data: bytes, at: int, section: str, fields: Fields) -> int:
    """Read tagged fields from `at` on; return where they end, which is at a tag of a new section."""
    while (number := data[at]) > 20:
        tag, at = chr(number), at + 1
        if section == "vnode" and tag in "fh":
            (size,) = struct.unpack_from(">I" if tag == "f" else ">Q", data, at)
            at += 4 if tag == "f" else 8
            content = data[at : at + size]
            digest: Fields = {"size": size, "digest": hashlib.sha256(content).digest()}
            fields |= {"data": content} if fields["t"] == DIRECTORY else digest
        elif tag in _WIDTH[section]:
            size = width = _WIDTH[section][tag]
            if width == _TEXT:
                size = data.index(b"\0", at) + 1 - at
            elif width == _COUNTED:
                size = 2 + 4 * int.from_bytes(data[at : at + 2])
            value = data[at : at + size]
            fields[tag] = int.from_bytes(value) if 0 < width <= 4 else value
        else:
            raise ValueError(f"unknown tag {tag!r} in a {section} at byte {at - 1}")
        at += size
    return at


def same_volume(one: bytes, other: bytes) -> list[str]:
    """Compare two dumps vnode for vnode; return the differences, one line each.

    Contents, directories, access lists, modes, owners, times, link counts, parents and data versions
    must all be equal.  Only what every restore changes in the volume's own header may differ.
    """
    a, b = parse(one), parse(other)
    lines = _differences("volume", a.volume, b.volume, _RESTORE_CHANGES)
    for name in sorted(a.vnodes.keys() | b.vnodes.keys()):
        what = f"vnode {name[0]}.{name[1]}"
        if name not in a.vnodes or name not in b.vnodes:
            lines.append(f"{what}: only in the {'first' if name in a.vnodes else 'second'}")
        else:
            lines += _differences(what, a.vnodes[name], b.vnodes[name], set())
    return lines


def _differences(what: str, a: Fields, b: Fields, ignored: set[str]) -> list[str]:
    unequal = sorted(tag for tag in (a.keys() | b.keys()) - ignored if a.get(tag) != b.get(tag))
    return [f"{what}: {tag} is {a.get(tag)!r:.60} / {b.get(tag)!r:.60}" for tag in unequal]


def make_dump(name: str, number: int, files: dict[str, bytes], *, now: int = 1_700_000_000) -> bytes:
    """Make the full dump of a read-write volume with these files, by path: `file` or `folder/file`.

    Administrators have all rights, anybody may read.  `vos restore` and the salvager accept it.
    """
    folders = ["", *dict.fromkeys(path.rpartition("/")[0] for path in files if "/" in path)]
    numbers = {folder: 2 * index + 1 for index, folder in enumerate(folders)}  # folders are odd, files even
    entries = {folder: [(b".", numbers[folder], numbers[folder]), (b"..", 1, 1)] for folder in folders}
    entries[""] += [(folder.encode(), numbers[folder], numbers[folder]) for folder in folders[1:]]
    for index, path in enumerate(files):
        folder, _, file = path.rpartition("/")
        entries[folder].append((file.encode(), 2 * index + 2, 2 * index + 2))
    vnodes, blocks = [], 0
    for folder in folders:
        links = 2 + (len(folders) - 1 if folder == "" else 0)
        pages = make_directory(entries[folder])
        parent = 0 if folder == "" else 1
        vnodes += _vnode(numbers[folder], DIRECTORY, links, 0o755, parent, now, _ACL, pages)
        blocks += len(pages) // 1024
    for index, (path, content) in enumerate(files.items()):
        parent = numbers[path.rpartition("/")[0]]
        vnodes += _vnode(2 * index + 2, FILE, 1, 0o644, parent, now, b"", content)
        blocks += max(1, -(-len(content) // 1024))
    title = b"n" + name.encode() + b"\0"
    header = _numbers(v=number) + title + b"t" + struct.pack(">HII", 2, 0, now)
    volume = b"\x02" + _numbers(i=number, v=1) + title + b"s\x01b\x01" + _numbers(u=2 * len(vnodes)) + b"t\0"
    volume += _numbers(p=number, c=0, q=0, m=0, d=blocks, f=len(folders) + len(files), a=0, o=0, C=now, A=now)
    volume += _numbers(U=now, E=0, B=0) + b"O\0M\0"
    return b"".join([_BEGIN, header, volume, *vnodes, _END])


def _numbers(**numbers: int) -> bytes:
    return b"".join(tag.encode() + struct.pack(">I", number) for tag, number in numbers.items())


def _vnode(
    number: int, kind: int, links: int, mode: int, parent: int, now: int, acl: bytes, content: bytes
) -> list[bytes]:
    head = struct.pack(">BIIcBcH", 3, number, number, b"t", kind, b"l", links)
    owner = _numbers(v=1, m=now, a=0, o=0) + b"b" + struct.pack(">H", mode)
    return [head + owner + _numbers(p=parent, s=now) + acl + _numbers(f=len(content)), content]


_ACL = b"A" + struct.pack(">5i4i", 36, 1, 2, 2, 0, ADMINISTRATORS, ALL, ANYUSER, READ).ljust(192, b"\0")


def make_directory(entries: list[tuple[bytes, int, int]]) -> bytes:
    """Make a directory's contents from its (name, vnode, unique), of which `.` and `..` come first.

    A directory is pages (here: up to 128) of 64 slots of 32 bytes.  Slot 0 of a page is its header; the
    first page also has the free count of 128 pages and the heads of 128 hash chains, up to slot 12.
    """
    pages, taken, heads, slot = [bytearray(2048)], [13], [0] * 128, 13
    for name, vnode, unique in entries:
        slots = 1 + (len(name) + 1 + 15) // 32
        if slot % 64 + slots > 64 or slot == 64 * len(pages):
            pages.append(bytearray(2048))
            taken.append(1)
            slot = 64 * (len(pages) - 1) + 1
        chain = _hash(name)
        entry = struct.pack(">BBHII", 1, 0, heads[chain], vnode, unique) + name + b"\0"
        pages[-1][slot % 64 * 32 : slot % 64 * 32 + len(entry)] = entry
        heads[chain] = slot
        slot += slots
        taken[-1] += slots
    for index, page in enumerate(pages):
        bitmap = ((1 << taken[index]) - 1).to_bytes(8, "little")
        struct.pack_into(">HHB8s", page, 0, 0 if index else len(pages), 1234, 63 if index else 51, bitmap)
    free = [64 - count for count in taken] + [64] * (128 - len(taken))
    struct.pack_into(">128B128H", pages[0], 32, *free, *heads)
    return b"".join(pages)


def _hash(name: bytes) -> int:
    value = 0
    for byte in name:
        value = (value * 173 + byte) & 0xFFFFFFFF
    chain = value & 127
    return 128 - chain if chain and value >> 31 else chain
