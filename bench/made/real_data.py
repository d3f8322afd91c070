"""Real data to measure with, day by day: releases of a program, maildirs, and databases; made once in a folder.

Five releases of Django are fetched by name with pip and become plain tars.  All else is made of their text, seeded:
maildirs as a tar, an SQLite file and its dump as SQL.  pgbench fills and changes a database of PostgreSQL, of which
pg_dump writes plain SQL (Debian: postgresql, postgresql-contrib; as root it runs as the user postgres).
"""

import hashlib
import io
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

RELEASES = ("5.0.6", "5.0.7", "5.0.8", "5.0.9", "5.0.10")
DAYS = len(RELEASES)
START = 1_772_326_800
DAY = 86_400


def sdist(work: Path, version: str) -> Path:
    """Return the source archive of a release of Django."""
    folder = work / "sdists"
    found = [*folder.glob(f"[Dd]jango-{version}.tar.gz")]
    if not found:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
        subprocess.run([*pip, "-d", folder, f"django=={version}"], check=True)
        found = [*folder.glob(f"[Dd]jango-{version}.tar.gz")]
    return found[0]


def members(archive: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the files of an archive, without its topmost folder, in the order of their names."""
    found = []
    with tarfile.open(archive) as tar:
        for member in tar:
            if file := tar.extractfile(member):
                member.name = member.name.partition("/")[2]
                found.append((member, file.read()))
    return sorted(found, key=lambda each: each[0].name)


def releases(work: Path) -> Iterator[Path]:
    """Make one tar of each release, as a person has it who unpacks each beside the last."""
    for day, version in enumerate(RELEASES):
        path = work / f"source-{day}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for member, data in members(sdist(work, version)):
                member.pax_headers = {}
                tar.addfile(member, io.BytesIO(data))
        yield path


def paragraphs(work: Path) -> list[str]:
    """Return what the newest release has of text, each once, shuffled."""
    archive = members(sdist(work, RELEASES[-1]))
    texts = [
        data.decode(errors="replace") for member, data in archive if member.name.endswith((".txt", ".py"))
    ]
    found = sorted({part for text in texts for part in text.split("\n\n") if 40 < len(part) < 4000})
    Random(1).shuffle(found)
    return found


def maildirs(work: Path) -> Iterator[Path]:
    """Make a tar of 5,000 letters in 20 maildirs; a day reads 2 %, brings 1 % and takes 0.5 %."""
    source, texts, mails = Random(2), paragraphs(work), dict[str, bytes]()

    def add(now: int) -> None:
        number = len(texts)
        body = "\n\n".join(texts.pop() for _ in range(source.randrange(1, 14)) if texts)
        head = f"Message-ID: <{hashlib.sha1(b'%d' % number).hexdigest()}@example.org>\nDate: {now}\n\n"
        unique = (
            f"{now}.M{source.randrange(10**6):06}P{source.randrange(30_000)}.mail,S={len(head + body)}:2,"
        )
        mails[f"user{source.randrange(20):02}/Maildir/cur/{unique}"] = (head + body).encode()

    for _ in range(5000):
        add(START - source.randrange(100 * DAY))
    for day in range(DAYS):
        for name in source.sample(sorted(mails), len(mails) // 50 if day else 0):
            if not name.endswith("S"):
                mails[name + "S"] = mails.pop(name)
        for name in source.sample(sorted(mails), len(mails) // 200 if day else 0):
            del mails[name]
        for _ in range(50 if day else 0):
            add(START + day * DAY + source.randrange(DAY))
        path = work / f"mail-{day}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, data in sorted(mails.items()):
                member = tarfile.TarInfo(name)
                member.size, member.mtime = len(data), int(name.rpartition("/")[2].partition(".")[0])
                tar.addfile(member, io.BytesIO(data))
        yield path


def sqlite(work: Path) -> Iterator[Path]:
    """Make a file of SQLite with articles and a journal, and its dump; a day changes 1 % and brings 0.7 %."""
    source, texts = Random(3), paragraphs(work)
    stored = texts[: len(texts) * 9 // 10]
    file = work / "sqlite.db"
    file.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as base:
        base.executescript(
            "CREATE TABLE article (id INTEGER PRIMARY KEY, title TEXT, body TEXT, seen INTEGER, changed INTEGER);"
            "CREATE INDEX title ON article (title);"
            "CREATE TABLE journal (time INTEGER, article INTEGER, address TEXT);"
        )
        insert = "INSERT INTO article (title, body, seen, changed) VALUES (?, ?, 0, ?)"
        base.executemany(insert, ((text[:40], text, START) for text in stored))
        for day in range(DAYS):
            now = START + day * DAY
            for _ in range(len(stored) // 100 if day else 0):
                row = source.randrange(len(stored)) + 1
                base.execute("UPDATE article SET seen = seen + 1, changed = ? WHERE id = ?", (now, row))
                if source.random() < 0.3:
                    base.execute(
                        "UPDATE article SET body = body || ? WHERE id = ?", (source.choice(texts)[:99], row)
                    )
            for text in source.sample(texts, len(stored) // 150 if day else 0):
                base.execute(insert, (text[:40], text[::-1], now))
            for second in range(0, DAY, 20):
                address = f"10.0.{source.randrange(256)}.{source.randrange(256)}"
                base.execute(
                    "INSERT INTO journal VALUES (?, ?, ?)", (now + second, source.randrange(9999), address)
                )
            base.commit()
            path = work / f"sqlite-{day}.raw"
            shutil.copyfile(file, path)
            yield path
            with (work / f"sql-{day}.raw").open("w") as dump:
                dump.writelines(line + "\n" for line in base.iterdump())
    file.unlink()


def postgres(work: Path) -> Iterator[Path]:
    """Dump a database of pgbench each day; a day has 5,000 transactions."""
    binaries = max(Path("/usr/lib/postgresql").glob("*/bin"), default=Path("/usr/bin"))
    drop = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="dedup-pg-") as folder:
        Path(folder).chmod(0o777)
        data, env = f"{folder}/data", os.environ | {"PGHOST": folder, "PGDATABASE": "postgres", "LC_ALL": "C"}

        def call(name: str, *arguments: str) -> bytes:
            command = [*drop, str(binaries / name), *arguments]
            return subprocess.run(
                command, check=True, env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ).stdout

        call("initdb", "-D", data, "-A", "trust")
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        call("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            call("pgbench", "-q", "-i", "-s", "4")
            for day in range(DAYS):
                if day:
                    for count, script in (("2500", "tpcb-like"), ("2500", "simple-update")):
                        call("pgbench", "-n", "-t", count, "--random-seed", str(day), "-b", script)
                path = work / f"postgres-{day}.raw"
                path.write_bytes(call("pg_dump"))
                yield path
        finally:
            call("pg_ctl", "-D", data, "-m", "immediate", "stop")


#: What makes the files of a set, and the format that they are stored as.
SETS: dict[str, tuple[Callable[[Path], Iterator[Path]], str]] = {
    "source": (releases, "tar"),
    "mail": (maildirs, "tar"),
    "sqlite": (sqlite, "raw"),
    "sql": (sqlite, "raw"),
    "postgres": (postgres, "raw"),
}


def days(work: Path, name: str) -> list[Path]:
    """Return a set's files, one a day; makes those that are not there."""
    make, form = SETS[name]
    files = [work / f"{name}-{day}.{form}" for day in range(DAYS)]
    if not all(path.exists() for path in files):
        for _ in make(work):
            pass
    return files
