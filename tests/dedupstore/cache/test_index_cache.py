"""The local index cache: what it answers, that it is never wrong, and that nothing breaks it for long.

Run as a program, this file is the other process of some tests: `python test_cache.py WHAT FOLDER …`.
"""

import hashlib
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dedupstore.cache import all_hints, column_files, hint_files, pages, row_formats
from dedupstore.cache.file import CacheFile
from dedupstore.cache.index_cache import IndexCache, Location
from dedupstore.cache.row_formats import SCHEMA, TABLES, DescribedIndex
from dedupstore.errors import StateError
from dedupstore.format import layout
from dedupstore.format.packs import Described, DescribedBlock
from dedupstore.format.records import Index, IndexedPack, PackKey, SignedTable

REPOSITORY = bytes(range(16))
BATCH = 1024  # chunks in a transaction, here
MANY = 2 * BATCH + 10  # chunks that take three
THROWN_AWAY = r"was damaged .* is thrown away"
SMALL = [  # so that a few thousand chunks are many
    (row_formats, "BATCH_ROWS", BATCH),
    (all_hints, "MOST_RECENT", 3000),
    (column_files, "MOST", 100_000),
    (column_files, "OPEN_FILES", 3),
]


def digest(*parts: object) -> bytes:
    """Return 32 bytes, the same for the same parts."""
    return hashlib.sha256(repr(parts).encode()).digest()


def chunk_ids(seed: object, count: int) -> list[bytes]:
    """Return `count` ids."""
    data = hashlib.shake_128(repr(seed).encode()).digest(32 * count)
    return [data[at : at + 32] for at in range(0, len(data), 32)]


def known(cache: IndexCache, domain: str, ids: list[bytes]) -> list[bool]:
    """Ask for ids wherever they are."""
    return cache.known(domain, ids, 1 << 31, ())


class Packed(NamedTuple):
    """A pack as an index file names it, and what is in it."""

    entry: IndexedPack
    described: Described


def pack_of(name: object, blocks: list[list[tuple[bytes, int]]], *, kind: str = "D", keys: int = 1) -> Packed:
    """Return a pack of blocks of (chunk id, length)."""
    found, at = [], layout.HEADER_SIZE
    for n, block in enumerate(blocks):
        size = sum(length for _, length in block)
        found.append(DescribedBlock(n % keys, 7 + n, 100 + n, at, size, len(block), bytes(16)))
        at += 100 + n
    listed: list[PackKey] = [(digest("key", n)[:16], ((1, bytes(1168)),)) for n in range(keys)]
    entry = IndexedPack(
        name=digest("pack", name),
        kind=kind,
        size=at + 5000,
        keys=listed,
        blocks=b"",
        tables=[SignedTable(bytes(32), bytes(64), b"")] * keys,
    )
    chunks = [chunk for block in blocks for chunk in block]
    ids = b"".join(id_[:16] for id_, _ in chunks)
    return Packed(entry, Described(found, ids, array("I", [length for _, length in chunks])))


def index_of(
    *packs: Packed, domain: str = "here", time: int = 1, signer: bytes = bytes(32), replaces: bytes = b""
) -> DescribedIndex:
    """Return an index file that was verified."""
    entries = [pack.entry for pack in packs]
    said = Index(run=bytes(16), domain=domain, time=time, packs=entries, replaces=replaces)
    return DescribedIndex(signer, said, [pack.described for pack in packs])


def simple(
    seed: object, ids: list[bytes], *, domain: str = "here", time: int = 1
) -> tuple[bytes, DescribedIndex]:
    """Return name and payload of an index file with one pack of these chunks, 1000 bytes each."""
    blocks = [[(id_, 1000) for id_ in ids[at : at + 64]] for at in range(0, len(ids), 64)]
    return digest("index", seed), index_of(pack_of(seed, blocks), domain=domain, time=time)


def numbered(seed: int) -> tuple[bytes, DescribedIndex, list[bytes]]:
    """Return the index file of that number, and its ids; each takes three transactions."""
    ids = chunk_ids(seed, MANY)
    return *simple(seed, ids, time=seed), ids


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few thousand chunks be many."""
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return where the cache is."""
    return tmp_path / "state" / "cache"


@pytest.fixture
def cache(folder: Path) -> Iterator[IndexCache]:
    """Return an empty cache."""
    cache = IndexCache(folder, REPOSITORY)
    yield cache
    cache.close()


# -- what it answers


def test_knows_the_chunks_that_were_added_and_no_others(cache: IndexCache) -> None:
    ids, others = chunk_ids("a", 5000), chunk_ids("b", 10)
    assert known(cache, "here", ids) == [False] * 5000
    cache.add_index(*simple("a", ids))
    assert known(cache, "here", others + ids) == [False] * 10 + [True] * 5000
    assert known(cache, "here", []) == []


def test_locates_each_chunk_by_pack_block_offset_and_length(cache: IndexCache) -> None:
    ids = chunk_ids("a", 6)
    first = [[(ids[0], 10), (ids[1], layout.MAX_CHUNK)], [], [(ids[2], 30)]]
    second = [[(ids[3], layout.MAX_CHUNK), (ids[4], layout.MAX_CHUNK - 1), (ids[5], 1)]]
    cache.add_index(digest(1), index_of(pack_of(1, first), pack_of(2, second)))
    (one,), (two,), (three,), (four,), (five,), (six,), none = cache.locate("here", [*ids, bytes(32)])
    assert digest("pack", 1) == cache.pack(one.pack).name
    assert digest("pack", 2) == cache.pack(six.pack).name
    assert Location(one.pack, 0, 0, 10) == one
    assert Location(one.pack, 0, 10, layout.MAX_CHUNK) == two
    assert Location(one.pack, 2, 0, 30) == three
    assert Location(six.pack, 0, 0, layout.MAX_CHUNK) == four
    assert Location(six.pack, 0, layout.MAX_CHUNK, layout.MAX_CHUNK - 1) == five
    assert Location(six.pack, 0, layout.MAX_BLOCK - 1, 1) == six
    assert none == []
    assert [one.pack, six.pack, 0] == cache.some_pack("here", [ids[0], ids[5], bytes(32)])
    assert 0 not in (one.pack, six.pack)
    assert [0] == cache.some_pack("nowhere", ids[:1])


