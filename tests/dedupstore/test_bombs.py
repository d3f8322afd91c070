"""No file that a member or the storage can write costs a host more than 64 MiB of memory or a second, nor twice.

Each case is a file of one kind, sealed and signed as its kind demands, that claims as much as its bytes allow.  A host
reads it as every host does; this file, run as a program, is that host: `python test_bombs.py FOLDER`.
"""

import pickle
import random
import secrets
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dedupstore.access import Access
from dedupstore.format import compression, crypto, facts, layout, pack_records, record_files, records
from dedupstore.format.layout import Header, Kind
from dedupstore.format.run_records import Done, Root, Snapshot, Stream
from dedupstore.repository import Repository
from dedupstore.state.folder import StateFolder
from tests.store import World, noise

MOST_MIB, MOST_SECONDS = 64, 1.0
FILES = 25  # at random, of each kind
MOST = 8 << 20
RUN = bytes(16)


def sealed(access: Access, kind: Kind, payload: bytes, *, store: bool = False) -> bytes:
    """Return a file with any payload, which no honest program would make."""
    header = Header(kind, access.repository, 1, secrets.token_bytes(32))
    signature = crypto.sign(access.signing_key, header, payload)
    signer = crypto.signer_of(crypto.public_of(access.signing_key))
    body = msgspec.msgpack.encode([signer, signature, payload])
    frame = compression.store(body) if store else compression.pack(body)
    return header.pack() + record_files.seal_padded(access, header, frame, header.pack(), layout.HEADER_SIZE)


def place_of(world: World, kind: Kind, data: bytes) -> Path:
    """Return where a file of its kind lies, under its own hash."""
    digest = layout.sha256(data)
    run = kind in (Kind.DONE, Kind.ENDED, Kind.FENCE)
    name = layout.run_record_file(kind, RUN, digest) if run else layout.content_file(kind, digest)
    return world.path / name


def encode(value: object) -> bytes:
    return msgspec.msgpack.encode(value)


