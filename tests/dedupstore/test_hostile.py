"""Sizes and depths that lie: refused with an error before anything is allocated for them."""

import secrets
import struct
import tracemalloc
from dataclasses import replace

import msgspec
import pytest
import zstandard

from dedupstore.chunks import splitting
from dedupstore.errors import DamageError
from dedupstore.format import blocks, compression, crypto, layout, packs, record_files, records
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Header, Kind
from dedupstore.format.pack_records import Index, IndexedPack
from dedupstore.format.run_records import Root, Snapshot, Stream
from tests.store import World, noise, sealed_block

GIB4 = 4 << 30


def bomb(size: int) -> bytes:
    """Return a small frame that says, truly, that it unpacks to `size` zeros."""
    compressor = zstandard.ZstdCompressor(level=19).compressobj(size=size)
    zeros = bytes(1 << 20)
    return b"".join(compressor.compress(zeros) for _ in range(size >> 20)) + compressor.flush()


def frame_that_claims(size: int) -> bytes:
    """Return a frame whose header states `size`, with next to nothing behind it (RFC 8878, 3.1.1.1)."""
    return b"\x28\xb5\x2f\xfd" + b"\xe0" + struct.pack("<Q", size) + b"\x01\x00\x00"


@pytest.fixture
def key() -> BlockKey:
    """Return a block key of nobody's."""
    return BlockKey(Kind.DATA, bytes(16), bytes(16), bytes(32))


@pytest.mark.parametrize("claimed", [GIB4, 1 << 40, (4 << 20) + 1])
def test_a_block_that_claims_more_than_a_block_has_is_refused(key: BlockKey, claimed: int) -> None:
    """The frame's claim is checked, not followed."""
    sealed = sealed_block(key, 0, b"\1" + frame_that_claims(claimed))
    tracemalloc.start()
    with pytest.raises(DamageError, match=r"claims|too large"):
        blocks.open_block(key, 0, sealed, 1 << 20, "data/x")
    with pytest.raises(DamageError, match="more than any has"):
        blocks.open_block(key, 0, sealed, claimed, "data/x")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 << 20


def test_a_frame_that_unpacks_to_more_than_it_should_is_refused() -> None:
    """A decompression bomb is stopped at its stated size."""
    packed = bomb(256 << 20)
    assert len(packed) < 1 << 20
    with pytest.raises(DamageError, match="claims"):
        compression.unpack(packed, 1 << 20, "x")


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x28\xb5\x2f\xfd", compression.pack(b"x")[:-1]])
def test_what_is_no_whole_frame_is_refused(junk: bytes) -> None:
    """Every broken frame is an error of ours."""
    with pytest.raises(DamageError):
        compression.unpack(junk, 1, "x")


def test_bytes_after_a_frame_are_refused() -> None:
    """Nothing rides along behind a frame."""
    with pytest.raises(DamageError):
        compression.unpack(compression.pack(b"abc") + b"more", 3, "x")


def seal_body(world: World, kind: Kind, body: bytes) -> bytes:
    """Return a catalogue file with any body."""
    header = Header(kind, world.writer.repository, 1, secrets.token_bytes(32))
    return header.pack() + record_files.seal_padded(world.writer, header, body, header.pack(), 60)


@pytest.mark.parametrize("body", [frame_that_claims(GIB4), b"", b"junk", frame_that_claims(10)])
def test_a_record_that_claims_much_or_is_nothing_is_refused(world: World, body: bytes) -> None:
    """A record's own frame is bounded too."""
    data = seal_body(world, Kind.INDEX, body)
    with pytest.raises(DamageError):
        record_files.open_record(world.admin, Kind.INDEX, "x", data, Index)


@pytest.mark.parametrize("length", [0xFFFFFFFF, 5000])
def test_a_length_beyond_the_file_is_refused(world: World, length: int) -> None:
    """The length inside the encrypted part cannot point out of it."""
    header = Header(Kind.RUN, world.writer.repository, 1, bytes(32))
    cipher = crypto.file_cipher(world.writer.catalogue_keys[1], header)
    data = crypto.encrypt_once(cipher, struct.pack("<I", length) + bytes(100), header.pack())
    with pytest.raises(DamageError, match="claims"):
        record_files.open_padded(world.writer, header, data, header.pack(), "x")


def indexed(**changes: object) -> IndexedPack:
    """Return a small pack entry, changed."""
    entry: dict[str, object] = {
        "name": bytes(32),
        "kind": "D",
        "size": 8192,
        "keys": [(bytes(16), [(1, bytes(48))])],
        "blocks": bytes(8),
        "tables": [(bytes(32), bytes(64), b"payload")],
    }
    raw = msgspec.msgpack.encode(entry | changes)
    return records.decode(raw, IndexedPack, "x")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": GIB4},
        {"kind": "X"},
        {"keys": []},
        {"keys": [(bytes(16), [])]},
        {"keys": [(bytes(16), [(0, bytes(48))])]},
        {"keys": [(bytes(16), [(1, bytes(47))])]},
        {"keys": [(bytes(16), [(1, bytes(48))] * 65)]},
        {"keys": [(bytes(16), [(1, bytes(48))])] * 2, "tables": [(bytes(32), bytes(64), b"payload")] * 2},
        {"keys": [(bytes(15), [(1, bytes(48))])]},
        {"blocks": bytes(9)},
        {"blocks": bytes(8 * (layout.MAX_PACK_BLOCKS + 1))},
        {"tables": []},
        {"tables": [(bytes(31), bytes(64), b"payload")]},
        {"name": bytes(31)},
    ],
    ids=lambda changes: str(changes)[:40],
)
def test_a_pack_entry_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    """What an index file says of a pack must hold together."""
    assert indexed().size == 8192
    with pytest.raises(DamageError):
        indexed(**changes)


