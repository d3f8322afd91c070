"""What gpg does with public keys alone: verify a signature, encrypt to one key, both in a throw-away home.

Invariant: the outcome depends on nothing but what is given: no settings, no keyring, no agent, no network, and for
a signature no clock either, so that all hosts judge it alike.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dedupstore.errors import KeyAccessError, TrustError
from keys.driver import Result, driver, run

if TYPE_CHECKING:
    import gnupg

FINGERPRINT = re.compile("[0-9A-F]{40}|[0-9A-F]{64}")

_OPTIONS = [
    *("--no-autostart", "--disable-dirmngr", "--no-auto-key-retrieve"),
    *("--no-auto-check-trustdb", "--trust-model", "always"),
]

# By a clock that is behind, a key or signature would lie in the future and not count.  At this time none does; what
# has expired by then counts as it does today.  (`--ignore-time-conflict` alone leaves expiry to the local clock.)
_NO_CLOCK = ["--faked-system-time", "20990101T000000"]

_SPOILS_SIGNATURE = frozenset(
    ("BADSIG", "ERRSIG", "EXPSIG", "REVKEYSIG", "KEYREVOKED", "NO_PUBKEY", "NODATA", "UNEXPECTED", "FAILURE")
)

_STRONG_DIGESTS = ("8", "9", "10")  # SHA-256, SHA-384, SHA-512 (RFC 4880, 9.4)


class UnsureError(TrustError):
    """A signature does not count, but gpg or a key did not work: another time it may."""


def verify(signature: bytes, data: bytes, public_keys: Sequence[bytes]) -> str:
    """Return the full primary fingerprint of the key, one of `public_keys`, that made this detached signature.

    A key that has expired still counts; a revoked one, a signature that can expire, several signatures, or a weak
    digest do not: `TrustError` (docs/format.md 4), or `UnsureError` if that may not be final.
    """
    with _home(public_keys, _NO_CLOCK) as (gpg, folder, imported):
        file = folder / "data"
        file.write_bytes(data)
        result: Result = gpg.verify_file(BytesIO(signature), data_filename=str(file))
    try:
        return _judge(result)
    except TrustError as error:
        if imported < len(public_keys) or result.returncode < 0:
            raise UnsureError(error.message, error.hint) from None
        raise


def encrypt(data: bytes, public_key: bytes, fingerprint: str) -> bytes:
    """Return a binary OpenPGP message that only the key of this fingerprint opens, which `public_key` must be.

    Raises `KeyAccessError` if it is not, or cannot encrypt.
    """
    with _home([public_key], []) as (gpg, _, _):
        keys = gpg.list_keys()
        if [key["fingerprint"] for key in keys] != [fingerprint]:
            raise KeyAccessError(
                f"the exported public key is not usable as {fingerprint}",
                f"look at it, and at this machine's clock: gpg --list-keys {fingerprint}",
            )
        result: Result = run(
            lambda: gpg.encrypt(data, [fingerprint], armor=False, extra_args=["--cipher-algo", "AES256"])
        )
        if not result.data or result.count("END_ENCRYPTION") != 1:
            raise KeyAccessError(f"GPG could not encrypt to {fingerprint}: {result.reason()}")
        packets: Result = run(lambda: gpg.decrypt(result.data, extra_args=["--list-only"]))
    recipients = [value.split()[0] for key, value in packets.statuses if key == "ENC_TO"]
    if (
        len(recipients) != 1
        or recipients[0] not in _encrypting(keys[0])
        or packets.count("NEED_PASSPHRASE_SYM")
    ):
        raise KeyAccessError(
            f"others than {fingerprint} could open what GPG encrypted to it: {', '.join(recipients)}",
            "choose a key without additional decryption subkeys",
        )
    return result.data


def _judge(result: Result) -> str:
    """Return whose signature these status lines report, if it is the only one and counts."""
    seen = Counter(key for key, _ in result.statuses)
    if spoiled := sorted(_SPOILS_SIGNATURE & seen.keys()):
        raise TrustError(f"the signature does not count: gpg says {', '.join(spoiled)}")
    if not seen["NEWSIG"] == seen["VALIDSIG"] == seen["GOODSIG"] + seen["EXPKEYSIG"] == 1:
        raise TrustError("the signature does not count: it is not exactly one good signature")
    fields = dict(result.statuses)["VALIDSIG"].split()
    if len(fields) != 10 or not FINGERPRINT.fullmatch(fields[9]):
        raise TrustError("the signature does not count: gpg does not name its primary key")
    if fields[3] != "0":
        raise TrustError("the signature does not count: it can expire")
    # The class: 00 is a binary document, 01 a text whose line ends may be changed.
    if fields[8] != "00" or fields[7] not in _STRONG_DIGESTS:
        raise TrustError(
            "the signature does not count: it is not a binary one with SHA-256, SHA-384 or SHA-512"
        )
    return fields[9]


@contextmanager
def _home(public_keys: Sequence[bytes], options: Sequence[str]) -> Iterator[tuple["gnupg.GPG", Path, int]]:
    """Lend gpg in a new home, the home's folder, and how many of these keys could be imported into it."""
    import tempfile

    try:
        with tempfile.TemporaryDirectory(prefix="dedup-gpg-") as name:
            gpg = driver(Path(name), [*_OPTIONS, *options])
            # One by one: what follows a malformed key is not read.
            imported = sum(gpg.import_keys(key).count("IMPORT_OK") > 0 for key in public_keys)
            yield gpg, Path(name), imported
    except OSError as error:
        raise KeyAccessError(
            f"gpg stopped early: {error.strerror or error}",
            "is there room in the folder for temporary files?",
        ) from None


def _encrypting(key: dict[str, Any]) -> set[str]:
    """Return the ids of a key's parts that can encrypt."""
    parts = [(key["keyid"], key["cap"]), *((sub[0], sub[1]) for sub in key["subkeys"])]
    return {number for number, capabilities in parts if "e" in capabilities}
