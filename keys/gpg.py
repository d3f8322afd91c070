"""The user's own GPG: which keys there are, and what needs a secret one.

Invariant: keys are known by their full fingerprints.  A gpg.conf is not read: neither what is made here nor who can
open it depends on it.  The agent and its settings are the user's.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore.errors import KeyAccessError
from keys.driver import CODE_PAGE, Result, driver, run
from keys.public import FINGERPRINT

if TYPE_CHECKING:
    import gnupg


class Gpg:
    """The user's own GPG: keyring, agent, cards.

    `home` is a GNUPGHOME, or None for gpg's default.  gpg is not run before the first call.  Each method
    raises `KeyAccessError` if gpg is missing or refuses.
    """

    def __init__(self, home: Path | None = None) -> None:
        self._home = home

    @cached_property
    def _driver(self) -> "gnupg.GPG":
        return driver(self._home, ["--export-options", "no-export-attributes"])

    def fingerprint(self, spec: str, *, signs: bool = False) -> str:
        """Return the full primary fingerprint of the one key that `spec` names and that can encrypt now.

        `spec` is whatever gpg takes: a fingerprint, a key id, an address, a part of a name.  With `signs`, the
        key must be able to sign, too.
        """
        if not spec.strip():
            raise KeyAccessError("an empty name is not a GPG key", "give a fingerprint or an address")
        if FINGERPRINT.fullmatch(bare := "".join(spec.split()).upper()):
            spec = bare  # typed in groups, as gpg prints it
        found = self._driver.list_keys(keys=["--", spec])
        needs = "ES" if signs else "E"
        usable = [key["fingerprint"] for key in found if _can(key, needs)]
        if len(usable) == 1:
            return str(usable[0])
        if usable:
            raise KeyAccessError(
                f"{len(usable)} GPG keys answer to {spec!a}: {', '.join(usable)}", "give one full fingerprint"
            )
        if found:
            raise KeyAccessError(
                f"the GPG key {found[0]['fingerprint']} cannot encrypt{' and sign' * signs}: "
                "it is expired, revoked or disabled, "
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
        return {key: name.encode(CODE_PAGE).decode(errors="replace") for key, name in names.items()}

    def export(self, fingerprint: str) -> bytes:
        """Return the OpenPGP public key, without the signatures of others and without photos."""
        data: bytes = self._driver.export_keys(fingerprint, armor=False, minimal=True)
        if not data:
            raise KeyAccessError(f"GPG cannot export the public key {fingerprint}", "gpg --import FILE")
        return data

    def decrypt(self, data: bytes) -> bytes:
        """Return what an OpenPGP message holds; the agent may ask the user for a passphrase or PIN."""
        result: Result = run(lambda: self._driver.decrypt(data))
        if result.count("DECRYPTION_OKAY") != 1 or result.count("DECRYPTION_FAILED"):
            raise KeyAccessError(f"GPG could not decrypt: {result.reason()}")
        return result.data

    def sign(self, data: bytes, fingerprint: str) -> bytes:
        """Return a binary detached signature of this key; the agent may ask the user as for `decrypt`."""
        # Not keyid=: that is --default-key, which gpg may pass over for another key.
        extra = ["--local-user", fingerprint, "--digest-algo", "SHA512", "--default-sig-expire", "0"]
        result: Result = run(
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
    if not FINGERPRINT.fullmatch(bare):
        raise KeyAccessError(f"{text!a} is not a full GPG fingerprint", "give all 40 (or 64) digits")
    return bare


def _can(key: dict[str, str], needs: str) -> bool:
    """By gpg's colon listing: validity not one of the bad ones, and usable to encrypt ("E"), or sign ("S")."""
    return (
        key["trust"] not in ("i", "d", "r", "e") and set(needs) <= set(key["cap"]) and "D" not in key["cap"]
    )
