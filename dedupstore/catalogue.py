"""Signed, encrypted record files: index, snapshots, checkpoints, runs (docs/format.md 3, "Catalogue file").

Invariant: `open_record` returns only what a member of the roster signed, for this repository and this kind, and
what the catalogue key's holder encrypted; everything else is a `DamageError` with the file's name.
"""

import secrets
import struct
from typing import TypeVar

import msgspec

from dedupstore import compression, layout, records, sealing
from dedupstore.access import Access
from dedupstore.errors import DamageError
from dedupstore.layout import Header, Kind

T = TypeVar("T")


def seal_record(access: Access, kind: Kind, record: msgspec.Struct) -> bytes:
    """Return the whole file that holds this record, signed by this member."""
    payload = records.encode(record)
    signed = records.Signed(
        signer=sealing.public_of(access.signing_key),
        signature=sealing.sign(access.signing_key, kind, access.repository, access.epoch, payload),
        payload=payload,
    )
    packed = compression.pack(records.encode(signed))
    header = Header(kind, access.repository, access.epoch, secrets.token_bytes(32))
    return header.pack() + seal_padded(access, header, packed, header.pack(), layout.HEADER_SIZE)


def seal_padded(access: Access, header: Header, body: bytes, associated: bytes, before: int) -> bytes:
    """Encrypt `length ‖ body ‖ zeros` so that a file with `before` other bytes ends on its padding step."""
    plain = struct.pack("<I", len(body)) + body
    plain += bytes(layout.padding(before + len(plain) + sealing.TAG_SIZE))
    cipher = sealing.file_cipher(access.catalogue_keys[header.epoch], header)
    return sealing.encrypt_once(cipher, plain, associated)


def open_padded(
    access: Access, header: Header, data: bytes | memoryview, associated: bytes, name: str
) -> bytes:
    """Return the body that `seal_padded` encrypted."""
    key = access.catalogue_keys.get(header.epoch)
    if key is None:
        raise DamageError(f"{name} is of key epoch {header.epoch}, which this member has no key for")
    plain = sealing.decrypt_once(sealing.file_cipher(key, header), data, associated, name)
    size = struct.unpack_from("<I", plain)[0] if len(plain) >= 4 else -1
    if not 0 <= size <= len(plain) - 4:
        raise DamageError(f"{name} claims a content of {size} bytes, but has {len(plain)}")
    if any(plain[4 + size :]):
        raise DamageError(f"{name} has something else than zeros in its padding")
    return plain[4 : 4 + size]


def open_record(access: Access, kind: Kind, name: str, data: bytes, record: type[T]) -> tuple[bytes, T]:
    """Check a file by all that can be known of it alone, and return its signer and its record.

    A file that is called by the hash of its bytes must have that hash.
    """
    digest = layout.digest_of(name)
    if digest is not None and layout.sha256(data) != digest:
        raise DamageError(f"{name} is not what its name says: its bytes have another SHA-256")
    header = layout.parse_header(data, kind, access.repository, name)
    view = memoryview(data)
    packed = open_padded(access, header, view[layout.HEADER_SIZE :], header.pack(), name)
    size = compression.stated_size(packed, name)
    if size > layout.MAX_UNPACKED:
        raise DamageError(f"{name} claims {size} bytes unpacked, more than any record has")
    signed = records.decode(compression.unpack(packed, size, name), records.Signed, name)
    if signed.signer not in access.signers:
        raise DamageError(
            f"{name} is signed by {signed.signer.hex()[:16]}…, who is no member of this repository"
        )
    if not sealing.verify(
        signed.signer, signed.signature, kind, access.repository, header.epoch, signed.payload
    ):
        raise DamageError(f"{name} does not bear the signature of its signer")
    return signed.signer, records.decode(signed.payload, record, name)
