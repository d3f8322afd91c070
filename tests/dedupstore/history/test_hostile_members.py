"""What a member, a former member or the provider could do on purpose: it is told, and stops nobody else."""

import io
import os
import secrets
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Entry
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import BackendError, DamageError, TrustError
from dedupstore.format import compression, crypto, layout, pack_records, recipes, record_files, records
from dedupstore.format.layout import Header, Kind
from dedupstore.format.pack_records import HeldBlock, Index, IndexedPack, PlacedBlock
from dedupstore.format.packs import PackBuilder, SealedPack, pack_buffer
from dedupstore.format.run_records import Done, Ended, Ledger, Root, Snapshot, Stream
from keys import roster as rosters
from tests.store import World, begin, flip_bit, noise, signer_of

DATA = noise(50_000)
BEYOND = 2**63 - 1
NESTED = b"\x91" * 5000 + b"\xc0"  # lists within lists, deeper than any stack
Fields = dict[str, Any]


@pytest.fixture
def evil(world: World) -> Access:
    """Return a writer of bad intent, in a repository where another has stored `DATA`."""
    world.put(DATA)
    return world.member("evil")


def drop(world: World, access: Access, kind: Kind, payload: bytes) -> bytes:
    """Sign any payload, put the file where it belongs, and return its hash."""
    header = Header(kind, access.repository, access.epoch, secrets.token_bytes(32))
    signature = crypto.sign(access.signing_key, header, payload)
    body = records.encode_any([signer_of(access), signature, payload])
    packed = compression.pack(body)
    data = header.pack() + record_files.seal_padded(access, header, packed, header.pack(), layout.HEADER_SIZE)
    digest = layout.sha256(data)
    name = layout.content_file(kind, digest)
    if kind is Kind.DONE:
        name = layout.run_record_file(kind, records.decode(payload, Done, "x").run, digest)
    world.backend().create(name, data)
    return digest


def confirm(world: World, access: Access, run: bytes, snapshot: bytes) -> None:
    """Write a done record."""
    drop(world, access, Kind.DONE, records.encode(Done(run, snapshot, b"", 1)))


def fields(record: msgspec.Struct, **changes: object) -> Fields:
    """Return a record as a map that can be made wrong."""
    plain: Fields = msgspec.msgpack.decode(records.encode(record))
    return plain | changes


def with_nested(plain: Fields) -> bytes:
    """Return a map with a field that format 1 does not know, and that is nested deeply."""
    raw = msgspec.msgpack.encode(plain)
    return bytes([raw[0] + 1]) + raw[1:] + b"\xa1z" + NESTED


def stream(name: str = "lie", **changes: object) -> Fields:
    plain = Stream(name="x", kind="raw", size=0, time=0, stored=0, new=0, content=Root())
    return fields(plain, name=name, **changes)


def snapshot(access: Access, **changes: object) -> Fields:
    record = Snapshot(
        run=secrets.token_bytes(16),
        domain=access.domain,
        sequence=1,
        heads={},
        time=1_700_000_000,
        utc_offset=0,
        started=1,
        finished=1,
        host="host",
        program="program",
        roster=(1, bytes(32)),
        streams=[],
    )
    return fields(record, streams=[stream()]) | changes


def publish(world: World, access: Access, plain: Fields, payload: bytes = b"") -> bytes:
    """Publish a snapshot, with its done record, and return its name."""
    name = drop(world, access, Kind.SNAPSHOT, payload or msgspec.msgpack.encode(plain))
    confirm(world, access, plain["run"], name)
    return name


def pack_of(access: Access, chunk: bytes, id_: bytes = b"", *, epoch: int = 0) -> SealedPack:
    """Make a data pack of one chunk, under a false id or with a key of a false epoch if told so."""
    builder = PackBuilder(access, Kind.DATA, pack_buffer(0))
    id_ = id_ or blake3(chunk, key=access.id_key).digest()
    builder.add(b"\0" + chunk, id_[:16], struct.pack("<I", len(chunk)))
    if epoch:
        key_id, ((_, sealed),) = builder._sealed
        builder._sealed = (key_id, ((epoch, sealed),))
    return builder.finish()


def index(access: Access, *entries: IndexedPack) -> Index:
    return Index(run=bytes(16), domain=access.domain, time=0, packs=list(entries))


