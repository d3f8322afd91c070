"""Packs and their signed tables: what is believed of them, whoever moved the blocks, and names that others took."""

import io
import struct
from array import array
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from blake3 import blake3

from dedupstore.access import Access
from dedupstore.backends.contract import Backend, Buffer
from dedupstore.errors import AlreadyExistsError, BackendError, DamageError, KeyAccessError
from dedupstore.format import blocks, compression, crypto, layout, pack_records, packs, record_files, records
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import (
    HeldBlock,
    Index,
    IndexedPack,
    PackTables,
    PlacedBlock,
    SignedTable,
    Table,
)
from dedupstore.format.packs import PackBuilder, SealedPack, pack_buffer
from dedupstore.history import index_files
from tests.store import World, begin, noise

CHUNKS = [noise(3000, 1), noise(500, 2), noise(70, 3)]


def chunk_id(access: Access, data: bytes) -> bytes:
    return blake3(data, key=access.id_key).digest()


def packed(access: Access, *parts: list[bytes], kind: Kind = Kind.DATA) -> SealedPack:
    """Return a pack with a block for each list of chunks."""
    builder = PackBuilder(access, kind, pack_buffer(0))
    for part in parts:
        ids = b"".join(chunk_id(access, chunk)[:16] for chunk in part)
        lengths = struct.pack(f"<{len(part)}I", *map(len, part))
        builder.add(blocks.compress_block(b"".join(part), 3), ids, lengths)
    return builder.finish()


def reading(data: Buffer) -> Callable[[int, int], bytes]:
    return lambda offset, length: bytes(data[offset : offset + length])


def resigned(access: Access, signed: SignedTable, **changes: Any) -> SignedTable:
    """Return a table that this member has changed and signed."""
    payload = records.encode_any(msgspec.msgpack.decode(signed.payload) | changes)
    signature = crypto.sign_table(access.signing_key, access.repository, payload)
    return SignedTable(crypto.signer_of(crypto.public_of(access.signing_key)), signature, payload)


def test_a_pack_says_of_itself_what_an_index_file_says_of_it(world: World) -> None:
    pack = packed(world.writer, CHUNKS[:2], CHUNKS[2:])
    with pack.data as data:
        read = packs.read_entry(world.writer, Kind.DATA, pack.entry.name, len(data), reading(data))
    assert pack.entry == read
    described = packs.describe(world.admin, read, "writer", "x")
    assert [(0, 0, 2, 3500), (0, 1, 1, 70)] == [
        (b.key, b.number, b.chunks, b.unpacked) for b in described.blocks
    ]
    assert [3000, 500, 70] == list(described.lengths)
    assert b"".join(chunk_id(world.writer, chunk)[:16] for chunk in CHUNKS) == described.ids


def test_blocks_can_move_with_their_keys_and_are_proven_without_one(world: World) -> None:
    """What a pruner does: blocks of two packs, in another order, in a third."""
    one, two = packed(world.writer, CHUNKS[:1], CHUNKS[1:2]), packed(world.writer, CHUNKS[2:])
    seals = [b.seal for p in (two, one) for b in packs.describe(world.admin, p.entry, "writer", "x").blocks]
    moved = IndexedPack(
        name=bytes(32),
        kind="D",
        size=1 << 20,
        keys=[*one.entry.keys, *two.entry.keys],
        blocks=pack_records.place_blocks([PlacedBlock(1, 0), PlacedBlock(0, 1)]),
        tables=[*one.entry.tables, *two.entry.tables],
    )
    described = packs.describe(world.admin, moved, "writer", "x")
    assert [layout.HEADER_SIZE, layout.HEADER_SIZE + described.blocks[0].stored] == [
        b.at for b in described.blocks
    ]
    assert [70, 500] == list(described.lengths)
    assert [seals[0], seals[2]] == [block.seal for block in described.blocks]
    with one.data as data:
        block = packs.describe(world.admin, one.entry, "writer", "x").blocks[1]
        stored = bytes(data[block.at : block.at + block.stored])
    assert blocks.seal_of(stored) == block.seal == blake3(stored).digest()[:16]
    key = packs.open_key(world.admin, Kind.DATA, moved.keys[0])
    assert CHUNKS[1] == blocks.open_block(key, 1, stored, 500, "x")


