"""All cryptography of the store: key derivation, sealing of data keys, AEAD, signatures (docs/format.md 3).

Invariant: every key is used for one purpose, bound by a typed `info` or associated data, and no key ever
encrypts twice under one nonce: file keys come from a fresh random salt and encrypt once, data keys are fresh
for each pack and count their blocks.
"""

import hashlib
import secrets
import struct

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dedupstore.errors import DamageError
from dedupstore.format.layout import Header, Kind

_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_MLKEM_PUBLIC = 1184
_MLKEM_SEED = 64
_SIGNED = b"dedup1 signed"
_TABLE = b"dedup1 table"
_ONCE = bytes(12)  # the nonce of a key that encrypts exactly once

TAG_SIZE = 16
_SALT_SIZE = 32
_SEALED_TREE_KEY_SIZE = _SALT_SIZE + 32 + TAG_SIZE


def _derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def file_cipher(catalogue_key: bytes, header: Header) -> AESGCM:
    """Return the cipher of one file's catalogue part; for one encryption only."""
    info = b"dedup1 file" + header.kind.value + header.repository
    return AESGCM(_derive(catalogue_key, header.salt, info))


def encrypt_once(cipher: AESGCM, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt with a key that is never used again."""
    return cipher.encrypt(_ONCE, plaintext, associated)


def decrypt_once(cipher: AESGCM, data: bytes | memoryview, associated: bytes, name: str) -> bytes:
    """Decrypt what `encrypt_once` made; raises `DamageError` naming the file."""
    try:
        return cipher.decrypt(_ONCE, data, associated)
    except InvalidTag:
        raise DamageError(f"{name} was altered or is damaged (wrong authentication tag)") from None


def seal_data_key(key: bytes, sealing_public: bytes, repository: bytes, epoch: int, key_id: bytes) -> bytes:
    """Encrypt a data pack's key so that only the epoch's sealing private key opens it (HPKE, RFC 9180)."""
    public = MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(sealing_public[:_MLKEM_PUBLIC]),
        X25519PublicKey.from_public_bytes(sealing_public[_MLKEM_PUBLIC:]),
    )
    return _SUITE.encrypt(key, public, _key_info(repository, epoch, key_id))


def open_data_key(sealed: bytes, private: bytes, repository: bytes, epoch: int, key_id: bytes) -> bytes:
    """Return a data pack's key; raises `DamageError` if it was not sealed so."""
    secret = MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(private[:_MLKEM_SEED]),
        X25519PrivateKey.from_private_bytes(private[_MLKEM_SEED:]),
    )
    try:
        key = _SUITE.decrypt(sealed, secret, _key_info(repository, epoch, key_id))
    except (InvalidTag, ValueError):
        raise DamageError(f"the sealed data key {key_id.hex()} does not open") from None
    if len(key) != 32:
        raise DamageError(f"the sealed data key {key_id.hex()} has a wrong length")
    return key


def _key_info(repository: bytes, epoch: int, key_id: bytes) -> bytes:
    return b"dedup1 data key" + repository + struct.pack("<I", epoch) + key_id


def seal_tree_key(key: bytes, catalogue_key: bytes, repository: bytes, key_id: bytes) -> bytes:
    """Encrypt a tree pack's key for everyone with the epoch's catalogue key."""
    salt = secrets.token_bytes(_SALT_SIZE)
    return salt + encrypt_once(_tree_cipher(catalogue_key, salt, repository, key_id), key, b"")


def open_tree_key(sealed: bytes, catalogue_key: bytes, repository: bytes, key_id: bytes) -> bytes:
    """Return a tree pack's key; raises `DamageError` if it was not sealed so."""
    what = f"the sealed tree key {key_id.hex()}"
    if len(sealed) != _SEALED_TREE_KEY_SIZE:
        raise DamageError(f"{what} has a wrong length")
    cipher = _tree_cipher(catalogue_key, sealed[:_SALT_SIZE], repository, key_id)
    return decrypt_once(cipher, sealed[_SALT_SIZE:], b"", what)


def _tree_cipher(catalogue_key: bytes, salt: bytes, repository: bytes, key_id: bytes) -> AESGCM:
    return AESGCM(_derive(catalogue_key, salt, b"dedup1 tree key" + repository + key_id))


def block_associated(kind: Kind, repository: bytes, key_id: bytes, number: int) -> bytes:
    """Return the associated data that ties a block to its repository, key and number."""
    return b"dedup1 block" + kind.value + repository + key_id + struct.pack("<Q", number)


def block_nonce(number: int) -> bytes:
    """Return the nonce of the block with this number: twelve bytes, little-endian."""
    return number.to_bytes(12, "little")


def public_of(signing_key: bytes) -> bytes:
    """Return the Ed25519 public key of a signing key (both 32 bytes)."""
    return Ed25519PrivateKey.from_private_bytes(signing_key).public_key().public_bytes_raw()


def signer_of(signing_public: bytes) -> bytes:
    """Return the name of a signer: the SHA-256 of the signing public key."""
    return hashlib.sha256(signing_public).digest()


def sign(signing_key: bytes, header: Header, payload: bytes) -> bytes:
    """Sign a record's payload (Ed25519, RFC 8032), as that of the file with this header and no other."""
    return _sign(signing_key, _SIGNED + header.pack() + payload)


def verify(signing_public: bytes, signature: bytes, header: Header, payload: bytes) -> bool:
    """Return whether this key signed this payload for the file with this header."""
    return _verify(signing_public, signature, _SIGNED + header.pack() + payload)


def sign_table(signing_key: bytes, repository: bytes, payload: bytes) -> bytes:
    """Sign a table, which may move from file to file within its repository."""
    return _sign(signing_key, _TABLE + repository + payload)


def verify_table(signing_public: bytes, signature: bytes, repository: bytes, payload: bytes) -> bool:
    """Return whether this key signed this table."""
    return _verify(signing_public, signature, _TABLE + repository + payload)


def _sign(signing_key: bytes, message: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(signing_key).sign(message)


def _verify(signing_public: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(signing_public).verify(signature, message)
    except (InvalidSignature, ValueError):  # or a key of another suite
        return False
    return True
