"""The `gpg` program, by way of python-gnupg: wrap and unwrap slots, sign and verify rosters, nothing else.

Invariant: what gpg did is believed by its status lines (doc/DETAILS in GnuPG) and full fingerprints only, never
by its exit status or its words.  Passphrases and card PINs are a matter between the agent and the user: this
program never sees one.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore.errors import KeyAccessError, TrustError

if TYPE_CHECKING:
    import gnupg

_FINGERPRINT = re.compile("[0-9A-F]{40}|[0-9A-F]{64}")

# A user's gpg.conf is kept, but for what would change the form of a file, or let others read it.
_USER_OPTIONS = ["--no-armor", "--no-textmode", "--no-encrypt-to", "--export-options", "no-export-attributes"]

# Verification depends on nothing but what it is given: no settings, no agent, no network.
_VERIFY_OPTIONS = [
    *("--no-options", "--no-autostart", "--disable-dirmngr"),
    *("--no-auto-key-retrieve", "--no-auto-check-trustdb", "--trust-model", "always"),
]

_SPOILS_SIGNATURE = frozenset(
    ("BADSIG", "ERRSIG", "EXPSIG", "REVKEYSIG", "KEYREVOKED", "NO_PUBKEY", "NODATA", "UNEXPECTED", "FAILURE")
)

# As Latin-1, the byte 0x85 would end a line, and a user id could smuggle in status lines of its own.  In this
# code page every byte above 0x7F is a plain character; gpg itself escapes those below 0x20.
_CODE_PAGE = "cp437"

_STRONG_DIGESTS = ("8", "9", "10")  # SHA-256, SHA-384, SHA-512 (RFC 4880, 9.4)

# libgpg-error's codes (gpg-error.h) that a user can do something about; the source is in the upper 16 bits.
_REASONS = {
    9: "its public key is not here",
    11: "wrong passphrase",
    17: "its secret key is not here",
    53: "its public key is expired, revoked or not made for this",
    54: "its secret key is expired, revoked or not made for this",
    62: "nobody answered in time",
    77: "gpg-agent does not run",
    85: "no pinentry program to ask for the passphrase with",
    86: "pinentry failed",
    99: "cancelled",
    **dict.fromkeys((108, 109, 110, 111, 112, 119, 120), "the smart card is missing or does not answer"),
    130: "the card's PIN is blocked",
    32788: "cancelled",
    32870: "no terminal to ask for the passphrase on",
}


class _Result:
    """What one run of gpg reported: its status lines in order, and its output.

    Stands in for python-gnupg's own classes, which keep only the last of several signatures.
    """

    def __init__(self, _driver: object) -> None:
        self.statuses: list[tuple[str, str]] = []
        self.data = b""

    def handle_status(self, key: str, value: str) -> None:
        """Called by python-gnupg for each status line."""
        self.statuses.append((key, value))

    def count(self, key: str) -> int:
        """How many status lines have this keyword."""
        return sum(key == found for found, _ in self.statuses)

    def reason(self) -> str:
        """Why gpg failed, in plain words."""
        for key, value in self.statuses:
            last = value.rsplit(" ", 1)[-1]
            if key in ("ERROR", "FAILURE") and last.isdigit():
                code = int(last) & 0xFFFF
                return _REASONS.get(code, f"gpg error {code}")
        return _REASONS[17] if self.count("NO_SECKEY") else "gpg gave no reason"


class Gpg:
    """The user's own GPG: keyring, agent, cards.

    `home` is a GNUPGHOME, or None for gpg's default.  gpg is not run before the first call.  Each method
    raises `KeyAccessError` if gpg is missing or refuses.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = home

    @cached_property
    def _driver(self) -> "gnupg.GPG":
        return _driver(self._home, _USER_OPTIONS)

    def fingerprint(self, spec: str) -> str:
        """Return the full primary fingerprint of the one key that `spec` names and that can encrypt now.

        `spec` is whatever gpg takes: a fingerprint, a key id, an address, a part of a name.
        """
        if not spec.strip():
            raise KeyAccessError("an empty name is not a GPG key", "give a fingerprint or an address")
        if _FINGERPRINT.fullmatch(bare := "".join(spec.split()).upper()):
            spec = bare  # typed in groups, as gpg prints it
        found = self._driver.list_keys(keys=["--", spec])
        usable = [key["fingerprint"] for key in found if _can_encrypt(key)]
        if len(usable) == 1:
            return str(usable[0])
        if usable:
            raise KeyAccessError(
                f"{len(usable)} GPG keys answer to {spec!a}: {', '.join(usable)}", "give one full fingerprint"
            )
        if found:
            raise KeyAccessError(
                f"the GPG key {found[0]['fingerprint']} cannot encrypt: it is expired, revoked or disabled, "
                "or has no subkey for it",
                "renew it, or choose another key",
            )
        raise KeyAccessError(
            f"no GPG key here answers to {spec!a}", "import its public key: gpg --import FILE"
        )

    def secret_fingerprints(self) -> list[str]:
        """Return the primary fingerprints of the keys whose secret part is here or on a known card."""
        return [key["fingerprint"] for key in self._driver.list_keys(secret=True)]

    def user_ids(self, fingerprints: Sequence[str]) -> dict[str, str]:
        """Return the first user id of each of these keys that the keyring has: a name for people, proof of nothing."""
        found = self._driver.list_keys(keys=list(fingerprints))
        names = {key["fingerprint"]: key["uids"][0] for key in found if key["uids"]}
        return {key: name.encode(_CODE_PAGE).decode(errors="replace") for key, name in names.items()}

    def export(self, fingerprint: str) -> bytes:
        """Return the OpenPGP public key, without the signatures of others and without photos."""
        data: bytes = self._driver.export_keys(fingerprint, armor=False, minimal=True)
        if not data:
            raise KeyAccessError(f"GPG cannot export the public key {fingerprint}", "gpg --import FILE")
        return data

    def encrypt(self, data: bytes, fingerprint: str) -> bytes:
        """Return a binary OpenPGP message that this key alone opens."""
        result: _Result = _run(
            lambda: self._driver.encrypt(
                data, [fingerprint], always_trust=True, armor=False, extra_args=["--cipher-algo", "AES256"]
            )
        )
        if not result.data or result.count("END_ENCRYPTION") != 1:
            raise KeyAccessError(f"GPG could not encrypt to {fingerprint}: {result.reason()}")
        return result.data

    def decrypt(self, data: bytes) -> bytes:
        """Return what an OpenPGP message holds; the agent may ask the user for a passphrase or PIN."""
        result: _Result = _run(lambda: self._driver.decrypt(data))
        if result.count("DECRYPTION_OKAY") != 1 or result.count("DECRYPTION_FAILED"):
            raise KeyAccessError(f"GPG could not decrypt: {result.reason()}")
        return result.data

    def sign(self, data: bytes, fingerprint: str) -> bytes:
        """Return a binary detached signature of this key; the agent may ask the user as for `decrypt`."""
        # Not keyid=: that is --default-key, which gpg may pass over for another key.
        extra = ["--local-user", fingerprint, "--digest-algo", "SHA512", "--default-sig-expire", "0"]
        result: _Result = _run(
            lambda: self._driver.sign(data, clearsign=False, detach=True, binary=True, extra_args=extra)
        )
        if not result.data or result.count("SIG_CREATED") != 1:
            raise KeyAccessError(f"GPG could not sign with the key {fingerprint}: {result.reason()}")
        return result.data


