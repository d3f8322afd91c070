"""Packs: the files that hold blocks (docs/format.md 7).

Invariant: a pack's name is the SHA-256 of its bytes, its blocks are numbered from 0 under one fresh key, and its
table says which chunks they hold, so that an index can be rebuilt from packs alone.
"""

import hashlib
import mmap
import secrets
import struct
from collections.abc import Callable
from typing import NamedTuple

from dedupstore import blocks, catalogue, layout, records, sealing
from dedupstore.access import Access
from dedupstore.blocks import BlockKey
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.layout import Header, Kind
from dedupstore.records import BlockEntry, IndexedPack, PackKey

_TRAILER = struct.Struct("<II")  # bytes of the keys, and of the table
_TABLE_STEP = 4 << 10
_BEYOND = 16 << 20  # bytes: more than the last block, the keys, the table and the padding take


def pack_buffer(size: int) -> mmap.mmap:
    """Return memory for a pack that is finished when it has `size` bytes; what is not written takes none."""
    return mmap.mmap(-1, size + _BEYOND, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


class SealedPack(NamedTuple):
    """A finished pack: its bytes, which are in the buffer of its builder, and what an index file says of it."""

    buffer: mmap.mmap
    entry: IndexedPack

    @property
    def data(self) -> memoryview:
        """The pack's bytes."""
        return memoryview(self.buffer)[: self.entry.size]

    @property
    def file(self) -> str:
        """The pack's name in the repository."""
        return pack_file(self.entry)


def pack_file(entry: IndexedPack) -> str:
    """Return the name in the repository of the pack that an index names."""
    return layout.content_file(Kind(entry.kind.encode()), entry.name)


class PackBuilder:
    """A pack in the making, in memory.  Not for use by several threads at once.

    `buffer`, from `pack_buffer`, is filled from its beginning.
    """

    def __init__(self, access: Access, kind: Kind, buffer: mmap.mmap) -> None:
        self._access = access
        key_id = secrets.token_bytes(16)
        if kind is Kind.DATA:
            data_key = secrets.token_bytes(32)
            sealed = sealing.seal_data_key(
                data_key, access.sealing_public, access.repository, access.epoch, key_id
            )
        else:
            sealed = secrets.token_bytes(sealing.SEALED_TREE_KEY_SIZE)
            data_key = sealing.tree_key(
                access.catalogue_keys[access.epoch], sealed, access.repository, key_id
            )
        self._key = BlockKey(kind, access.repository, access.epoch, key_id, data_key)
        self._sealed: PackKey = (key_id, access.epoch, sealed)
        self._header = Header(kind, access.repository, access.epoch, secrets.token_bytes(32))
        self._data = buffer
        self._size = 0
        self._hash = hashlib.sha256()
        self._append(self._header.pack())
        self._blocks: list[BlockEntry] = []
        self._ids = bytearray()
        self._lengths = bytearray()

    @property
    def size(self) -> int:
        """Bytes so far, without the footer."""
        return self._size

    @property
    def chunks(self) -> int:
        """Chunks so far."""
        return len(self._ids) // 32

    def add(self, plaintext: bytes, ids: bytes, lengths: bytes) -> int:
        """Encrypt and append a block; `ids` and `lengths` are its chunks' columns.  Return its stored size."""
        number = len(self._blocks)
        size = len(plaintext) + sealing.TAG_SIZE
        end = self._size + size
        with memoryview(self._data)[self._size : end] as target:
            blocks.seal_block(self._key, number, plaintext, target)
            self._hash.update(target)
        self._size = end
        self._blocks.append((0, number, size, len(ids) // 32))
        self._ids += ids
        self._lengths += lengths
        return size

    def finish(self) -> SealedPack:
        """Append the footer; the builder is of no use afterwards."""
        keys = records.encode_any([self._sealed])
        table = records.encode(
            records.PackTable(
                domain=self._access.domain,
                blocks=self._blocks,
                ids=bytes(self._ids),
                lengths=bytes(self._lengths),
            )
        )
        plain = struct.pack("<I", len(table)) + table
        plain += bytes(-(len(plain) + sealing.TAG_SIZE) % _TABLE_STEP)
        trailer = _TRAILER.pack(len(keys), len(plain) + sealing.TAG_SIZE)
        cipher = sealing.file_cipher(self._access.catalogue_keys[self._header.epoch], self._header)
        sealed = sealing.encrypt_once(cipher, plain, self._header.pack() + keys + trailer)
        footer = keys + sealed + trailer
        # where the blocks end is nobody's business: random bytes cannot be told from them
        self._append(secrets.token_bytes(layout.padding(self._size + len(footer))))
        self._append(footer)
        entry = IndexedPack(
            name=self._hash.digest(),
            kind=self._header.kind.value.decode(),
            size=self._size,
            keys=[self._sealed],
            blocks=self._blocks,
            ids=bytes(self._ids),
            lengths=bytes(self._lengths),
        )
        return SealedPack(self._data, entry)

    def _append(self, part: bytes) -> None:
        end = self._size + len(part)
        self._data[self._size : end] = part
        self._size = end
        self._hash.update(part)


def open_key(access: Access, kind: Kind, key: PackKey) -> BlockKey:
    """Return the key that a pack lists, ready to open blocks.

    Raises `KeyAccessError` if this member may not read data packs, `DamageError` if the key does not open.
    """
    key_id, epoch, sealed = key
    if kind is Kind.DATA:
        private = access.sealing_private.get(epoch)
        if private is None and access.sealing_private:
            raise DamageError(f"the data key {key_id.hex()} is of epoch {epoch}, which there is none of")
        if private is None:
            raise KeyAccessError(
                "your key may write backups and list them, but not read their contents",
                "use an admin's key, on a machine that has it",
            )
        data_key = sealing.open_data_key(sealed, private, access.repository, epoch, key_id)
    else:
        catalogue_key = access.catalogue_keys.get(epoch)
        if catalogue_key is None or len(sealed) != sealing.SEALED_TREE_KEY_SIZE:
            raise DamageError(f"the tree key {key_id.hex()} of epoch {epoch} cannot be derived")
        data_key = sealing.tree_key(catalogue_key, sealed, access.repository, key_id)
    return BlockKey(kind, access.repository, epoch, key_id, data_key)


def read_table(
    access: Access, kind: Kind, digest: bytes, size: int, read: Callable[[int, int], bytes]
) -> IndexedPack:
    """Rebuild from the pack itself what an index file says of it; `read(offset, length)` gives its bytes."""
    name = layout.content_file(kind, digest)
    if not layout.HEADER_SIZE + _TRAILER.size <= size <= layout.MAX_FILE:
        raise DamageError(f"{name} has {size} bytes, which no pack has")
    header = layout.parse_header(read(0, layout.HEADER_SIZE), kind, access.repository, name)
    trailer = read(size - _TRAILER.size, _TRAILER.size)
    keys_size, table_size = _TRAILER.unpack(trailer)
    keys_at = size - _TRAILER.size - table_size - keys_size
    if keys_at < layout.HEADER_SIZE:
        raise DamageError(f"{name} has a trailer that contradicts its size")
    footer = read(keys_at, keys_size + table_size)
    keys, sealed = footer[:keys_size], memoryview(footer)[keys_size:]
    plain = catalogue.open_padded(access, header, sealed, header.pack() + keys + trailer, name)
    table = records.decode(plain, records.PackTable, name)
    if layout.HEADER_SIZE + sum(block[2] for block in table.blocks) > keys_at:
        raise DamageError(f"{name} has a table that contradicts its size")
    try:
        return IndexedPack(
            name=digest,
            kind=kind.value.decode(),
            size=size,
            keys=records.decode(keys, records.PackKeys, name),
            blocks=table.blocks,
            ids=table.ids,
            lengths=table.lengths,
        )
    except ValueError as error:
        raise DamageError(f"{name} is not well-formed: {error}") from None
