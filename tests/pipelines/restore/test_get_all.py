"""Everything of a date into a folder: one that fails for good ends all the others."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dedupstore.backends.contract import Properties
from dedupstore.errors import DamageError, KeyAccessError
from dedupstore.format.run_records import Root, Stream
from pipelines.restore import get_all as get_all_module
from pipelines.restore.get_all import SMALL, GetAll

SECONDS = 60.0


class Backend:
    """Says where it is, and no more."""

    def __init__(self, remote: bool) -> None:
        self.properties = Properties(lambda: True, parallel=1, remote=remote)


class Fake:
    """A repository whose streams are what functions give."""

    def __init__(self, streams: dict[str, Callable[[], Iterator[bytes]]], remote: bool = True) -> None:
        self._streams = streams
        self.backend = Backend(remote)

    def refresh_index(self) -> None:
        """Nothing is to be read."""

    def read(self, snapshot: object, stream: Stream) -> Iterator[bytes]:
        yield from self._streams[stream.name]()


def stream(name: str, size: int) -> Any:
    """Return a snapshot, which nobody looks at, and its stream of that size."""
    content, nothing = Root(depth=0, id=bytes(32), size=size), Root()
    return None, Stream(
        name=name,
        kind="raw",
        size=size,
        time=0,
        stored=0,
        new=0,
        content=content,
        skeleton=nothing,
        layout=nothing,
        facts=b"",
    )


def get_all(fake: Fake, folder: Path, failed: list[tuple[str, str]]) -> GetAll:
    def note(name: str, why: str) -> None:
        failed.append((name, why))

    return GetAll(
        fake,  # type: ignore[arg-type]
        folder,
        force=False,
        raw=False,
        failed=note,
        progress=lambda what, done, of: None,
    )


def test_small_streams_come_while_a_large_one_is_on_its_way(tmp_path: Path) -> None:
    small_came = threading.Event()

    def large() -> Iterator[bytes]:
        assert small_came.wait(SECONDS)
        yield b"large"

    def small() -> Iterator[bytes]:
        yield b"small"
        small_came.set()

    failed: list[tuple[str, str]] = []
    got = get_all(Fake({"large": large, "small": small}), tmp_path, failed).run(
        [stream("large", SMALL + 1), stream("small", SMALL)]
    )
    assert (2, 10, 0, [], []) == (got.streams, got.size, got.failed, got.there, failed)
    assert {"large", "small"} == {path.name for path in tmp_path.iterdir()}


def test_an_error_that_nobody_foresaw_costs_only_its_stream(tmp_path: Path) -> None:
    def absurd() -> Iterator[bytes]:
        yield b"half"
        raise OverflowError("date value out of range")

    def good() -> Iterator[bytes]:
        yield b"good"

    failed: list[tuple[str, str]] = []
    got = get_all(Fake({"bad": absurd, "good": good}), tmp_path, failed).run(
        [stream("bad", 9), stream("good", 4)]
    )
    assert (1, 1) == (got.streams, got.failed)
    assert ["good"] == [path.name for path in tmp_path.iterdir()]
    ((name, why),) = failed
    assert "bad" == name
    assert why.startswith("OverflowError: date value out of range (test_get_all.py, line ")


@pytest.mark.parametrize(("remote", "most"), [(False, 1), (True, 2)])
def test_over_a_long_way_two_large_streams_come_at_once(tmp_path: Path, remote: bool, most: int) -> None:
    at_once: list[int] = []
    under_way = threading.Semaphore(0)

    def large() -> Iterator[bytes]:
        at_once.append(at_once[-1] + 1 if at_once else 1)
        under_way.release()
        if most > 1 and len(at_once) == 1:
            assert under_way.acquire(timeout=SECONDS)
            assert under_way.acquire(timeout=SECONDS)
        yield b"large"
        at_once.append(at_once[-1] - 1)

    failed: list[tuple[str, str]] = []
    names = [f"large{number}" for number in range(6)]
    got = get_all(Fake(dict.fromkeys(names, large), remote), tmp_path, failed).run(
        [stream(name, SMALL + 1) for name in names]
    )
    assert (6, []) == (got.streams, failed)
    assert most == max(at_once)


@pytest.mark.timeout(60)
def test_what_every_stream_would_fail_of_ends_those_on_their_way_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_all_module, "_PATIENCE", 1000.0)  # those that never began are not waited for
    under_way = threading.Event()

    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 20)
            under_way.set()

    def locked() -> Iterator[bytes]:
        assert under_way.wait(SECONDS)
        raise KeyAccessError("no key")

    failed: list[tuple[str, str]] = []
    with pytest.raises(KeyAccessError, match="no key"):
        get_all(Fake({"endless": endless, "locked": locked}), tmp_path, failed).run(
            [
                stream("endless", SMALL + 1),
                stream("locked", 1),
                *(stream("locked", SMALL + 1) for _ in range(9)),
            ]
        )
    assert [] == failed
    assert [] == list(tmp_path.iterdir())


def test_one_that_is_damaged_is_told_and_the_others_come(tmp_path: Path) -> None:
    def damaged() -> Iterator[bytes]:
        yield b"half"
        raise DamageError("it is damaged")

    failed: list[tuple[str, str]] = []
    fake = Fake({"damaged": damaged, "good": lambda: iter([b"good"])})
    got = get_all(fake, tmp_path, failed).run([stream("damaged", 8), stream("good", 4)])
    assert (1, 4, 1) == (got.streams, got.size, got.failed)
    assert [("damaged", "it is damaged")] == failed
    assert b"good" == (tmp_path / "good").read_bytes()
    assert not (tmp_path / "damaged").exists()
