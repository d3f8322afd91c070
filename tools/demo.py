"""Two weeks of backups, end to end: `make demo`.

Everything goes through the `dedup` beside the Python that runs this, as a user types it.

Invariant: what is said at the end was proven on the way.  The first thing that is not as it must be ends the
demo, with exit status 1.
"""

import hashlib
import itertools
import json
import sys
import time
import zlib
from collections import Counter
from datetime import datetime
from pathlib import Path
from threading import Lock

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from pipelines.reports.listing import table  # noqa: E402
from pipelines.text import count, size  # noqa: E402
from tools import demo_data  # noqa: E402
from tools.demo_data import Stream  # noqa: E402
from tools.demo_stage import DemoError, Machine, Stage, Voice  # noqa: E402

SOURCES = {  # how the first day's streams are typed
    "db.hosting": "db.hosting -- tar -cf - -C {day} hosting",
    "mail.bob": "mail.bob < {day}/mail.bob.dump",
    "proj.web": "proj.web < {day}/proj.web.dump",
    "user.alice": "user.alice < {day}/user.alice.dump",
}


class Demo:
    """The demo, part by part; `proven` collects what is said at the end."""

    def __init__(self, stage: Stage, voice: Voice) -> None:
        self.stage = stage
        self.voice = voice
        self.proven: list[str] = []
        self.restored = 0  # bytes
        self.lock = Lock()

    def play(self) -> None:
        """Play all parts."""
        self.make_machines()
        self.make_repository()
        self.make_streams()
        self.back_up()
        self.list_dates()
        self.restore()
        self.look_inside()
        self.compare_sizes()
        self.read_as_the_writer()
        self.flip_a_bit()

    def prove(self, claim: str, holds: bool) -> None:
        """Take note of a claim that holds; raises `DemoError` for one that does not."""
        if not holds:
            raise DemoError(f"not true: {claim}")
        self.proven.append(claim)

    def make_machines(self) -> None:
        """Make three machines, and give the admin who begins the public keys of the others."""
        self.voice.title("1. Three machines, each with a GPG key that is nowhere else")
        self.writer = self.stage.machine("fileserver", "backup@fileserver.example")
        self.alice = self.stage.machine("alice", "alice@example.org")
        self.bob = self.stage.machine("bob", "bob@example.org")
        machines = (self.writer, self.alice, self.bob)
        rows = [
            (m.name, role, m.mail, m.key)
            for m, role in zip(machines, ("writer", "admin", "admin"), strict=True)
        ]
        self.voice.say(table(("MACHINE", "ROLE", "GPG KEY OF", "FINGERPRINT"), rows))
        for machine in (self.writer, self.bob):
            machine.run(f"gpg --batch --quiet --output public-key --export {machine.mail}")
            self.alice.run(f"gpg --batch --quiet --import {machine.folder}/public-key")

    def make_repository(self) -> None:
        """Let an admin make the repository, and the others believe it."""
        self.voice.title("2. Alice makes the repository; the others learn from her which one it is")
        members = f"--writer {self.writer.mail} --admin {self.alice.mail} --admin {self.bob.mail}"
        self.alice.show(f"dedup init {members}")
        accept = f"dedup trust accept --yes --admin {self.alice.key}"
        self.writer.show(accept)
        self.bob.run(accept)
        self.alice.show("dedup key list")

    def make_streams(self) -> None:
        """Make what is backed up."""
        days = demo_data.days(datetime.now().date())
        self.streams = demo_data.make(self.writer.folder, days)
        self.total = sum(stream.size for stream in self.streams)
        self.voice.title(
            f"3. The file server backs up two weeks: {count(len(self.streams), 'stream')}, {size(self.total)}"
        )
        self.voice.say(
            "user.alice, proj.web   written by a real AFS volume server\n"
            "mail.bob               a volume made up here: mails come and go\n"
            "db.hosting             a database made up here, as a tar: some rows change every day\n"
            "Volumes are dumped in full on Sundays, and incrementally on days on which something changed."
        )

    def back_up(self) -> None:
        """Store everything: the first day before the audience, the rest a few at a time."""
        first = [stream for stream in self.streams if stream.day == self.streams[0].day]
        for stream in first:
            before = self.packs()
            self.writer.show(f"dedup put --date {stream.day} {SOURCES[stream.name].format(day=stream.day)}")
            if stream.name == "mail.bob":
                self.mail = stream
                (self.mail_pack,) = self.packs() - before
        rest = self.streams[len(first) :]

        def store(stream: Stream) -> None:
            self.writer.run(f"dedup put --date {stream.day} {stream.name} < {stream.path}")

        self.voice.watch(f"{len(rest)} more, in the same way", store, rest)

    def packs(self) -> set[Path]:
        """Return the packs of contents that the repository holds."""
        return set(self.stage.repository.glob("data/*/*"))

    def list_dates(self) -> None:
        """Show what is stored, and compare it with what was made."""
        self.voice.title("4. What is there: names, dates and sizes, which the file server may see")
        self.writer.show("dedup list")
        self.writer.show(f"dedup list {self.streams[0].day}")
        listed = json.loads(self.alice.run("dedup list --json"))
        wanted = Counter[str]()
        for stream in self.streams:
            wanted[stream.day] += stream.size
        self.prove(
            f"{count(len(self.streams), 'stream')} of {count(len(wanted), 'day')} stored and listed",
            wanted == {row["date"]: row["size"] for row in listed}
            and len(self.streams) == sum(row["streams"] for row in listed),
        )

    def restore(self) -> None:
        """Restore everything, one half on each admin's machine, and compare every byte."""
        self.voice.title("5. The admins restore everything, each with their own key")
        tar = self.streams[0]
        dump = next(stream for stream in reversed(self.streams) if stream.name == "mail.bob")
        others = [stream for stream in self.streams if stream not in (tar, dump)]
        self.writer.show(f"sha256sum {tar.path.relative_to(self.writer.folder)}")
        self.check(tar, self.bob.show(f"dedup get {tar.day} {tar.name} | sha256sum").split()[-2])
        self.alice.show(f"dedup get {dump.day} {dump.name} --raw -o restored.dump")
        self.check(dump, hashlib.sha256((self.alice.folder / "restored.dump").read_bytes()).hexdigest())

        def get(job: tuple[Machine, Stream]) -> None:
            admin, stream = job
            line = f"dedup get {stream.day} {stream.name} --raw | sha256sum"
            self.check(stream, admin.run(line).split()[0].decode())

        jobs = list(zip(itertools.cycle((self.alice, self.bob)), others, strict=False))
        self.voice.watch(f"{len(jobs)} more, half of them by Alice, half by Bob", get, jobs)
        self.prove(
            f"all of them restored: {self.restored:,} bytes, every one proven by SHA-256",
            self.restored == self.total,
        )

    def look_inside(self) -> None:
        """Show what is in a volume, and take one file out."""
        self.voice.title("6. One file out of a volume, without AFS")
        dump = next(stream for stream in self.streams if stream.name == "user.alice")
        self.bob.show(f"dedup ls {dump.day} user.alice sub -l -R")
        self.bob.show(f"dedup find file-100 --volume user.alice --until {dump.day}")
        self.bob.show(f"dedup extract {dump.day} user.alice many/file-100 -C .")
        content = (self.bob.folder / "many" / "file-100").read_bytes()
        self.prove("one file came out of a volume dump", content in dump.path.read_bytes() and content != b"")

    def check(self, stream: Stream, digest: str) -> None:
        """Count a stream as restored; raises `DemoError` if that is not its SHA-256."""
        if digest != stream.digest:
            raise DemoError(f"not true: {stream.name} of {stream.day} came back as it was")
        with self.lock:
            self.restored += stream.size

    def compare_sizes(self) -> None:
        """Compare the repository with what else could have been stored."""
        self.voice.title("7. What deduplication saved")
        files = [path for path in self.stage.repository.rglob("*") if path.is_file()]
        repository = sum(path.stat().st_size for path in files)
        gzipped = sum(map(gzip_size, self.streams))
        rows = [
            (what, size(each), f"{100 * each / self.total:.1f} %")
            for what, each in (
                ("all streams as they came", self.total),
                ("each through gzip, as `vos dump | gzip | ccrypt` does it", gzipped),
                (f"the repository, all of its {count(len(files), 'file')}", repository),
            )
        ]
        self.voice.say(table(("WHAT", "SIZE", "OF ALL"), rows, right=(1, 2)))
        self.prove(
            f"{gzipped / repository:.1f} times smaller than gzip of the same streams: "
            f"{size(repository)} instead of {size(gzipped)}",
            repository < gzipped,
        )

    def read_as_the_writer(self) -> None:
        """Try to read on the file server, which has the writer's key, its state and the repository."""
        self.voice.title("8. The file server cannot read what it stored")
        self.writer.show(f"dedup get {self.mail.day} {self.mail.name} > stolen.dump", status=1)
        self.prove(
            "the writer's key alone read nothing", (self.writer.folder / "stolen.dump").stat().st_size == 0
        )

    def flip_a_bit(self) -> None:
        """Damage one pack, let the damage be found and refused, and undo it."""
        self.voice.title("9. One bit flips in the storage")
        pack = self.mail_pack
        middle = pack.stat().st_size // 2
        self.voice.say(f"byte {middle:,} of {pack.relative_to(self.stage.repository)}")
        flip(pack, middle)
        said = self.alice.show("dedup check --read-data", status=4)
        self.prove("one flipped bit found by `dedup check --read-data`", pack.name in said)
        self.alice.show(f"dedup get {self.mail.day} {self.mail.name} --raw -o mail.dump", status=1)
        self.prove("no wrong byte given out for it", not (self.alice.folder / "mail.dump").exists())
        flip(pack, middle)
        self.voice.say("\nThe bit is put right, as if the file came from another copy:")
        self.alice.show("dedup check --read-data")


def gzip_size(stream: Stream) -> int:
    """Return how many bytes gzip makes of a stream."""
    squeeze = zlib.compressobj(6, wbits=31)  # gzip's own level, and its format
    return len(squeeze.compress(stream.path.read_bytes())) + len(squeeze.flush())


def flip(path: Path, offset: int) -> None:
    """Flip one bit of a file."""
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def main() -> int:
    """Play the demo; return the exit status."""
    began = time.monotonic()
    voice = Voice()
    voice.title("dedup: two weeks of backups, end to end, with throw-away keys")
    try:
        if not Path(sys.executable).with_name("dedup").exists():
            raise DemoError(f"there is no dedup beside {sys.executable}; run: make demo")
        with Stage(voice) as stage:
            voice.say(f"All of it happens in {stage.folder}, which is removed at the end.")
            demo = Demo(stage, voice)
            demo.play()
    except DemoError as error:
        voice.title("FAILED")
        voice.say(str(error), style="red")
        return 1
    except KeyboardInterrupt:
        voice.title("Stopped; everything is removed again")
        return 130
    voice.title(f"Proven in {time.monotonic() - began:.0f} s")
    for claim in demo.proven:
        voice.say(f"[ok] {claim}", style="green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
