"""Closing lists: what counts of members that were removed (docs/format.md 4).

Invariant: of a removed member counts only what a list says that an admin signed for it, that the roster names, and
that is there.
"""

import time

from dedupstore import layout, verified
from dedupstore.layout import Kind
from dedupstore.opened import Opened
from dedupstore.records import Closing


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
    """Write the list of these snapshots and all index files of a signer; return its SHA-256, or nothing if it is empty.

    The snapshots and the index were listed before.
    """
    from dedupstore import catalogue

    index = [name for name, signed in opened.cache.index_signers().items() if signed == signer]
    if not snapshots and not index:
        return b""
    closing = Closing(
        signer=signer,
        time=int(time.time()),
        snapshots=b"".join(sorted(snapshots)),
        index=b"".join(sorted(index)),
    )
    return catalogue.publish_record(opened.backend, opened.access, Kind.CLOSING, closing)
