"""Recipes: trees of lists come back as written, cost what they have nodes, and are held to what they claim."""

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from dedupstore.errors import DamageError
from dedupstore.format.layout import MAX_CHUNK
from dedupstore.format.recipes import LAYOUT, PLAIN, Form, ListWriter, Recipe, parse_node
from dedupstore.format.run_records import Root
from tests.store import noise

KEY = bytes(32)
FORMS = pytest.mark.parametrize("form", [PLAIN, LAYOUT], ids=["plain", "layout"])


class Nodes(dict[bytes, bytes]):
    """Nodes by id; counts how many are read."""

    read = 0

    def load(self, ids: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
        """Yield nodes, as `Recipe` asks for them."""
        for id_, size in zip(ids, sizes, strict=True):
            self.read += 1
            assert len(self[id_]) == size
            yield self[id_]

    def add(self, node: bytes) -> bytes:
        """Add a node, whatever it says; returns its id."""
        id_ = blake3(node, key=KEY).digest()
        self[id_] = node
        return id_


def chunks(form: Form, count: int, seed: int = 0) -> list[tuple[Any, ...]]:
    ids = [noise(32, (seed, n)) for n in range(count)]
    if form is PLAIN:
        return [(id_, n % 1000 + 1) for n, id_ in enumerate(ids)]
    return [(id_, n % 1000 + 1, n % 7, n * n + 1) for n, id_ in enumerate(ids)]


def write(form: Form, entries: Sequence[tuple[Any, ...]], nodes: Nodes, at_once: int = 10**6) -> Recipe:
    writer = ListWriter(KEY, nodes.__setitem__, form)
    for start in range(0, len(entries), at_once):
        some = entries[start : start + at_once]
        covers = [entry[2:] for entry in some] if form is LAYOUT else ()
        writer.extend([entry[0] for entry in some], [entry[1] for entry in some], covers)
    if form is PLAIN:
        return Recipe(writer.finish(), nodes.load)
    return Recipe(
        writer.finish(),
        nodes.load,
        (sum(entry[2] for entry in entries), sum(entry[3] for entry in entries)),
    )


@FORMS
@given(count=st.integers(0, 3000), seed=st.integers(0, 5), at_once=st.integers(1, 1000))
def test_a_list_of_chunks_reads_back_as_it_was_written(
    form: Form, count: int, seed: int, at_once: int
) -> None:
    """The tree gives the chunks in order, and its nodes keep their bounds, however the chunks came."""
    nodes = Nodes()
    entries = chunks(form, count, seed)
    recipe = write(form, entries, nodes, at_once)
    assert entries == [entry for some in recipe.chunks() for entry in some]
    assert entries == [entry for some in recipe.distinct() for entry in some]
    assert all(len(node) <= 256 * 60 for node in nodes.values())
    in_one = Nodes()
    write(form, entries, in_one)
    assert in_one == nodes


def test_a_change_in_a_long_list_stores_few_new_nodes() -> None:
    """Next week's nearly equal recipe costs nearly nothing."""
    before, after = Nodes(), Nodes()
    entries = chunks(PLAIN, 20_000)
    write(PLAIN, entries, before)
    write(PLAIN, [*entries[:9_000], (noise(32, "new"), 5), *entries[9_000:]], after)
    assert len(after.keys() - before.keys()) <= 6


@FORMS
def test_any_position_is_found_through_one_node_a_level(form: Form) -> None:
    nodes = Nodes()
    entries = chunks(form, 40_000)
    recipe = write(form, entries, nodes)
    assert recipe.depth >= 3
    ends = list(accumulate(form.place(form.totals(entry)) for entry in entries))
    for number in (0, 1, 777, 20_000, 39_999):
        start = ends[number - 1] if number else 0
        for at in (start, ends[number] - 1):
            nodes.read = 0
            part = next(recipe.parts(at, at + 1))
            assert (start, entries[number : number + 1]) == (form.place(part.before), part.chunks)
            assert recipe.depth == nodes.read


@FORMS
@given(data=st.data(), count=st.integers(1, 2000))
def test_a_range_is_the_chunks_that_hold_it(form: Form, data: st.DataObject, count: int) -> None:
    entries = chunks(form, count)
    recipe = write(form, entries, Nodes())
    ends = list(accumulate(map(form.place, map(form.totals, entries)), initial=0))
    start = data.draw(st.integers(0, ends[-1] + 5))
    end = data.draw(st.none() | st.integers(start, ends[-1] + 5))
    parts = list(recipe.parts(start, end))
    expected = [n for n in range(count) if ends[n + 1] > start and (end is None or ends[n] < end)]
    assert [entries[n] for n in expected] == [entry for part in parts for entry in part.chunks]
    places = list(accumulate((len(part.chunks) for part in parts), initial=expected[0] if expected else 0))
    assert [ends[place] for place in places[:-1]] == [form.place(part.before) for part in parts]


def endless(nodes: Nodes, last: int = 1) -> Root:
    """Return a recipe of five nodes that claims 2^56 bytes: each says the one below it 256 times."""
    size, entries = MAX_CHUNK, 256
    node = struct.pack("<32sI", bytes(range(32)), size) * 256
    for _ in range(4):
        id_ = nodes.add(node)
        size *= 256
        node = struct.pack("<32sQI", id_, size, entries) * 256
    node = node[: 8 * 44]
    return Root(5, nodes.add(node), 8 * size, 8)


def test_a_few_nodes_that_claim_more_than_there_is_are_each_visited_once() -> None:
    nodes = Nodes()
    recipe = Recipe(endless(nodes), nodes.load)
    assert 2**56 == recipe.size
    assert [256] == [len(some) for some in recipe.distinct()]
    assert 5 == nodes.read
    part = next(recipe.parts(2**55 + 5))
    assert 2**55 == part.before[0]


@pytest.mark.parametrize("node", [b"", bytes(35), bytes(36 * 257)])
def test_a_node_of_a_wrong_size_is_refused(node: bytes) -> None:
    """A node has 1 to 256 entries, as many as the entry above it says."""
    with pytest.raises(DamageError, match="as many entries"):
        parse_node(PLAIN, 1, node, (bytes(32), 1, 1))


ID = bytes(range(32))


@pytest.mark.parametrize(
    ("form", "depth", "entries", "above"),
    [
        (PLAIN, 1, [(ID, 0)], (ID, 1, 1)),
        (PLAIN, 1, [(ID, 5), (ID, 0)], (ID, 5, 2)),
        (PLAIN, 1, [(ID, 5)], (ID, 6, 1)),
        (PLAIN, 1, [(ID, MAX_CHUNK + 1)], (ID, MAX_CHUNK + 1, 1)),
        (PLAIN, 2, [(ID, 0, 1)], (ID, 1, 1)),
        (PLAIN, 2, [(ID, 5, 0)], (ID, 5, 1)),
        (PLAIN, 2, [(ID, 5, 6)], (ID, 5, 1)),
        (PLAIN, 2, [(ID, 500, 257)], (ID, 500, 1)),
        (PLAIN, 2, [(ID, 2**63, 1), (ID, 2**63, 1)], (ID, 0, 2)),
        (LAYOUT, 1, [(ID, 5, 6, 7)], (ID, 5, 1, 7, 7)),
        (LAYOUT, 1, [(ID, 5, 6, 7)], (ID, 5, 1, 6, 8)),
        (LAYOUT, 2, [(ID, 5, 1, 6, 2**63), (ID, 5, 1, 6, 2**63)], (ID, 10, 2, 12, 0)),
    ],
)
def test_what_a_node_says_is_held_against_the_entry_above_it(
    form: Form, depth: int, entries: list[tuple[Any, ...]], above: tuple[Any, ...]
) -> None:
    node = b"".join(form.entry(depth).pack(*entry) for entry in entries)
    with pytest.raises(DamageError):
        parse_node(form, depth, node, above)


def test_a_false_claim_is_found_before_anything_below_is_read() -> None:
    nodes = Nodes()
    root = endless(nodes)
    for wrong in (Root(5, root.id, root.size - 1, 8), Root(5, root.id, root.size, 9)):
        nodes.read = 0
        with pytest.raises((DamageError, AssertionError)):
            list(Recipe(wrong, nodes.load).distinct())
        assert 1 == nodes.read


@pytest.mark.parametrize("root", [Root(0, ID, MAX_CHUNK + 1, 0), Root(1, ID, 5, 6)])
def test_a_root_that_cannot_be_is_refused_before_anything_is_read(root: Root) -> None:
    nodes = Nodes()
    with pytest.raises(DamageError):
        Recipe(root, nodes.load)
    assert 0 == nodes.read


@pytest.mark.parametrize("depth", [0, 1])
def test_a_part_of_a_layout_that_covers_nothing_is_refused(depth: int) -> None:
    """Nodes that are shared could claim any number of them between two bytes of a stream."""
    sizes = () if depth == 0 else (1,)
    entries = [(bytes(32), 2, *sizes, 0, 1), (bytes(32), 2, *sizes, 0, 0), (bytes(32), 2, *sizes, 1, 0)]
    node = b"".join(LAYOUT.entry(depth + 1).pack(*entry) for entry in entries)
    with pytest.raises(DamageError, match="covers nothing"):
        parse_node(LAYOUT, depth + 1, node, (bytes(32), 6, 3, 1, 1))
