"""Packs: the files that hold blocks, and the signed tables of what is in them (docs/format.md 7).

Invariant: a pack's name is the SHA-256 of its bytes, its blocks are numbered from 0 under one fresh key, and its
table, signed by its writer, says which chunks they hold.  `describe` returns only what such a table says.
"""

import hashlib
import mmap
import secrets
import struct
from array import array
from collections.abc import Callable
from typing import NamedTuple

from dedupstore.access import Access
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.format import blocks, compression, crypto, layout, pack_records, record_files, records
from dedupstore.format.blocks import BlockKey
from dedupstore.format.layout import Header, Kind
from dedupstore.format.pack_records import HeldBlock, IndexedPack, PackKey, PlacedBlock, SignedTable, Table

_TRAILER = struct.Struct("<II")  # bytes of the keys, and of the tables
_TABLE_STEP = 4 << 10
_MOST_TABLES = 16 << 20  # bytes of a pack's tables, unpacked
_BEYOND = 16 << 20  # bytes: more than the last block, the keys, the tables and the padding take


def pack_buffer(size: int) -> mmap.mmap:
    """Return memory for a pack that is finished when it has `size` bytes; what is not written takes none."""
    return mmap.mmap(-1, size + _BEYOND, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class SealedPack(NamedTuple):
    """A finished pack: its bytes, which are in the buffer of its builder, and what an index file says of it.

    `builder.finish()` makes it again, under another name.
    """

    buffer: mmap.mmap
    entry: IndexedPack
    builder: "PackBuilder"

    @property
    def data(self) -> memoryview:
        """The pack's bytes."""
        return memoryview(self.buffer)[: self.entry.size]


class PackBuilder:
    """A pack in the making, in memory.  Not for use by several threads at once.

    `buffer`, from `pack_buffer`, is filled from its beginning.
    """

    def __init__(self, access: Access, kind: Kind, buffer: mmap.mmap) -> None:
        self._access = access
        key_id, data_key = secrets.token_bytes(16), secrets.token_bytes(32)
        repository, epoch = access.repository, access.epoch
        if kind is Kind.DATA:
            sealed = crypto.seal_data_key(data_key, access.sealing_public, repository, epoch, key_id)
        else:
            sealed = crypto.seal_tree_key(data_key, access.catalogue_keys[epoch], repository, key_id)
        self._key = BlockKey(kind, repository, key_id, data_key)
        self._sealed: PackKey = (key_id, ((epoch, sealed),))
        self._data = buffer
        self._header = self._new_header()
        self._hash = hashlib.sha256(self._header.pack())  # of header and blocks
        self._size = layout.HEADER_SIZE
        self._blocks: list[HeldBlock] = []
        self._ids = bytearray()
        self._lengths = bytearray()
        self._table: SignedTable | None = None

    @property
    def size(self) -> int:
        """Bytes so far, without the footer."""
        return self._size

    @property
    def blocks(self) -> int:
        """Blocks so far."""
        return len(self._blocks)

    @property
    def chunks(self) -> int:
        """Chunks so far."""
        return len(self._lengths) // 4

    def add(self, plaintext: bytes, ids: bytes, lengths: bytes) -> int:
        """Encrypt and append a block; short `ids` and `lengths` are its chunks' columns.  Return its stored size."""
        number = len(self._blocks)
        size = len(plaintext) + crypto.TAG_SIZE
        end = self._size + size
        with memoryview(self._data)[self._size : end] as target:
            blocks.seal_block(self._key, number, plaintext, target)
            self._hash.update(target)
            seal = blocks.seal_of(target)
        self._size = end
        self._blocks.append(HeldBlock(size, len(lengths) // 4, seal))
        self._ids += ids
        self._lengths += lengths
        return size

    def finish(self) -> SealedPack:
        """Append the footer; nothing can be added afterwards.

        Called again, it makes the same pack with fresh randomness: knowing the first one's name is of no use.
        """
        if self._table is None:
            self._table = self._sign()
        else:
            self._header = self._new_header()
            self._hash = hashlib.sha256(self._header.pack())
            with memoryview(self._data)[layout.HEADER_SIZE : self._size] as stored:
                self._hash.update(stored)
        header = self._header.pack()
        places = pack_records.place_blocks([PlacedBlock(0, number) for number in range(len(self._blocks))])
        keys = records.encode_any([self._sealed])
        frame = compression.pack(records.encode(pack_records.PackTables(places, [self._table])))
        plain = struct.pack("<I", len(frame)) + frame
        plain += bytes(-(len(plain) + crypto.TAG_SIZE) % _TABLE_STEP)
        trailer = _TRAILER.pack(len(keys), len(plain) + crypto.TAG_SIZE)
        cipher = crypto.file_cipher(self._access.catalogue_keys[self._header.epoch], self._header)
        footer = keys + crypto.encrypt_once(cipher, plain, header + keys + trailer) + trailer
        # hide where the blocks end: random bytes look like them
        footer = secrets.token_bytes(layout.padding(self._size + len(footer))) + footer
        size = self._size + len(footer)
        self._data[: layout.HEADER_SIZE] = header
        self._data[self._size : size] = footer
        self._hash.update(footer)
        entry = IndexedPack(
            name=self._hash.digest(),
            kind=self._header.kind.value.decode(),
            size=size,
            keys=[self._sealed],
            blocks=places,
            tables=[self._table],
        )
        return SealedPack(self._data, entry, self)

    def _new_header(self) -> Header:
        return Header(self._key.kind, self._access.repository, self._access.epoch, secrets.token_bytes(32))

    def _sign(self) -> SignedTable:
        table = Table(
            key=self._key.key_id,
            kind=self._key.kind.value.decode(),
            domain=self._access.domain,
            blocks=pack_records.hold_blocks(self._blocks),
            ids=bytes(self._ids),
            lengths=bytes(self._lengths),
        )
        payload = records.encode(table)
        signing_key = self._access.signing_key
        signature = crypto.sign_table(signing_key, self._access.repository, payload)
        return SignedTable(crypto.signer_of(crypto.public_of(signing_key)), signature, payload)


class DescribedBlock(NamedTuple):
    """A block of a pack: its key's position in the pack's keys, its number, its place (`at`, in the file), sizes in
    bytes, its number of chunks, and the beginning of the BLAKE3 of its stored bytes.
    """

    key: int
    number: int
    stored: int
    at: int
    unpacked: int
    chunks: int
    seal: bytes


class Described(NamedTuple):
    """What is in a pack, as its tables say: its blocks, and its chunks' columns (short ids, lengths), in file order."""

    blocks: list[DescribedBlock]
    ids: bytes
    lengths: "array[int]"


def open_table(access: Access, signed: SignedTable, name: str) -> Table:
    """Return a table that a member, present or former, signed for its own domain; an admin may for any.

    Raises `DamageError`, naming the file that holds it.
    """
    member = record_files.member_of(access, signed.signer, f"a table in {name}")
    if not crypto.verify_table(member.key, signed.signature, access.repository, signed.payload):
        raise DamageError(f"a table in {name} does not bear the signature of its signer")
    table = records.decode(signed.payload, Table, f"a table in {name}")
    if member.role not in ("writer", "admin") or (member.role == "writer" and member.domain != table.domain):
        raise DamageError(f"a table in {name} is signed by {member.name}, who may not write to its domain")
    return table


def describe(access: Access, pack: IndexedPack, domain: str, name: str) -> Described:
    """Return what is in a pack of that domain; `name` is the file that names it, for the error.

    Raises `DamageError` if its tables are not signed, are of another domain, kind or key, or contradict the pack.
    """
    tables = [open_table(access, signed, name) for signed in pack.tables]
    for (key_id, _), table in zip(pack.keys, tables, strict=True):
        if (table.key, table.kind, table.domain) != (key_id, pack.kind, domain):
            raise DamageError(f"{name} gives a table of another key, kind or domain to {pack.file}")
    found: list[DescribedBlock] = []
    ids, lengths = bytearray(), array("I")
    at = layout.HEADER_SIZE
    for key, number in pack.placed():
        if key >= len(tables) or number >= len(tables[key].held):
            raise DamageError(f"{name} places a block in {pack.file} that is in no table")
        table = tables[key]
        stored, chunks, seal = table.held[number]
        first = table.starts[number]
        part = table.sizes[first : first + chunks]
        found.append(DescribedBlock(key, number, stored, at, sum(part), chunks, seal))
        ids += table.ids[layout.SHORT_ID * first : layout.SHORT_ID * (first + chunks)]
        lengths += part
        at += stored
        if at > pack.size or len(lengths) > layout.MAX_PACK_CHUNKS:
            raise DamageError(f"{name} places more in {pack.file} than a pack of its size can hold")
    return Described(found, bytes(ids), lengths)


def open_key(access: Access, kind: Kind, key: PackKey) -> BlockKey:
    """Return the key that a pack lists, ready to open blocks.

    Raises `KeyAccessError` if this member may not read data packs, `DamageError` if no sealing of the key opens.
    """
    key_id, sealings = key
    if kind is Kind.DATA and not access.sealing_private:
        raise KeyAccessError(
            "your key may write backups and list them, but not read their contents",
            "use an admin's key, on a machine that has it",
        )
    problem = DamageError(f"the key {key_id.hex()} is sealed for no epoch whose key this member has")
    for epoch, sealed in sealings:
        try:
            if kind is Kind.DATA and (private := access.sealing_private.get(epoch)):
                data_key = crypto.open_data_key(sealed, private, access.repository, epoch, key_id)
            elif kind is Kind.TREE and (catalogue_key := access.catalogue_keys.get(epoch)):
                data_key = crypto.open_tree_key(sealed, catalogue_key, access.repository, key_id)
            else:
                continue
        except DamageError as error:
            problem = error
        else:
            return BlockKey(kind, access.repository, key_id, data_key)
    raise problem


def read_entry(
    access: Access, kind: Kind, digest: bytes, size: int, read: Callable[[int, int], bytes]
) -> IndexedPack:
    """Rebuild from the pack itself what an index file says of it; `read(offset, length)` gives its bytes.

    `describe` then checks whether its tables can be trusted.
    """
    name = layout.content_file(kind, digest)
    if not layout.HEADER_SIZE + _TRAILER.size <= size <= layout.MAX_FILE:
        raise DamageError(f"{name} has {size} bytes, which no pack has")
    header = layout.parse_header(read(0, layout.HEADER_SIZE), kind, access.repository, name)
    trailer = read(size - _TRAILER.size, _TRAILER.size)
    keys_size, tables_size = _TRAILER.unpack(trailer)
    keys_at = size - _TRAILER.size - tables_size - keys_size
    if keys_at < layout.HEADER_SIZE:
        raise DamageError(f"{name} has a trailer that contradicts its size")
    footer = read(keys_at, keys_size + tables_size)
    keys, sealed = footer[:keys_size], memoryview(footer)[keys_size:]
    frame = record_files.open_padded(access, header, sealed, header.pack() + keys + trailer, name)
    tables = records.decode(
        record_files.unpack_frame(frame, _MOST_TABLES, name), pack_records.PackTables, name
    )
    try:
        return IndexedPack(
            name=digest,
            kind=kind.value.decode(),
            size=size,
            keys=records.decode(keys, pack_records.PackKeys, name),
            blocks=tables.blocks,
            tables=tables.tables,
        )
    except ValueError as error:
        raise DamageError(f"{name} is not well-formed: {error}") from None
