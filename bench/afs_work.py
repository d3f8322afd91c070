"""A week of backups to measure with: volume dumps as a cell has them, and a tar of databases; seeded.

    python bench/afs_work.py FOLDER [--size MB] [--volumes N] [--days N] [--seed N]

makes FOLDER/2026.03.01 (a Sunday) with the full dump of each volume and databases.tar, six folders with incrementals
since then and that day's whole databases.tar, and FOLDER/2026.03.08 with fulls again.  `vos restore` takes the dumps,
and the salvager finds no fault.  What the data are like:
- 40 % of the bytes are pictures of 150 KiB (median), which do not compress.  12 % are SQL (`made_database.py`).  The
  rest are files of mail, pages, programs and logs, of 6 KiB (median) to 2 MiB; 2 % are copies of others.
- In a week about 3.5 % of the files are changed (55 % of them grow at the end, 30 % are edited within, 15 % written
  anew); 1.5 % come, in the vnodes of removed files first, 0.8 % go, 0.2 % are renamed, and some move to another vnode.
  Some volumes are much busier than others, and most of what comes and goes lies in a few stretches of vnodes.
The same arguments give the same bytes.
"""

import argparse
import io
import struct
import tarfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from bench.made.database import Database
from bench.made.text import PICTURE, TEXTS, Text
from tests.afsdump import make_directory

START = 1_772_326_800  # Sunday 2026-03-01 01:00 UTC
DAY = 86_400
WEEK = 7
ACL = struct.pack(">5i4i", 36, 1, 2, 2, 0, -204, 0x7F, -101, 0x09).ljust(192, b"\0")
DATABASES = {"wiki": 0.6, "shop": 0.3, "lists": 0.1}


@dataclass
class Folder:
    """A directory: the vnode above it (0: none), its files' vnodes by name, and the directories in it."""

    unique: int
    parent: int
    changed: int
    names: dict[bytes, int] = field(default_factory=dict)
    below: list[int] = field(default_factory=list)


@dataclass
class File:
    """A file; `changed` is what the file server goes by, in Unix seconds."""

    unique: int
    kind: str
    data: bytes
    modified: int
    changed: int
    folder: int = 1
    name: bytes = b""
    version: int = 1