@pytest.mark.parametrize("seed", range(12))
def test_spans_are_the_places_of_single_chunks_joined_within_a_block(cache: IndexCache, seed: int) -> None:
    chance = random.Random(seed)
    ids = chunk_ids(seed, 400)
    sizes = {id_: chance.randint(1, 3000) for id_ in ids}
    chunks = [(id_, sizes[id_]) for id_ in ids]
    packs: list[Packed] = []
    while chunks:
        blocks = []
        for _ in range(chance.randint(1, 4)):
            count = chance.randint(1, 150)
            blocks += [chunks[:count]] if chunks else []
            chunks = chunks[count:]
        packs.append(pack_of(len(packs), blocks))
    cache.add_index(digest("index"), index_of(*packs))
    wanted: list[bytes] = []
    while len(wanted) < 300:  # stretches of what was stored, strangers, and lengths that are wrong
        at = chance.randrange(400)
        wanted += ids[at : at + chance.choice([1, 2, 7, 90])] if chance.random() < 0.9 else [bytes(32)]
    lengths = [sizes.get(id_, 5) + (chance.random() < 0.03) for id_ in wanted]
    single = [
        next((place for place in places if place.length == length), None)
        for length, places in zip(lengths, cache.locate("here", wanted), strict=True)
    ]

    found: list[Location | None] = [None] * len(wanted)
    spans = cache.spans("here", wanted, lengths)
    for span in spans:
        offset = span.offset
        for at in range(span.at, span.at + span.chunks):
            assert found[at] is None
            found[at] = Location(span.pack, span.block, offset, lengths[at])
            offset += lengths[at]
        assert span.offset + span.size == offset
    assert single == found
    assert spans == sorted(spans)
    assert max(span.chunks for span in spans) > 8
    assert [] == cache.spans("nowhere", wanted, lengths)


def test_returns_packs_as_the_index_file_named_them(cache: IndexCache) -> None:
    ids = chunk_ids("a", 5)
    pack = pack_of(1, [[(ids[0], 10), (ids[1], 20)], [(ids[2], 30)], [(ids[3], 40)]], kind="T", keys=2)
    other = pack_of(2, [[(ids[4], 50)]])
    cache.add_index(digest(1), index_of(pack, other))
    cache.add_index(*simple("more", chunk_ids("more", 3)))
    found = dict(cache.packs_of({digest(1), digest("unknown")}))
    one, two = (found[number] for number in sorted(found))
    assert (pack.entry.name, "T", pack.entry.size, pack.entry.keys) == (
        one.name,
        one.kind,
        one.size,
        one.keys,
    )
    assert ((0, 7, 100, 60, 30, 2), (1, 8, 101, 160, 30, 1), (0, 9, 102, 261, 40, 1)) == one.blocks
    assert (30, 160) == (one.blocks[1].unpacked, one.blocks[1].at)
    assert (other.entry.name, "D") == (two.name, two.kind)
    assert [cache.pack(number) for number in sorted(found)] == [one, two]


def test_domains_do_not_see_each_other(cache: IndexCache) -> None:
    ids = chunk_ids("a", 300)
    cache.add_index(*simple("ours", ids[:200], domain="ours"))
    cache.add_index(*simple("theirs", ids[100:], domain=""))
    assert known(cache, "ours", ids) == [True] * 200 + [False] * 100
    assert known(cache, "", ids) == [False] * 100 + [True] * 200
    assert known(cache, "nobody", ids) == [False] * 300
    assert cache.locate("nobody", ids) == [[]] * 300
    (place,) = cache.locate("ours", [ids[150]])[0]
    assert digest("pack", "ours") == cache.pack(place.pack).name


def test_copies_come_oldest_first_by_time_then_by_name(cache: IndexCache) -> None:
    (id_,) = chunk_ids("a", 1)
    named = {seed: digest("index", seed) for seed in "abcdef"}
    times = {"a": 2**40, "b": 3, "c": 3, "d": 3, "e": 255, "f": 256}
    for seed in "abcdef":
        cache.add_index(*simple(seed, [id_], time=times[seed]))
    expected = sorted("abcdef", key=lambda seed: (times[seed], named[seed]))
    places = cache.locate("here", [id_])[0]
    assert [digest("pack", seed) for seed in expected] == [cache.pack(place.pack).name for place in places]


def test_a_chunk_twice_in_a_pack_has_two_places(cache: IndexCache) -> None:
    (id_,) = chunk_ids("a", 1)
    cache.add_index(digest(1), index_of(pack_of(1, [[(id_, 10), (id_, 10)], [(id_, 10)]])))
    places = cache.locate("here", [id_])[0]
    assert [(0, 0), (0, 10), (1, 0)] == [(place.block, place.offset) for place in places]


def test_a_chunk_in_thousands_of_packs_is_found_and_removed(cache: IndexCache) -> None:
    (id_,) = chunk_ids("a", 1)
    for at in range(2):
        packs = [pack_of((at, n), [[(id_, 10)]]) for n in range(1500)]
        cache.add_index(digest(at), index_of(*packs, time=at))
    assert len(cache.locate("here", [id_])[0]) == 3000
    cache.drop_index({digest(1)})
    assert len(cache.locate("here", [id_])[0]) == 1500
    cache.drop_index({digest(0)})
    assert known(cache, "here", [id_]) == [False]


