"""A writer beside pruners: it relies on nothing that may be deleted, and says that it succeeded only if it did."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dedupstore.access import Access
from dedupstore.backends.contract import Buffer
from dedupstore.backends.local import LocalBackend
from dedupstore.errors import BackendError, DamageError, DedupError
from dedupstore.format import layout
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Condemned, Ended, Fence, Tombstones
from tests.store import World, begin, noise

DATA = noise(300_000)


class Acting(LocalBackend):
    """A back end in which something else happens before or after a file of some name is created, and which notes."""

    def __init__(
        self, world: World, part: str, action: Callable[[str], None], *, before: bool = False
    ) -> None:
        super().__init__(world.path)
        self.part, self.action, self.before = part, action, before
        self.calls: list[str] = []

    def names(self, folder: str) -> Iterator[str]:
        self.calls.append(folder)
        return super().names(folder)

    def create(self, name: str, data: Buffer) -> None:
        self.calls.append(name.partition("/")[0] + Path(name).suffix)
        if self.before and self.part in name:
            self.action(name)
        super().create(name, data)
        if not self.before and self.part in name:
            self.action(name)


@pytest.fixture
def pruner(world: World) -> Access:
    return world.member("pruner", role="pruner")


def put(world: World, backend: LocalBackend, data: bytes = DATA, parent: bytes = b"") -> int:
    """Store a stream; return how many bytes of it were new."""
    with (
        world.open(world.writer, backend=backend) as repository,
        begin(repository, parent_of=lambda stream: parent) as session,
    ):
        stream = session.put("new", io.BytesIO(data))
        session.finish()
    return stream.new


def fence_open_runs(world: World, pruner: Access) -> None:
    """Fence each run that has neither a done nor an ended record."""
    backend = world.backend()
    names = list(backend.names("runs"))
    over = {layout.run_of(name, kind) for name in names for kind in (Kind.DONE, Kind.ENDED)}
    for name in names:
        run = bytes.fromhex(Path(name).name[:32])
        if name.endswith(".run") and run not in over:
            world.sign(pruner, Kind.FENCE, Fence(run, 1), run)


def listed(world: World) -> list[str]:
    with world.open(world.admin, host="new") as repository:
        return [stream.name for info in repository.snapshots() for stream in repository.streams(info)]


def nothing(name: str) -> None:
    pass


def test_the_run_record_comes_before_all_that_a_run_relies_on(world: World) -> None:
    backend = Acting(world, "", nothing)
    put(world, backend)
    order = ["runs.run", "condemned", "index", "snapshots", "runs"]
    assert order == [call for call in backend.calls if call in order][:5]
    done = backend.calls.index("runs.done")
    snapshot = max(at for at, call in enumerate(backend.calls[:done]) if call == "snapshots")
    assert ["fences", "runs"] == [c for c in backend.calls[snapshot:done] if c in ("fences", "runs")][-2:]
    assert ["fences", "runs"] == backend.calls[done + 1 :][:2]


@pytest.mark.parametrize("what", ["packs", "index"])
def test_what_is_condemned_is_stored_again(world: World, pruner: Access, what: str) -> None:
    world.put(DATA)
    assert 0 == put(world, LocalBackend(world.path))
    packs = b"".join(bytes.fromhex(path.name) for path in world.files("data")) if what == "packs" else b""
    index = b"".join(layout.digests(world.backend().names("index"))) if what == "index" else b""
    world.sign(pruner, Kind.CONDEMNED, Condemned(1, packs, index, b"", b""))
    assert len(DATA) <= put(world, LocalBackend(world.path))
    assert 0 == put(world, LocalBackend(world.path))  # what was stored then can be relied on


def test_what_a_writer_condemns_is_relied_on_all_the_same(world: World) -> None:
    world.put(DATA)
    index = b"".join(layout.digests(world.backend().names("index")))
    world.sign(world.member("evil"), Kind.CONDEMNED, Condemned(1, b"", index, b"", b""))
    assert 0 == put(world, LocalBackend(world.path))


def test_backups_that_are_condemned_are_listed_but_not_built_on(world: World, pruner: Access) -> None:
    info = world.put(DATA)
    world.sign(pruner, Kind.CONDEMNED, Condemned(1, b"", b"", info.name, b""))
    with world.open(world.writer) as repository, begin(repository):
        assert [info.name] == [found.name for found in repository.snapshots()]
        assert [] == repository.reliable()


@pytest.mark.parametrize("when", ["data/", "index/", "snapshots/"])
def test_a_run_that_is_fenced_goes_on_under_a_new_id(world: World, pruner: Access, when: str) -> None:
    fenced: list[str] = []

    def fence(name: str) -> None:
        if not fenced:
            fenced.append(name)
            fence_open_runs(world, pruner)

    backend = Acting(world, when, fence)
    put(world, backend)
    assert 2 == backend.calls.count("runs.run")
    assert 1 == backend.calls.count("runs.done")
    assert ["new"] == listed(world)
    assert DATA == world.get("new")


def test_a_run_that_is_fenced_each_time_fails_and_lists_nothing(world: World, pruner: Access) -> None:
    backend = Acting(world, "snapshots/", lambda name: fence_open_runs(world, pruner))
    with pytest.raises(DedupError, match="passed this run over 3 times"):
        put(world, backend)
    assert 3 == len(world.files("snapshots"))
    assert [] == listed(world)
    assert ([], []) == alarms_and_damage(world)


def test_a_run_whose_record_is_gone_goes_on_under_a_new_id(world: World) -> None:
    """The pruner has fenced it, and cleaned up in between."""
    taken: list[str] = []

    def clean_up(name: str) -> None:
        for path in world.files("runs"):
            if not taken and path.suffix == ".run":
                taken.append(path.name)
                path.unlink()

    backend = Acting(world, "snapshots/", clean_up)
    put(world, backend)
    assert 2 == backend.calls.count("runs.run")
    assert ["new"] == listed(world)


@pytest.mark.parametrize(("own", "beginnings"), [(True, 2), (False, 1)])
def test_a_run_begins_again_if_its_own_signer_has_ended_it_and_nobody_else(
    world: World, own: bool, beginnings: int
) -> None:
    thief = world.writer if own else world.member("thief")
    done: list[bytes] = []

    def end(name: str) -> None:
        if not done:
            (run,) = [path.name[:32] for path in world.files("runs")]
            done.append(bytes.fromhex(run))
            world.sign(thief, Kind.ENDED, Ended(done[0], 1), done[0])

    backend = Acting(world, "snapshots/", end)
    put(world, backend)
    assert beginnings == backend.calls.count("runs.run")
    assert ["new"] == listed(world)


def test_a_fenced_run_whose_chunks_are_gone_fails(world: World, pruner: Access) -> None:
    """A pack that it relied on was condemned when the pruner had passed it over."""
    world.put(DATA)

    def prune(name: str) -> None:
        index = b"".join(layout.digests(world.backend().names("index")))
        world.sign(pruner, Kind.CONDEMNED, Condemned(1, b"", index, b"", b""))
        fence_open_runs(world, pruner)

    with pytest.raises(DamageError, match="passed this run over, and new lost something"):
        put(world, Acting(world, "snapshots/", prune))
    assert ["s"] == listed(world)


def test_a_fenced_run_whose_parent_is_condemned_fails(world: World, pruner: Access) -> None:
    parent = world.put(DATA).name

    def prune(name: str) -> None:
        world.sign(pruner, Kind.CONDEMNED, Condemned(1, b"", b"", parent, b""))
        fence_open_runs(world, pruner)

    with pytest.raises(DamageError, match="builds on"):
        put(world, Acting(world, "snapshots/", prune), parent=parent)
    assert ["s"] == listed(world)


def test_a_run_that_is_fenced_after_its_done_record_has_succeeded(world: World, pruner: Access) -> None:
    """If the pruner does not give its snapshot up."""
    put(world, Acting(world, ".done", lambda name: fence_all_runs(world, pruner)))
    assert ["new"] == listed(world)


@pytest.mark.parametrize("how", ["condemned", "entombed"])
def test_a_run_whose_snapshot_a_pruner_gives_up_reports_failure(
    world: World, pruner: Access, how: str
) -> None:
    """Its done record came too late to be seen."""

    def give_up(name: str) -> None:
        fence_all_runs(world, pruner)
        (snapshot,) = layout.digests(world.backend().names("snapshots"))
        if how == "condemned":
            world.sign(pruner, Kind.CONDEMNED, Condemned(1, b"", b"", b"", snapshot))
        else:
            row = snapshot + bytes(64) + (1).to_bytes(8, "little")
            world.sign(pruner, Kind.TOMBSTONES, Tombstones(1, b"", row, b""))

    with pytest.raises(DedupError, match="took this run for dead"):
        put(world, Acting(world, ".done", give_up))


def fence_all_runs(world: World, pruner: Access) -> None:
    for path in world.files("runs"):
        if path.suffix == ".run":
            run = bytes.fromhex(path.stem)
            world.sign(pruner, Kind.FENCE, Fence(run, 1), run)


def alarms_and_damage(world: World) -> tuple[list[str], list[str]]:
    with world.open(world.admin, host="new") as repository:
        repository.snapshots()
        repository.refresh_index()
        return repository.alarms, repository.damage


def test_a_run_that_gives_up_says_so(world: World) -> None:
    with world.open(world.writer) as repository, begin(repository):
        pass
    assert [".ended", ".run"] == sorted(path.suffix for path in world.files("runs"))


def test_a_run_whose_storage_failed_waits_for_no_last_word(world: World) -> None:
    def fail(name: str) -> None:
        raise BackendError("the server is gone")

    with pytest.raises(BackendError, match="gone"):
        put(world, Acting(world, "data/", fail, before=True))
    assert [".run"] == [path.suffix for path in world.files("runs")]


def test_a_run_id_that_was_taken_is_given_up_for_another(world: World) -> None:
    """Whoever sees what is uploaded may be first."""
    taken: list[str] = []

    def take(name: str) -> None:
        if not taken:
            taken.append(name)
            world.backend().create(name, b"junk")

    put(world, Acting(world, ".run", take, before=True))
    assert ["new"] == listed(world)


def test_a_done_record_names_the_index_files_of_its_run(world: World) -> None:
    put(world, LocalBackend(world.path))
    for path in world.files("index"):
        path.unlink()
    alarms, _ = alarms_and_damage(world)
    assert 1 == len(alarms)
