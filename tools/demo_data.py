"""Two weeks of what a file server backs up, for the demo: AFS volumes and a database.

| stream | what it is |
|---|---|
| `user.alice` | dumps that a real AFS volume server wrote (tests/data/afs): full on Sundays, two incrementals |
| `proj.web` | full dumps by that server, on Sundays only |
| `mail.bob` | a mail volume, made here in the dump format of OpenAFS: full on Sundays, three incrementals a week |
| `db.hosting` | a tar of SQL text, made here, of which a little changes each day |

Invariant: the same on every machine, but for the dates.
"""

import base64
import hashlib
import itertools
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path

from tests.afsdump import ADMINISTRATORS, ALL, DIRECTORY, FILE, make_directory

DAYS = 14

_SAMPLES = Path(__file__).parents[1] / "tests" / "data" / "afs"
_HOUR = 3600
_MAIL_DAYS = (0, 1, 3, 5)  # of a week that begins on Sunday
_WORDS = (  # noqa: SIM905 - a list is hard to read
    "the of and to volume server a in that is was he for it with as his on be at by had not are but from or have "
    "an they which one you were her all she there would their we him been has when who will more no if out so said "
    "backup quota domain certificate please thanks regards meeting invoice attached yesterday tomorrow"
).split()


@dataclass(frozen=True)
class Stream:
    """One file to back up: `day` as YYYY.MM.DD, `size` in bytes, `digest` its SHA-256 in hex."""

    day: str
    name: str
    path: Path
    size: int
    digest: str


def days(today: date) -> list[date]:
    """Return the last two whole weeks before `today`, each from its Sunday on."""
    first = today - timedelta(days=DAYS)
    first -= timedelta(days=first.isoweekday() % 7)
    return [first + timedelta(days=index) for index in range(DAYS)]


def make(folder: Path, dates: list[date]) -> list[Stream]:
    """Write `folder/YYYY.MM.DD/NAME.dump` and `.tar` for every date; return them day by day."""
    chance = random.Random(20)  # noqa: S311 - nothing here is secret
    streams = []
    for index, (day, mail, table) in enumerate(
        zip(dates, mails(chance, dates), _tables(chance), strict=False)
    ):
        here = folder / f"{day:%Y.%m.%d}"
        (here / "hosting").mkdir(parents=True)
        for name, samples in _REAL.items():
            if index in samples:
                shutil.copy(_SAMPLES / samples[index], here / f"{name}.dump")
        if mail:
            (here / "mail.bob.dump").write_bytes(mail)
        (here / "hosting" / "accounts.sql").write_text(table)
        subprocess.run(["tar", "-cf", here / "db.hosting.tar", "-C", here, "hosting"], check=True)
        streams += [_stream(here.name, path) for path in sorted(here.glob("*.*"))]
    return streams


_REAL = {  # which sample is whose dump on which day (from 0)
    "user.alice": {
        0: "2-full.dump",
        1: "3-incr.dump",
        2: "4-incr-nothing-changed.dump",
        7: "6-full-backup-after.dump",
    },
    "proj.web": {0: "1-empty.dump", 7: "5-full-rw-after.dump"},
}


def _stream(day: str, path: Path) -> Stream:
    content = path.read_bytes()
    return Stream(day, path.stem, path, len(content), hashlib.sha256(content).hexdigest())


@dataclass
class _File:
    number: int
    content: bytes
    version: int  # AFS's data version: how often it was changed
    time: int


def mails(chance: random.Random, dates: list[date]) -> Iterator[bytes]:
    """Yield one dump a day of a volume to which mails come, from which one goes, and in which a file grows.

    On some days nothing happens: then it is empty.
    """
    numbers = itertools.count(2, 2)  # odd ones are folders
    sent = _File(next(numbers), b"", 0, 0)
    files = {"Sent": sent}
    since = 0
    for index, day in enumerate(dates):
        if index % 7 not in _MAIL_DAYS:
            yield b""
            continue
        now = int(datetime.combine(day, time(3)).timestamp())
        if index:
            del files[chance.choice(list(files)[1:])]
        for number in itertools.islice(numbers, 15 if index else 250):
            files[f"cur.{number}"] = _File(number, _letter(chance), 1, now - _HOUR)
        sent.content += b"".join(_letter(chance) for _ in range(8 if index else 40))
        sent.version, sent.time = sent.version + 1, now - _HOUR
        yield _volume_dump("mail.bob", 536870930, files, since if index % 7 else 0, now)
        since = now


