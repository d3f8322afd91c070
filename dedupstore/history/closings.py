"""Closing lists: what counts of removed members (docs/format.md 4).

Invariant: of a removed member counts only what a list says that an admin signed for it, that the roster names, and
that is there.
"""

import time
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from dedupstore.context import Context
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Closing, Condemned, Fence, Ledger, Tombstones
from dedupstore.history import verified

T = TypeVar("T", bound=Struct)

ROOM = 60 << 10  # snapshots, and as many index files: what a closing list can name, with some other records
_ROOM_FOR_OTHERS = 4 << 10

_OTHERS = (
    (Kind.LEDGER, Ledger),
    (Kind.TOMBSTONES, Tombstones),
    (Kind.CONDEMNED, Condemned),
    (Kind.FENCE, Fence),
)


class CountingContext(Context):
    """An open repository, with what counts of removed members."""

    def closed(self, signer: bytes) -> Closing | None:
        """Return what counts of a removed signer; None, if nothing does."""
        return self._all_closings[0].get(signer)

    def counts(self, file: str, signer: bytes) -> bool:
        """Return whether a ledger, tombstone, condemned record or fence counts that this signer made."""
        member = self.members.signers.get(signer)
        if member is None or member.closing is None:
            return member is not None
        closing = self.closed(signer)
        return closing is not None and layout.digest_of(file) in closing.others

    def counting(self, found: dict[str, tuple[bytes, T]]) -> dict[str, tuple[bytes, T]]:
        """Return those of the files of pruners, each with its signer, that count."""
        return {file: row for file, row in found.items() if self.counts(file, row[0])}

    def closing_alarms(self) -> list[str]:
        """Return what is wrong with closing lists."""
        return self._all_closings[1]

    def look_for_closings_again(self) -> None:
        """List them again when they are next needed."""
        self.__dict__.pop("_all_closings", None)

    @cached_property
    def _all_closings(self) -> tuple[dict[bytes, Closing], list[str]]:
        return _load(self)


def _load(context: Context) -> tuple[dict[bytes, Closing], list[str]]:
    """Return the closing list of each removed signer that has one, and an alarm for each that is missing."""
    wanted = {
        signer: layout.content_file(Kind.CLOSING, member.closing)
        for signer, member in context.members.signers.items()
        if member.closing
    }
    if not wanted:
        return {}, []
    present = set(context.backend.names(Kind.CLOSING.folder)).intersection(wanted.values())
    lists = verified.known(context, Kind.CLOSING, present, Closing, [])
    found: dict[bytes, Closing] = {}
    alarms = []
    for signer, file in wanted.items():
        _, closing = lists.get(file, (b"", None))
        if closing is not None and closing.signer == signer:
            found[signer] = closing
        else:
            name = context.members.signers[signer].name
            alarms.append(
                f"{file} is missing, damaged or another member's, so no backup of the removed member {name} counts; "
                "restore it from another copy of the repository"
            )
    return found, alarms


def publish(
    context: CountingContext, signer: bytes, snapshots: list[bytes], relied_on: list[bytes], left_out: int
) -> bytes:
    """Write the list of these snapshots, and all else of a signer that counts; return its SHA-256.

    Returns nothing if it would be empty.  Index files that the snapshots rely on are listed even if they cannot be
    read at this moment.  There is room for `ROOM` of either, the first of those given before others, as the signer
    must not be able to make its own removal impossible; what is left out, `left_out` snapshots, too, is reported.

    The snapshots and the index were listed before.
    """
    from dedupstore.format import record_files

    signers = context.cache.index_signers()
    place = {name: number for number, name in enumerate(relied_on)}
    index = sorted(
        {*(name for name, signed in signers.items() if signed == signer), *(place.keys() - signers.keys())},
        key=lambda name: (name not in signers, place.get(name, len(place)), name),
    )
    others = sorted(name for kind, record in _OTHERS for name in _signed(context, kind, record, signer))
    for kind, count in (
        ("snapshots", left_out),
        ("index files", len(index) - ROOM),
        ("records of deletion", len(others) - _ROOM_FOR_OTHERS),
    ):
        if count > 0:
            context.damage.append(
                f"the closing list of the member has no room for {count} of its {kind}, which count no more; "
                "run `dedup check`"
            )
    if not snapshots and not index and not others:
        return b""
    closing = Closing(
        signer=signer,
        time=int(time.time()),
        snapshots=b"".join(sorted(snapshots)),
        index=b"".join(sorted(index[:ROOM])),
        records=b"".join(others[:_ROOM_FOR_OTHERS]),
    )
    return record_files.publish_record(context.backend, context.access, Kind.CLOSING, closing)


def _signed(context: CountingContext, kind: Kind, record: type[Struct], signer: bytes) -> list[bytes]:
    """List the files of a kind that this signer made, by the hashes in their names."""
    found = context.counting(verified.listed(context, kind, record))
    return [digest for file, (by, _) in found.items() if by == signer and (digest := layout.digest_of(file))]