class Volume:
    """A volume's state, day by day."""

    def __init__(self, text: Text, source: Random, number: int, size: int, activity: float) -> None:
        self._text, self._source, self._activity = text, source, activity
        self.number = 536_870_912 + 3 * number
        self.name = f"{('project', 'user', 'user', 'mail')[number % 4]}.{text.words[number]}"
        self._busy = [source.random() for _ in range(source.randint(2, 5))]
        self._unique = 1
        self._free: list[int] = []
        self._next = 2
        self.files: dict[int, File] = {}
        self.folders: dict[int, Folder] = {}
        self._fill(size)

    def _fill(self, size: int) -> None:
        source, items = self._source, []
        share = min(0.98, 0.45 * source.uniform(0.3, 1.7))
        for kinds, left in ((TEXTS, size * (1 - share)), ((PICTURE,), size * share)):
            most = max(1 << 20, size // 4)
            while left > 0:
                kind = source.choice(kinds)
                items.append((kind, self._text.make(kind, min(most, self._text.size(kind)))))
                left -= len(items[-1][1])
        copies = 0.02 * size
        while copies > 0:
            item = source.choice(items)
            if len(item[1]) <= 2 * max(copies, 4096):
                items.append(item)
            copies -= max(512, len(item[1]))
        source.shuffle(items)
        for vnode in range(1, 2 * (len(items) // 60) + 2, 2):
            parent = source.randrange(1, vnode, 2) if vnode > 1 else 0
            self.folders[vnode] = Folder(self._next_unique(), parent, START - source.randrange(3600, 10**8))
            if parent:
                self.folders[parent].below.append(vnode)
        for kind, data in items:
            self._add(kind, data, START - source.randrange(3600, 10**8))

    def change(self, now: int) -> None:
        """Let a day pass."""
        source = self._source
        for vnode in source.sample(sorted(self.files), self._count(0.007)):
            file = self.files[vnode]
            if source.random() < (0.9 if file.kind == PICTURE else 0.7 if len(file.data) > 1 << 20 else 0.25):
                continue
            file.data = self._changed(file.kind, file.data)
            file.modified = file.changed = now
            file.version += 1
        for vnode in self._near_busy(self._count(0.001)):
            self._remove(vnode, now)
        for vnode in self._near_busy(self._count(0.0003)):
            file = self.files[vnode]
            del self._touch(file.folder, now).names[file.name]
            file.folder = source.choice(list(self.folders))
            self._touch(file.folder, now).names[file.name] = vnode
            file.changed = now
        for vnode in self._near_busy(self._count(0.0002)):
            file = self.files[vnode]
            self._add(file.kind, file.data, now)
            self._remove(vnode, now)
        for _ in range(self._count(0.002)):
            kind = PICTURE if source.random() < 0.04 else source.choice(TEXTS)
            self._add(kind, self._text.make(kind, self._text.size(kind)), now)

    def _changed(self, kind: str, data: bytes) -> bytes:
        source, how = self._source, self._source.random()
        if kind == PICTURE or how < 0.15:
            return self._text.make(kind, self._text.size(kind))
        if how < 0.70:
            return data + self._text.make(kind, source.randint(100, 4000))
        for _ in range(source.randint(1, 4)):
            at = source.randint(0, len(data))
            data = (
                data[:at] + self._text.make(kind, source.randint(1, 400)) + data[at + source.randrange(200) :]
            )
        return data

    def _count(self, share: float) -> int:
        """Return how many files a kind of change strikes: `share` of them on average over all volumes."""
        expected = share * self._activity * len(self.files)
        return min(
            len(self.files), int(self._source.gammavariate(expected + 1e-9, 1) + self._source.random())
        )

    def _near_busy(self, count: int) -> set[int]:
        source, vnodes = self._source, sorted(self.files)
        near = [source.choice(self._busy) + source.gauss(0, 0.006) for _ in range(count)]
        return {
            vnodes[int((at if source.random() < 0.7 else source.random()) % 1 * len(vnodes))] for at in near
        }

    def _next_unique(self) -> int:
        self._unique += 1
        return self._unique

    def _touch(self, folder: int, now: int) -> Folder:
        self.folders[folder].changed = now
        return self.folders[folder]

    def _add(self, kind: str, data: bytes, now: int) -> None:
        if self._free:
            vnode = self._free.pop(0)
        else:
            vnode, self._next = self._next, self._next + 2
        file = File(self._next_unique(), kind, data, now, now, self._source.choice(list(self.folders)))
        file.name = f"{self._source.choice(self._text.words)}{file.unique}.{kind}".encode()
        self.files[vnode] = file
        self._touch(file.folder, now).names[file.name] = vnode

    def _remove(self, vnode: int, now: int) -> None:
        file = self.files.pop(vnode)
        del self._touch(file.folder, now).names[file.name]
        self._free = sorted([*self._free, vnode])

    def dump(self, now: int, since: int) -> list[bytes]:
        """Return what volserver would send: all that changed from `since` on, or everything for 0."""
        named, owner = b"n" + self.name.encode() + b"\0", 1000 + self.number % 977
        blocks = sum(max(1, -(-len(file.data) // 1024)) for file in self.files.values())
        parts = [b"\x01" + struct.pack(">II", 0xB3A11322, 1) + _fields(v=self.number) + named]
        parts.append(
            b"t" + struct.pack(">HII", 2, since, now) + b"\x02" + _fields(i=self.number, v=1) + named
        )
        parts.append(
            b"s\x01b\x01" + _fields(u=self._unique + 200) + b"t\0" + _fields(p=self.number, c=0, q=0, m=0)
        )
        parts.append(
            _fields(d=blocks, f=len(self.files) + len(self.folders), a=0, o=0, C=START - 10**7, A=now)
        )
        parts.append(_fields(U=now, E=0, B=now) + b"O\0M\0")
        for vnode in sorted(self.folders):  # they are always whole
            folder = self.folders[vnode]
            above = folder.parent or 1
            entries = [(b".", vnode, folder.unique), (b"..", above, self.folders[above].unique)]
            entries += [(f"d{each}".encode(), each, self.folders[each].unique) for each in folder.below]
            entries += [(name, each, self.files[each].unique) for name, each in sorted(folder.names.items())]
            head = struct.pack(">BIIcBcH", 3, vnode, folder.unique, b"t", 2, b"l", 2 + len(folder.below))
            parts.append(head + _fields(v=len(entries), m=folder.changed, a=owner, o=owner) + b"b\x01\xed")
            pages = make_directory(entries)
            parts += [_fields(p=folder.parent, s=folder.changed) + b"A" + ACL + _fields(f=len(pages)), pages]
        for vnode in sorted(self.files):
            file = self.files[vnode]
            parts.append(struct.pack(">BII", 3, vnode, file.unique))
            if file.changed >= since:
                parts.append(b"t\x01l\0\x01" + _fields(v=file.version, m=file.modified, a=owner, o=owner))
                parts.append(b"b\x01\xa4" + _fields(p=file.folder, s=file.changed, f=len(file.data)))
                parts.append(file.data)
        return [*parts, b"\x04" + struct.pack(">I", 0x3A214B6E)]


def _fields(**numbers: int) -> bytes:
    return b"".join(tag.encode() + struct.pack(">I", number) for tag, number in numbers.items())


class Work:
    """All of it."""

    def __init__(self, size: int, volumes: int, seed: int) -> None:
        source = Random(seed)
        text = Text(source)
        shares = [source.lognormvariate(0, 1) for _ in range(volumes)]
        busy = [source.lognormvariate(0, 1.2) for _ in range(volumes)]
        mean = sum(a * b for a, b in zip(busy, shares, strict=True)) / sum(shares)
        self._volumes = [
            Volume(text, source, number, int(0.88 * size * share / sum(shares)), min(6.0, activity / mean))
            for number, (share, activity) in enumerate(zip(shares, busy, strict=True))
        ]
        self._databases = {
            name: Database(text, source, int(0.12 * size * share), START) for name, share in DATABASES.items()
        }

    def change(self, now: int) -> None:
        """Let a day pass."""
        for volume in self._volumes:
            volume.change(now)
        for database in self._databases.values():
            database.change()

    def write(self, folder: Path, now: int, since: int) -> None:
        """Write a day's backup, and print how large it is."""
        folder.mkdir(parents=True)
        for volume in self._volumes:
            with (folder / f"{volume.name}.dump").open("wb") as file:
                file.writelines(volume.dump(now, since))
        with tarfile.open(folder / "databases.tar", "w") as tar:
            for name, database in self._databases.items():
                sql = database.sql()
                member = tarfile.TarInfo(f"{name}.sql")
                member.size, member.mtime, member.mode = len(sql), now, 0o600
                tar.addfile(member, io.BytesIO(sql))
        size = sum(path.stat().st_size for path in folder.iterdir())
        changed = [
            len(file.data)
            for volume in self._volumes
            for file in volume.files.values()
            if file.changed >= (since or START)
        ]
        print(
            f"{folder} {'incr' if since else 'full'} {size / 1e6:.1f} MB; new or changed since the first full: "
            f"{len(changed)} files, {sum(changed) / 1e6:.1f} MB"
        )


def main() -> None:
    """Make the week."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=1050, help="MB of a full")
    parser.add_argument("--volumes", type=int, default=40)
    parser.add_argument("--days", type=int, default=6, help="incrementals, at most 6")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    work = Work(arguments.size * 1_000_000, arguments.volumes, arguments.seed)
    for day in range(WEEK + 1):
        now = START + day * DAY
        if day:
            work.change(now - DAY // 2)
        if day <= arguments.days or day == WEEK:
            folder = arguments.folder / time.strftime("%Y.%m.%d", time.gmtime(now))
            work.write(folder, now, 0 if day in (0, WEEK) else START)


if __name__ == "__main__":
    main()
