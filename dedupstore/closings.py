"""Closing lists: what counts of members that were removed (docs/format.md 4).

Invariant: of a removed member counts only what a list says that an admin signed for it, that the roster names, and
that is there.
"""

import time

from msgspec import Struct

from dedupstore import layout, verified
from dedupstore.layout import Kind
from dedupstore.opened import Opened
from dedupstore.records import Closing, Condemned, Fence, Ledger, Tombstones

_OTHERS = (
    (Kind.LEDGER, Ledger),
    (Kind.TOMBSTONES, Tombstones),
    (Kind.CONDEMNED, Condemned),
    (Kind.FENCE, Fence),
)


def load(opened: Opened) -> tuple[dict[bytes, Closing], list[str]]:
    """Return the closing list of each removed signer that has one, and an alarm for each that is missing."""
    wanted = {
        signer: layout.content_file(Kind.CLOSING, member.closing)
        for signer, member in opened.members.signers.items()
        if member.closing
    }
    if not wanted:
        return {}, []
    present = set(opened.backend.names(Kind.CLOSING.folder)).intersection(wanted.values())
    lists = verified.known(opened, Kind.CLOSING, present, Closing, [])
    found: dict[bytes, Closing] = {}
    alarms = []
    for signer, file in wanted.items():
        _, closing = lists.get(file, (b"", None))
        if closing is not None and closing.signer == signer:
            found[signer] = closing
        else:
            name = opened.members.signers[signer].name
            alarms.append(
                f"{file} is missing, damaged or another's, so no backup of {name}, who was removed, counts; "
                "put it back from another copy of the repository"
            )
    return found, alarms


def publish(opened: Opened, signer: bytes, snapshots: list[bytes]) -> bytes:
    """Write the list of these snapshots, and all else of a signer that counts; return its SHA-256.

    Returns nothing if it would be empty.

    The snapshots and the index were listed before.
    """
    from dedupstore import catalogue

    index = [name for name, signed in opened.cache.index_signers().items() if signed == signer]
    others = [name for kind, record in _OTHERS for name in _signed(opened, kind, record, signer)]
    if not snapshots and not index and not others:
        return b""
    closing = Closing(
        signer=signer,
        time=int(time.time()),
        snapshots=b"".join(sorted(snapshots)),
        index=b"".join(sorted(index)),
        records=b"".join(sorted(others)),
    )
    return catalogue.publish_record(opened.backend, opened.access, Kind.CLOSING, closing)


def _signed(opened: Opened, kind: Kind, record: type[Struct], signer: bytes) -> list[bytes]:
    """List the files of a kind that this signer made, by the hashes in their names."""
    found = verified.listed(opened, kind, record)
    return [digest for file, (by, _) in found.items() if by == signer and (digest := layout.digest_of(file))]
