"""The pins of this host: which repositories it knows, and the newest roster of each that it believed.

Invariant: a roster is returned by `believe` only if an unbroken chain leads to it from the one that was pinned,
and the first was pinned because a human named an admin's key.  A pin moves forward by itself and back never.

One file a repository: `<root>/<repository id in hex>/trust.json`.
"""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from dedupstore.errors import DamageError, NewerFormatError, NotARepositoryError, StateError, TrustError
from dedupstore.state.folder import StateFolder
from keys import chain
from keys.gpg import normal_fingerprint
from keys.refused import Refused
from keys.roster import Claim, Roster, Serial

if TYPE_CHECKING:
    from dedupstore.backends.contract import Backend

_FILE = "trust.json"
_LOCK = "trust.lock"
_ACCEPT = "ask the admins; if they say that it is right: dedup trust accept --admin FINGERPRINT"


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What this host believes of one repository; `accepted` in Unix seconds, hashes and ids in hex."""

    repository: Annotated[str, Meta(pattern="^[0-9a-f]{32}\\Z")]
    urls: list[str]
    serial: Serial
    roster: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
    admins: list[str]
    accepted: int


class Trust:
    """The pins below one state folder.

    `damage` tells of roster files that were passed over; callers show it.
    """

    def __init__(self, root: StateFolder) -> None:
        self._root = root
        self.damage: list[str] = []

    def folder(self, repository: bytes) -> StateFolder:
        """Return the folder for all that this host keeps of a repository."""
        return self._root.folder(repository.hex())

    def believe(self, backend: "Backend", url: str) -> Roster:
        """Return the newest roster that follows from the pinned one, and move the pin to it.

        GPG is run only for roster files that are newer than the pin.  A repository that is known here under
        another URL is believed under this one too.

        Raises `NotARepositoryError` if there is nothing, `TrustError` if this host never met the repository, or
        if it is gone, was replaced or went backwards, `NewerFormatError` if an admin made a roster of a newer format.
        """
        place = normal_url(url)
        pins = self._pins()
        files = chain.listing(backend)
        if not files:
            raise self.gone(url) or _nothing(url)
        pin = next((pin for pin in pins if place in pin.urls), None)
        if not pin:
            pin = next((pin for pin in pins if _pinned(backend, pin, files)), None)
        if not pin:
            raise TrustError(
                f"unknown repository: {url} is not yet accepted on this host",
                "get an admin's fingerprint from the admin, then run: dedup trust accept --admin FINGERPRINT",
            )
        pinned = _pinned(backend, pin, files)
        if not pinned:
            raise _not_the_one(backend, url, pin, files)
        believed = self.newest(backend, pinned, files)
        if believed is not pinned or place not in pin.urls:
            self.advance(url, believed)
        return believed

    def examine(self, backend: "Backend", url: str, admin_fingerprint: str) -> Roster:
        """Return the newest roster on the word of one admin's key, given by a human; pins nothing.

        The newest roster that this key signed as an admin is taken, and later ones as they follow from it.
        Raises `NotARepositoryError` if there is nothing, `TrustError` if this key signed none, or if what this
        host knows there is gone; `KeyAccessError` if the fingerprint is not a full one.
        """
        admin = normal_fingerprint(admin_fingerprint)
        files = chain.listing(backend)
        if not files:
            raise self.gone(url) or _nothing(url)
        newer: NewerFormatError | None = None
        for serial in reversed(files):
            try:
                claim = chain.fetch(backend, serial, files[serial])
                roster = claim.decode()
                signed = _signed_by(claim, roster, admin)
            except (DamageError, TrustError):
                continue  # anybody could have put it there
            except NewerFormatError as error:
                newer = error
                continue
            if signed:
                return self._newest(backend, roster, files, Refused())
        raise newer or TrustError(
            f"no roster here is signed by the admin {admin}", "check fingerprint and place"
        )

    def accept(self, url: str, roster: Roster) -> None:
        """Pin this roster, and this URL to its repository, whatever was pinned before."""
        with self._root.lock(_LOCK):
            place = normal_url(url)
            repository = roster.repository.hex()
            urls = {place}
            for pin in self._pins():
                if pin.repository == repository:
                    urls |= set(pin.urls)
                elif place in pin.urls:
                    # First the other lets go: if power fails here the URL is unknown, never ambiguous.
                    self._write(msgspec.structs.replace(pin, urls=[u for u in pin.urls if u != place]))
            self._write(_pin(roster, urls))

    def advance(self, url: str, roster: Roster) -> None:
        """Move the pin of a known repository forward to this believed roster, and remember the URL."""
        with self._root.lock(_LOCK):
            pin = next((pin for pin in self._pins() if pin.repository == roster.repository.hex()), None)
            urls = {normal_url(url), *(pin.urls if pin else ())}
            if pin and pin.serial >= roster.serial:  # another process was faster
                self._write(msgspec.structs.replace(pin, urls=sorted(urls)))
            else:
                self._write(_pin(roster, urls))

    def known(self, url: str) -> str | None:
        """Return the id (hex) of the repository that this host knows at this URL, or None."""
        place = normal_url(url)
        return next((pin.repository for pin in self._pins() if place in pin.urls), None)

    def gone(self, url: str) -> TrustError | None:
        """Return the error for a place without any roster, if this host knows a repository there."""
        known = self.known(url)
        if known is None:
            return None
        return TrustError(
            f"this host knows the repository {known} at {url}, but it is not there now",
            f"mount its disk; or, if it is gone for good, delete {self.folder(bytes.fromhex(known)).path}",
        )

    def newest(self, backend: "Backend", believed: Roster, files: dict[int, int]) -> Roster:
        """Return the newest of these roster files that follows from one that is believed."""
        refused = Refused(self.folder(believed.repository))
        try:
            return self._newest(backend, believed, files, refused)
        finally:
            refused.save()

    def _newest(
        self, backend: "Backend", believed: Roster, files: dict[int, int], refused: Refused
    ) -> Roster:
        newest, passed_over = chain.latest(backend, believed, files, refused)
        self.damage += [text for text in passed_over if text not in self.damage]
        return newest

    def _pins(self) -> list[Pin]:
        names = [path.name for path in self._root.path.iterdir() if re.fullmatch("[0-9a-f]{32}", path.name)]
        pins = []
        for name in sorted(names):
            folder = self._root.folder(name)
            data = folder.read(_FILE)
            if data is None:
                continue
            try:
                pin = msgspec.json.decode(data, type=Pin)
            except (msgspec.MsgspecError, UnicodeError) as error:
                raise _spoilt(folder, str(error)) from None
            if pin.repository != name:
                raise _spoilt(folder, f"it is about {pin.repository}")
            pins.append(pin)
        return pins

    def _write(self, pin: Pin) -> None:
        self._root.folder(pin.repository).write(_FILE, msgspec.json.format(msgspec.json.encode(pin)))


def normal_url(url: str) -> str:
    """Return the form in which a place is pinned: a real absolute path, or the URL as it is."""
    return url if "://" in url else str(Path(url).expanduser().resolve())


def _nothing(url: str) -> NotARepositoryError:
    return NotARepositoryError(
        f"there is no dedup repository at {url}",
        "check the path; where there never was one, an admin makes it: dedup init",
    )


def _pin(roster: Roster, urls: set[str]) -> Pin:
    return Pin(
        repository=roster.repository.hex(),
        urls=sorted(urls),
        serial=roster.serial,
        roster=roster.digest.hex(),
        admins=[admin.fingerprint for admin in roster.present("admin")],
        accepted=int(time.time()),
    )


def _pinned(backend: "Backend", pin: Pin, files: dict[int, int]) -> Roster | None:
    """Return the roster that is pinned, or None if it is not there, or another in its place."""
    if pin.serial not in files:
        return None
    try:
        claim = chain.fetch(backend, pin.serial, files[pin.serial])
    except DamageError:
        return None
    return claim.decode() if claim.digest.hex() == pin.roster else None


def _not_the_one(backend: "Backend", url: str, pin: Pin, files: dict[int, int]) -> TrustError:
    """The alarm when the pinned roster is not there: what has become of the repository."""
    for serial in reversed(files):
        try:
            found = chain.fetch(backend, serial, files[serial]).decode().repository.hex()
        except (DamageError, NewerFormatError):
            continue
        if found != pin.repository:
            return TrustError(
                f"the repository at {url} was replaced: this host knows {pin.repository} there, and finds {found}",
                _ACCEPT,
            )
        break
    if pin.serial in files:
        what = f"roster {pin.serial} is not the one that this host trusted before"
    else:
        what = f"rollback detected: roster {pin.serial} is gone, the newest now is {max(files)}"
    return TrustError(f"refused the repository {pin.repository} at {url}: {what}", _ACCEPT)


def _signed_by(claim: Claim, roster: Roster, admin: str) -> bool:
    """Whether this key, an admin in this roster (or until this roster), signed it."""
    entries = [
        member
        for member in roster.members
        if member.fingerprint == admin and member.role == "admin" and member.removed in (0, roster.serial)
    ]
    return bool(entries) and claim.signer(entries) == admin


def _spoilt(folder: StateFolder, why: str) -> StateError:
    return StateError(
        f"the trust file {folder.path / _FILE} is not well-formed: {why}",
        "delete it and run: dedup trust accept --admin FINGERPRINT",
    )
