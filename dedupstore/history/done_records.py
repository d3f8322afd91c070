"""Which runs are done, and what was deleted lawfully: done records, ledgers and tombstones (docs/format.md 11, 12).

Invariant: nothing is taken from a file's name.  A done record that a ledger takes over while both are being read is
found in one of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dedupstore.format import layout, records
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Done, Ledger, Tombstone, Tombstones
from dedupstore.history import verified
from dedupstore.history.closings import CountingContext

_LISTINGS = 3  # done records may move into ledgers, and tombstones into others, while they are read


class DoneRecords(NamedTuple):
    """`named` holds snapshot ‖ signer ‖ run of what was published; `records` the done records that are there.

    `entombed` is what was deleted lawfully, by snapshot; `dropped` the index files that were.
    """

    named: set[bytes]
    records: list[tuple[bytes, Done]]
    entombed: dict[bytes, Tombstone]
    dropped: set[bytes]

    def names(self, snapshot: bytes, signer: bytes, run: bytes) -> bool:
        """Return whether a run of this signer has published the snapshot, and it was not deleted lawfully."""
        return snapshot + signer + run in self.named and snapshot not in self.entombed

    def snapshots(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield snapshot and signer of all that was published and not deleted lawfully."""
        return ((row[:32], row[32:64]) for row in self.named if row[:32] not in self.entombed)


def read(context: CountingContext) -> DoneRecords:
    """List done records, then ledgers, then tombstones, and read what is new."""
    for _ in range(_LISTINGS):
        gone: list[str] = []
        runs = {name for name in context.backend.names("runs") if layout.run_of(name, Kind.DONE)}
        ledgers = {name for name in context.backend.names("ledgers") if layout.digest_of(name)}
        tombstones = {name for name in context.backend.names("tombstones") if layout.digest_of(name)}
        done = list(verified.known(context, Kind.DONE, runs, Done, gone).values())
        joined = context.counting(verified.known(context, Kind.LEDGER, ledgers, Ledger, gone))
        dead = context.counting(verified.known(context, Kind.TOMBSTONES, tombstones, Tombstones, gone))
        if not gone:
            break
    context.damage += [f"{file} is listed, but cannot be read" for file in gone]
    named = {
        name + signer + record.run for signer, record in done for name in records.names(record.snapshots)
    }
    for _, ledger in joined.values():
        named.update(snapshot + signer + run for run, signer, snapshot in ledger.entries())
    return DoneRecords(
        named,
        done,
        {tombstone.snapshot: tombstone for _, record in dead.values() for tombstone in record.entries()},
        {name for _, record in dead.values() for name in records.names(record.index)},
    )
