"""Make the golden repository in tests/data/golden: `python -m tests.make_golden`.

It is made once, for each format version, and then never again: what an old program wrote must stay readable.
Beside the repository lie the throw-away secret keys that open it, and the SHA-256 of every stream that counts.
What only pruners and copies will write, and a second epoch, is made by `golden_pruner`.
"""

import hashlib
import io
import json
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from dedupstore.backends.local import LocalBackend
from dedupstore.chunks.chunker import ChunkSizes
from dedupstore.chunks.splitting import Splitter
from dedupstore.format import layout
from dedupstore.repository import Repository
from dedupstore.state.folder import StateFolder
from dedupstore.writing.session import RunDetails, Session
from keys import members
from keys.roster import ChunkerSettings, Role, Roster, membership
from keys.trust import Trust
from pipelines.formats.splitters import AfsSplitter, TarSplitter
from pipelines.streams import facts
from tests import golden_pruner
from tests.golden_pruner import GOLDEN
from tests.gpg_home import GpgHome
from tests.store import Alternating, Marking, Range, noise, text

HERE = Path(__file__).parent / "data"
DAY = 86_400
FIRST = 1_793_500_200  # 2026-11-01 03:10 UTC

# As small as may be, so that small streams have deep recipes.
SIZES = ChunkerSettings(
    content=ChunkSizes(64, 256, 1024),
    raw=ChunkSizes(64, 256, 1024),
    skeleton=ChunkSizes(1056, 2048, 4096),
    layout=ChunkSizes(64, 256, 512),
)


class Given(NamedTuple):
    """A stream to store."""

    data: bytes
    kind: str = "raw"
    splitter: Splitter | None = None
    facts: Mapping[str, Any] = facts.wire(facts.Raw())


def streams(day: int) -> dict[str, Given]:
    """Return what is stored on a day."""
    woven = text(130_000, 4)
    ranges = [Range(1 + byte % 5, content=bool(n % 2)) for n, byte in enumerate(noise(40_000, 5))]
    dump, afs = (HERE / "afs" / "2-full.dump").read_bytes(), AfsSplitter()
    afs.split(dump, True)
    return {
        "empty": Given(b""),
        "one-byte": Given(b"x"),
        "zeros": Given(bytes(70_000)),
        "text": Given(text(30_000 + 1000 * day)),
        "deep": Given(text(450_000, 6)),
        "woven": Given(
            woven, "tar", Marking([*ranges, Range(len(woven), content=True)]), {"v": 7, "new": [{}]}
        ),
        "split-content-only": Given(noise(9_000, 3), "afs", Alternating(0, 10_000), {}),
        "web": Given(tar(day), "tar", TarSplitter(), facts.wire(facts.Tar(source="web"))),
        "web/größe.tar": Given(tar(9), "tar", TarSplitter(), facts.wire(facts.Tar())),
        "web/volume": Given(dump, "afs", AfsSplitter(), facts.wire(facts.given("afs", afs.header(), "cell"))),
    }


