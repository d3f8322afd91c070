"""Recipes are walked: is every chunk of every backup in an index, and every list of them whole?

Invariant: each node is read and verified, and each of its entries looked up, once for all backups of a domain; what
is wrong at or below a node is told for every backup that has it.  Memory: one node's children for each level.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dedupstore import layout, recipes
from dedupstore.errors import DamageError, NotFoundError
from dedupstore.reader import StreamReader
from dedupstore.records import Root

if TYPE_CHECKING:
    from dedupstore.cache_file import ScratchSet

_Entries = list[tuple[bytes, int]]  # id, and length in bytes or number of entries


class RecipeWalk:
    """Walks recipes of one domain.  `seen` and `wrong` (what is wrong with which node) are shared by all walks."""

    def __init__(
        self, reader: StreamReader, domain: str, seen: "ScratchSet", wrong: dict[bytes, str]
    ) -> None:
        self._reader = reader
        self._domain = layout.sha256(domain.encode())[:16]
        self._seen = seen
        self._wrong = wrong

    def visit(self, root: Root) -> str:
        """Return what is wrong with a sequence; nothing if all is well."""
        if not root.size:
            return ""
        if root.depth == 0:
            return self._chunks([(root.id, root.size)])
        return self._nodes(root.depth, [(root.id, 0)])

    def _nodes(self, depth: int, entries: _Entries) -> str:
        """Return what is first wrong with nodes of one depth, or below them."""
        level = bytes([depth])
        fresh = [
            entry
            for entry in entries
            if self._seen.add(level + entry[1].to_bytes(4, "little") + entry[0] + self._domain)
        ]
        nodes: Iterable[tuple[tuple[bytes, int], _Entries | str]]
        nodes = zip(fresh, map(_parsed, self._load(fresh)), strict=True)  # parsed one by one
        if depth == 1:
            nodes = list(nodes)
            chunks = [chunk for _, node in nodes if not isinstance(node, str) for chunk in node]
            if not self._chunks(chunks):  # looked up all at once: only what is no list is left
                nodes = [each for each in nodes if isinstance(each[1], str)]
        for (id_, _), node in nodes:
            problem = node if isinstance(node, str) else self._below(depth - 1, node)
            if problem:
                self._wrong[id_] = problem
        return next((self._wrong[id_] for id_, _ in entries if id_ in self._wrong), "")

    def _load(self, entries: _Entries) -> list[bytes | str]:
        """Return each node, or what is wrong with it."""
        sizes = [recipes.ENTRY_SIZE * number for _, number in entries]
        try:
            return list(self._reader.nodes([id_ for id_, _ in entries], sizes))
        except (DamageError, NotFoundError) as error:
            if len(entries) == 1:
                return [error.message]
        return [node for entry in entries for node in self._load([entry])]

    def _below(self, depth: int, entries: _Entries) -> str:
        return self._chunks(entries) if depth == 0 else self._nodes(depth, entries)

    def _chunks(self, entries: _Entries) -> str:
        """Return what is first wrong with chunks."""
        try:
            self._reader.require(entries)
        except (DamageError, NotFoundError) as error:
            return error.message
        return ""


def _parsed(node: bytes | str) -> _Entries | str:
    """Return a node's entries, or what is wrong with it."""
    if isinstance(node, str):
        return node
    try:
        return recipes.parse_node(node)
    except DamageError as error:
        return error.message