def test_a_key_that_is_sealed_again_opens_with_any_of_its_epochs(world: World) -> None:
    (key_id, ((_, sealed),)), *_ = packed(world.writer, CHUNKS).entry.keys
    strange = (key_id, ((7, bytes(1168)), (1, sealed)))
    packs.open_key(world.admin, Kind.DATA, strange)
    with pytest.raises(DamageError, match="sealed for no epoch"):
        packs.open_key(world.admin, Kind.DATA, (key_id, ((7, sealed),)))
    with pytest.raises(KeyAccessError, match="not read their contents"):
        packs.open_key(world.writer, Kind.DATA, strange)
    tree = packed(world.writer, CHUNKS, kind=Kind.TREE).entry.keys[0]
    packs.open_key(world.writer, Kind.TREE, tree)
    other = replace(world.writer, catalogue_keys={1: bytes(32)})
    with pytest.raises(DamageError, match="sealed tree key"):
        packs.open_key(other, Kind.TREE, tree)


def refused(world: World, entry: IndexedPack, match: str, domain: str = "writer") -> None:
    with pytest.raises(DamageError, match=match):
        packs.describe(world.admin, entry, domain, "index/x")


def test_no_writer_can_say_what_another_ones_domain_holds(world: World) -> None:
    """A catalogue key is enough to make a whole pack: its tables are believed by who signed them only."""
    thief = world.member("thief")
    good = packed(world.writer, CHUNKS).entry
    forged = resigned(thief, good.tables[0], ids=bytes(48))
    refused(world, msgspec.structs.replace(good, tables=[forged]), "signed by thief, who may not write")
    unsigned = msgspec.structs.replace(good.tables[0], payload=forged.payload)
    refused(world, msgspec.structs.replace(good, tables=[unsigned]), "does not bear the signature")
    stranger = msgspec.structs.replace(forged, signer=bytes(32))
    refused(world, msgspec.structs.replace(good, tables=[stranger]), "no member of this repository")
    refused(world, good, "another key, kind or domain", domain="thief")
    swapped = msgspec.structs.replace(good, keys=[(bytes(16), good.keys[0][1])])
    refused(world, swapped, "another key, kind or domain")
    refused(world, msgspec.structs.replace(good, kind="T"), "another key, kind or domain")


def test_an_admin_may_make_tables_for_any_domain_and_a_pruner_for_none(world: World) -> None:
    good = packed(world.writer, CHUNKS).entry
    by_admin = msgspec.structs.replace(good, tables=[resigned(world.admin, good.tables[0])])
    assert 3 == len(packs.describe(world.writer, by_admin, "writer", "x").lengths)
    pruner = world.member("pruner", "writer", role="pruner")
    by_pruner = msgspec.structs.replace(good, tables=[resigned(pruner, good.tables[0])])
    refused(world, by_pruner, "pruner, who may not write")


def test_a_pack_rebuilt_by_a_thief_does_not_get_into_another_domain(world: World) -> None:
    """The demonstrated fault: an index that is rebuilt from packs poisoned other domains."""
    thief = replace(world.member("thief"), domain="writer")
    with packed(thief, CHUNKS).data as data:
        entry = packs.read_entry(world.admin, Kind.DATA, layout.sha256(data), len(data), reading(data))
    refused(world, entry, "signed by thief, who may not write to its domain")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {
                "blocks": b"".join(
                    [struct.pack("<II", 4000, 2), bytes(16), struct.pack("<II", 99, 0), bytes(16)]
                )
            },
            "no chunks, or more",
        ),
        ({"blocks": struct.pack("<II", 4000, 2) + bytes(16)}, "chunks of no block"),
        ({"blocks": struct.pack("<II", 4000, 4) + bytes(16)}, "no chunks, or more"),
        ({"blocks": struct.pack("<II", 17, 3) + bytes(16)}, "block of an impossible length"),
        ({"blocks": struct.pack("<II", layout.MAX_FILE + 1, 3) + bytes(16)}, "no chunks, or more"),
        ({"blocks": bytes(23)}, "cut short"),
        ({"ids": bytes(47)}, "differ in length"),
        ({"lengths": struct.pack("<3I", 3000, 0, 70)}, "chunk of an impossible length"),
        ({"lengths": struct.pack("<3I", 3000, layout.MAX_CHUNK + 1, 70)}, "chunk of an impossible length"),
        ({"lengths": struct.pack("<3I", *[layout.MAX_CHUNK] * 3)}, "block of an impossible length"),
        ({"kind": "X"}, "neither a data nor a tree pack"),
    ],
)
def test_a_table_of_what_cannot_be_is_damage(world: World, changes: dict[str, Any], match: str) -> None:
    good = packed(world.writer, CHUNKS).entry
    bad = msgspec.structs.replace(good, tables=[resigned(world.writer, good.tables[0], **changes)])
    refused(world, bad, match)