def store(world: World, access: Access, pack: SealedPack) -> None:
    """Upload a pack and an index file that names it."""
    world.backend().create(pack.entry.file, pack.data)
    drop(world, access, Kind.INDEX, records.encode(index(access, pack.entry)))


def check(world: World, *, read_data: bool = True, host: str = "") -> list[str]:
    """Return what the admin's check finds."""
    with world.open(world.admin, host=host) as repository:
        return repository.check(read_data=read_data, report=lambda *_: None).damaged


def listed(world: World, access: Access | None = None, *, host: str = "") -> list[str]:
    """Return the domains of the snapshots that count."""
    with world.open(access or world.admin, host=host) as repository:
        return [info.domain for info in repository.snapshots()]


def what_others_are_told(world: World) -> str:
    """Store, restore and check as others do, all of which must work; return what the admin is told."""
    assert 1 == world.put(DATA + b"more", "after").streams
    assert DATA == world.get("s")
    assert DATA + b"more" == world.get("after")
    found = check(world)
    with world.open(world.admin) as repository:
        repository.snapshots()
        repository.refresh_index()
        return "\n".join(found + repository.damage)


# -- records that cannot be


BAD_SNAPSHOTS: dict[str, Fields] = {
    "sizes whose sum no number holds": {"streams": [stream(n, stored=BEYOND) for n in "abc"]},
    "a host of a mebibyte": {"host": "A" * (1 << 20)},
    "a program of a mebibyte": {"program": "A" * (1 << 20)},
    "a kind of a mebibyte": {"streams": [stream(kind="A" * (1 << 20))]},
    "a day east of UTC": {"utc_offset": 86_400},
    "a day west of UTC": {"utc_offset": -86_400},
    "a date after the year 9999": {"time": 2**62},
    "a stream named as a path": {"streams": [stream("../etc")]},
    "a stream that clears the screen": {"streams": [stream("a\x1b[2J")]},
    "a stream without a name": {"streams": [stream("")]},
    "two streams of one name": {"streams": [stream("a"), stream("a")]},
    "another's domain": {"domain": "writer"},
    "more heads than writers can be": {
        "heads": {secrets.token_bytes(32): (1, bytes(32)) for _ in range(4097)}
    },
}


@pytest.mark.parametrize("what", [*BAD_SNAPSHOTS, "a field nested deeply", "a fact nested deeply"])
def test_a_snapshot_that_cannot_be_is_told_and_stops_nobody(world: World, evil: Access, what: str) -> None:
    plain = snapshot(evil, **BAD_SNAPSHOTS.get(what, {}))
    payload = b""
    if what == "a field nested deeply":
        payload = with_nested(plain)
    elif what == "a fact nested deeply":
        marked = msgspec.msgpack.encode({**plain, "streams": [stream(facts={"f": "mark"})]})
        payload = marked.replace(b"\xa4mark", NESTED)
    name = publish(world, evil, plain, payload)
    told = what_others_are_told(world)
    assert f"snapshots/{name.hex()}" in told
    assert ["writer", "writer"] == listed(world)


def entry(access: Access, **changes: object) -> Fields:
    """Return an index file's entry of one pack with one chunk, made wrong; its table is signed as it is."""
    table: Fields = {
        "key": bytes(16),
        "kind": "D",
        "domain": access.domain,
        "blocks": pack_records.hold_blocks([HeldBlock(1000, 1, bytes(16))]),
        "ids": bytes(16),
        "lengths": struct.pack("<I", 990),
    }
    payload = msgspec.msgpack.encode(
        {**table, **{key: changes.pop(key) for key in ("ids", "lengths") & changes.keys()}}
    )
    signature = crypto.sign_table(access.signing_key, access.repository, payload)
    pack: Fields = {
        "name": bytes(32),
        "kind": "D",
        "size": 8192,
        "keys": [[bytes(16), [[1, bytes(48)]]]],
        "blocks": pack_records.place_blocks([PlacedBlock(0, 0)]),
        "tables": [[signer_of(access), signature, payload]],
    }
    return {**pack, **changes}


BAD_ENTRIES: dict[str, Fields] = {
    "a chunk of no bytes": {"lengths": bytes(4)},
    "a chunk of 4 GiB": {"lengths": b"\xff" * 4},
    "columns that differ in length": {"ids": b""},
    "a key that is not there": {"keys": []},
    "a pack of neither kind": {"kind": "../x"},
    "blocks longer than the pack": {"size": 100},
    "a block that is in no table": {"blocks": pack_records.place_blocks([PlacedBlock(0, 1)])},
    "a table that nobody signed": {"tables": [[bytes(32), b"", b""]]},
    "more blocks than a pack has": {"blocks": bytes(8 * (layout.MAX_PACK_BLOCKS + 1))},
}