def test_adding_an_index_file_again_changes_nothing(cache: IndexCache) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    before = cache.locate("here", ids), list(cache.packs_of({name}))
    cache.mark_verified({name})
    cache.add_index(name, index)
    assert before == (cache.locate("here", ids), list(cache.packs_of({name})))
    assert cache.unverified() == set()


def test_an_index_file_without_packs_is_listed(cache: IndexCache) -> None:
    cache.add_index(digest(1), index_of())
    cache.add_index(digest(2), index_of(pack_of(2, [])))
    assert cache.index_files() == {digest(1), digest(2)}


def test_dropping_an_index_file_removes_its_rows_and_no_others(cache: IndexCache) -> None:
    ids = chunk_ids("a", 3000)
    half = len(ids) // 2
    cache.add_index(*simple("gone", ids, time=1))
    cache.add_index(*simple("kept", ids[half:], time=2))
    (number, _), *_ = cache.packs_of({digest("index", "gone")})
    cache.drop_index({digest("index", "gone"), digest("unknown")})
    assert cache.index_files() == {digest("index", "kept")}
    assert known(cache, "here", ids) == [False] * half + [True] * half
    assert {digest("pack", "kept")} == {
        cache.pack(place.pack).name for places in cache.locate("here", ids) for place in places
    }
    assert list(cache.packs_of({digest("index", "gone")})) == []
    with pytest.raises(StateError, match="no longer holds pack"):
        cache.pack(number)


def test_a_dropped_index_file_can_come_back(cache: IndexCache) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    cache.drop_index({name})
    cache.add_index(name, index)
    assert all(known(cache, "here", ids))
    assert all(len(places) == 1 for places in cache.locate("here", ids))


def test_chunks_of_a_lost_pack_are_neither_known_nor_located(cache: IndexCache) -> None:
    ids = chunk_ids("a", 3)
    both = index_of(pack_of(1, [[(ids[0], 10), (ids[1], 10)]]), pack_of(2, [[(ids[2], 10)]]), time=1)
    cache.add_index(digest(1), both)
    cache.add_index(digest(2), index_of(pack_of(3, [[(ids[1], 10)]]), time=2))
    lost = cache.locate("here", [ids[0]])[0][0].pack
    cache.mark_lost([lost])
    assert known(cache, "here", ids) == [False, True, True]
    assert [0, 1, 1] == [len(places) for places in cache.locate("here", ids)]
    assert [digest("pack", 2)] == [pack.name for _, pack in cache.packs_of({digest(1)})]
    assert cache.index_files() == {digest(1), digest(2)}


def test_index_files_with_lost_packs_are_told(cache: IndexCache) -> None:
    for seed in range(3):
        cache.add_index(*simple(seed, chunk_ids(seed, 2)))
    assert cache.with_lost_packs() == set()
    cache.mark_lost([number for number, _ in cache.packs_of({digest("index", 1)})])
    assert cache.with_lost_packs() == {digest("index", 1)}
    cache.mark_verified({digest("index", 1)})
    assert cache.with_lost_packs() == {digest("index", 1)}
    cache.drop_index({digest("index", 1)})
    cache.add_index(*simple(1, chunk_ids(1, 2)))
    assert cache.with_lost_packs() == set()
    assert known(cache, "here", chunk_ids(1, 2)) == [True, True]


def test_knows_only_chunks_of_packs_below_a_number_or_of_given_ones(cache: IndexCache) -> None:
    """A run relies on what was there before it began, and on its own packs."""
    old, both, later = ids = chunk_ids("a", 3)
    before = cache.add_index(*simple("before", [old, both], time=2))
    below = cache.next_pack()
    after = cache.add_index(*simple("after", [both, later], time=1))
    assert before == cache.add_index(*simple("before", [old, both], time=2))
    assert list(before) == [number for number, _ in cache.packs_of({digest("index", "before")})]
    assert list(after) == [number for number, _ in cache.packs_of({digest("index", "after")})] == [below]
    assert cache.known("here", ids, below, ()) == [True, True, False]
    assert cache.known("here", ids, below, set(after)) == [True, True, True]
    assert cache.known("here", ids, before[0], set(after)) == [False, True, True]
    assert cache.known("here", ids, before[0], ()) == [False] * 3


def test_index_files_are_unverified_until_marked(cache: IndexCache) -> None:
    for seed in range(3):
        cache.add_index(*simple(seed, chunk_ids(seed, 2)))
    names = [digest("index", seed) for seed in range(3)]
    assert cache.unverified() == set(names)
    cache.mark_verified({names[0], names[2], digest("unknown")})
    assert cache.unverified() == {names[1]}
    assert cache.index_files() == set(names)


def test_condemned_packs_hold_nothing_to_rely_on(cache: IndexCache) -> None:
    ids = chunk_ids("a", 3)
    one, two = pack_of(1, [[(ids[0], 10), (ids[1], 10)]]), pack_of(2, [[(ids[1], 10)]])
    cache.add_index(digest(1), index_of(one))
    cache.add_index(digest(2), index_of(two))
    by_index, by_pack = cache.numbers({digest(1)}, ()), cache.numbers((), {one.entry.name, digest("other")})
    assert by_index == by_pack == {number for number, _ in cache.packs_of({digest(1)})}
    assert cache.known("here", ids, condemned=by_index) == [False, True, False]


def test_remembers_who_signed_an_index_file_and_what_it_stands_for(cache: IndexCache) -> None:
    cache.add_index(digest(1), index_of(signer=digest("bob"), replaces=digest(7) + digest(8)))
    cache.add_index(
        digest(2), index_of(pack_of(1, [[(digest(0), 9)]]), signer=digest("ann"), replaces=digest(9))
    )
    assert cache.index_signers() == {digest(1): digest("bob"), digest(2): digest("ann")}
    assert [cache.stands_for(digest(n)) for n in (9, 8, 7)] == [digest(2), digest(1), digest(1)]


