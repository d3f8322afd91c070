"""How `gpg` is started, by way of python-gnupg, and what it reports.

Invariant: no run depends on a gpg.conf, and what gpg did is believed by its status lines (doc/DETAILS in GnuPG)
only, never by its exit status or its words.  Passphrases and card PINs are a matter between the agent and the
user: this program never sees one.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dedupstore.errors import KeyAccessError

if TYPE_CHECKING:
    import gnupg

# As Latin-1, the byte 0x85 would end a line, and a user id could smuggle in status lines of its own.  In this
# code page every byte above 0x7F is a plain character; gpg itself escapes those below 0x20.
CODE_PAGE = "cp437"

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


class Result:
    """What one run of gpg reported: its status lines in order, and its output.

    Stands in for python-gnupg's own classes, which keep only the last of several signatures.
    """

    def __init__(self, _driver: object) -> None:
        self.statuses: list[tuple[str, str]] = []
        self.data = b""
        self.returncode = 0

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


def driver(home: Path | None, options: Sequence[str] = ()) -> "gnupg.GPG":
    """Return gpg for a home (None: its default), whose gpg.conf is not read.

    Raises `KeyAccessError` if gpg cannot be run.
    """
    import gnupg  # takes 50 ms and more, which a host that trusts the roster already need not spend

    try:
        made = gnupg.GPG(
            gnupghome=str(home) if home else None,
            options=["--no-options", *options],
            env=_environment(),
        )
    except (OSError, ValueError) as error:
        raise KeyAccessError(
            f"gpg cannot be run: {str(error).rstrip('.')}", "install GnuPG 2.2 or newer, or set GNUPGHOME"
        ) from None
    made.encoding = CODE_PAGE
    made.result_map = made.result_map | dict.fromkeys(("crypt", "sign", "verify", "import"), Result)
    return made


def run(call: Callable[[], Result]) -> Result:
    """Return what one call of the driver reports; `KeyAccessError` if gpg breaks off."""
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
