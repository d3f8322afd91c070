"""Blocks: chunks joined, compressed and encrypted (docs/format.md 7).

Invariant: `open_block` returns exactly the bytes that `seal_block` was given, of exactly the size that the
table of chunks says, or raises; it allocates no more than that size and the block's own.
"""

from dataclasses import dataclass, field

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from dedupstore.errors import DamageError
from dedupstore.format import compression, crypto, layout
from dedupstore.format.layout import Kind

_SEAL = 16
_STORED = b"\0"
_ZSTD = b"\1"

#: bytes that a block has more than its chunks, at most: the codec and the tag
OVERHEAD = 1 + crypto.TAG_SIZE


@dataclass(frozen=True)
class BlockKey:
    """A data key and all that is bound into its blocks' associated data."""

    kind: Kind
    repository: bytes
    key_id: bytes
    secret: bytes = field(repr=False)

    @property
    def cipher(self) -> AESGCM:
        """The cipher, made in a microsecond.

        Many kept ones would fragment the heap, and leave no room for blocks between them.
        """
        return AESGCM(self.secret)

    def associated(self, number: int) -> bytes:
        """Return the associated data of the block with this number."""
        return crypto.block_associated(self.kind, self.repository, self.key_id, number)


def compress_block(data: bytes | bytearray | memoryview, level: int) -> bytes:
    """Return the block's plaintext: a codec byte and the shorter of data and its Zstandard frame."""
    frame = compression.pack(data, level)
    return _ZSTD + frame if len(frame) < len(data) else b"".join((_STORED, data))


def seal_block(key: BlockKey, number: int, plaintext: bytes, target: memoryview) -> None:
    """Encrypt a block's plaintext into `target`, `TAG_SIZE` longer; `number` must be used once only with this key."""
    key.cipher.encrypt_into(crypto.block_nonce(number), plaintext, key.associated(number), target)


def seal_of(sealed: bytes | memoryview) -> bytes:
    """Return what a table says of a block's stored bytes: the first 16 bytes of their BLAKE3."""
    return blake3(sealed).digest(length=_SEAL)


def open_block(
    key: BlockKey, number: int, data: bytes | memoryview, size: int, name: str
) -> bytes | memoryview:
    """Return the joined chunks of a block, `size` bytes; raises `DamageError` naming the pack."""
    if size > layout.MAX_BLOCK or len(data) > layout.MAX_BLOCK + OVERHEAD:
        raise DamageError(f"{name} claims a block of {max(size, len(data))} bytes, more than any has")
    try:
        plain = key.cipher.decrypt(crypto.block_nonce(number), data, key.associated(number))
    except InvalidTag:
        raise DamageError(f"block {number} of {name} was altered or is damaged") from None
    codec, body = plain[:1], memoryview(plain)[1:]
    if codec == _ZSTD:
        return compression.unpack(body, size, f"block {number} of {name}")
    if codec != _STORED or len(body) != size:
        raise DamageError(f"block {number} of {name} is not of the size or kind that its table says")
    return body
