"""What the golden repository has that no command writes yet: a second epoch, what pruners write, a copy.

It is made with the store's own records, as docs/format.md has them.
"""

import secrets
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from dedupstore.format import compression, crypto, layout, pack_records, packs, record_files, records
from dedupstore.format.layout import Header, Kind
from dedupstore.format.pack_records import Index, IndexedPack, PackTables, PlacedBlock
from dedupstore.format.run_records import Condemned, Done, Fence, Ledger, Origin, Run, Snapshot, Tombstones
from dedupstore.repository import Repository
from keys import chain, slots
from keys import roster as rosters
from keys.roster import Epoch

if TYPE_CHECKING:
    from tests.make_golden import Maker

GOLDEN = Path(__file__).parent / "data" / "golden"


def rotate(maker: "Maker") -> None:
    """Begin a second epoch, with new slots for all who are in."""
    old, private, key = maker.roster, slots.new_sealing_key(), slots.new_key()
    now = []
    for member in old.members:
        if not member.removed:
            slot = slots.load(maker.backend, old, member, maker.home.gpg)
            sealing_keys = slot.sealing_keys | ({2: private} if member.role in slots.READING else {})
            slot = msgspec.structs.replace(
                slot, epoch=2, catalogue_keys=slot.catalogue_keys | {2: key}, sealing_keys=sealing_keys
            )
            data = slots.seal(slot, member.public_key, member.fingerprint)
            maker.backend.create(layout.content_file(Kind.SLOT, layout.sha256(data)), data)
            member = msgspec.structs.replace(member, slot=layout.sha256(data))
        now.append(member)
    epochs = [*old.epochs, Epoch(2, rosters.SUITE, slots.sealing_public(private))]
    payload = rosters.successor(old, old.serial + 1, now, int(time.time()))
    data = rosters.sign(
        msgspec.structs.replace(payload, epochs=epochs), maker.home.gpg, maker.keys["bob"], old
    )
    maker.backend.create(layout.roster_file(payload.serial), data)
    maker.roster = chain.follow(old, rosters.parse(data, payload.serial))
    maker.trust.advance(maker.url, maker.roster)


def move_blocks(petra: Repository, doomed: bytes, first: bytes) -> None:
    """Move blocks of two packs into a new one, but for the first block, which only `doomed` has."""
    runs = [indexes_of(petra, run_of(petra, snapshot)) for snapshot in (doomed, first)]
    donors = [next(data_packs(run)) for run in runs]
    old = [one for run in runs for one in run]
    domain = old[0][1].domain
    placed = [PlacedBlock(1, block.number) for block in donors[1].placed()]
    placed += [PlacedBlock(0, block.number) for block in donors[0].placed() if block.number > 0]
    made = join(petra, domain, donors, placed)
    rest = [pack for _, index in old for pack in index.packs if pack not in donors]
    names = b"".join(name for name, _ in old)
    publish(petra, Kind.INDEX, Index(secrets.token_bytes(16), domain, now(), [made, *rest], names))
    condemned = Condemned(now(), b"".join(pack.name for pack in donors), names, doomed, b"")
    publish(petra, Kind.CONDEMNED, condemned)
    for name, _ in old:
        delete(layout.content_file(Kind.INDEX, name))
    for pack in donors:
        delete(pack.file)


def join(
    repository: Repository, domain: str, donors: list[IndexedPack], placed: list[PlacedBlock]
) -> IndexedPack:
    """Store a pack of these blocks, each with its key; their tables stay as they are."""
    access = repository.access
    blocks = b""
    for key, number in placed:
        donor = donors[key]
        found = packs.describe(access, donor, domain, donor.name.hex())
        block = next(one for one in found.blocks if one.number == number)
        blocks += repository.backend.read(donor.file, block.at, block.stored)
    keys, tables = [pack.keys[0] for pack in donors], [pack.tables[0] for pack in donors]
    column = pack_records.place_blocks(placed)
    header = Header(Kind.DATA, access.repository, access.epoch, secrets.token_bytes(32))
    frame = compression.pack(records.encode(PackTables(column, tables)))
    plain = struct.pack("<I", len(frame)) + frame
    plain += bytes(-(len(plain) + crypto.TAG_SIZE) % 4096)
    listed = records.encode_any(keys)
    trailer = struct.pack("<II", len(listed), len(plain) + crypto.TAG_SIZE)
    cipher = crypto.file_cipher(access.catalogue_keys[access.epoch], header)
    sealed = crypto.encrypt_once(cipher, plain, header.pack() + listed + trailer)
    size = len(header.pack() + blocks + listed + sealed + trailer)
    data = header.pack() + blocks + secrets.token_bytes(layout.padding(size)) + listed + sealed + trailer
    name = layout.sha256(data)
    repository.backend.create(layout.content_file(Kind.DATA, name), data)
    return IndexedPack(name, "D", len(data), keys, column, tables)


