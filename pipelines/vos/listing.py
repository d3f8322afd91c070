"""What `vos` prints about volumes, as values.

Fields are found by name, never by position.  Invariant: no volume that the server counts is lost: one that is busy or
cannot be attached is a `Volume` as well, and a listing that was cut short is an error.

Source: OpenAFS src/volser/vos.c, DisplayFormat2, DisplayVolumes2, ListVolumes, EnumerateEntry.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from dedupstore.errors import StreamError

Kind = Literal["RW", "RO", "BK", "?"]
READ_WRITE: Final = "RW"
READ_ONLY: Final = "RO"
BACKUP: Final = "BK"
UNKNOWN: Final = "?"
OK = "OK"
BACKUP_SUFFIX = ".backup"

_KINDS: dict[str, Kind] = {READ_WRITE: READ_WRITE, READ_ONLY: READ_ONLY, BACKUP: BACKUP}
_STATUS = {"BUSY": "busy", "UNATTACHABLE": "unattachable"}
_DIGITS = 10  # of a number: ids and dates have 32 bits
_TOTAL = re.compile(rb"^Total number of volumes on server .*: *(\d+) *$", re.MULTILINE)
_IDS = re.compile(r"(RWrite|ROnly|Backup): (\d+)")
_SITE_IDS: tuple[tuple[str, Kind, str], ...] = (
    ("RWrite", READ_WRITE, ""),
    ("ROnly", READ_ONLY, ".readonly"),
    ("Backup", BACKUP, BACKUP_SUFFIX),
)


class VosError(StreamError):
    """`vos` failed, or its output was not understood."""


class VolumeGoneError(VosError):
    """The volume does not exist or is off line: retrying soon would not help."""


class Volume(NamedTuple):
    """One volume on one server.  Times are seconds since 1970, as the file server's clock has them.

    `status` is "OK", "busy", "offline", "unattachable", "needs salvage" or "half deleted".  Of a busy or
    unattachable one only `id`, `server`, `partition` and (from the location database) `name` and `type` are
    known; the other numbers are 0, `name` may be empty and `type` be "?".  `parent` is the id of the read-write
    volume (its own id, if it is one), `backup_id` that of its backup volume, 0 if there is none.
    """

    name: str
    id: int
    parent: int
    type: Kind
    server: str
    partition: str
    status: str
    size_k: int = 0
    creation: int = 0
    copy: int = 0
    backup: int = 0
    update: int = 0
    access: int = 0
    backup_id: int = 0


def argument(text: str, what: str) -> str:
    """Return the text, an argument for `vos`.  Raises `VosError` if `vos` would read it as an option."""
    if not text or text.startswith("-") or not text.isprintable():
        raise VosError(f"{text!a} is not a valid {what}", "correct it: no name begins with a hyphen")
    return text


def parse_listing(output: bytes, server: str) -> list[Volume]:
    """Return the volumes in the output of `vos listvol -format` for `server`.  Raises `VosError`."""
    expected = sum(int(total) for total in _TOTAL.findall(output))
    volumes = [_volume(fields, server) for fields in _entries(_lines(output))]
    if len(volumes) != expected:
        raise VosError(f"the server {server} counts {expected} volumes, but vos listed {len(volumes)}")
    return volumes


def parse_examine(output: bytes, server: str) -> Volume:
    """Return the volume in the output of `vos examine -format`.  Raises `VosError`."""
    fields: dict[str, str] = {}
    for line in _lines(output):
        if not line:
            break  # what follows is for people
        _add(fields, line)
    return _volume(fields, server)


def parse_names(output: bytes) -> dict[int, tuple[str, Kind, int]]:
    """Return {id: (name, type, id of the read-write volume)} from the output of `vos listvldb`."""
    names: dict[int, tuple[str, Kind, int]] = {}
    name = ""
    for line in _lines(output):
        if line and not line[0].isspace():
            name = line.strip()
        elif ids := {key: int(number) for key, number in _IDS.findall(line)}:
            for key, kind, suffix in _SITE_IDS:
                if key in ids:
                    names[ids[key]] = (name + suffix, kind, ids.get("RWrite", 0))
    return names


def named(volume: Volume, names: Mapping[int, tuple[str, Kind, int]]) -> Volume:
    """Return the volume with name and type from the location database, if the server did not give them."""
    if volume.name or volume.id not in names:
        return volume
    name, kind, parent = names[volume.id]
    return volume._replace(name=name, type=kind, parent=parent)


def parse_size(output: bytes) -> int:
    """Return the number of bytes in the output of `vos size -dump`.  Raises `VosError`."""
    found = re.search(rb"^dump_size: *(\d+)", output, re.MULTILINE)
    if not found:
        raise VosError("vos size printed no size of a dump")
    return int(found[1])


def parse_dumping(output: bytes) -> dict[int, int]:
    """Return {id of a volume that is being dumped: number of the transaction} from the output of `vos status`."""
    found = re.findall(
        rb"^transaction: *(\d+) [^-]*?^volume: *(\d+) .*procedure: *Dump\b", output, re.MULTILINE
    )
    return {int(volume): int(transaction) for transaction, volume in found}


def _lines(output: bytes) -> Iterator[str]:
    # splitlines() would also break at odd bytes that a name may have
    return iter(output.decode(errors="backslashreplace").split("\n"))


def _entries(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    fields: dict[str, str] | None = None
    for line in lines:
        if line == "BEGIN_OF_ENTRY":
            if fields is not None:
                raise VosError("vos listvol began a volume before the end of the previous one")
            fields = {}
        elif line == "END_OF_ENTRY" and fields is not None:
            yield fields
            fields = None
        elif fields is not None:
            _add(fields, line)
    if fields is not None:
        raise VosError("the output of vos listvol is cut short")


def _add(fields: dict[str, str], line: str) -> None:
    key, tab, value = line.partition("\t")
    if tab:
        fields.setdefault(key.strip(), value.lstrip("\t"))


def _volume(fields: Mapping[str, str], server: str) -> Volume:
    def number(key: str) -> int:
        text = (fields.get(key, "").split() or [""])[0]
        if not (text.isascii() and text.isdigit()):
            raise VosError(f"vos printed no usable {key} for volume {fields.get('id', '?')!a} on {server}")
        if len(text) > _DIGITS:
            raise VosError(
                f"vos printed an impossible {key} for volume {fields.get('id', '?')!a} on {server}"
            )
        return int(text)

    state = fields.get("status", "missing")
    volume, partition = number("id"), argument(fields.get("part", "").strip(), "partition")
    if state != OK:
        status = _STATUS.get(state, f"in the state {state!a}")
        return Volume("", volume, 0, UNKNOWN, server, partition, status)
    return Volume(
        name=fields.get("name", ""),
        id=volume,
        parent=number("parentID"),
        type=_KINDS.get(fields.get("type", "").strip(), UNKNOWN),
        server=server,
        partition=partition,
        status=_status(fields),
        size_k=number("diskused"),
        creation=number("creationDate"),
        copy=number("copyDate"),
        backup=number("backupDate"),
        update=number("updateDate"),
        access=number("accessDate"),
        backup_id=number("backupID"),
    )


def _status(fields: Mapping[str, str]) -> str:
    if fields.get("destroyMe") == "Y":
        return "half deleted"
    if fields.get("needsSalvaged") == "Y":
        return "needs salvage"
    return OK if fields.get("inUse") == "Y" else "offline"
