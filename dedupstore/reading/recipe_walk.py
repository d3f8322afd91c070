"""Walk recipes: is every chunk of every backup in an index, and every list of chunks whole?

Invariant: each node is read and verified, and each of its entries looked up, once for all backups of a domain; what
is wrong at or below a node is reported for every backup that has it.  Memory: one node's children for each level.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from dedupstore.errors import DamageError, NotFoundError
from dedupstore.format import layout, recipes
from dedupstore.format.recipes import Entry, Form, Recipe
from dedupstore.format.run_records import Stream
from dedupstore.reading.stream_reader import StreamReader

if TYPE_CHECKING:
    from dedupstore.cache.file import ScratchSet

_Entries = list[Entry]


class RecipeWalk:
    """Walks recipes of one domain.  `seen` and `wrong` (what is wrong with which node) are shared by all walks."""

    def __init__(
        self, reader: StreamReader, domain: str, seen: "ScratchSet", wrong: dict[bytes, str]
    ) -> None:
        self._reader = reader
        self._domain = layout.sha256(domain.encode())[:16]
        self._seen = seen
        self._wrong = wrong

    def visit(self, stream: Stream) -> str:
        """Return what is first wrong with a stream; nothing if all is well."""
        try:
            found = self._reader.recipes(stream)
        except DamageError as error:
            return error.message
        return next(filter(None, map(self._sequence, found)), "")

    def _sequence(self, recipe: Recipe) -> str:
        return self._below(recipe.form, recipe.depth, recipe.top) if recipe.top else ""

    def _nodes(self, form: Form, depth: int, entries: _Entries) -> str:
        """Return what is first wrong with nodes of one depth, or below them."""
        keys = [self._key(form, depth, entry) for entry in entries]
        fresh = {key: entry for key, entry in zip(keys, entries, strict=True) if self._seen.add(key)}
        loaded = self._load(form, depth, list(fresh.values()))
        nodes: Iterable[tuple[bytes, Entry, _Entries | str]]
        nodes = (  # parsed one by one
            (key, entry, _parsed(form, depth, node, entry))
            for (key, entry), node in zip(fresh.items(), loaded, strict=True)
        )
        if depth == 1:
            nodes = list(nodes)
            chunks = [chunk for _, _, node in nodes if not isinstance(node, str) for chunk in node]
            if not self._chunks(chunks):  # looked up all at once: only unreadable nodes are left
                nodes = [each for each in nodes if isinstance(each[2], str)]
        for key, _, node in nodes:
            problem = node if isinstance(node, str) else self._below(form, depth - 1, node)
            if problem:
                self._wrong[key] = problem
        return next((self._wrong[key] for key in keys if key in self._wrong), "")

    def _key(self, form: Form, depth: int, entry: Entry) -> bytes:
        """Return a key for a node together with what is claimed of it."""
        numbers = (number.to_bytes(8, "little") for number in entry[1:])
        return b"".join((bytes([depth, form is recipes.LAYOUT]), self._domain, entry[0], *numbers))

    def _load(self, form: Form, depth: int, entries: _Entries) -> list[bytes | str]:
        """Return each node, or what is wrong with it."""
        sizes = [recipes.node_size(form, depth, entry) for entry in entries]
        try:
            return list(self._reader.nodes([entry[0] for entry in entries], sizes))
        except (DamageError, NotFoundError) as error:
            if len(entries) == 1:
                return [error.message]
        return [node for entry in entries for node in self._load(form, depth, [entry])]

    def _below(self, form: Form, depth: int, entries: _Entries) -> str:
        return self._chunks(entries) if depth == 0 else self._nodes(form, depth, entries)

    def _chunks(self, entries: _Entries) -> str:
        """Return what is first wrong with chunks."""
        try:
            self._reader.require(entries)
        except (DamageError, NotFoundError) as error:
            return error.message
        return ""


def _parsed(form: Form, depth: int, node: bytes | str, above: Entry) -> _Entries | str:
    """Return a node's entries, or what is wrong with it."""
    if isinstance(node, str):
        return node
    try:
        return recipes.parse_node(form, depth, node, above)
    except DamageError as error:
        return error.message