@pytest.mark.parametrize("what", [*BAD_ENTRIES, "a field nested deeply"])
def test_an_index_file_that_cannot_be_is_told_and_stops_nobody(world: World, evil: Access, what: str) -> None:
    plain = fields(index(evil), packs=[entry(evil, **BAD_ENTRIES.get(what, {}))])
    nested = what == "a field nested deeply"
    name = drop(world, evil, Kind.INDEX, with_nested(plain) if nested else msgspec.msgpack.encode(plain))
    assert f"index/{name.hex()}" in what_others_are_told(world)


def test_a_roster_nested_deeply_is_damage() -> None:
    """Anybody can put a file into the folder of rosters."""
    with pytest.raises(DamageError, match="roster/00000002"):
        rosters.parse(layout.magic(Kind.ROSTER) + b"\x81\xa1z" + NESTED, 2)


def test_a_pack_with_a_key_of_an_unknown_epoch_is_told_and_stops_no_check(world: World, evil: Access) -> None:
    store(world, evil, pack_of(evil, b"hello", epoch=9))
    assert "sealed for no epoch whose key this member has" in what_others_are_told(world)


def test_a_copy_with_a_key_of_an_unknown_epoch_does_not_hide_the_next(world: World) -> None:
    """Of two who share a domain, one says first where a chunk is, and it cannot be opened there."""
    other = world.member("other", "writer")
    world.put(b"small")
    store(world, other, pack_of(other, b"small", epoch=9))
    assert b"small" == world.get(host="new")


def test_a_list_entry_of_no_bytes_is_damage_not_a_stream_without_end(world: World, evil: Access) -> None:
    """Entries of length 0 would let a few nodes describe more chunks than can ever be read."""
    chunk = pack_of(evil, b"xx")
    x = blake3(b"xx", key=evil.id_key).digest()
    leaf = x + bytes(4) + x + struct.pack("<I", 2)
    id_ = blake3(leaf, key=recipes.node_key(evil.id_key)).digest()
    nodes = PackBuilder(evil, Kind.TREE, pack_buffer(0))
    nodes.add(b"\0" + leaf, id_[:16], struct.pack("<I", len(leaf)))
    store(world, evil, chunk)
    store(world, evil, nodes.finish())
    publish(world, evil, snapshot(evil, streams=[stream(size=2, content=(1, id_, 2, 2))]))
    with pytest.raises(DamageError, match="entry of length 0"):
        world.get("lie")
    assert "entry of length 0" in what_others_are_told(world)


def tower(
    access: Access, packs: list[PackBuilder], chunk: bytes, *covers: int
) -> tuple[int, bytes, int, int]:
    """Add a recipe of a chunk and five nodes, each of which names the one below it 256 times; return its root."""
    packs[0].add(
        b"\0" + chunk, (id_ := blake3(chunk, key=access.id_key).digest())[:16], struct.pack("<I", len(chunk))
    )
    form = recipes.LAYOUT if covers else recipes.PLAIN
    numbers = [len(chunk)]
    for depth in range(1, 6):
        entries = 8 if depth == 5 else 256
        node = form.entry(depth).pack(id_, *numbers, *covers) * entries
        id_ = blake3(node, key=recipes.node_key(access.id_key)).digest()
        packs[1].add(b"\0" + node, id_[:16], struct.pack("<I", len(node)))
        numbers = [entries * numbers[0], entries]
        covers = tuple(entries * number for number in covers)
    return 5, id_, numbers[0], 8


TOWER = 8 * 256**4  # chunks


@pytest.fixture(params=["raw", "with a layout"])
def endless(request: pytest.FixtureRequest, world: World, evil: Access) -> list[PackBuilder]:
    """Publish a stream that claims more than any disk holds; return the packs to be stored for it."""
    packs = [PackBuilder(evil, kind, pack_buffer(0)) for kind in (Kind.DATA, Kind.TREE)]
    lie: dict[str, Any] = {
        "content": tower(evil, packs, bytes(layout.MAX_CHUNK)),
        "size": layout.MAX_CHUNK * TOWER,
    }
    if request.param != "raw":
        pairs = b"\1\1" * 1000
        both = tower(evil, packs, bytes(1000))
        lie = {"content": both, "skeleton": both, "size": 2000 * TOWER}
        lie["layout"] = tower(evil, packs, pairs, 1000, 1000)
    publish(world, evil, snapshot(evil, streams=[stream(**lie), stream("empty")]))
    return packs


