"""Signed, encrypted record files: index, snapshots, runs and the like (docs/format.md 3, "Catalogue file").

Invariant: `open_record` returns only what a member of the roster signed, for this repository and this kind, and
what the catalogue key's holder encrypted; everything else is a `DamageError` with the file's name.  A file that
claims more than its kind may hold is refused before anything is allocated for it.
"""

import secrets
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import msgspec
from msgspec import Meta

from dedupstore.access import Access, Signer
from dedupstore.backends.contract import has_bytes
from dedupstore.errors import AlreadyExistsError, BackendError, DamageError, KeyAccessError, NotFoundError
from dedupstore.format import compression, crypto, layout, records
from dedupstore.format.layout import Header, Kind
from dedupstore.format.records import Bin32

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend, Buffer

T = TypeVar("T")

_WRITERS = ("writer", "admin")
_PRUNERS = ("pruner", "admin")
_MAY_SIGN = {
    Kind.INDEX: ("writer", "admin", "pruner"),
    Kind.SNAPSHOT: _WRITERS,
    Kind.CHECKPOINT: _WRITERS,
    Kind.RUN: _WRITERS,
    Kind.DONE: _WRITERS,
    Kind.ENDED: _WRITERS,
    Kind.CLOSING: ("admin",),
    Kind.LEDGER: _PRUNERS,
    Kind.CONDEMNED: _PRUNERS,
    Kind.FENCE: _PRUNERS,
    Kind.TOMBSTONES: _PRUNERS,
}
_ATTEMPTS = 3  # at a name that is free: each time it is another


class _Signed(msgspec.Struct, array_like=True, frozen=True):
    signer: Bin32
    signature: Annotated[bytes, Meta(max_length=4096)]
    payload: bytes


def seal_record(access: Access, kind: Kind, record: msgspec.Struct) -> bytes:
    """Return the whole file that holds this record, signed by this member.

    Raises `DamageError` for a record that no reader would accept: better now than when it is needed.
    """
    header = Header(kind, access.repository, access.epoch, secrets.token_bytes(32))
    payload = records.encode(record)
    what = f"a {kind.name.lower()} file that was to be written"
    records.decode(payload, type(record), what)
    signature = crypto.sign(access.signing_key, header, payload)
    signer = crypto.signer_of(crypto.public_of(access.signing_key))
    if (member := access.signers.get(signer)) is None or member.role not in _MAY_SIGN[kind]:
        role = member.role if member else "stranger"
        raise KeyAccessError(
            f"your key is a {role}'s and may not sign {kind.name.lower()} files",
            "use the key of a member who may, or ask an admin",
        )
    body = records.encode(_Signed(signer, signature, payload))
    frame = compression.pack(body)
    if len(body) > layout.most_unpacked(kind, layout.HEADER_SIZE + len(frame)):
        frame = compression.store(body)  # too uniform to be accepted when compressed
    data = header.pack() + seal_padded(access, header, frame, header.pack(), layout.HEADER_SIZE)
    if len(body) > layout.most_unpacked(kind, len(data)) or len(data) > layout.MAX_FILE:
        raise DamageError(f"{what} has {len(body)} bytes, more than any may have")
    return data


def publish_record(
    backend: "Backend", access: Access, kind: Kind, record: msgspec.Struct, run: bytes = b""
) -> bytes:
    """Seal a record and create its file; return its SHA-256.  `run` is for kinds whose names have it."""

    def make() -> "tuple[bytes, Buffer]":
        data = seal_record(access, kind, record)
        return layout.sha256(data), data

    def name(digest: bytes) -> str:
        return layout.run_record_file(kind, run, digest) if run else layout.content_file(kind, digest)

    return publish(backend, name, make)