def bury(petra: Repository, doomed: bytes) -> None:
    """Entomb a snapshot, whose file came back from somewhere, in a list that replaces another one."""
    (info,) = [info for info in petra.snapshots() if info.name == doomed]
    row = doomed + info.signer + bytes(32) + struct.pack("<Q", info.sequence)
    stone = publish(petra, Kind.TOMBSTONES, Tombstones(now(), b"", row, b""))
    other = secrets.token_bytes(32) + info.signer + doomed + struct.pack("<Q", 1 << 20)
    lists = Tombstones(now(), stone, row + other, secrets.token_bytes(32))
    publish(petra, Kind.TOMBSTONES, lists)
    delete(layout.content_file(Kind.TOMBSTONES, stone))


def keep_books(petra: Repository, snapshots: list[bytes]) -> None:
    """Put done records into a ledger that replaces another one, and fence the run that nobody goes on with."""
    infos = [info for info in petra.snapshots() if info.name in snapshots]
    rows = [info.run + info.signer + info.name for info in infos]
    part = publish(petra, Kind.LEDGER, Ledger(now(), b"", rows[0]))
    publish(petra, Kind.LEDGER, Ledger(now(), part, b"".join(rows)))
    delete(layout.content_file(Kind.LEDGER, part))
    listed = list(petra.backend.names("runs"))
    done = {file: layout.run_of(file, Kind.DONE) for file in listed}
    for file, run in done.items():
        if run in [info.run for info in infos]:
            delete(file)
    ended = {*done.values(), *(layout.run_of(file, Kind.ENDED) for file in listed)}
    for run in (bytes.fromhex(file[5:37]) for file in listed if file.endswith(".run")):
        if run not in ended:
            publish(petra, Kind.FENCE, Fence(run, now()), run)


def seal_again(alice: Repository, domain: str) -> None:
    """Index a data pack of the first epoch once more, with its key sealed for the second, too."""
    access = alice.access
    old = (pack for pack in data_packs(indexes_of(alice)) if pack.keys[0][1][0][0] == 1)
    pack = next(pack for pack in old if packs.open_table(access, pack.tables[0], "").domain == domain)
    key_id, sealings = pack.keys[0]
    private = access.sealing_private[1]
    key = crypto.open_data_key(sealings[0][1], private, access.repository, 1, key_id)
    again = crypto.seal_data_key(key, access.sealing_public, access.repository, access.epoch, key_id)
    both = msgspec.structs.replace(pack, keys=[(key_id, ((access.epoch, again), *sealings)), *pack.keys[1:]])
    publish(alice, Kind.INDEX, Index(secrets.token_bytes(16), domain, now(), [both]))


def copy(alice: Repository, snapshot: bytes, date: int) -> bytes:
    """Publish a snapshot of another member's domain, as a copy with new keys would be."""
    access, run = alice.access, secrets.token_bytes(16)
    file = layout.content_file(Kind.SNAPSHOT, snapshot)
    signer, found = record_files.open_record(access, Kind.SNAPSHOT, file, alice.backend.read(file), Snapshot)
    origin = Origin(secrets.token_bytes(16), snapshot, signer, found.sequence)
    data = record_files.seal_record(access, Kind.RUN, Run(run, now(), "copier"))
    alice.backend.create(layout.run_file(run), data)
    made = msgspec.structs.replace(found, run=run, sequence=1, heads={}, time=date, origin=origin)
    name = publish(alice, Kind.SNAPSHOT, made)
    publish(alice, Kind.DONE, Done(run, name, b"", now()), run)
    return name


def run_of(repository: Repository, snapshot: bytes) -> bytes:
    """Return the run of a snapshot that counts."""
    return next(info.run for info in repository.snapshots() if info.name == snapshot)


def indexes_of(repository: Repository, run: bytes = b"") -> list[tuple[bytes, Index]]:
    """Return names and contents of index files: a run's, or all."""
    found = []
    for file in repository.backend.names("index"):
        data = repository.backend.read(file)
        _, index = record_files.open_record(repository.access, Kind.INDEX, file, data, Index)
        if run in (b"", index.run):
            found.append((layout.sha256(data), index))
    return found


def data_packs(found: list[tuple[bytes, Index]]) -> Iterator[IndexedPack]:
    """Yield the data packs that index files name."""
    return (pack for _, index in found for pack in index.packs if pack.kind == "D")


def publish(repository: Repository, kind: Kind, record: msgspec.Struct, run: bytes = b"") -> bytes:
    """Write a record file as the member who has opened the repository."""
    return record_files.publish_record(repository.backend, repository.access, kind, record, run)


def now() -> int:
    """Return the time."""
    return int(time.time())


def delete(name: str) -> None:
    """Delete a file, which the program never does."""
    (GOLDEN / "repository" / name).unlink()
