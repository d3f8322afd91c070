"""Power fails at any call to the storage: what is listed is whole, and the next run carries on."""

import io
import threading
from collections.abc import Iterator

import pytest

from dedupstore.backends.contract import Backend, Entry
from dedupstore.errors import BackendError, NoSpaceError
from tests.store import World, begin, noise

DATA = noise(6 << 20)


class PowerLossError(BaseException):
    """The machine stopped: nothing later reaches the storage."""


class Mortal:
    """A back end that fails at the n-th call to `create`, before or after its effect, and ever after."""

    def __init__(self, inner: Backend, dies_at: int, *, after: bool, error: BaseException) -> None:
        self.inner, self.dies_at, self.after, self.error = inner, dies_at, after, error
        self.calls = 0
        self.dead = False
        self.properties = inner.properties
        self._lock = threading.Lock()

    def create(self, name: str, data: bytes | bytearray | memoryview) -> None:
        """Create, unless dead."""
        with self._lock:
            self._alive()
            self.calls += 1
            if self.calls != self.dies_at:
                self.inner.create(name, data)
                return
            self.dead = True
            if self.after:
                self.inner.create(name, data)
            raise self.error

    def list(self, folder: str) -> Iterator[Entry]:
        """List, unless dead."""
        self._alive()
        return iter(list(self.inner.list(folder)))

    def names(self, folder: str) -> Iterator[str]:
        """List, unless dead."""
        self._alive()
        return iter(list(self.inner.names(folder)))

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read, unless dead."""
        self._alive()
        return self.inner.read(name, offset, length)

    def size(self, name: str) -> int:
        """Tell the size, unless dead."""
        self._alive()
        return self.inner.size(name)

    def close(self) -> None:
        """Nothing to close."""

    def _alive(self) -> None:
        if self.dead:
            raise self.error


def attempt(world: World, dies_at: int, *, after: bool, error: BaseException) -> int:
    """Try to store DATA as "new"; return how many calls were made."""
    backend = Mortal(world.backend(), dies_at, after=after, error=error)
    repository = world.open(world.writer, backend=backend)
    try:
        with begin(repository, 1_700_086_400) as session:
            session.put("new", io.BytesIO(DATA))
            session.finish()
    finally:
        repository.cache.close()
    return backend.calls


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
def test_power_failing_at_any_write_loses_nothing_that_was_listed(world: World, after: bool) -> None:
    """For each write of a run: it fails there; the old backup and the check are sound, the next run is whole."""
    world.put(noise(1 << 20, "old"), "old")
    died = 0
    for dies_at in range(1, 100):
        try:
            calls = attempt(world, dies_at, after=after, error=PowerLossError())
        except PowerLossError:
            died += 1
        else:
            assert calls < dies_at
            break
        with world.open(world.writer) as repository:
            listed = [repository.streams(info)[0].name for info in repository.snapshots()]
            assert repository.alarms == []
        assert listed[0] == "old"
        with world.open(world.admin) as repository:
            assert repository.check(read_data=True, report=lambda what, done, of: None).damaged == []
        assert world.get("old") == noise(1 << 20, "old")
        if "new" in listed:
            assert world.get("new") == DATA
    assert died >= 4  # run, packs, index, snapshot, done: later attempts reuse the packs, so they write less
    assert world.get("new") == DATA


def test_what_was_indexed_before_a_kill_is_not_uploaded_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next run finds what the killed one had indexed."""
    monkeypatch.setattr("dedupstore.writing.pack_writer.INDEX_PACKS", 2)
    with pytest.raises(PowerLossError):
        attempt(world, 8, after=False, error=PowerLossError())
    info = world.put(DATA, "new")
    assert info.new < len(DATA) // 2
    assert world.get("new") == DATA


def test_a_full_disk_is_told_and_what_was_uploaded_is_used_later(world: World) -> None:
    """The disk of the back end fills up in the middle: an error, nothing listed, no upload twice."""
    with pytest.raises(NoSpaceError, match="full"):
        attempt(world, 5, after=False, error=NoSpaceError("the disk is full"))
    with world.open(world.writer) as repository:
        assert repository.snapshots() == []
    world.put(DATA, "new")
    assert world.get("new") == DATA


def test_a_server_that_goes_away_is_an_error_not_a_hang(world: World) -> None:
    """A permanent error in an upload thread ends the run at once."""
    with pytest.raises(BackendError, match="gone"):
        attempt(world, 2, after=False, error=BackendError("the server is gone"))
    assert world.put(DATA, "new").streams == 1