def publish(
    backend: "Backend", name: Callable[[bytes], str], make: "Callable[[], tuple[bytes, Buffer]]"
) -> bytes:
    """Create a file that is named by its SHA-256, and return that.

    `make` gives the SHA-256 and the bytes, others each time.  A name that is taken is no failure: anyone who sees
    uploads can take it first.  The same bytes there are as good; otherwise the file is made again.
    """
    for _ in range(_ATTEMPTS):
        digest, data = make()
        file = name(digest)
        try:
            backend.create(file, data)
        except AlreadyExistsError:
            if not _is_there(backend, file, data):
                continue
        return digest
    raise BackendError(
        f"{file} and others before it were created by someone else as soon as they had names",
        "find out who else writes to this storage",
    )


def _is_there(backend: "Backend", file: str, data: "Buffer") -> bool:
    try:
        return has_bytes(backend, file, data)
    except (NotFoundError, DamageError):
        return False


def seal_padded(access: Access, header: Header, body: bytes, associated: bytes, before: int) -> bytes:
    """Encrypt `length ‖ body ‖ zeros` so that a file with `before` other bytes ends on its padding step."""
    plain = struct.pack("<I", len(body)) + body
    plain += bytes(layout.padding(before + len(plain) + crypto.TAG_SIZE))
    cipher = crypto.file_cipher(access.catalogue_keys[header.epoch], header)
    return crypto.encrypt_once(cipher, plain, associated)


def open_padded(
    access: Access, header: Header, data: bytes | memoryview, associated: bytes, name: str
) -> memoryview:
    """Return the body that `seal_padded` encrypted."""
    key = access.catalogue_keys.get(header.epoch)
    if key is None:
        raise DamageError(f"{name} is of key epoch {header.epoch}, which this member has no key for")
    plain = crypto.decrypt_once(crypto.file_cipher(key, header), data, associated, name)
    size = struct.unpack_from("<I", plain)[0] if len(plain) >= 4 else -1
    if not 0 <= size <= len(plain) - 4:
        raise DamageError(f"{name} claims a content of {size} bytes, but has {len(plain)}")
    if plain.count(0, 4 + size) != len(plain) - 4 - size:
        raise DamageError(f"{name} has padding that is not zero")
    return memoryview(plain)[4 : 4 + size]


def open_record(access: Access, kind: Kind, name: str, data: bytes, record: type[T]) -> tuple[bytes, T]:
    """Check a file by all that can be known of it alone, and return its signer and its record."""
    signer, payload = open_payload(access, kind, name, data)
    return signer, records.decode(payload, record, name)


def open_payload(access: Access, kind: Kind, name: str, data: bytes) -> tuple[bytes, bytes]:
    """Check a file's encryption and signature, and return its signer and what was signed.

    Raises `DamageError`; `NewerFormatError` for a file of a newer format.  A file that is called by the hash of its
    bytes must have that hash.
    """
    digest = layout.digest_of(name)
    if digest is not None and layout.sha256(data) != digest:
        raise DamageError(f"{name} is not what its name says: its SHA-256 differs")
    header = layout.parse_header(data, kind, access.repository, name)
    view = memoryview(data)
    packed = open_padded(access, header, view[layout.HEADER_SIZE :], header.pack(), name)
    body = unpack_frame(packed, layout.most_unpacked(kind, len(data)), name)
    signed = records.decode(body, _Signed, name)
    member = member_of(access, signed.signer, name)
    if not crypto.verify(member.key, signed.signature, header, signed.payload):
        raise DamageError(f"{name} does not bear the signature of its signer")
    if member.role not in _MAY_SIGN[kind]:
        raise DamageError(f"{name} is signed by {member.name}, a {member.role}, who may not sign such a file")
    return signed.signer, signed.payload


def member_of(access: Access, signer: bytes, name: str) -> Signer:
    """Return the member, present or former, that signed a file or table; `DamageError` if it is none."""
    member = access.signers.get(signer)
    if member is None:
        raise DamageError(f"{name} is signed by {signer.hex()[:16]}…, who is no member of this repository")
    return member


def unpack_frame(packed: bytes | memoryview, most: int, name: str) -> bytes:
    """Unpack a Zstandard frame that states its size, which may be so many bytes at most."""
    size = compression.stated_size(packed, name)
    if size > most:
        raise DamageError(f"{name} claims {size} bytes unpacked, more than such a file may have")
    return compression.unpack(packed, size, name)
