"""Chunks are found where they are, in any order."""

import random

import pytest

from dedupstore.cache.index_cache import IndexCache, Location
from dedupstore.cache.row_formats import DescribedIndex
from tests.dedupstore.cache.caches import Packed, chunk_ids, digest, index_of, known, pack_of, simple


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
