"""One stream on its way into the store: divided, cut, looked up, and listed.

Invariant: every byte that the source gives is in exactly one of the stream's three sequences, in order.
"""

from collections.abc import Callable
from threading import RLock
from typing import NamedTuple

from dedupstore.access import Access
from dedupstore.chunks.chunker import Chunker, ChunkSizes
from dedupstore.chunks.splitting import Divider, Division, Splitter
from dedupstore.format import recipes
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Root
from dedupstore.writing.pack_writer import Account, PackWriter
from dedupstore.writing.read_ahead import Readable, read_ahead
from dedupstore.writing.sequence_writer import (
    BlockWriter,
    KnownChunks,
    LayoutWriter,
    NodeWriter,
    SequenceWriter,
)


class StreamProgress(NamedTuple):
    """Bytes of the stream so far: read, new before compression, stored."""

    read: int
    new: int
    stored: int


class StreamWriter:
    """The three sequences of one stream."""

    def __init__(
        self, access: Access, known: KnownChunks, packs: PackWriter, lock: RLock, splitter: Splitter | None
    ) -> None:
        self.account = Account()
        nodes = BlockWriter(packs, known, lock, Kind.TREE, self.account, access.block_sizes.nodes)
        self._blocks = [nodes]
        self._nodes = NodeWriter(nodes)
        key = recipes.node_key(access.id_key)

        def sequence(
            sizes: ChunkSizes, block: int, *, wide: bool = False, form: recipes.Form = recipes.PLAIN
        ) -> SequenceWriter:
            self._blocks.append(BlockWriter(packs, known, lock, Kind.DATA, self.account, block))
            chunker = Chunker(access.chunker_key, sizes, wide=wide)
            recipe = recipes.ListWriter(key, self._nodes.store, form)
            kind = LayoutWriter if form is recipes.LAYOUT else SequenceWriter
            return kind(access.id_key, chunker, self._blocks[-1], recipe)

        blocks = access.block_sizes
        if splitter is None:
            self._content = sequence(access.raw_sizes, blocks.raw)
        else:
            self._content = sequence(access.content_sizes, blocks.content)
        self._skeleton = sequence(access.skeleton_sizes, blocks.skeleton, wide=True)
        self._layout = sequence(access.layout_sizes, blocks.layout, form=recipes.LAYOUT)
        self._divider = Divider(splitter) if splitter is not None else None

    def copy(self, source: Readable, progress: Callable[[StreamProgress], None] | None) -> int:
        """Read the source to its end; return its size in bytes."""
        size = 0
        for piece in read_ahead(source, self._prepare):
            cuts, division = piece.made
            self._content.store(piece.data, cuts)
            if division is not None:
                self._skeleton.write(division.skeleton)
                self._layout.write(division.layout)
            size += piece.size
            if progress is not None:
                progress(StreamProgress(size, self.account.new, self.account.stored))
        return size

    def _prepare(
        self, buffer: memoryview, start: int, end: int, ended: bool
    ) -> tuple[int, int, tuple[list[int], Division | None]]:
        """Divide and cut new bytes, in the reading thread."""
        division = None
        if self._divider is not None:
            division = self._divider.divide(buffer, start, end, ended=ended)
            end = division.kept
        cuts = self._content.cut(buffer[:end], division.ends if division else b"", ended)
        return (cuts[-1] if cuts else 0), end, (cuts, division)

    def flush(self) -> None:
        """Submit all open blocks."""
        for blocks in self._blocks:
            blocks.flush()

    def finish(self) -> tuple[Root, Root, Root]:
        """End all sequences; return the roots of content, skeleton and layout."""
        content = self._content.finish()
        skeleton = self._skeleton.finish()
        if self._divider is not None:
            self._layout.write(self._divider.finish())
        plan = self._layout.finish()
        self._nodes.flush()
        self.flush()
        return content, skeleton, plan
