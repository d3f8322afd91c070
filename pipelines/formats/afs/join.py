"""A full dump and its incrementals, walked at once: every vnode that lives after the last of them, where it is whole.

An incremental names every vnode that lives; those that changed are whole in it, of the others only the number
and the uniquifier are there.  volserver dumps odd numbers (directories) in ascending order, then even ones.  So all
dumps are walked forward side by side, as lists are merged.

Invariant: a vnode is never taken from a dump after which it was gone or another one; where a dump is missing or
out of order, `StreamError` names it, rather than that a volume is put together from what does not belong together.
Memory does not grow with the vnodes.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from dedupstore.errors import StreamError
from pipelines.formats.afs.header import READ_WRITE, shown
from pipelines.formats.afs.reader import DumpReader, Vnode
from pipelines.formats.afs.vnodes import NAMED

_EVEN = 1 << 32  # added to even numbers, so that the order of the dump is that of these keys
_BEHIND = 2 * _EVEN
_STRETCH = 256 * NAMED.size  # compared at once


def check_chain(dumps: Sequence[DumpReader]) -> None:
    """Refuse dumps that are not a full one and the incrementals that follow it, in order.

    Raises `StreamError`, which says which dump is missing or wrong.
    """
    first = dumps[0].header
    if not first.is_full:
        raise StreamError(
            f"{first} has nothing to build on",
            f"the full dump is missing, and every dump from it up to {shown(first.since)}",
        )
    for before, after in pairwise(dumps):
        _check_pair(before, after)


def _check_pair(before: DumpReader, after: DumpReader) -> None:
    old, new = before.header, after.header
    hint = "they do not belong together; take a date whose dumps do, or each dump as it is with --raw"
    one, other = before.volume, after.volume
    if (one.parent or one.id) != (other.parent or other.id):
        raise StreamError(
            f"{new} is of volume {other.parent or other.id}, but {old} before it of {one.parent or one.id}",
            hint,
        )
    if new.is_full:
        raise StreamError(f"{new} comes after {old}", "a full dump stands alone: leave out those before it")
    if new.since > old.until:
        raise StreamError(
            f"{new} does not follow {old}",
            f"a dump is missing that begins at {shown(old.until)} or before and ends at {shown(new.since)} or later",
        )
    if new.until < old.until:
        raise StreamError(f"{new} is older than {old} before it", "give them from the oldest to the newest")
    # a clone is created again each time, the volume itself only once
    recreated = one.kind == other.kind == READ_WRITE and one.creation != other.creation
    if recreated or (one.creation > other.creation and one.kind == other.kind):
        raise StreamError(
            f"{new} is of a volume created at {shown(other.creation)}, "
            f"but {old} before it of one created at {shown(one.creation)}",
            hint,
        )
    if other.uniquifier < one.uniquifier:
        raise StreamError(
            f"{new} has uniquifier {other.uniquifier}, less than the {one.uniquifier} of {old} before it: "
            "an older state of the volume was restored in between",
            hint,
        )


def living(dumps: Sequence[DumpReader]) -> Iterator[tuple[DumpReader, Vnode]]:
    """Yield each vnode that lives after the last dump, whole, with the dump that has it, in the order of the dump.

    `dumps`: the full one first, as `check_chain` accepts them.  The vnode may be copied from its dump until the next
    is asked for.  Raises `StreamError`.
    """
    *others, newest = map(_Walk, dumps)
    older = others[::-1]
    while newest.step():
        if newest.vnode:
            yield newest.reader, newest.vnode
            continue
        for walk in older:
            if walk.agrees_to >= newest.named:
                continue
            if not walk.find(newest.key) or walk.unique != newest.unique:
                raise _lost(newest, walk)
            if walk.vnode:
                yield walk.reader, walk.vnode
                break
            walk.follow(newest)
        else:
            raise _lost(newest, (older or [newest])[-1])


class _Walk:
    """One dump, vnode by vnode.

    `key` is the present vnode's place in the order of the dump, `vnode` is None if it is only named.  `named` counts
    those that were only named so far, and `agrees_to` is up to which of the newest dump's this dump has the same ones.
    """

    def __init__(self, reader: DumpReader) -> None:
        self.reader = reader
        self.key = self.unique = self.named = self.agrees_to = 0
        self.vnode: Vnode | None = None
        self._vnodes = reader.vnodes()
        self._run = b""  # vnodes that are only named, from `_at` on still to come
        self._at = 0

    def step(self) -> bool:
        """Go to the next vnode; return whether there is one.  Raises `StreamError` if it is out of order."""
        if self._at == len(self._run):
            item = next(self._vnodes, None)
            if item is None:
                self.key = _BEHIND
                return False
            if isinstance(item, Vnode):
                self.vnode = item
                self._go_to(item.vnode)
                self.unique = item.unique
                return True
            self._run, self._at, self.vnode = item, 0, None
        number, self.unique = NAMED.unpack_from(self._run, self._at)
        self._at += NAMED.size
        self.named += 1
        self._go_to(number)
        return True

    def find(self, key: int) -> bool:
        """Go forward to a vnode, or past where it would be; return whether it is there."""
        while self.key < key:
            self.step()
        return self.key == key

    def follow(self, newest: "_Walk") -> None:
        """Both name the present vnode: go on at once through all that follow and that both name.

        Incrementals mostly name the same vnodes for long stretches; this makes them cost next to nothing.
        """
        ours = self._run[self._at : self._at + _STRETCH]
        theirs = newest._run[newest._at : newest._at + len(ours)]
        ours = ours[: len(theirs)]
        differ = int.from_bytes(ours) ^ int.from_bytes(theirs)
        same = (len(ours) - (differ.bit_length() + 7) // 8) // NAMED.size
        self.agrees_to = newest.named + same
        if same:
            self._at += same * NAMED.size
            number, self.unique = NAMED.unpack_from(self._run, self._at - NAMED.size)
            self.key = _key(number)

    def _go_to(self, number: int) -> None:
        key = _key(number)
        if key <= self.key:
            raise StreamError(
                f"{self.reader.header} is not in the order in which volume servers dump: vnode {number} comes after "
                f"{self.key % _EVEN}",
                "it cannot be put together with others; take it as it is with --raw",
            )
        self.key = key


def _key(number: int) -> int:
    return number if number & 1 else number + _EVEN


def _lost(newest: _Walk, older: _Walk) -> StreamError:
    if older.key != newest.key:
        what = "does not have it"
    elif older.unique != newest.unique:
        what = f"has another one there, of uniquifier {older.unique}"
    else:
        what = "does not have it whole"
    return StreamError(
        f"{newest.reader.header} names vnode {newest.key % _EVEN} of uniquifier {newest.unique} as unchanged, "
        f"but {older.reader.header} {what}",
        "a dump between the two is missing, or an older state of the volume was restored between them; "
        "take another date",
    )
