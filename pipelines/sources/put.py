"""One stream into a session of the store: what it is, whether it is whole.

Invariant: a stream that is known to be cut short is refused, and so never recorded; `raw` accepts anything.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dedupstore.errors import StreamError
from dedupstore.format.run_records import Stream
from dedupstore.writing.read_ahead import Readable
from dedupstore.writing.session import Session, StreamProgress
from pipelines.formats import detect
from pipelines.streams import facts

if TYPE_CHECKING:
    from pipelines.formats.wholeness import Judge


def store(
    session: Session,
    name: str,
    source: Readable,
    *,
    form: str = "auto",
    allow_empty: bool = False,
    origin: str = "",
    warn: Callable[[str], None],
    progress: Callable[[StreamProgress], None] | None = None,
) -> Stream:
    """Store what `source` holds under `name`, as the format `form` (one of `detect.FORMATS`).

    A volume dump must have its end mark.  A tar without its end is refused if a tar was asked for, and stored
    with a warning if it was only detected: some programs write no end.  The same holds for a tar that its parser
    does not understand to the end.  `origin` is the [[source]] that it comes from.  Raises `StreamError`.
    """
    begun = _Begun(source)
    kind = detect.detect(begun.head) if form == "auto" else form
    splitter = _splitter(kind, name, begun.head, must_end=form != "auto")

    def judged() -> Mapping[str, Any]:
        for found in splitter.findings(name) if splitter is not None else ():
            warn(found)
        header = splitter.header() if splitter is not None else None
        return facts.wire(facts.given(kind, header, origin))

    return session.put(
        name, begun, kind=kind, splitter=splitter, facts=judged, allow_empty=allow_empty, progress=progress
    )


def _splitter(kind: str, name: str, head: bytes, *, must_end: bool) -> "Judge | None":
    """Return the splitter and judge for a stream of this kind that begins with `head`."""
    if kind == "afs":
        if not detect.is_volume_dump(head):
            raise _not_a(name, "volume dump", head)
        from pipelines.formats.wholeness import DumpSplitter

        return DumpSplitter()
    if kind == "tar":
        if not (detect.has_tar_header(head) or detect.is_empty_tar(head)):
            raise _not_a(name, "tar", head)
        from pipelines.formats.wholeness import WholeTarSplitter

        return WholeTarSplitter(must_end=must_end)
    return None


class _Begun:
    """A source whose first bytes, up to `detect.HEAD`, were read beforehand."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        buffer = memoryview(bytearray(detect.HEAD))
        filled = 0
        while filled < len(buffer) and (count := source.readinto(buffer[filled:]) or 0):
            filled += count
        self.head = bytes(buffer[:filled])
        self._left = self.head
        self._ended = filled < len(buffer)

    def readinto(self, buffer: memoryview, /) -> int:
        """Return the first bytes again, then those of the source; never read a source that has ended."""
        if self._left:
            count = min(len(buffer), len(self._left))
            buffer[:count] = self._left[:count]
            self._left = self._left[count:]
            return count
        return 0 if self._ended else self._source.readinto(buffer) or 0


def _not_a(name: str, what: str, head: bytes) -> StreamError:
    found = f"it begins with {head[:8].hex(' ')}" if head else "it is empty"
    hint = "no backup was recorded; to keep it as it is: --format raw"
    return StreamError(f"the stream for {name} is not a {what}: {found}", hint)
