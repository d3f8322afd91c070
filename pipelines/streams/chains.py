"""What an incremental dump builds on: the streams from its full dump up to itself, found by the snapshots' facts.

The facts are those that `dedup run` stores with each dump of a volume (`VolumeFacts`).  They are a writer's words:
none leads to another writer's data.

Invariant: a chain stays with one signer and one domain, goes strictly back in that signer's numbering, and leaves
no time between two dumps that neither has.
"""

import itertools
import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timedelta, timezone
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, NamedTuple

from dedupstore.errors import NotStoredError, StreamError
from pipelines.streams import dates, facts
from pipelines.streams.facts import VolumeFacts
from pipelines.text import safe

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

    from dedupstore.format.run_records import Stream
    from dedupstore.repository import Repository, SnapshotInfo

    Streams = Callable[[SnapshotInfo], list[Stream]]

MAX_DUMPS = 400  # in a chain: more than a year of days

_RAW = "take another date, or what is stored of this one by itself with `dedup get --raw`"


class Link(NamedTuple):
    """One stream and the snapshot that lists it."""

    snapshot: "SnapshotInfo"
    stream: "Stream"

    def __str__(self) -> str:
        return f"{safe(self.stream.name)} of {dates.local(self.snapshot):%Y.%m.%dT%H:%M}"

    def listing_command(self) -> str:
        """Return the command line that shows all that is in it."""
        return f"dedup ls {dates.local(self.snapshot):%Y.%m.%dT%H:%M:%S} {shlex.quote(safe(self.stream.name))} -R"


def chain(
    repository: "Repository",
    snapshot: "SnapshotInfo",
    stream: "Stream",
    streams: "Streams | None" = None,
) -> list[Link]:
    """Return the full dump and the incrementals up to this one; for what builds on nothing, just itself.

    `streams` is asked for a snapshot's streams, by default the repository: who follows many chains remembers them.
    Raises `NotStoredError` for one that is missing, `StreamError` for those that do not follow one another.
    """
    link = Link(snapshot, stream)
    links = [link]
    snapshots = None
    while (known := facts.volume_of(link.stream)) is not None and known.parent:
        if snapshots is None:
            snapshots = {info.name: info for info in repository.snapshots()}
        parent = snapshots.get(known.parent)
        if parent is None:
            begin = _moment(known.since, link.snapshot)
            raise NotStoredError(
                f"{link} builds on a backup of about {begin} that is not stored any more", _RAW
            )
        if (parent.signer, parent.domain) != (snapshot.signer, snapshot.domain):
            raise StreamError(f"{link} claims to build on another writer's backup, of {parent.host!a}", _RAW)
        if parent.sequence >= link.snapshot.sequence or len(links) >= MAX_DUMPS:
            raise StreamError(f"{link} claims to build on a backup that is none before it", _RAW)
        link = Link(parent, _parent_stream((streams or repository.streams)(parent), link, known, parent))
        links.insert(0, link)
    if len(links) > 1:
        _check_parsed(links)
    return links


@contextmanager
def full_dump(repository: "Repository", links: list[Link]) -> Iterator[Iterator[bytes | memoryview]]:
    """Yield the pieces of one full dump of a volume, as of the last of a chain.

    Before the first, all of the chain is checked as `Repository.read` checks one stream.  Raises `StreamError`
    for an incremental dump whose chain is not known, too, as one that was stored by hand.
    """
    if len(links) == 1:
        with closing(repository.read(*links[0])) as pieces:
            beginning = _Beginning(pieces)
            _check_full(beginning, links[0])
            yield itertools.chain(beginning.taken, pieces)
        return
    from pipelines.formats.afs.merge import merge

    with ExitStack() as stack:
        yield merge([stack.enter_context(repository.open_stream(*link)) for link in links])


class _Beginning(RawIOBase):
    """Pieces as a file, of which the beginning is looked at; `taken` are those that were needed for it."""

    def __init__(self, pieces: Iterator[bytes | memoryview]) -> None:
        self.taken: list[bytes | memoryview] = []
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        while not self._left and (piece := next(self._pieces, None)) is not None:
            self.taken.append(piece)
            self._left = memoryview(piece)
        view = memoryview(buffer)
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def _check_full(beginning: _Beginning, link: Link) -> None:
    from pipelines.formats.afs.reader import DumpReader
    from pipelines.formats.stream import FileStream

    if not DumpReader(FileStream(BufferedReader(beginning))).header.is_full:
        raise StreamError(
            f"{link} is an incremental dump, and nothing says what it builds on",
            "give it as it was stored with --raw",
        )


def _parent_stream(
    streams: "Iterable[Stream]", link: Link, known: VolumeFacts, parent: "SnapshotInfo"
) -> "Stream":
    found = [
        (stream, theirs)
        for stream in streams
        if (theirs := facts.volume_of(stream)) is not None and theirs.volume == known.volume
    ]
    # ids are those of a cell, of which a backup may have several: then the sources tell, or else the names
    for wanted in (facts.source_of, _name):
        if len(found) > 1:
            found = [(stream, theirs) for stream, theirs in found if wanted(stream) == wanted(link.stream)]
    when = dates.local(parent).strftime("%Y.%m.%dT%H:%M")
    if len(found) != 1:
        raise NotStoredError(f"{link} builds on a dump that the backup of {when} does not hold", _RAW)
    ((stream, theirs),) = found
    if known.since > theirs.until:
        raise StreamError(
            f"{link} begins at {_moment(known.since, link.snapshot)}, but the dump of {when} before it ends at "
            f"{_moment(theirs.until, parent)}: the one between is missing",
            _RAW,
        )
    return stream


def _name(stream: "Stream") -> str:
    return stream.name


def _check_parsed(links: list[Link]) -> None:
    for link in links:
        known = facts.volume_of(link.stream)
        if known is not None and known.unparsed is not None:
            raise StreamError(
                f"{link} was not understood from byte {known.unparsed} on: it cannot be merged", _RAW
            )


def _moment(seconds: int, snapshot: "SnapshotInfo") -> str:
    """Return a date as the calendar showed it where the snapshot was made."""
    zone = timezone(timedelta(seconds=snapshot.utc_offset))
    return f"{datetime.fromtimestamp(seconds, zone):%Y.%m.%dT%H:%M:%S}"