@pytest.mark.budget
def test_a_few_nodes_that_claim_more_than_any_disk_holds_keep_nobody_busy(
    world: World, evil: Access, endless: list[PackBuilder]
) -> None:
    for builder in endless:
        store(world, evil, builder.finish())
    began = time.process_time()
    with world.open(world.admin) as repository:
        (info,) = (info for info in repository.snapshots() if info.domain == "evil")
        lie, _ = repository.streams(info)
        assert lie.size > 2**45
        with closing(repository.read(info, lie)) as pieces:
            assert not any(next(pieces))
        with repository.open_stream(info, lie) as stored:
            stored.skip(lie.size - 100)
            assert bytes(100) == stored.read(200)
        assert bytes(10) == repository.random_reader(info, lie).read_at(lie.size // 3, 10)
    assert 2 > time.process_time() - began
    assert [] == check(world, read_data=False)
    assert 4 > time.process_time() - began
    assert b"" == world.get("empty")


@pytest.mark.budget
def test_a_few_nodes_above_a_chunk_that_is_nowhere_cost_only_their_stream(
    world: World, evil: Access, endless: list[PackBuilder]
) -> None:
    store(world, evil, endless[1].finish())
    began = time.process_time()
    with pytest.raises(DamageError, match="is in no index file"):
        world.get("lie")
    assert 2 > time.process_time() - began
    assert b"" == world.get("empty")
    assert "cannot be restored whole" in what_others_are_told(world)


# -- claims about others' packs


def claim(world: World, access: Access, **changes: object) -> Path:
    """Name the only data pack, with another size or the like, in index files of another member; return its path."""
    (pack,) = world.files("data")
    for _ in range(8):  # the order of a set decides which entry is looked at first: one of these, most likely
        false = entry(access, name=bytes.fromhex(pack.name), **changes)
        drop(world, access, Kind.INDEX, msgspec.msgpack.encode(fields(index(access), packs=[false])))
    return pack


def test_a_wrong_size_for_a_whole_pack_is_told_and_hides_no_chunk(world: World, evil: Access) -> None:
    claim(world, evil, size=5000)
    assert "where 5000 are expected" in what_others_are_told(world)


def test_a_wrong_size_in_an_index_does_not_hide_a_pack_that_was_cut(world: World, evil: Access) -> None:
    pack = claim(world, evil, size=5000)
    data = pack.read_bytes()
    pack.unlink()
    pack.write_bytes(data[:5000])
    found = "\n".join(check(world, read_data=False))
    assert f"has 5000 bytes where {len(data)} are expected" in found
    assert "cannot be restored whole" in found


def test_a_false_entry_for_a_pack_does_not_keep_check_from_opening_it(world: World, evil: Access) -> None:
    """A pack whose chunk is not what its table says is found, though another index file is wrong about it too."""
    pack = pack_of(evil, b"something else", blake3(b"promised", key=evil.id_key).digest())
    store(world, evil, pack)
    other = world.member("other")
    for _ in range(8):  # so that one of them is most likely the first
        false = entry(other, name=pack.entry.name, size=5000)
        drop(world, other, Kind.INDEX, msgspec.msgpack.encode(fields(index(other), packs=[false])))
    assert f"{pack.entry.file} holds chunks that are not" in "\n".join(check(world))


def test_check_finds_a_table_that_names_other_chunks_than_the_pack_has(world: World, evil: Access) -> None:
    """Else the backup would pass the check, and not come back."""
    id_ = blake3(b"promised", key=evil.id_key).digest()
    pack = pack_of(evil, b"instead!", id_)
    store(world, evil, pack)
    publish(world, evil, snapshot(evil, streams=[stream(size=8, content=(0, id_, 8, 0))]))
    with pytest.raises(DamageError):
        world.get("lie")
    assert any(pack.entry.file in line for line in check(world))


# -- what a storage hides or undoes


class Hiding(LocalBackend):
    """A storage that leaves files out of its listings, and counts what is asked for by name."""

    def __init__(self, root: Path, *hidden: str) -> None:
        super().__init__(root)
        self.hidden = hidden
        self.asked: list[str] = []

    def list(self, folder: str) -> Iterator[Entry]:
        return (entry for entry in super().list(folder) if entry.name not in self.hidden)

    def names(self, folder: str) -> Iterator[str]:
        return (name for name in super().names(folder) if name not in self.hidden)

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self.asked.append(name)
        return super().read(name, offset, length)

    def size(self, name: str) -> int:
        self.asked.append(name)
        return super().size(name)


def test_snapshots_that_a_listing_hides_still_count(world: World) -> None:
    """What this host has seen is asked for by name, and so is what that has seen."""
    names = [world.put(DATA + b"%d" % n).name for n in range(4)]
    hiding = Hiding(world.path, *(layout.content_file(Kind.SNAPSHOT, name) for name in names[1:]))
    with world.open(world.writer, backend=hiding) as repository:
        assert sorted(names) == sorted(info.name for info in repository.snapshots())
        assert [] == repository.alarms


def test_heads_of_strangers_cost_no_requests(world: World, evil: Access) -> None:
    """Of what a writer claims to have seen, only members' snapshots are looked for, and kept."""
    strangers = {secrets.token_bytes(32): (1, secrets.token_bytes(32)) for _ in range(4000)}
    name = publish(world, evil, snapshot(evil, heads=strangers))
    backend = Hiding(world.path)
    with world.open(world.writer, backend=backend) as repository:
        (info,) = [info for info in repository.snapshots() if info.name == name]
        assert {} == info.heads  # nor the memory that all that are listed take, each time
        assert [] == repository.alarms
    assert 2 == len(backend.asked)  # the snapshot and its done record


def test_a_repository_that_goes_back_during_a_run_gets_no_snapshot(world: World) -> None:
    """What vanished in between is noticed before anything is listed, and is not forgotten afterwards."""
    world.put(DATA)
    last = world.put(DATA + b"2")
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(DATA + b"3"))
        (world.path / layout.content_file(Kind.SNAPSHOT, last.name)).unlink()
        with pytest.raises(TrustError, match="rollback detected"):
            session.finish()
    assert 1 == len(world.files("snapshots"))
    with pytest.raises(TrustError, match="rollback detected"):
        world.put(DATA + b"4")


