"""Calls that fail in a way that may pass are repeated, a bounded number of times."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dedupstore.backends.contract import Backend, Entry, Properties
from dedupstore.backends.local import LocalBackend
from dedupstore.backends.retry import Retry
from dedupstore.errors import AlreadyExistsError, BackendError, NoSpaceError, NotFoundError, TransientError
from tests.dedupstore.backends.faulty import Faulty

CALLS: list[Callable[[Backend], object]] = [
    lambda backend: list(backend.list("packs")),
    lambda backend: backend.read("packs/a"),
    lambda backend: backend.size("packs/a"),
    lambda backend: backend.create("packs/b", b"b"),
]


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    backend = LocalBackend(tmp_path)
    backend.create("packs/a", b"aaaa")
    return backend


@pytest.mark.parametrize("call", CALLS, ids=["list", "read", "size", "create"])
def test_repeats_a_call_until_it_succeeds(local: LocalBackend, call: Callable[[Backend], object]) -> None:
    faulty = Faulty(local, fail_at=range(1, 5))
    pauses: list[float] = []
    call(Retry(faulty, sleep=pauses.append))
    assert len(faulty.calls) == 5
    assert len(pauses) == 4


@pytest.mark.parametrize("call", CALLS, ids=["list", "read", "size", "create"])
def test_gives_up_with_the_last_error(local: LocalBackend, call: Callable[[Backend], object]) -> None:
    faulty = Faulty(local, fail_at=range(1, 100))
    with pytest.raises(TransientError, match=r"fault at call 3, packs.* \(after 3 attempts\)"):
        call(Retry(faulty, attempts=3, sleep=lambda _: None))
    assert len(faulty.calls) == 3


def test_waits_longer_each_time(local: LocalBackend) -> None:
    pauses: list[float] = []
    with pytest.raises(TransientError):
        Retry(Faulty(local, fail_at=range(1, 100)), first_delay=1.0, sleep=pauses.append).size("packs/a")
    for pause, middle in zip(pauses, [1, 3, 9, 27], strict=True):
        assert middle / 2 <= pause <= middle * 3 / 2


@pytest.mark.parametrize("error", [BackendError, NotFoundError, AlreadyExistsError, NoSpaceError])
def test_does_not_repeat_what_would_fail_again(local: LocalBackend, error: type[BackendError]) -> None:
    faulty = Faulty(local, fail_at={1}, error=error)
    with pytest.raises(error):
        Retry(faulty).create("packs/b", b"b")
    expected = [("create", "packs/b")]
    assert expected == faulty.calls


def test_counts_a_create_as_done_whose_answer_was_lost(local: LocalBackend) -> None:
    faulty = Faulty(local, fail_at={1}, after=True)
    Retry(faulty, sleep=lambda _: None).create("packs/b", b"bbbb")
    assert [Entry("packs/a", 4), Entry("packs/b", 4)] == sorted(local.list("packs"))


def test_does_not_take_the_file_of_another_writer_for_its_own(local: LocalBackend) -> None:
    for other in (b"AAAA", b"longer"):
        faulty = Faulty(local, fail_at={1})
        with pytest.raises(AlreadyExistsError):
            Retry(faulty, sleep=lambda _: None).create("packs/a", other)


def test_goes_on_comparing_when_the_connection_is_lost_again(local: LocalBackend) -> None:
    faulty = Faulty(local, fail_at={1, 3, 6}, after=True)
    Retry(faulty, sleep=lambda _: None).create("packs/b", b"bbbb")
    expected = ["create", "create", "size", "create", "size", "read", "create", "size", "read"]
    assert expected == [method for method, _ in faulty.calls]


def test_refuses_an_existing_file_at_the_first_attempt(local: LocalBackend) -> None:
    with pytest.raises(AlreadyExistsError):
        Retry(local).create("packs/a", b"aaaa")


def test_closes_what_it_wraps_and_tells_what_it_tells(local: LocalBackend) -> None:
    faulty = Faulty(local)
    retry = Retry(faulty)
    assert retry.properties.durable
    faulty.properties = Properties(lambda: False, parallel=3, remote=True)
    assert (False, 3, True) == (retry.properties.durable, *retry.properties[1:])
    retry.close()
    assert faulty.closed