def publish(world: World, stream: Stream) -> None:
    """List a stream as its writer made it up."""
    with world.open(world.writer) as repository:
        from tests.store import begin

        with begin(repository) as session:
            session._streams.append(stream)
            session.finish()


@pytest.mark.parametrize(("depth", "size"), [(0, 10), (1, 10), (8, 10), (0, GIB4), (0, 1 << 62)], ids=str)
def test_a_recipe_that_leads_nowhere_is_an_error(world: World, depth: int, size: int) -> None:
    """A made-up root resolves to nothing, quickly."""
    root = Root(depth=depth, id=noise(32), size=size, entries=10 if depth else 0)
    publish(world, Stream(name="s", kind="raw", size=size, time=0, stored=0, new=0, content=root))
    with pytest.raises(DamageError, match=r"no index file|more than any has"):
        world.get()


@pytest.mark.parametrize("size", [1000, 3 << 20, 1 << 60])
def test_a_root_whose_size_is_not_that_of_its_chunks_is_an_error(world: World, size: int) -> None:
    """The size is checked before the first byte is given out."""
    world.put(noise(2 << 20), "true")
    with world.open(world.writer) as repository:
        (true,) = repository.streams(repository.snapshots()[0])
    root = msgspec.structs.replace(true.content, size=size)
    publish(world, replace_stream(true, root))
    with world.open(world.admin) as repository:
        snapshot = repository.snapshots()[-1]
        (lie,) = [stream for stream in repository.streams(snapshot) if stream.name == "lie"]
        with pytest.raises(DamageError):
            repository.read(snapshot, lie)


def replace_stream(stream: Stream, root: Root) -> Stream:
    """Return the stream under the name "lie" with another content."""
    return msgspec.structs.replace(stream, name="lie", content=root, size=root.size)


def test_a_root_deeper_than_the_format_allows_is_refused() -> None:
    """Depth is bounded where it is read."""
    raw = msgspec.msgpack.encode([9, bytes(32), 1, 1])
    with pytest.raises(DamageError):
        records.decode(raw, Root, "x")


@pytest.mark.parametrize(
    "layout_bytes", [b"\x80", b"\xff" * 9 + b"\x01", b"\x05\x00", b"\x81\x00", b"\x00\x00", b"\xff" * 100]
)
def test_a_layout_with_bad_numbers_is_refused(layout_bytes: bytes) -> None:
    """Cut short, too long, or zero where that would never end."""
    with pytest.raises(DamageError):
        splitting.pairs(layout_bytes, (layout_bytes[0] & 127, 0), first=True, ended=True)


def test_a_pack_whose_trailer_lies_is_refused(world: World) -> None:
    """Footer sizes must add up to the file's."""
    world.put(noise(50_000))
    data = bytearray(world.files("data")[0].read_bytes())
    struct.pack_into("<I", data, len(data) - 8, GIB4 - 1)
    with pytest.raises(DamageError, match="contradicts its size"):
        packs.read_entry(
            world.admin, Kind.DATA, bytes(32), len(data), lambda at, length: bytes(data[at : at + length])
        )


def test_records_refuse_what_is_not_theirs(world: World) -> None:
    """A snapshot's payload is no index; numbers stay in range."""
    good = world.put(b"x")
    with world.open(world.writer) as repository:
        payload = repository.cache.snapshot_payload(good.name)
    with pytest.raises(DamageError):
        records.decode(payload, Index, "x")
    snapshot = records.decode(payload, Snapshot, "x")
    for bad in ({"sequence": -1}, {"time": 2**63}, {"utc_offset": 10**6}, {"run": b""}):
        raw = msgspec.msgpack.encode(msgspec.structs.asdict(snapshot) | bad)
        with pytest.raises(DamageError):
            records.decode(raw, Snapshot, "x")


def test_an_unknown_epoch_is_an_error_that_names_the_file(world: World) -> None:
    """A file of an epoch that this member has no key for."""
    world.put(b"x")
    with world.open(replace(world.admin, catalogue_keys={2: bytes(32)}), host="new") as repository:
        assert repository.snapshots() == []
        assert any("epoch 1" in line for line in repository.damage)


def test_layout_padding_steps() -> None:
    """4 KiB up to 1 MiB, 64 KiB above, nothing on a step."""
    assert [layout.padding(n) for n in (1, 4096, 4097, 1 << 20, (1 << 20) + 1)] == [4095, 0, 4095, 0, 65535]