@pytest.mark.parametrize("seen", [False, True])
def test_no_writer_withdraws_a_backup(world: World, evil: Access, seen: bool) -> None:
    """Neither a thief of its own key nor another: a done record without snapshots says nothing."""
    info = world.put(DATA)
    assert not seen or ["writer", "writer"] == listed(world)
    for access in (world.writer, evil):
        confirm(world, access, info.run, b"")
        world.sign(access, Kind.ENDED, Ended(info.run, 1), info.run)
    assert ["writer", "writer"] == listed(world) == listed(world, host="new")
    assert 3 == world.put(DATA).sequence


# -- what is refused costs once


def test_what_was_refused_is_told_each_time_and_read_once(world: World, evil: Access) -> None:
    """Unless the roster changed: then it may be right."""
    files = {
        "snapshots/" + publish(world, evil, snapshot(evil, host="A" * 300)).hex(),
        "index/" + drop(world, evil, Kind.INDEX, b"junk").hex(),
        "tombstones/" + drop(world, evil, Kind.TOMBSTONES, b"junk").hex(),
        "ledgers/" + drop(world, evil, Kind.LEDGER, b"junk").hex(),
    }
    for times in (1, 0, 0):
        backend = Hiding(world.path)
        with world.open(world.writer, backend=backend) as repository:
            repository.snapshots()
            repository.refresh_index()
            assert times * len(files) == len(files.intersection(backend.asked))
            assert all(any(file in line for line in repository.damage) for file in files)
    world.member("newcomer")
    backend = Hiding(world.path)
    with world.open(world.writer, backend=backend) as repository:
        repository.snapshots()
        repository.refresh_index()
        assert files <= set(backend.asked)


@pytest.mark.budget
def test_many_refused_files_cost_each_command_little(world: World) -> None:
    """Anybody who can create files can leave junk, and it stays."""
    files = [layout.content_file(Kind.SNAPSHOT, noise(32, n)) for n in range(40_000)]
    with world.open(world.writer) as repository:
        repository._rejected = {file: f"{file} is junk" for file in files}
        began = time.process_time()
        assert all(map(repository.is_rejected, files + files))
        assert 1 > time.process_time() - began
        assert len(files) == len(repository.damage)


