"""What a file server backs up on a day of November 2026: `python -m tests.transcripts.volume NAME DAY`.

`etc` is a tar, any other name the full dump of a volume.
"""

import io
import random
import sys
import tarfile
from datetime import UTC, datetime

from tests.pipelines.formats.afs.model import ROOT, Volume


def dump(name: str, day: int) -> bytes:
    """Return the dump of that day, made at three in the morning."""
    chance = random.Random(name)
    volume = Volume(name, 536870900 + len(name), _moment(1, 2))
    docs, mail = volume.mkdir(ROOT, b"docs"), volume.mkdir(ROOT, b"mail")
    volume.write(docs, b"notes", chance.randbytes(30_000))
    if name == "user.alice":
        volume.now = int(datetime(2026, 10, 28, 16, 2, tzinfo=UTC).timestamp())
        volume.write(docs, b"thesis.tex", b"first draft\n" * 4000)
        if day >= 3:
            volume.now = _moment(2, 23) + 41 * 60
            volume.write(docs, b"thesis.tex", b"second draft\n" * 4100)
    for number in range(1, day + 1):
        volume.now = _moment(number, 1)
        volume.write(mail, b"%d" % number, chance.randbytes(5000))
    volume.now = _moment(day, 3)
    return volume.dump(0)


def tar(name: str, day: int) -> bytes:
    """Return a tar with some files of `etc`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, text in {
            "etc/passwd": b"root:x:0:0\n" * day,
            "etc/ssh/sshd_config": b"UsePAM no\n",
        }.items():
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(text), _moment(1, 2)
            archive.addfile(entry, io.BytesIO(text))
    return out.getvalue()


def _moment(day: int, hour: int) -> int:
    return int(datetime(2026, 11, day, hour, tzinfo=UTC).timestamp())


if __name__ == "__main__":
    name, day = sys.argv[1], int(sys.argv[2])
    sys.stdout.buffer.write((tar if name == "etc" else dump)(name, day))