def test_what_stands_for_an_index_file_is_one_that_is_there(cache: IndexCache) -> None:
    cache.add_index(digest(1), index_of(replaces=digest(0)))
    cache.add_index(digest(2), index_of(replaces=digest(1)))
    cache.drop_index({digest(1)})
    assert cache.stands_for(digest(0)) == digest(2)  # through one that was deleted since
    cache.drop_index({digest(2)})
    assert cache.stands_for(digest(0)) is None
    cache.add_index(digest(3), index_of(replaces=digest(4)))
    cache.add_index(digest(4), index_of(replaces=digest(3)))
    cache.drop_index({digest(3), digest(4)})
    assert cache.stands_for(digest(3)) is None  # in a ring


def test_what_was_refused_is_remembered_until_the_roster_changes(cache: IndexCache) -> None:
    cache.reject("index/ab", digest("roster"), "is damaged")
    assert cache.rejected(digest("roster")) == {"index/ab": "is damaged"}
    assert cache.rejected(digest("next roster")) == {}
    assert cache.rejected(digest("roster")) == {}


def test_finds_streams_in_any_order_among_packs_that_came_and_went(cache: IndexCache) -> None:
    """A model: what each pack has, and the ids asked for in runs, with gaps, again and at random."""
    source = random.Random(3)
    stored: dict[bytes, set[bytes]] = {}
    files: dict[bytes, DescribedIndex] = {}
    asked = chunk_ids("never stored", 500)
    for seed in range(40):
        ids = chunk_ids(seed, source.randrange(1, 900))
        ids += source.sample(ids, len(ids) // 10)  # again in the same pack
        ids += source.sample(asked, min(len(asked), 50))  # some were stored before
        cut = source.randrange(len(ids) + 1)
        packs = [
            pack_of((seed, n), [[(id_, 10) for id_ in part]]) for n, part in enumerate((ids[:cut], ids[cut:]))
        ]
        name = digest("index", seed)
        files[name] = index_of(*packs, time=seed)
        cache.add_index(name, files[name])
        stored[name] = set(ids)
        asked += ids
        if seed % 7 == 6:
            gone = source.choice(list(stored))
            cache.drop_index({gone})
            del stored[gone]
    there = set().union(*stored.values())
    for _ in range(200):
        at = source.randrange(len(asked))
        some = asked[at : at + source.randrange(300)]
        for _ in range(source.randrange(4)):
            some[source.randrange(len(some) + 1) :] = source.sample(asked, 5) + some[-30:]
        assert [id_ in there for id_ in some] == known(cache, "here", some)
        assert [id_ in there for id_ in some] == [bool(places) for places in cache.locate("here", some)]
        for id_, number in zip(some, cache.some_pack("here", some), strict=True):
            assert (number in {place.pack for place in cache.locate("here", [id_])[0]}) == (id_ in there)
    copies = {
        id_: sum(
            pack.ids[at : at + 16] == id_[:16]
            for name in stored
            for pack in files[name].packs
            for at in range(0, len(pack.ids), 16)
        )
        for id_ in source.sample(asked, 30)
    }
    assert copies == {id_: len(cache.locate("here", [id_])[0]) for id_ in copies}


def test_a_stream_does_not_run_on_into_a_pack_of_another_domain_or_run(cache: IndexCache) -> None:
    ids = chunk_ids("a", 300)
    (one,) = cache.add_index(*simple("ours", ids[:100], domain="ours"))
    cache.add_index(*simple("theirs", ids[100:200], domain="theirs"))
    cache.add_index(*simple("later", ids[200:], domain="ours"))
    assert known(cache, "ours", ids) == [True] * 100 + [False] * 100 + [True] * 100
    assert cache.known("ours", ids, one + 1) == [True] * 100 + [False] * 200
    cache.drop_index({digest("index", "theirs")})
    (four,) = cache.add_index(*simple("last", ids[100:200], domain="ours"))
    assert cache.known("ours", ids, one + 1, {four}) == [True] * 200 + [False] * 100


def test_a_chunk_that_is_gone_hides_none_beside_it(cache: IndexCache) -> None:
    ids, (gone,) = chunk_ids("a", 40), chunk_ids("gone", 1)
    cache.add_index(*simple("kept", ids))
    cache.add_index(*simple("gone", [gone]))
    cache.drop_index({digest("index", "gone")})
    assert known(cache, "here", [*ids[:10], gone, *ids[10:]]) == [True] * 10 + [False] + [True] * 30


def test_hints_of_packs_that_are_gone_do_not_pile_up(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(*simple("kept", chunk_ids("kept", 100)))
    for _ in range(12):
        cache.add_index(name, index)
        cache.drop_index({name})
    cache.add_index(name, index)
    assert sum(path.stat().st_size for path in folder.glob("hints.*")) < 200_000
    assert sum(path.stat().st_size for path in folder.glob("columns.*")) < 500_000
    assert all(known(cache, "here", ids + chunk_ids("kept", 100)))


@pytest.mark.parametrize("count", [0, 1, 41, 42, 43, 5000])
@pytest.mark.parametrize("spread", ["even", "one bucket", "the last bucket"])
def test_every_hint_in_a_file_is_found(tmp_path: Path, count: int, spread: str) -> None:
    source = random.Random(count)
    begin = {"even": b"", "one bucket": b"abcdef", "the last bucket": b"\xff\xff\xff"}[spread]
    hints = sorted(begin + source.randbytes(12 - len(begin)) for _ in range(count))
    parts = [hints[n::3] for n in range(3)]
    sources = [iter([part[at : at + 77] for at in range(0, len(part), 77)] + [[]]) for part in parts]
    made = hint_files.write(tmp_path / "hints", hint_files.merge(sources), count)
    assert (count, (tmp_path / "hints").stat().st_size) == (made[2], made[1])
    file = hint_files.HintFile(tmp_path / "hints", made[0], made[1])
    assert hints == [hint for some in file.read() for hint in some]
    for hint in source.sample(hints, min(count, 100)):
        assert [other for other in hints if other[:6] == hint[:6]] == file.find(hint[:6])
        assert file.find(source.randbytes(6)) == []


def test_keeps_snapshots_until_they_are_dropped(cache: IndexCache) -> None:
    payloads = {
        digest(n): data for n, data in enumerate([b"", b"text " * 99_999, random.Random(1).randbytes(9999)])
    }
    cache.add_snapshots((name, name[:5], payload) for name, payload in payloads.items())
    assert cache.snapshot_names() == set(payloads)
    assert {name: name[:5] for name in payloads} == dict(cache.snapshot_headers())
    assert payloads == {name: cache.snapshot_payload(name) for name in payloads}
    cache.add_snapshots([(digest(1), b"new", b"other")])
    assert b"other" == cache.snapshot_payload(digest(1))
    assert b"new" == dict(cache.snapshot_headers())[digest(1)]
    cache.drop_snapshots({digest(1), digest("unknown")})
    assert cache.snapshot_names() == {digest(0), digest(2)}
    with pytest.raises(StateError, match="no longer holds snapshot"):
        cache.snapshot_payload(digest(1))


def test_a_scope_tells_what_was_seen_in_it(cache: IndexCache, folder: Path) -> None:
    ids = chunk_ids("a", 10_000)
    for _ in range(2):
        with cache.seen_scope() as seen:
            assert all(seen.add(id_ + b"domain") for id_ in ids)
            assert not any(seen.add(id_ + b"domain") for id_ in ids)
            assert seen.add(ids[0])
            known(cache, "here", ids[:1])
        assert not list(folder.glob("seen*"))


def test_two_scopes_are_apart(cache: IndexCache) -> None:
    with cache.seen_scope() as one, cache.seen_scope() as two:
        assert one.add(b"a")
        assert two.add(b"a")


# -- the file


def test_everything_is_there_when_it_is_opened_again(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    cache.mark_verified({name})
    cache.add_snapshots([(digest(2), b"header", b"payload")])
    cache.close()
    again = IndexCache(folder, REPOSITORY)
    assert again.index_files() == {name}
    assert again.unverified() == set()
    assert all(known(again, "here", ids))
    assert again.snapshot_payload(digest(2)) == b"payload"
    again.add_index(*simple("more", ids[:2], time=5))
    assert [2, 2, 1] == [len(places) for places in again.locate("here", ids[:3])]
    again.close()


@pytest.mark.parametrize("identity", [b"%d:%s" % (SCHEMA, bytes(16)), b"%d:%s" % (SCHEMA + 1, REPOSITORY)])
def test_a_cache_of_another_repository_or_version_is_made_anew(folder: Path, identity: bytes) -> None:
    other = CacheFile(folder, identity, TABLES)
    with other.environment.begin(write=True) as txn:
        txn.put(digest(1), b"another meaning", db=other.tables["headers"])
    other.close()
    cache = IndexCache(folder, REPOSITORY)
    assert cache.snapshot_names() == set()
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    assert len(index_files(folder)) == 1


def test_the_folder_is_private(cache: IndexCache, folder: Path) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    assert 0o700 == stat.S_IMODE(folder.stat().st_mode)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_folder_that_others_can_enter_is_refused(folder: Path) -> None:
    folder.mkdir(parents=True, mode=0o755)
    with pytest.raises(StateError, match="others can enter"):
        IndexCache(folder, REPOSITORY)


def test_files_that_are_not_ours_are_replaced(cache: IndexCache, folder: Path) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    os.chown(folder / "data.mdb", 65534, 65534)
    assert index_files(folder) == set()
    assert (folder / "data.mdb").stat().st_uid == os.geteuid()


def test_a_link_in_place_of_the_file_is_replaced(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True, mode=0o700)
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (folder / "data.mdb").symlink_to(victim)
    (folder / "lock.mdb").symlink_to(victim)
    assert index_files(folder) == set()
    assert victim.read_bytes() == b"precious"


def test_one_process_opens_a_cache_once(cache: IndexCache, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    for path in (folder, tmp_path / "link"):
        with pytest.raises(StateError, match=r"open in this process already; close it first"):
            IndexCache(path, REPOSITORY)
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.close()
    cache.close()
    with pytest.raises(StateError, match="cannot be used"):
        cache.index_files()
    assert len(index_files(folder)) == 1


def test_a_folder_that_cannot_be_made_is_named() -> None:
    with pytest.raises(StateError, match=r"/proc/cache cannot be used"):
        IndexCache(Path("/proc/cache"), REPOSITORY)


def test_a_full_disk_is_an_error_that_names_the_folder(folder: Path) -> None:
    """A limit on file sizes stands for the disk: at each size, what is there stays right."""
    said = set()
    for limit in (10_000, 70_000, 150_000, 280_000):
        status, output = run("add under a limit", folder, limit)
        said.add(output.count("added"))
        assert (0, 1) == (status, output.count(f"the index cache {folder} cannot be used: ")), output
        check_consistency(folder)
    assert len(said) > 1  # while making the folder's files, and while adding to them


def test_a_small_address_space_is_enough(folder: Path) -> None:
    assert (0, "known\n") == run("add in a small address space", folder, 3 << 30)


# -- other processes


def test_processes_share_a_cache(folder: Path) -> None:
    """Writers add, some of them the same files, and one drops; what is listed is always whole."""
    writers = [start("add", folder, *range(first, first + 4)) for first in (0, 3, 6)]
    dropper = start("add and drop", folder, *range(100, 104))
    readers = [start("look", folder, *range(10)) for _ in range(2)]
    for process in (*writers, dropper):
        assert (0, "added\n" * 4 + "done\n") == finish(process)
    for process in readers:
        assert (0, "saw all\n") == finish(process)
    cache = IndexCache(folder, REPOSITORY)
    assert cache.index_files() == {numbered(seed)[0] for seed in range(10)}
    cache.close()
    check_consistency(folder)


def test_a_killed_process_leaves_a_cache_that_tells_the_truth(folder: Path) -> None:
    """Killed while adding and dropping, at any moment: nothing is thrown away and no row lacks its file."""
    source = random.Random(7)
    cache = IndexCache(folder, REPOSITORY)
    name, index, _ = numbered(10_000)
    cache.add_index(name, index)
    cache.close()
    for attempt in range(12):
        process = start("add and drop", folder, *range(100 * attempt, 100 * attempt + 50))
        assert process.stdout is not None
        for _ in range(source.randrange(3)):
            process.stdout.readline()
        time.sleep(source.random() * 0.1)
        process.send_signal(signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
        assert name in index_files(folder)
        check_consistency(folder)


def test_a_process_killed_while_opening_harms_nothing(folder: Path) -> None:
    for attempt in range(8):
        process = start("add", folder, attempt)
        time.sleep(0.12 + attempt * 0.02)
        process.kill()
        finish(process)
        check_consistency(folder)


def test_damage_is_found_after_a_process_died(folder: Path) -> None:
    """Whatever ended it, perhaps the damage itself: every row is read before the file is used again."""
    assert run("add", folder, 1, 2) == (0, "added\nadded\ndone\n")
    assert run("add and die", folder, 3)[0] == -signal.SIGSEGV
    assert len(index_files(folder)) == 3
    assert run("add and die", folder, 4)[0] == -signal.SIGSEGV
    for number in range(-20, 0):
        damage_page(folder, number)
    assert index_files(folder) == set()
    check_consistency(folder)


def test_damage_seen_in_use_throws_the_cache_away(folder: Path) -> None:
    assert run("add", folder, 1)[0] == 0
    status, output = run("damage in use", folder)
    assert status == 0
    assert f"the index cache {folder} was damaged (" in output
    assert "is thrown away; run it again" in output
    assert index_files(folder) == set()


def cut(data: bytearray, source: random.Random) -> None:
    """Lose the file's end."""
    del data[source.randrange(len(data)) :]


def nothing(data: bytearray, source: random.Random) -> None:
    """Lose everything."""
    data.clear()


def noise(data: bytearray, source: random.Random) -> None:
    """Put random bytes everywhere."""
    data[:] = source.randbytes(len(data))


def zeros(data: bytearray, source: random.Random) -> None:
    """Lose half of the pages."""
    for at in range(0, len(data), 4096):
        if source.random() < 0.5:
            data[at : at + 4096] = bytes(4096)


def lost_pages(data: bytearray, source: random.Random) -> None:
    """Put random bytes into every page, most of them into its header."""
    for at in range(8192, len(data), 4096):
        data[at + source.randrange(64)] = source.randrange(256)
        data[at + source.randrange(4096)] = source.randrange(256)


def heads(data: bytearray, source: random.Random) -> None:
    """Put random bytes into the two pages that say where all others are."""
    for _ in range(10):
        data[source.choice((0, 4096)) + source.randrange(160)] = source.randrange(256)


@pytest.mark.parametrize("break_it", [cut, nothing, noise, zeros, lost_pages, heads])
def test_a_damaged_file_costs_one_run_at_most(
    folder: Path, break_it: Callable[[bytearray, random.Random], None]
) -> None:
    """The first process may be told (or, at worst, ended) by the damage; the second one works.

    Damage that hits just the bytes of some rows is not noticed: their chunks are not found, or not where they
    are said to be.  Readers verify, and then doubt the cache.
    """
    assert run("add", folder, 1, 2)[0] == 0
    whole = folder.with_name("whole")
    shutil.copytree(folder, whole)
    for seed in range(2):
        shutil.rmtree(folder)
        shutil.copytree(whole, folder)
        data = bytearray((whole / "data.mdb").read_bytes())
        break_it(data, random.Random(seed))
        (folder / "data.mdb").write_bytes(data)
        first = run("use everything", folder, 1, 2)
        second = run("use everything", folder, 1, 2)
        if break_it in (cut, nothing, noise):  # noticed before LMDB could stumble
            assert (0, "right\n") == first
        if break_it is lost_pages:
            assert second in [(0, "right\n"), (0, "forgot\n")], first
            cache = IndexCache(folder, REPOSITORY)
            cache.throw_away()
            cache.close()
            assert (0, "right\n") == run("use everything", folder, 1, 2)
        else:
            assert (0, "right\n") == second, first
        check_consistency(folder)


@pytest.mark.parametrize("kind", ["hints", "columns"])
@pytest.mark.parametrize("break_it", [cut, nothing, None])
def test_a_file_beside_that_is_missing_or_cut_short_is_noticed_while_opening(
    folder: Path, kind: str, break_it: Callable[[bytearray, random.Random], None] | None
) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob(f"{kind}.*"):
        data = bytearray(path.read_bytes())
        path.unlink()
        if break_it is not None:
            break_it(data, random.Random(1))
            path.write_bytes(data)
    assert (0, "right\n") == run("use everything", folder, 1, 2)
    check_consistency(folder)


def blank(data: bytearray) -> None:
    """Lose every byte, but not the size."""
    data[:] = bytes(len(data))


def endless(data: bytearray) -> None:
    """Say of each bucket that more is in the next."""
    data[511::512] = b"\1" * len(data[511::512])


@pytest.mark.parametrize(("kind", "break_it"), [("columns", blank), ("hints", endless)])
def test_a_file_beside_of_the_right_size_that_is_damaged_costs_one_run(
    folder: Path, kind: str, break_it: Callable[[bytearray], None]
) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob(f"{kind}.*"):
        data = bytearray(path.read_bytes())
        break_it(data)
        path.write_bytes(data)
    cache = IndexCache(folder, REPOSITORY)
    with pytest.raises(StateError, match=THROWN_AWAY):
        known(cache, "here", numbered(1)[2] + chunk_ids("none of them", 1000))
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)


@pytest.mark.parametrize("size", [0, 2399, None])
def test_columns_that_are_missing_or_cut_short_are_never_written_on(
    cache: IndexCache, folder: Path, size: int | None
) -> None:
    cache.add_index(*simple("before", chunk_ids("before", 100)))
    (columns,) = folder.glob("columns.*")
    if size is None:
        columns.unlink()
    else:
        os.truncate(columns, size)
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*simple("behind", chunk_ids("behind", 100)))
    assert size == (columns.stat().st_size if columns.exists() else None)
    cache.close()
    assert index_files(folder) == set()


def test_hints_of_packs_that_cannot_be_cost_one_run(folder: Path) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    for path in folder.glob("hints.*"):
        data = bytearray(path.read_bytes())
        for at in range(0, len(data), 512):
            data[at + 6 : at + 10] = b"\xff" * 4
        path.write_bytes(data)
    cache = IndexCache(folder, REPOSITORY)
    cache.drop_index([numbered(1)[0]])
    cache.add_index(*numbered(3)[:2])
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*numbered(4)[:2])
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)


def test_hints_that_are_missing_when_they_are_merged_cost_one_run(folder: Path) -> None:
    assert run("add", folder, 1, 2)[0] == 0
    cache = IndexCache(folder, REPOSITORY)
    for path in folder.glob("hints.*"):
        path.unlink()
    cache.add_index(*numbered(3)[:2])
    with pytest.raises(StateError, match=THROWN_AWAY):
        cache.add_index(*numbered(4)[:2])
    cache.close()
    assert (0, "right\n") == run("use everything", folder, 1, 2)


def test_a_copy_of_a_file_beside_is_in_nobodys_way(cache: IndexCache, folder: Path) -> None:
    name, index, _ = numbered(1)
    cache.add_index(name, index)
    for path in [*folder.glob("columns.*"), *folder.glob("hints.*")]:
        path.with_name(f"{path.name}~").write_bytes(b"")
    cache.drop_index([name])
    assert cache.index_files() == set()


def test_a_cache_that_is_at_odds_with_the_repository_can_be_thrown_away(
    cache: IndexCache, folder: Path
) -> None:
    cache.add_index(*simple("a", chunk_ids("a", 10)))
    cache.throw_away()
    assert all(known(cache, "here", chunk_ids("a", 10)))  # until it is opened again
    cache.close()
    assert index_files(folder) == set()
    assert [] == [*folder.glob("columns.*"), *folder.glob("hints.*")]


def test_who_has_a_cache_that_is_thrown_away_keeps_it(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    assert (0, "new\n") == run("take for another repository", folder)
    cache.add_index(*simple("more", chunk_ids("more", 10)))
    assert all(known(cache, "here", ids + chunk_ids("more", 10)))


def test_who_makes_a_cache_anew_does_not_disturb_others(cache: IndexCache, folder: Path) -> None:
    name, index, ids = numbered(1)
    cache.add_index(name, index)
    assert (0, "empty\nfull\n") == run("renew", folder, 2)
    cache.add_index(*simple("more", chunk_ids("more", 10)))
    assert all(known(cache, "here", ids + chunk_ids("more", 10)))
    cache.close()
    assert {numbered(2)[0]} == index_files(folder)
    check_consistency(folder)


# -- memory


def test_memory_for_look_ups_does_not_grow_with_the_cache(
    cache: IndexCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of the mapped file are handed back, and reading goes on."""
    monkeypatch.setattr(all_hints, "MOST_RECENT", 1 << 30)
    monkeypatch.setattr(pages, "MOST", 1 << 18)
    monkeypatch.setattr(row_formats, "BATCH_ROWS", 8192)
    ids = chunk_ids("a", 200_000)
    for at in range(0, len(ids), 50_000):
        cache.add_index(*simple(at, ids[at : at + 50_000]))
    assert (folder / "data.mdb").stat().st_size > 3 << 20
    random.Random(1).shuffle(ids)
    before = mapped()
    most = 0
    for at in range(0, 10_000, 10):
        assert all(known(cache, "here", ids[at : at + 10]))
        most = max(most, mapped() - before)
    assert most < 2 << 20


def mapped() -> int:
    """Return the bytes of mapped files in this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[2]) * os.sysconf("SC_PAGE_SIZE")


# -- threads


def test_one_thread_adds_while_another_looks_up(cache: IndexCache) -> None:
    files = [numbered(seed) for seed in range(6)]

    def add() -> None:
        for name, index, _ in files:
            cache.add_index(name, index)

    thread = threading.Thread(target=add)
    thread.start()
    while thread.is_alive():
        for listed, found in [
            (name in cache.index_files(), known(cache, "here", ids)) for name, _, ids in files
        ]:
            assert not listed or all(found)
    thread.join()
    assert len(cache.index_files()) == 6


def test_closing_while_a_thread_adds_leaves_it_whole(folder: Path) -> None:
    for attempt in range(5):
        cache = IndexCache(folder, REPOSITORY)
        files = [numbered(seed) for seed in range(10 * attempt, 10 * attempt + 10)]
        told: list[str] = []
        thread = threading.Thread(target=add_until_told, args=(cache, files, told))
        thread.start()
        time.sleep(attempt * 0.05)
        cache.close()
        thread.join()
        assert [True] == ["cannot be used" in text for text in told]
        check_consistency(folder)


def add_until_told(
    cache: IndexCache, files: list[tuple[bytes, DescribedIndex, list[bytes]]], told: list[str]
) -> None:
    """Add index files, over and over, until an error says to stop."""
    while not told:
        try:
            for name, index, _ in files:
                cache.add_index(name, index)
            cache.drop_index({name for name, _, _ in files})
        except StateError as error:
            told.append(str(error))


# -- what tests and their processes do


def index_files(folder: Path) -> set[bytes]:
    """Open the cache, list and close it."""
    cache = IndexCache(folder, REPOSITORY)
    listed = cache.index_files()
    cache.close()
    return listed


def check_consistency(folder: Path) -> None:
    """Check that rows and records of index files agree, by reading all of them."""
    cache = IndexCache(folder, REPOSITORY)
    chunks = {
        number: sum(block.chunks for block in pack.blocks)
        for number, pack in cache.packs_of(cache.index_files())
    }
    cache.close()
    file = CacheFile(folder, b"%d:%s" % (SCHEMA, REPOSITORY), TABLES)
    found = dict.fromkeys(chunks, 0)
    with file.environment.begin() as txn:
        for key, value in txn.cursor(file.tables["columns"]):
            found[int.from_bytes(key, "big")] += int.from_bytes(
                value[-4:], "big"
            )  # or a row without its file
        assert txn.stat(file.tables["packs"])["entries"] == len(chunks)
        assert txn.stat(file.tables["doomed"])["entries"] == 0
    file.close()
    assert chunks == found


def damage_page(folder: Path, number: int) -> None:
    """Fill a page with other bytes."""
    with (folder / "data.mdb").open("r+b") as file:
        file.seek(number * 4096, os.SEEK_END if number < 0 else os.SEEK_SET)
        file.write(b"\xee" * 4096)


def start(what: str, folder: Path, *arguments: int) -> "subprocess.Popen[str]":
    """Start another process."""
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, __file__, what, str(folder), *map(str, arguments)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Return a process's status and output."""
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def run(what: str, folder: Path, *arguments: int) -> tuple[int, str]:
    """Run another process to its end."""
    return finish(start(what, folder, *arguments))


def add(folder: Path, *seeds: int) -> None:
    """Add index files."""
    cache = IndexCache(folder, REPOSITORY)
    for seed in seeds:
        name, index, ids = numbered(seed)
        cache.add_index(name, index)
        assert all(known(cache, "here", ids))
        print("added", flush=True)
    cache.close()


def main(what: str, folder: Path, *numbers: int) -> None:
    """Be the other process."""
    for module, attribute, value in SMALL:
        setattr(module, attribute, value)
    if what == "add":
        add(folder, *numbers)
        print("done")
    elif what == "add and die":
        cache = IndexCache(folder, REPOSITORY)
        name, index, _ = numbered(numbers[0])
        cache.add_index(name, index)
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "add and drop":
        cache = IndexCache(folder, REPOSITORY)
        for seed in numbers:
            name, index, _ = numbered(seed)
            cache.add_index(name, index)
            print("added", flush=True)
            if seed % 2:
                cache.mark_lost([number for number, _ in cache.packs_of({name})])
            cache.drop_index({name})
        cache.close()
        print("done")
    elif what == "look":
        cache = IndexCache(folder, REPOSITORY)
        files = [numbered(seed) for seed in numbers]
        deadline = time.monotonic() + 100
        while time.monotonic() < deadline:
            listed = cache.index_files()
            for name, _, ids in files:
                assert name not in listed or all(known(cache, "here", ids))
            if listed.issuperset(name for name, _, _ in files):
                print("saw all")
                break
            time.sleep(0.02)
        cache.close()
    elif what == "add under a limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (numbers[0], numbers[0]))
        try:
            add(folder, *range(10))
        except StateError as error:
            print(error)
    elif what == "add in a small address space":
        resource.setrlimit(resource.RLIMIT_AS, (numbers[0], numbers[0]))
        cache = IndexCache(folder, REPOSITORY)
        name, index, ids = numbered(1)
        cache.add_index(name, index)
        print("known" if all(known(cache, "here", ids)) else "lost")
    elif what == "damage in use":
        cache = IndexCache(folder, REPOSITORY)
        data = bytes((folder / "data.mdb").stat().st_size - 8192)
        with (folder / "data.mdb").open("r+b") as file:
            file.seek(8192)
            file.write(data)
        try:
            known(cache, "here", chunk_ids(1, MANY))
        except StateError as error:
            print(error)
    elif what == "use everything":
        cache = IndexCache(folder, REPOSITORY)
        try:
            right = True
            for seed in numbers:
                name, index, ids = numbered(seed)
                if name not in cache.index_files():
                    cache.add_index(name, index)
                right = right and all(known(cache, "here", ids)) and all(cache.locate("here", ids))
                right = right and [index.said.packs[0].name] == [
                    pack.name for _, pack in cache.packs_of({name})
                ]
            print("right" if right and len(cache.index_files()) == len(numbers) else "forgot")
        except StateError as error:
            print(error)
        cache.close()
    elif what == "renew":
        cache = IndexCache(folder, REPOSITORY)
        cache.renew()
        print("full" if cache.index_files() else "empty")
        name, index, ids = numbered(numbers[0])
        cache.add_index(name, index)
        print("full" if all(known(cache, "here", ids)) else "empty")
        cache.close()
    elif what == "take for another repository":
        cache = IndexCache(folder, bytes(16))
        print("new" if not cache.index_files() else "old")
        cache.close()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