@pytest.mark.parametrize("folder", ["snapshots", "index", "runs"])
def test_a_file_that_is_put_right_again_is_read_again(world: World, folder: str) -> None:
    """One whose bytes are not those that its name promises was damaged, not made so."""
    world.put(DATA)
    path = next(path for path in world.files(folder) if not path.name.endswith(".run"))
    data = path.read_bytes()
    flip_bit(path)
    with world.open(world.admin) as repository:
        repository.snapshots()
        repository.refresh_index()
        assert any(path.name in line for line in repository.damage)
    path.write_bytes(data)
    assert DATA == world.get("s")
    assert ["writer"] == listed(world)


def test_a_list_reads_no_snapshot_that_no_done_record_names(world: World, evil: Access) -> None:
    """They may be as large as any; a run reads them once, for the numbers that its own ones have."""
    name = "snapshots/" + drop(world, evil, Kind.SNAPSHOT, msgspec.msgpack.encode(snapshot(evil))).hex()
    backend = Hiding(world.path)
    with world.open(world.writer, backend=backend) as repository:
        repository.snapshots()
        assert (1, []) == (repository.unfinished(), [asked for asked in backend.asked if asked == name])
    for times in (1, 0):
        backend = Hiding(world.path)
        with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
            session.put("s", io.BytesIO(DATA))
            session.finish()
        assert times == backend.asked.count(name)


def test_a_second_list_opens_nothing(world: World) -> None:
    world.put(DATA)
    pruner = world.member("pruner", role="pruner")
    world.sign(pruner, Kind.LEDGER, Ledger(1, b"", b""))
    other = world.member("other")
    world.put(DATA, access=other)
    world.remove(other)
    assert 2 == len(listed(world))
    backend = Hiding(world.path)
    with world.open(world.admin, backend=backend) as repository:
        assert 2 == len(repository.snapshots())
    assert [] == backend.asked


def test_a_file_of_a_newer_format_is_not_damage(world: World, evil: Access) -> None:
    """Its hash is its name, so no flipped bit made it look so."""
    data = layout.MAGIC_PREFIX + bytes([layout.FORMAT + 1]) + b"S\0" + bytes(100)
    newer = []
    for kind in (Kind.SNAPSHOT, Kind.INDEX, Kind.TOMBSTONES, Kind.CONDEMNED):
        newer.append(layout.content_file(kind, layout.sha256(data)))
        world.backend().create(newer[-1], data)
    confirm(world, evil, bytes(16), layout.sha256(data))
    with world.open(world.writer) as repository, begin(repository):
        assert all(any(file in line for line in repository.newer) for file in newer)
        assert [] == repository.damage
        assert ["writer"] == [info.domain for info in repository.snapshots()]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "make",
    [os.mkfifo, lambda path: path.symlink_to("/etc/hostname"), os.mkdir],
    ids=["pipe", "link", "folder"],
)
def test_what_is_no_file_is_an_error_not_a_hang(world: World, make: Callable[[Path], None]) -> None:
    """A pipe, a link or a folder where a file should be is neither listed, nor waited for, nor followed."""
    world.put(DATA)
    (pack,) = world.files("data")
    pack.unlink()
    make(pack)
    name = f"data/{pack.parent.name}/{pack.name}"
    backend = world.backend()
    assert [] == [found for found in backend.list(f"data/{pack.parent.name}") if found.name == name]
    for look in (backend.read, backend.size):
        with pytest.raises(BackendError):
            look(name)
    with pytest.raises(DamageError):
        world.get()
    assert any(name in line for line in check(world))


# -- rosters, and former members


def test_removing_a_member_with_a_shorter_closing_list_stops_nobody(world: World, evil: Access) -> None:
    """What the roster disowns did not go back, though this host has seen it."""
    world.put(b"1", "e", access=evil)
    with world.open(world.admin) as repository:
        closing = repository.closing_of(signer_of(evil))
    world.put(b"2", "e", access=evil)
    assert 3 == len(listed(world, world.writer))
    world.remove(evil, closing=closing)
    assert 1 == world.put(DATA + b"2").streams
    with world.open(world.writer) as repository:
        assert 3 == len(repository.snapshots())
        assert [] == repository.alarms


