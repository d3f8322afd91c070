"""One volume dump, walked forward: its headers, then vnode by vnode.

Invariant: every byte of the dump is accounted for: it is in a header, in contents, or in the end mark, and where
that is not so, `StreamError` says at which byte.  Of contents nothing is held; they are skipped unless they are
asked for.  Memory: one look ahead, at most `_LIMIT` bytes.
"""

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from dedupstore.errors import StreamError
from pipelines.formats.afs import tags
from pipelines.formats.afs.header import read_header, read_volume_header
from pipelines.formats.afs.vnodes import NAMED, measure
from pipelines.formats.stream import InputStream

_AHEAD = 64 << 10
_LIMIT = 1 << 20  # no header is longer
_STEP = 4 << 10  # read at once where what is a header for us is contents for the stream

# vnodes that are only named: such a one has no tags, so the next section follows at once
_NAMED = re.compile(rb"(?:\x03.{8}(?=[\x03\x04]))+", re.DOTALL)

T = TypeVar("T")
Pieces = Iterator[bytes | memoryview]


class Vnode(NamedTuple):
    """A whole vnode as it stands in a dump: `head` are its bytes up to the contents, `size` is their length."""

    vnode: int
    unique: int
    head: bytes
    size: int


class DumpReader:
    """A dump that is walked once.  Raises `StreamError` if it is not a dump or damaged."""

    def __init__(self, stream: InputStream) -> None:
        self._stream = stream
        self._held = b""  # what was looked at, from `_at` on
        self._at = 0
        self._ahead = 0  # how many bytes of `_held` the stream itself has behind it: none or all
        self._start = self._data = self._end = 0  # of the present vnode, relative to `_held`
        self._copying = False
        self.others = 0  # sections among the vnodes that are not known, so far
        self._name = "the dump"
        self.header = self._parse(lambda: read_header(self._held))
        self._name = str(self.header)
        self.volume = self._parse(lambda: read_volume_header(self._held, self._at))

    def vnodes(self) -> Iterator[Vnode | bytes]:
        """Yield all vnodes, in the order of the dump; to be called once.

        Vnodes that are only named come many at once, as the bytes that they are: a section's tag, the number and the
        uniquifier for each.  They exist and are as in the dump before.  `copy` and `copy_contents` are about the whole
        vnode that was yielded last.
        """
        while True:
            held, at = self._held, self._at
            if named := _NAMED.match(held, at):
                self._at = named.end()
                yield named[0]
                continue
            if at >= len(held):
                self._more()
                continue
            if held[at] != tags.VNODE:
                if not tags.is_other(held[at]):
                    break
                self._skip_other()
                continue
            try:
                end, size = measure(held, at)
            except IndexError:
                self._more()
                continue
            except tags.UnknownTagError as error:
                raise self._unknown(error) from None
            self._at = end
            if end - at == NAMED.size:
                yield held[at:end]
                continue
            self._start, self._data, self._end = at, end, end + size
            vnode, unique = NAMED.unpack_from(held, at)
            yield Vnode(vnode, unique, held[at:end], size)
            self._pass()
        self._check_end()

    def copy(self) -> Pieces:
        """Return the present vnode's header and contents, which must be used up before the next one."""
        return self._copy(self._start)

    def copy_contents(self) -> Pieces:
        """Return the present vnode's contents, which must be used up before the next one."""
        return self._copy(self._data)

    def _copy(self, start: int) -> Pieces:
        if self._end <= len(self._held):
            self._at = self._end
            return iter((self._held[start : self._end],))
        self._copying = True
        return self._stream_out(start)

    def _stream_out(self, start: int) -> Pieces:
        if self._ahead:
            yield self._held[start:]
            yield from self._stream.copy(self._end - self._ahead)
        else:
            if start < self._data:
                yield self._held[start : self._data]
            self._stream.skip(self._data)
            yield from self._stream.copy(self._end - self._data)
        self._held, self._at, self._ahead, self._end = b"", 0, 0, 0
        self._copying = False

    def _pass(self) -> None:
        """Go to the end of the present vnode's contents, if they were not copied."""
        if self._copying:
            raise RuntimeError("the contents of a vnode were not used up")
        if self._end <= len(self._held):
            self._at = self._end
        else:
            self._stream.skip(self._end - self._ahead)
            self._held, self._at, self._ahead = b"", 0, 0

    def _skip_other(self) -> None:
        """Go to the end of a section that is not known, or look further ahead for where that is."""
        try:
            self._at, self._end = tags.value(self._held, self._at + 1, self._held[self._at])
        except IndexError:
            self._more()
        except tags.UnknownTagError as error:
            raise self._unknown(error) from None
        else:
            self.others += 1
            self._pass()

    def _parse(self, parse: Callable[[], tuple[T, int]]) -> T:
        while True:
            try:
                parsed, self._at = parse()
                return parsed
            except IndexError:
                self._more()
            except tags.UnknownTagError as error:
                raise self._unknown(error) from None

    def _more(self) -> None:
        """Hold more than now from `_at` on.  Raises `StreamError` at the end of the stream."""
        rest = self._held[self._at :]
        if len(rest) >= _LIMIT:
            raise self._damaged(f"a header of more than {_LIMIT} bytes begins at byte {self._position}")
        if not self._ahead or not rest:
            if not self._ahead and self._at:
                self._stream.skip(self._at)
            self._held, self._at, self._ahead = self._stream.peek(_AHEAD), 0, 0
            if len(self._held) > len(rest):
                return
        # what is a header for us is contents for a stream that was stored without being understood
        held = rest + self._stream.read(_STEP) if self._ahead else self._stream.read(len(rest) + _STEP)
        self._held, self._at, self._ahead = held, 0, len(held)
        if len(held) == len(rest):
            raise StreamError(
                f"{self._name} is cut short: it ends after {self._stream.position} bytes, without an end mark",
                "take an older backup of the volume",
            )

    @property
    def _position(self) -> int:
        """Where in the stream `_at` is."""
        return self._stream.position - self._ahead + self._at

    def _check_end(self) -> None:
        while len(self._held) < self._at + 5:
            self._more()
        mark = self._held[self._at : self._at + 5]
        if mark != struct.pack(">BI", tags.END, tags.END_MAGIC):
            raise self._damaged(f"at byte {self._position} there is neither a vnode nor the end mark")

    def _unknown(self, error: tags.UnknownTagError) -> StreamError:
        tag, at = error.args
        return self._damaged(f"tag 0x{tag:02x} at byte {self._position - self._at + at} is not known")

    def _damaged(self, what: str) -> StreamError:
        return StreamError(
            f"{self._name} is damaged or of an unknown kind: {what}",
            "take another date, or the stored bytes as they are with --raw",
        )
