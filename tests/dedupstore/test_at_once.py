"""Several streams of one run are stored at once: what one relies on is there, whatever becomes of the others."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from dedupstore.errors import StreamError
from tests.store import World, begin, noise

SHARED = noise(900_000, "shared")  # less than a block: it stays open until something flushes it


class Gated:
    """A source that, before it ends, lets others go on and waits for them."""

    def __init__(self, data: bytes, then: Callable[[], None]) -> None:
        self._file = io.BytesIO(data)
        self._then = then

    def readinto(self, buffer: memoryview, /) -> int:
        count = self._file.readinto(buffer)
        if not count:
            self._then()
        return count


def test_streams_stored_at_once_come_back(world: World) -> None:
    streams = {f"s{n}": noise(200_000 + n, n % 3) + noise(50_000, n) for n in range(12)}
    with world.open(world.writer) as repository, begin(repository) as session:
        with ThreadPoolExecutor(4) as pool:
            stored = list(pool.map(lambda item: session.put(item[0], io.BytesIO(item[1])), streams.items()))
        session.finish()
    assert streams == {name: world.get(name) for name in streams}
    # what several have in common is stored about once
    assert sum(stream.new for stream in stored) < 1.3 * (3 * 200_000 + 12 * 50_000)


@pytest.mark.parametrize("fails", [True, False])
def test_a_checkpoint_holds_what_a_complete_stream_shares_with_one_that_goes_on(
    world: World, fails: bool
) -> None:
    """The chunks of `second` are in a block that `first` has open, and which it may never fill."""
    seen, done = threading.Event(), threading.Event()

    def wait() -> None:
        seen.set()
        assert done.wait(60)
        if fails:
            raise StreamError("the dump failed")

    with world.open(world.writer) as repository:
        session = begin(repository)
        with ThreadPoolExecutor(1) as pool:
            # long enough that its first chunks are noted before its end is asked for
            first = pool.submit(session.put, "first", Gated(SHARED + noise(9_000_000), wait))
            assert seen.wait(60)
            session.put("second", io.BytesIO(SHARED))
            session.checkpoint()
            done.set()
            assert fails == (first.exception() is not None)
        session.put("third", io.BytesIO(SHARED + b"!"))
        session.__exit__(None, None, None)
    with world.open(world.writer) as repository:
        (info,) = repository.complete_interrupted()
        assert ["second"] == [stream.name for stream in repository.streams(info)]
    assert SHARED == world.get("second")


def test_a_stream_that_failed_leaves_its_name_free_and_its_chunks_usable(world: World) -> None:
    def fail() -> None:
        raise StreamError("the dump failed")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match="the dump failed"):
            session.put("s", Gated(SHARED, fail))
        session.put("s", io.BytesIO(SHARED))
        session.finish()
    assert SHARED == world.get("s")


def test_one_name_is_refused_while_it_is_being_stored(world: World) -> None:
    seen, done = threading.Event(), threading.Event()

    def wait() -> None:
        seen.set()
        assert done.wait(60)

    with world.open(world.writer) as repository, begin(repository) as session, ThreadPoolExecutor(1) as pool:
        first = pool.submit(session.put, "s", Gated(SHARED, wait))
        assert seen.wait(60)
        with pytest.raises(StreamError, match="stored already"):
            session.put("s", io.BytesIO(b"other"))
        done.set()
        first.result()
        session.finish()
    assert SHARED == world.get("s")


def test_facts_are_asked_for_at_the_end_and_may_give_the_stream_up(world: World) -> None:
    source = io.BytesIO(SHARED)

    def refuse() -> dict[str, int]:
        raise StreamError(f"not good after {source.tell()} bytes")

    with world.open(world.writer) as repository, begin(repository) as session:
        with pytest.raises(StreamError, match=f"after {len(SHARED)} bytes"):
            session.put("bad", source, facts=refuse)
        good = session.put("good", io.BytesIO(SHARED), facts=lambda: {"n": 7})
        session.finish()
    assert {"n": 7} == good.facts
    with pytest.raises(LookupError):
        world.get("bad")