@pytest.mark.parametrize("role", ["admin", "pruner", "writer"])
def test_a_former_members_index_for_anothers_domain_is_not_used(world: World, role: str) -> None:
    """What a victim will store is published under its id beforehand, with other bytes."""
    former = world.member("former", role=role)
    world.remove(former, closing=b"")
    guessed = b"not yet stored"
    false = pack_of(former, bytes(len(guessed)), blake3(guessed, key=former.id_key).digest())
    store(world, replace(former, domain="writer"), false)
    assert len(guessed) == world.put(guessed).new
    assert guessed == world.get()
    with world.open(world.admin) as repository:
        repository.refresh_index()
        assert [] == repository.damage  # its keys are known for ever: it must not be able to cry wolf


def test_snapshots_of_signers_whom_the_roster_does_not_know_do_not_count(world: World, evil: Access) -> None:
    """Neither if they are in the local cache from another day's roster."""
    world.put(b"e", "e", access=evil)
    assert ["evil", "writer"] == sorted(listed(world))
    del world.signers[signer_of(evil)]
    assert ["writer"] == listed(world)
    assert 1 == world.put(DATA).streams


@pytest.mark.parametrize("believed", [bytes(31) + b"\1", b"\xff" * 32], ids=["smaller", "larger"])
def test_another_roster_of_the_same_serial_is_an_alarm(world: World, believed: bytes) -> None:
    """Whichever of the two hashes is the larger."""
    publish(world, world.writer, snapshot(world.writer, roster=(1, b"\x80" * 32)))
    with world.open(world.admin) as repository:
        repository.members = Membership(world.base.repository, 1, believed, world.signers)
        repository.snapshots()
        assert any("was made under roster 1 (8080" in line for line in repository.alarms)


# -- what the storage can see


def test_packs_of_different_short_streams_have_one_size(world: World) -> None:
    """Nor does the trailer, which is in the clear, tell; and the filler looks like what is encrypted."""
    for size in (1, 100, 2000):
        world.put(noise(size, size), f"s{size}")
    assert 3 == len(world.files("data"))
    assert 1 == len({path.stat().st_size for path in world.files("data")})
    assert 1 == len({path.read_bytes()[-8:] for path in world.files("data")})  # bytes of keys and of table
    for path in [*world.files("data"), *world.files("tree")]:
        assert bytes(8) not in path.read_bytes()


def test_a_restore_reads_packs_in_steps_of_64_kib(world: World) -> None:
    """The storage does not see where blocks begin and end."""
    ranges: list[tuple[str, int, int]] = []

    class Recording(LocalBackend):
        def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            data = super().read(name, offset, length)
            ranges.append((name, offset, offset + len(data)))
            return data

    with world.open(world.writer) as repository, begin(repository) as session:
        for number in range(3):
            session.put(f"s{number}", io.BytesIO(noise(700_000 + 10_000 * number, number)))
        session.finish()
    with world.open(world.admin, backend=Recording(world.path)) as repository:
        (info,) = repository.snapshots()
        middle = repository.streams(info)[1]
        assert noise(710_000, 1) == b"".join(repository.read(info, middle))
    read = [found for found in ranges if found[0].startswith(("data/", "tree/"))]
    assert read
    for name, begins, ends in read:
        assert 0 == begins % (64 << 10)
        assert 0 == ends % (64 << 10) or ends == world.backend().size(name)


@pytest.mark.parametrize("time", [0, 2**40])
def test_a_false_place_of_another_length_does_not_hide_a_root(world: World, time: int) -> None:
    data = noise(600_000)
    world.put(data)
    with world.open(world.admin) as repository:
        (stream,) = repository.streams(repository.snapshots()[0])
    assert stream.content.depth
    other = world.member("other", "writer")
    builder = PackBuilder(other, Kind.TREE, pack_buffer(0))
    builder.add(b"\0" + bytes(72), stream.content.id[:16], struct.pack("<I", 72))
    pack = builder.finish()
    world.backend().create(pack.entry.file, pack.data)
    entry = msgspec.structs.replace(index(other, pack.entry), time=time)
    drop(world, other, Kind.INDEX, records.encode(entry))
    for host in ("one", "two", "three", "four"):  # the order in which index files are read is by chance
        assert data == world.get(host=host)
    assert not any("cannot be restored" in line for line in check(world, read_data=False))