def _letter(chance: random.Random) -> bytes:
    text = " ".join(chance.choices(_WORDS, k=chance.randrange(100, 2000)))
    attached = chance.randbytes(chance.choice((0, 0, 0, 5_000, 40_000)))
    return f"From: {chance.choice(_WORDS)}@example.org\n\n{text}\n\n".encode() + base64.encodebytes(attached)


def _volume_dump(name: str, number: int, files: dict[str, _File], since: int, now: int) -> bytes:
    """Return a dump, from `since` (0: full) to `now`, of a volume with these files in its root.

    As `vos dump` does it (OpenAFS src/volser/dumpstuff.c), an incremental has folders whole, of files that did
    not change the number only, and of those that are gone nothing.
    """
    title = b"n" + name.encode() + b"\0"
    entries = [(each.encode(), file.number, file.number) for each, file in files.items()]
    root = make_directory([(b".", 1, 1), (b"..", 1, 1), *entries])
    blocks = sum(max(1, -(-len(content) // 1024)) for content in (root, *(f.content for f in files.values())))
    rights = struct.pack(">5i2i", 28, 1, 1, 1, 0, ADMINISTRATORS, ALL).ljust(192, b"\0")
    pieces = [
        struct.pack(">BII", 1, 0xB3A11322, 1) + _fields(v=number) + title,
        b"t" + struct.pack(">HII", 2, since, now),
        b"\x02" + _fields(i=number, v=1) + title + b"s\x01b\x01" + _fields(u=2_000_000) + b"t\0",
        _fields(p=number, c=0, q=0, m=0, d=blocks, f=1 + len(files), a=0, o=0, C=now, A=now, U=now, E=0, B=0),
        b"O\0M\0",
        _vnode(_File(1, root, 1, now), DIRECTORY, 2, 0o755, 0, b"A" + rights),
    ]
    for file in files.values():
        whole = file.time >= since
        pieces.append(_vnode(file, FILE, 1, 0o644, 1, b"") if whole else _head(file.number))
    return b"".join([*pieces, struct.pack(">BI", 4, 0x3A214B6E)])


def _vnode(file: _File, kind: int, links: int, mode: int, parent: int, rights: bytes) -> bytes:
    head = _head(file.number) + b"t" + bytes([kind]) + b"l" + struct.pack(">H", links)
    what = _fields(v=file.version, m=file.time, a=0, o=0) + b"b" + struct.pack(">H", mode)
    return head + what + _fields(p=parent, s=file.time) + rights + _fields(f=len(file.content)) + file.content


def _head(number: int) -> bytes:
    return struct.pack(">BII", 3, number, number)


def _fields(**numbers: int) -> bytes:
    return b"".join(tag.encode() + struct.pack(">I", number) for tag, number in numbers.items())


def _tables(chance: random.Random) -> Iterator[str]:
    """Yield day after day a table in PostgreSQL's text form: some rows change, some come."""
    rows = [_row(chance, number) for number in range(25_000)]
    while True:
        yield "".join(["COPY accounts (id, mail, quota, hash, seen) FROM stdin;\n", *rows, "\\.\n"])
        for number in chance.sample(range(len(rows)), 25):
            rows[number] = _row(chance, number)
        rows += [_row(chance, number) for number in range(len(rows), len(rows) + 40)]


def _row(chance: random.Random, number: int) -> str:
    mail = f"{chance.choice(_WORDS)}{number}@{chance.choice(_WORDS)}.example"
    seen = chance.randrange(1_600_000_000, 1_700_000_000)
    return f"{number}\t{mail}\t{chance.randrange(50)}000\t{chance.randbytes(16).hex()}\t{seen}\n"