def test_a_pack_cannot_claim_more_than_it_can_hold(world: World) -> None:
    good = packed(world.writer, CHUNKS).entry
    many = pack_records.place_blocks([PlacedBlock(0, 0)] * 50)
    refused(world, msgspec.structs.replace(good, blocks=many), "than a pack of its size can hold")
    for place in (PlacedBlock(0, 1), PlacedBlock(1, 0)):
        refused(
            world, msgspec.structs.replace(good, blocks=pack_records.place_blocks([place])), "in no table"
        )


def test_an_index_file_cannot_name_more_chunks_than_it_may(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = packed(world.writer, CHUNKS).entry
    said = Index(bytes(16), "writer", 1, [entry, entry])
    signer = crypto.signer_of(crypto.public_of(world.writer.signing_key))
    assert 2 == len(index_files.describe(world.writer, bytes(32), signer, said).packs)
    monkeypatch.setattr(layout, "MAX_PACK_CHUNKS", 5)
    with pytest.raises(DamageError, match="more chunks than an index file may hold"):
        index_files.describe(world.writer, bytes(32), signer, said)


def test_columns_are_little_endian_whatever_the_machine(world: World) -> None:
    table = Table(
        bytes(16),
        "D",
        "d",
        pack_records.hold_blocks([HeldBlock(0x0102, 1, b"s" * 16)]),
        bytes(16),
        b"\1\2\0\0",
    )
    assert b"\x02\x01\0\0\x01\0\0\0" + b"s" * 16 == table.blocks
    assert array("I", [0x0201]) == table.sizes
    assert b"\2\0\0\0\1\0\0\0" == pack_records.place_blocks([PlacedBlock(2, 1)])


# -- names that someone else takes


class Taking:
    """A back end on which someone sees each upload and takes its name first, so many times, with bytes of his own."""

    def __init__(self, inner: Backend, times: int, change: Callable[[bytes], bytes]) -> None:
        self._inner, self._times, self._change = inner, times, change
        self.taken: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def create(self, name: str, data: Buffer) -> None:
        if len(self.taken) < self._times and not name.startswith("runs/"):
            self._inner.create(name, self._change(bytes(data)))
            self.taken.append(name)
            raise AlreadyExistsError(f"{name} exists")
        self._inner.create(name, data)


@pytest.mark.parametrize(
    "change", [bytes, lambda data: data[:-1] + b"?", lambda data: b"", lambda data: data * 2]
)
def test_a_run_goes_on_when_someone_takes_the_names_of_its_files(
    world: World, change: Callable[[bytes], bytes]
) -> None:
    backend = Taking(world.backend(), 2, change)
    with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(noise(200_000)))
        session.finish()
    assert 2 == len(backend.taken)
    assert noise(200_000) == world.get()


def test_a_run_fails_when_all_its_names_are_taken(world: World) -> None:
    backend = Taking(world.backend(), 1000, lambda data: b"")
    with world.open(world.writer, backend=backend) as repository, begin(repository) as session:
        session.put("s", io.BytesIO(noise(2000)))
        with pytest.raises(BackendError, match="created by someone else"):
            session.finish()
        assert not repository.snapshots()


def test_a_pack_that_is_made_again_has_another_name_and_the_same_blocks(world: World, tmp_path: Path) -> None:
    builder = PackBuilder(world.writer, Kind.DATA, pack_buffer(0))
    builder.add(
        blocks.compress_block(CHUNKS[0], 3), chunk_id(world.writer, CHUNKS[0])[:16], struct.pack("<I", 3000)
    )
    first = builder.finish()
    again = builder.finish()
    assert first.entry.name != again.entry.name
    assert (first.entry.keys, first.entry.tables) == (again.entry.keys, again.entry.tables)
    with again.data as data:
        assert again.entry.name == layout.sha256(data)
        assert again.entry == packs.read_entry(
            world.writer, Kind.DATA, again.entry.name, len(data), reading(data)
        )


def test_tables_that_unpack_to_too_much_are_refused(world: World) -> None:
    frame = compression.pack(records.encode(PackTables(b"", [SignedTable(bytes(32), b"", bytes(9 << 20))])))
    with pytest.raises(DamageError, match="more than such a file may have"):
        record_files.unpack_frame(frame, 1 << 20, "data/x")
