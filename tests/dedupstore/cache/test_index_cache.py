"""What the index cache answers."""

import random
import threading

import pytest

from dedupstore.cache.index_cache import IndexCache, Location
from dedupstore.errors import StateError
from dedupstore.format import layout
from tests.dedupstore.cache.caches import chunk_ids, digest, index_of, known, numbered, pack_of, simple


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