def normal_fingerprint(text: str) -> str:
    """Return a fingerprint that a human typed as gpg reports it: without blanks, in upper case.

    Raises `KeyAccessError` if it is not a whole fingerprint: short key ids can be forged.
    """
    bare = "".join(text.split()).removeprefix("0x").upper()
    if not _FINGERPRINT.fullmatch(bare):
        raise KeyAccessError(f"{text!a} is not a full GPG fingerprint", "give all 40 (or 64) digits")
    return bare


def verify(signature: bytes, data: bytes, public_keys: Sequence[bytes]) -> str:
    """Return the full primary fingerprint of the key, one of `public_keys`, that made this detached signature.

    Works in a throw-away home that knows these keys and no others.  A key that has expired since still
    counts; a revoked one, an expired signature, several signatures, or a weak digest do not: `TrustError`
    (docs/format.md 4).
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="dedup-verify-") as folder:
        file = Path(folder, "signature")
        file.write_bytes(signature)
        driver = _driver(Path(folder), _VERIFY_OPTIONS)
        try:
            driver.import_keys(b"".join(public_keys))
            result: _Result = driver.verify_data(str(file), data)
        except OSError as error:  # gpg ended before it had read everything
            raise TrustError(f"the signature does not count: gpg stopped early ({error})") from None
    seen = Counter(key for key, _ in result.statuses)
    if spoiled := sorted(_SPOILS_SIGNATURE & seen.keys()):
        raise TrustError(f"the signature does not count: gpg says {', '.join(spoiled)}")
    if not seen["NEWSIG"] == seen["VALIDSIG"] == seen["GOODSIG"] + seen["EXPKEYSIG"] == 1:
        raise TrustError("the signature does not count: it is not exactly one good signature")
    fields = dict(result.statuses)["VALIDSIG"].split()
    if len(fields) != 10 or not _FINGERPRINT.fullmatch(fields[9]):
        raise TrustError("the signature does not count: gpg does not name its primary key")
    # The class: 00 is a binary document, 01 a text whose line ends may be changed.
    if fields[8] != "00" or fields[7] not in _STRONG_DIGESTS:
        raise TrustError(
            "the signature does not count: it is not a binary one with SHA-256, SHA-384 or SHA-512"
        )
    return fields[9]


def _driver(home: Path | None, options: list[str]) -> "gnupg.GPG":
    import gnupg  # takes 50 ms and more, which a host that trusts the roster already need not spend

    try:
        driver = gnupg.GPG(gnupghome=str(home) if home else None, options=options, env=_environment())
    except (OSError, ValueError) as error:
        raise KeyAccessError(
            f"gpg cannot be run: {str(error).rstrip('.')}", "install GnuPG 2.2 or newer, or set GNUPGHOME"
        ) from None
    driver.encoding = _CODE_PAGE
    driver.result_map = driver.result_map | dict.fromkeys(("crypt", "sign", "verify", "import"), _Result)
    return driver


def _run(call: Callable[[], _Result]) -> _Result:
    import gnupg

    gnupg.log_everything = False  # another user of that library may have set it: it logs what is decrypted
    try:
        return call()
    except OSError as error:  # gpg ended before it had read everything
        raise KeyAccessError(f"gpg stopped early: {error.strerror or error}") from None


def _environment() -> dict[str, str]:
    """The environment for gpg, with the terminal on which its agent may ask for a passphrase."""
    environment = dict(os.environ)
    for descriptor in (0, 2):
        if os.isatty(descriptor):
            environment["GPG_TTY"] = os.ttyname(descriptor)
            break
    return environment


def _can_encrypt(key: dict[str, str]) -> bool:
    """By gpg's colon listing: validity not one of bad ones, and a usable key for encryption ("E")."""
    return key["trust"] not in ("i", "d", "r", "e") and "E" in key["cap"] and "D" not in key["cap"]