def filler(size: int) -> bytes:
    """Return bytes that compress some fifty times, as little as a reader believes."""
    return noise(size // 50, "filler").ljust(size, b"\0")


# -- what a hostile payload may be


def snapshot(**changes: object) -> dict[str, Any]:
    base = Snapshot(RUN, "writer", 1, {}, 0, 0, 0, 0, "h", "p", (1, bytes(32)), [])
    return msgspec.structs.asdict(base) | changes


def streams(count: int, described: bytes = b"") -> list[Any]:
    root = Root(0, bytes(32), 1)
    return [Stream(f"{n}", "raw", 1, 0, 0, 0, root, facts=described) for n in range(count)]


def index(**changes: object) -> dict[str, Any]:
    return {"run": RUN, "domain": "writer", "time": 1, "packs": []} | changes


def pack_entry(**changes: object) -> dict[str, Any]:
    entry = {
        "name": bytes(32),
        "kind": "D",
        "size": layout.MAX_FILE,
        "keys": [(bytes(16), [(1, bytes(48))])],
        "blocks": b"",
        "tables": [(bytes(32), bytes(64), b"")],
    }
    return entry | changes


def full_tables(access: Access) -> list[Any]:
    """Return a pack whose table has as many chunks and blocks as there may be."""
    count, blocks = layout.MAX_PACK_CHUNKS, layout.MAX_PACK_BLOCKS
    table = pack_records.Table(
        key=bytes(16),
        kind="D",
        domain="writer",
        blocks=(struct.pack("<II", 18, count // blocks) + bytes(16)) * blocks,
        ids=noise(16 * count, 1),
        lengths=struct.pack("<I", 1) * count,
    )
    payload = records.encode(table)
    signature = crypto.sign_table(access.signing_key, access.repository, payload)
    signer = crypto.signer_of(crypto.public_of(access.signing_key))
    places = b"".join(struct.pack("<II", 0, n) for n in range(blocks))
    return [pack_entry(tables=[(signer, signature, payload)], blocks=places)]


def columns(kind: str, size: int) -> dict[str, Any]:
    return {
        "ledger": {"time": 0, "replaces": b"", "done": noise(size // 80 * 80)},
        "tombstones": {"time": 0, "replaces": b"", "snapshots": noise(size // 104 * 104), "index": b""},
        "tombstones of index files": {
            "time": 0,
            "replaces": b"",
            "snapshots": b"",
            "index": noise(size // 32 * 32),
        },
        "condemned": {
            "time": 0,
            "packs": noise(size // 96 * 32),
            "index": noise(size // 96 * 32, 2),
            "snapshots": noise(size // 96 * 32, 3),
            "abandoned": b"",
        },
    }[kind]


LARGE = MOST - 4096
OTHERS = LARGE // 2
BOMBS: dict[str, tuple[Kind, Callable[[World], bytes]]] = {
    "as many streams as a snapshot has": (
        Kind.SNAPSHOT,
        lambda w: encode(snapshot(streams=streams(layout.MAX_STREAMS))),
    ),
    "more streams than that": (Kind.SNAPSHOT, lambda w: encode(snapshot(streams=streams(60_000)))),
    "streams with as many facts as there may be": (
        Kind.SNAPSHOT,
        lambda w: encode(snapshot(streams=streams(480, noise(layout.MAX_FACTS)))),
    ),
    "facts of empty lists": (
        Kind.SNAPSHOT,
        lambda w: encode(snapshot(streams=streams(400, b"\x81\xa1x\xdc\x3f\x00" + b"\x90" * 0x3F00))),
    ),
    "a million heads": (
        Kind.SNAPSHOT,
        lambda w: encode(snapshot(heads={noise(32, n): (1, bytes(32)) for n in range(90_000)})),
    ),
    "an unknown field of empty lists": (Kind.SNAPSHOT, lambda w: encode(snapshot(more=[[]] * LARGE))),
    "streams that are empty maps": (Kind.SNAPSHOT, lambda w: encode(snapshot(streams=[{}] * (LARGE - 4096)))),
    "an index file of empty packs": (Kind.INDEX, lambda w: encode(index(packs=[{}] * LARGE))),
    "as many sealings as keys have": (
        Kind.INDEX,
        lambda w: encode(
            index(
                packs=[
                    pack_entry(
                        keys=[(n.to_bytes(16, "big"), [(1, bytes(48))] * 64) for n in range(1024)],
                        tables=[(bytes(32), b"", b"")] * 1024,
                    )
                ]
                * 2
            )
        ),
    ),
    "as many keys as packs have": (
        Kind.INDEX,
        lambda w: encode(
            index(
                packs=[
                    pack_entry(
                        keys=[(n.to_bytes(16, "big"), [(1, bytes(48))]) for n in range(1024)],
                        tables=[(bytes(32), b"", b"")] * 1024,
                    )
                ]
                * 60
            )
        ),
    ),
    "as many packs as an index file names": (Kind.INDEX, lambda w: encode(index(packs=[pack_entry()] * 256))),
    "a full table": (Kind.INDEX, lambda w: encode(index(packs=full_tables(w.writer)))),
    "the same full table many times": (
        Kind.INDEX,
        lambda w: encode(
            index(packs=[pack_entry(tables=full_tables(w.writer)[0]["tables"], blocks=bytes(8 * 200))] * 1)
        ),
    ),
    "what an index file replaces": (Kind.INDEX, lambda w: encode(index(replaces=noise(LARGE // 32 * 32)))),
    "a ledger": (Kind.LEDGER, lambda w: encode(columns("ledger", OTHERS))),
    "tombstones": (Kind.TOMBSTONES, lambda w: encode(columns("tombstones", OTHERS))),
    "tombstones of index files": (
        Kind.TOMBSTONES,
        lambda w: encode(columns("tombstones of index files", OTHERS)),
    ),
    "condemned": (Kind.CONDEMNED, lambda w: encode(columns("condemned", OTHERS))),
    "a done record of as many index files as there may be": (
        Kind.DONE,
        lambda w: encode(Done(RUN, noise(32 * 1024), noise(32 * layout.MAX_DONE_INDEX), 0)),
    ),
    "lists in lists": (Kind.DONE, lambda w: b"\x91" * (4 << 20)),
    "zeros": (Kind.SNAPSHOT, lambda w: bytes(LARGE)),
    "what compresses well": (Kind.SNAPSHOT, lambda w: encode(snapshot(host=filler(LARGE).decode("latin-1")))),
}


def look(world_file: Path) -> None:
    """Be a host that reads all there is, twice for each file that is put there; print what each time cost."""
    repository_folder, access, state, files = pickle.loads(world_file.read_bytes())
    import dedupstore.maintenance.check
    import dedupstore.writing.session  # noqa: F401
    from dedupstore.access import Membership
    from dedupstore.backends.local import LocalBackend

    def open_(part: str) -> Repository:
        members = Membership(access.repository, 1, bytes(32), access.signers)
        return Repository(LocalBackend(repository_folder), members, lambda: access, StateFolder(state / part))

    with open_("warm") as repository:  # threads, tables, ciphers
        repository.refresh_index()
    for number, (kept, path) in enumerate(files):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(kept, path)
        for _ in range(2):
            with open_(f"cold{number}") as repository:
                Path("/proc/self/clear_refs").write_text("5")
                before, began = resident("VmRSS"), time.process_time()
                repository.look_for_what_is_condemned()
                repository.refresh_index()
                repository.refresh_snapshots()
                with repository.publishing():
                    pass
                for info in repository.snapshots():
                    for stream in repository.streams(info):
                        facts.load(stream.facts)
                print(resident("VmHWM") - before, time.process_time() - began)
        path.unlink()


def resident(field: str) -> float:
    """Return a line of this process's status, in MiB."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) / 1024


def costs(world: World, folder: Path, files: list[tuple[Kind, bytes]]) -> list[tuple[float, float]]:
    """Return what reading the repository costs a host that meets each of these files, the first and the second time."""
    kept = []
    for number, (kind, data) in enumerate(files):
        (folder / f"bomb{number}").write_bytes(data)
        kept.append((folder / f"bomb{number}", place_of(world, kind, data)))
    file = folder / "world"
    file.write_bytes(pickle.dumps((world.path, world.admin, folder / "victim", kept)))
    command = [sys.executable, __file__, str(file)]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, check=True, text=True, cwd=Path(__file__).parents[2]
    )
    rows = [line.split() for line in done.stdout.splitlines()]
    assert 2 * len(files) == len(rows)
    return [(float(mib), float(seconds)) for mib, seconds in rows]


def of_kind(world: World, kind: Kind) -> Access:
    pruners = (Kind.LEDGER, Kind.TOMBSTONES, Kind.CONDEMNED, Kind.FENCE)
    return world.admin if kind in (*pruners, Kind.CLOSING) else world.writer


@pytest.mark.budget
@pytest.mark.parametrize("name", BOMBS)
def test_no_file_of_a_member_costs_much(world: World, tmp_path: Path, name: str) -> None:
    kind, make = BOMBS[name]
    payload = make(world)
    access = of_kind(world, kind)
    files = [(kind, sealed(access, kind, payload, store=store)) for store in (False, True)]
    for mib, seconds in costs(world, tmp_path, [file for file in files if len(file[1]) <= 9 << 20]):
        assert mib < MOST_MIB
        assert seconds < MOST_SECONDS


# -- and what nobody thought of


class Hostile:
    """Makes payloads at random: those of a kind with some values in the place of others, as many as fit."""

    def __init__(self, seed: object) -> None:
        self._chance = random.Random(repr(seed))

    def payload(self, kind: Kind, access: Access) -> bytes:
        """Return a payload of a kind."""
        good: dict[Kind, Any] = {
            Kind.SNAPSHOT: snapshot(streams=streams(3, b"\x80")),
            Kind.INDEX: index(packs=[pack_entry()]),
            Kind.DONE: {"run": RUN, "snapshots": bytes(32), "index": bytes(32), "finished": 1},
            Kind.ENDED: {"run": RUN, "time": 1},
            Kind.FENCE: {"run": RUN, "time": 1},
            Kind.LEDGER: columns("ledger", 800),
            Kind.TOMBSTONES: columns("tombstones", 1040),
            Kind.CONDEMNED: columns("condemned", 960),
        }
        value = msgspec.msgpack.decode(encode(good[kind]))
        for _ in range(self._chance.choice([1, 1, 2, 4])):
            value = self._spoil(value)
        return encode(value)

    def _spoil(self, value: Any) -> Any:
        """Put something else in the place of a value, here or further in."""
        if isinstance(value, dict) and value and self._chance.random() < 0.9:
            key = self._chance.choice(list(value))
            return value | {key: self._spoil(value[key])}
        if isinstance(value, list) and value and self._chance.random() < 0.8:
            at = self._chance.randrange(len(value))
            some = [*value[:at], self._spoil(value[at]), *value[at + 1 :]]
            return some * self._chance.choice([1, 1, 50, 4000]) if len(encode(some)) < 2000 else some
        return self._anything()

    def _anything(self) -> Any:
        size = self._chance.choice([1, 1000, 100_000, 4_000_000, 8_000_000])
        few: list[Any] = [[], {}, b"", "", None, 0, -1, 2**64 - 1, 0.5, [[]], {"": []}, [b"", b""]]
        kinds: list[Callable[[], Any]] = [
            lambda: self._chance.choice(few),
            lambda: [self._chance.choice(few)] * size,
            lambda: self._chance.randbytes(size),
            lambda: bytes(size),
            lambda: "x" * size,
            lambda: {str(n): [] for n in range(size // 8)},
            lambda: {n.to_bytes(32, "big"): [1, bytes(32)] for n in range(size // 80)},
            lambda: self._deep(min(size, 100_000)),
        ]
        return self._chance.choice(kinds)()

    def _deep(self, levels: int) -> msgspec.Raw:
        return msgspec.Raw(b"\x91" * levels + b"\xc0")


KINDS = (
    Kind.SNAPSHOT,
    Kind.INDEX,
    Kind.DONE,
    Kind.ENDED,
    Kind.FENCE,
    Kind.LEDGER,
    Kind.TOMBSTONES,
    Kind.CONDEMNED,
)


@pytest.mark.budget
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_that_is_made_at_random_costs_much(world: World, tmp_path: Path, kind: Kind) -> None:
    access = of_kind(world, kind)
    files = []
    for seed in range(FILES):
        data = sealed(access, kind, Hostile((kind, seed)).payload(kind, access), store=bool(seed % 2))
        if len(data) <= layout.MAX_FILE:
            files.append((kind, data))
    for seed, (mib, seconds) in enumerate(costs(world, tmp_path, files)):
        assert mib < MOST_MIB, f"file {seed // 2}"
        assert seconds < MOST_SECONDS, f"file {seed // 2}"


if __name__ == "__main__":
    look(Path(sys.argv[1]))