def tar(day: int) -> bytes:
    """Return a tar of some files."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        for number in range(12 + day):
            info = tarfile.TarInfo(f"folder/file-{number}")
            info.size, info.mtime = 300 + 400 * number, FIRST
            made.addfile(info, io.BytesIO(text(info.size, number)))
    return file.getvalue()


class Maker:
    """The repository in the making, and who writes to it."""

    def __init__(self, home: GpgHome, folder: Path) -> None:
        self.home, self.folder = home, folder
        self.backend = LocalBackend(GOLDEN / "repository")
        self.url = str(GOLDEN / "repository")
        self.trust = Trust(StateFolder(folder / "trust"))
        self.expected: dict[str, dict[str, str]] = {}
        names = ("alice", "bob", "wendy", "walter", "petra", "rita")
        self.keys = {name: home.make_key(name) for name in names}
        two, wendy = [self.keys["alice"], self.keys["bob"]], [self.keys["wendy"]]
        with patch.object(members, "ChunkerSettings", lambda: SIZES):
            self.roster = members.init(self.backend, self.url, home.gpg, self.trust, wendy, two)
        self.roster = self.add("walter", "writer")
        self.roster = self.add("petra", "pruner")
        self.roster = self.add("rita", "reader")

    def add(self, name: str, role: Role) -> Roster:
        """Let one more key in; return the new roster."""
        key = self.keys[name]
        return members.add(self.backend, self.url, self.roster, self.home.gpg, self.trust, key, role)

    @contextmanager
    def open(self, name: str, roster: Roster | None = None) -> Iterator[Repository]:
        """Open the repository as a member, by the newest roster if none is given."""
        roster = roster or self.roster
        with self.home.subset(self.keys[name]) as host:
            unlock = lambda: members.unlock(self.backend, roster, host.gpg, reading=False)  # noqa: E731
            state = StateFolder(self.folder / name)
            with Repository(self.backend, membership(roster), unlock, state) as repository:
                yield repository

    def begin(self, repository: Repository, day: int) -> Session:
        """Begin a run of that day, with small packs."""
        details = RunDetails("fs1.example.org", "golden", FIRST + day * DAY, 3600)
        return Session(repository, details, 3, pack_size=30_000)

    def put(self, name: str, day: int, given: Mapping[str, Given], *, counts: bool = True) -> bytes:
        """Store a day's streams as a member; return the snapshot's name."""
        with self.open(name) as repository, self.begin(repository, day) as session:
            store(session, given)
            snapshot = session.finish().name
        if counts:
            self.expect(snapshot, given)
        return snapshot

    def expect(self, snapshot: bytes, given: Mapping[str, Given]) -> None:
        """Note that a snapshot counts, and what was stored in it."""
        self.expected[snapshot.hex()] = {
            name: hashlib.sha256(one.data).hexdigest() for name, one in given.items()
        }


def store(session: Session, given: Mapping[str, Given]) -> None:
    """Store streams in a run."""
    for name, one in given.items():
        session.put(
            name,
            io.BytesIO(one.data),
            kind=one.kind,
            splitter=one.splitter,
            facts=one.facts,
            allow_empty=True,
        )


def interrupt(maker: Maker, name: str, day: int, given: Mapping[str, Given]) -> None:
    """Leave a run as one that was killed after its checkpoint."""
    with maker.open(name) as repository:
        session = maker.begin(repository, day)
        store(session, given)
        session.checkpoint()
        session._packs.close()


def make(maker: Maker) -> None:
    """Write all that the program itself writes, and what `golden_pruner` adds."""
    kept = {"kept": Given(noise(4_000, 11))}
    doomed = maker.put("wendy", 0, {"doomed": Given(noise(5_000, 10)), **kept}, counts=False)
    first = maker.put("wendy", 1, {**kept, **streams(1)})
    maker.put("walter", 2, {"only-walter": Given(text(9_000, 12)), "web": streams(2)["web"]})
    killed = {"text": streams(3)["text"], "kept-twice": Given(noise(7_000, 13))}
    interrupt(maker, "wendy", 3, killed)
    with maker.open("wendy") as repository:
        (completed,) = repository.complete_interrupted()
    maker.expect(completed.name, killed)
    with maker.open("wendy") as repository, maker.begin(repository, 3) as session:
        store(session, {"given-up": Given(b"a run that ends without a snapshot")})
    interrupt(maker, "walter", 4, {"never": Given(noise(2_000, 14))})
    before = maker.roster
    with maker.open("alice") as repository:
        walter = next(m for m in before.members if m.fingerprint == maker.keys["walter"])
        closing = repository.closing_of(layout.sha256(walter.signing_key))
    maker.roster = members.remove(
        *(maker.backend, maker.url, before, maker.home.gpg, maker.trust, maker.keys["walter"], closing)
    )
    with maker.open("walter", before) as repository, maker.begin(repository, 5) as session:
        store(session, {"too-late": Given(noise(3_000, 15))})
        session.finish()  # his closing list does not have it
    golden_pruner.rotate(maker)
    last = maker.put("wendy", 6, streams(6))
    with maker.open("petra") as petra, maker.open("alice") as alice:
        golden_pruner.move_blocks(petra, doomed, first)
        golden_pruner.bury(petra, doomed)
        golden_pruner.keep_books(petra, [doomed, first])
        golden_pruner.seal_again(alice, maker.keys["wendy"])
        copy = golden_pruner.copy(alice, last, FIRST + 7 * DAY)
    maker.expected[copy.hex()] = maker.expected[last.hex()]
    maker.put("bob", 8, {"an-admin's": Given(b"admins write, too")})


def main() -> None:
    """Make it, unless it is there."""
    if (GOLDEN / "repository").exists():
        sys.exit(f"{GOLDEN} is there; a golden repository is made once")
    GOLDEN.mkdir(parents=True, exist_ok=True)
    with GpgHome() as home, tempfile.TemporaryDirectory() as folder:
        maker = Maker(home, Path(folder))
        make(maker)
        (GOLDEN / "secret-keys.asc").write_bytes(secret_keys(home, maker.keys.values()))
        (GOLDEN / "expected.json").write_text(json.dumps(maker.expected, indent=1) + "\n")
    shutil.rmtree(GOLDEN / "repository" / "tmp", ignore_errors=True)


def secret_keys(home: GpgHome, keys: Iterable[str]) -> bytes:
    """Export the secret keys, which protect nothing."""
    return home.run("--armor", "--export-secret-keys", *keys)


if __name__ == "__main__":
    main()
