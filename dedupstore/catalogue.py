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


_SIGNATURE = struct.Struct("<32s64s")  # signer, signature; the payload follows

_MAY_SIGN = {
    Kind.INDEX: ("writer", "admin", "pruner"),
    Kind.SNAPSHOT: ("writer", "admin"),
    Kind.CHECKPOINT: ("writer", "admin"),
    Kind.RUN: ("writer", "admin"),
    Kind.DONE: ("writer", "admin"),
}


def seal_record(access: Access, kind: Kind, record: msgspec.Struct) -> bytes:
    """Return the whole file that holds this record, signed by this member."""
    header = Header(kind, access.repository, access.epoch, secrets.token_bytes(32))
    payload = records.encode(record)
    signature = sealing.sign(access.signing_key, header, payload)
    body = _SIGNATURE.pack(sealing.public_of(access.signing_key), signature) + payload
    return header.pack() + seal_padded(
        access, header, compression.pack(body), header.pack(), layout.HEADER_SIZE
    )


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
    """Check a file by all that can be known of it alone, and return its signer and its record."""
    signer, payload = open_payload(access, kind, name, data)
    return signer, records.decode(payload, record, name)


def open_payload(access: Access, kind: Kind, name: str, data: bytes) -> tuple[bytes, bytes]:
    """Check a file's encryption and signature, and return its signer and what was signed.

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
    body = compression.unpack(packed, size, name)
    if size < _SIGNATURE.size:
        raise DamageError(f"{name} has no room for a signature")
    signer, signature = _SIGNATURE.unpack_from(body)
    payload = body[_SIGNATURE.size :]
    member = access.signers.get(signer)
    if member is None:
        raise DamageError(f"{name} is signed by {signer.hex()[:16]}…, who is no member of this repository")
    if not sealing.verify(signer, signature, header, payload):
        raise DamageError(f"{name} does not bear the signature of its signer")
    if member.role not in _MAY_SIGN[kind]:
        raise DamageError(f"{name} is signed by {member.name}, a {member.role}, who may not make such a file")
    return signer, payload
