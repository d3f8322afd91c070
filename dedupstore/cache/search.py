"""Look chunks up in the index cache: by hints first, then in the columns, which alone count.

Invariant: a chunk, given by its id, is found where a row of the columns has its short id; hints may be of another
chunk, or of packs that are gone.  Every hint that is needed is in the table of recent ones or in a file.  Where a
hint and the columns of a pack that is there contradict each other, one of them is damaged.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dedupstore.cache.column_files import Columns, Piece
from dedupstore.cache.row_formats import (
    FINGERPRINT,
    ID,
    PART,
    POSITION_BITS,
    WIDTH,
    Location,
    Span,
    location,
    spans,
)
from dedupstore.errors import DamageError

if TYPE_CHECKING:
    import lmdb

    from dedupstore.cache.hint_files import HintFile


class _Run(NamedTuple):
    """Ids that lie as they were asked for: the first one's position and how many, where its id is in a pack's part."""

    at: int
    chunks: int
    pack: int
    part: bytes
    spot: int


class Search:
    """The chunks of one domain, as one transaction sees them."""

    def __init__(
        self,
        txn: "lmdb.Transaction[bytes]",
        prefix: bytes,
        recent: Any,
        files: "Sequence[HintFile]",
        columns: Columns,
    ) -> None:
        self._txn = txn
        self._prefix = prefix
        self._recent = txn.cursor(recent)
        self._seek = self._recent.set_range_dup
        self._finders = [file.find for file in files]
        self._columns = columns
        self._number = self._part = -1  # of what was read last: `_value`
        self._piece: Piece | None = None
        self._value = b""

    def packs(self, ids: Sequence[bytes], trusted: Callable[[int], bool] | None = None) -> list[int]:
        """Return for each id the number (from 1) of a pack that has it, one that is `trusted`; 0 if there is none."""
        found = [0] * len(ids)
        for run in self._runs(ids, trusted):
            found[run.at : run.at + run.chunks] = [run.pack] * run.chunks
        return found

    def spans(self, ids: Sequence[bytes], lengths: list[int]) -> Iterator[Span]:
        """Yield, in order, a place of each chunk that is found with its length, joined where they follow each other."""
        for run in self._runs(ids, None):
            wanted = lengths[run.at : run.at + run.chunks]
            yield from spans(run.at, run.pack, run.part, run.spot // ID, wanted)

    def _runs(self, ids: Sequence[bytes], trusted: Callable[[int], bool] | None) -> Iterator[_Run]:
        """Yield those of the ids that are found, in order.

        Ids in the order in which they were stored cost hardly more than to compare them: where some were
        found in a row, the next are expected near them.
        """
        ids = [*(id_[:ID] for id_ in ids), b""]  # what is behind the last is found nowhere
        # the part that the last ones were found in, and the bytes of its ids
        number, part, value, size = 0, 0, b"", 0
        at, end = 0, len(ids) - 1
        while at < end:
            id_ = ids[at]
            spot = value.find(id_, 0, size) if size else -1
            if spot < 0 or spot % ID:
                for hint in self._hints(id_):
                    pack, spot = self._follow(hint, id_)
                    if spot >= 0 and (trusted is None or trusted(pack)):
                        break
                else:
                    at += 1
                    continue
                number, part, value = pack, self._part, self._value
                size = len(value) // WIDTH * ID
            next_ = spot + ID
            if next_ < size and value[next_ : next_ + ID] != ids[at + 1]:
                yield _Run(at, 1, number, value, spot)
                at += 1
                size = 0  # not in a row: do not look here again
                continue
            count = 1 + _equal(value[next_:size], b"".join(ids[at + 1 : at + 1 + (size - next_) // ID]))
            yield _Run(at, count, number, value, spot)
            at += count
            if spot + ID * count == size and at < end:
                number, part, value = self._next(number, part, trusted)
                size = len(value) // WIDTH * ID

    def copies(self, id_: bytes) -> list[Location]:
        """Return all places of a chunk, in no order."""
        found, id_ = [], id_[:ID]
        for hint in self._hints(id_):
            number, spot = self._follow(hint, id_)
            if spot >= 0:
                found.append(location(number, self._value, spot // ID))
        return found

    def _hints(self, id_: bytes) -> list[bytes]:
        """Return where a chunk may be."""
        fingerprint = id_[:FINGERPRINT]
        hints = []
        if self._seek(self._prefix, fingerprint):
            while (hint := self._recent.value())[:FINGERPRINT] == fingerprint:
                hints.append(hint)
                if not self._recent.next_dup():
                    break
        for find in self._finders:
            hints += find(fingerprint)
        return hints

    def _follow(self, hint: bytes, id_: bytes) -> tuple[int, int]:
        """Return the pack, and where in a part of its columns, which is then `_value`, the id begins; else -1."""
        place = int.from_bytes(hint[FINGERPRINT:], "big")
        number = place >> POSITION_BITS
        part, position = divmod(place & (1 << POSITION_BITS) - 1, PART)
        value, spot = self._read(number, part), ID * position
        if value[spot : spot + ID] == id_ and spot < len(value) // WIDTH * ID:
            return number, spot
        if value and value[spot : spot + FINGERPRINT] != id_[:FINGERPRINT]:
            # not another chunk that begins alike: going on would report stored chunks as missing
            raise DamageError("a file of columns has other chunks than the hints say")
        return 0, -1  # another chunk, or the pack is gone

    def _next(self, number: int, part: int, trusted: Callable[[int], bool] | None) -> tuple[int, int, bytes]:
        """Return the pack, number and bytes of the part behind that one, be it the next pack's first."""
        if value := self._read(number, part + 1):
            return number, part + 1, value
        if trusted is None or trusted(number + 1):
            return number + 1, 0, self._read(number + 1, 0)
        return 0, 0, b""

    def _read(self, number: int, part: int) -> bytes:
        """Return a part of the columns of a pack of this domain, or nothing."""
        if number != self._number:
            self._number, self._part = number, -1
            self._piece = self._columns.piece(self._txn, number)
            if self._piece is not None and self._piece.prefix != self._prefix:
                self._piece = None
        if part != self._part:
            self._part = part
            self._value = b"" if self._piece is None else self._columns.read(number, self._piece, part)
        return self._value


def _equal(column: bytes, wanted: bytes) -> int:
    """Return how many ids at the beginning of the two are the same."""
    most = min(len(column), len(wanted)) // ID
    if column[: ID * most] == wanted[: ID * most]:
        return most
    least = 0  # so many are the same, `most` are not
    while most - least > 1:
        middle = (least + most) // 2
        if column[ID * least : ID * middle] == wanted[ID * least : ID * middle]:
            least = middle
        else:
            most = middle
    return least
