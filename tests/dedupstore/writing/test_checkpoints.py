"""A run that was killed loses nothing that it had checkpointed."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from dedupstore.backends.local import LocalBackend
from dedupstore.errors import TrustError
from dedupstore.format import facts, layout
from dedupstore.format.layout import Kind
from dedupstore.format.run_records import Condemned, Done
from dedupstore.repository import SnapshotInfo
from dedupstore.state.folder import StateFolder
from tests.store import World, begin, noise

FIRST, SECOND, THIRD = (noise(300_000, name) for name in "abc")


def kill_a_run(world: World, host: str = "") -> None:
    """Store two streams, a checkpoint, and a third stream; then end without a word."""
    with world.open(world.writer, host=host) as repository:
        session = begin(repository)
        session.put("first", io.BytesIO(FIRST), facts={"a": 1})
        session.put("second", io.BytesIO(SECOND))
        session.checkpoint()
        session.put("third", io.BytesIO(THIRD))
        session._packs.close()


def complete(world: World, host: str = "") -> tuple[list[SnapshotInfo], list[str]]:
    with world.open(world.writer, host=host) as repository:
        return repository.complete_interrupted(), repository.damage


def test_what_was_checkpointed_is_published_by_the_next_run_once(world: World) -> None:
    kill_a_run(world)
    with pytest.raises(LookupError):
        world.get("first")
    ((info,), damage) = complete(world)
    assert (2, 1_700_000_000, "writer", []) == (info.streams, info.time, info.domain, damage)
    assert (FIRST, SECOND) == (world.get("first"), world.get("second"))
    with pytest.raises(LookupError):
        world.get("third")
    assert ([], []) == complete(world)
    with world.open(world.admin) as repository:
        (shown,) = repository.snapshots()
        assert {"a": 1} == facts.load(repository.streams(shown)[0].facts)
        assert [] == repository.alarms


def test_it_takes_its_place_after_snapshots_that_came_meanwhile(world: World) -> None:
    kill_a_run(world)
    other = world.put(THIRD, "other")
    ((info,), _) = complete(world)
    assert (other.sequence + 1, other.name) == (info.sequence, info.heads[info.signer][1])


def test_a_run_that_ended_well_leaves_nothing_to_publish(world: World) -> None:
    with world.open(world.writer) as repository, begin(repository) as session:
        session.put("first", io.BytesIO(FIRST))
        session.checkpoint()
        session.finish()
    assert ([], []) == complete(world)
    assert FIRST == world.get("first")


def test_a_run_killed_just_before_it_dropped_its_note_is_not_published_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("dedupstore.writing.checkpoints.forget", lambda state, run: None)
        with world.open(world.writer) as repository, begin(repository) as session:
            session.put("first", io.BytesIO(FIRST))
            session.checkpoint()
            session.finish()
    assert ([], []) == complete(world)
    with world.open(world.admin) as repository:
        assert 1 == len(repository.snapshots())


def test_streams_whose_packs_are_gone_are_told_and_not_published(world: World) -> None:
    with world.open(world.writer) as repository:
        session = begin(repository)
        session.put("first", io.BytesIO(FIRST))
        session.checkpoint()
        packs = set(world.files("data"))
        session.put("second", io.BytesIO(SECOND))
        session.checkpoint()
        session.__exit__(None, None, None)
    for pack in set(world.files("data")) - packs:
        pack.unlink()
    ((info,), damage) = complete(world)
    assert 1 == info.streams
    assert any("second of a killed run will be stored again" in told for told in damage)
    assert FIRST == world.get("first")


def test_a_checkpoint_that_is_gone_or_another_is_told(world: World) -> None:
    kill_a_run(world)
    for file in world.files("checkpoints"):
        file.unlink()
    published, (told,) = complete(world)
    assert [] == published
    assert "stored again" in told


def test_junk_that_looks_like_a_done_record_does_not_discard_a_checkpoint(world: World) -> None:
    """Anybody who can write to the storage can make such a file, without any key."""
    kill_a_run(world)
    (note,) = (world.folder / "state" / "writer" / "checkpoints").iterdir()
    run = bytes.fromhex(note.name)
    for kind in (Kind.DONE, Kind.ENDED, Kind.FENCE):
        for name in (bytes(32), layout.sha256(b"junk")):
            world.backend().create(layout.run_record_file(kind, run, name), b"junk")
    ((info,), _) = complete(world)
    assert 2 == info.streams


def test_a_done_record_of_another_member_does_not_discard_a_checkpoint(world: World) -> None:
    kill_a_run(world)
    (note,) = (world.folder / "state" / "writer" / "checkpoints").iterdir()
    run = bytes.fromhex(note.name)
    world.sign(world.member("evil"), Kind.DONE, Done(run, bytes(32), b"", 1), run)
    ((info,), _) = complete(world)
    assert 2 == info.streams


def test_a_checkpoint_is_completed_as_a_new_run_and_the_dead_one_is_said_to_have_ended(world: World) -> None:
    kill_a_run(world)
    (note,) = (world.folder / "state" / "writer" / "checkpoints").iterdir()
    ((info,), _) = complete(world)
    assert note.name != info.run.hex()
    runs = [path.name for path in world.files("runs")]
    assert 1 == sum(name.startswith(note.name) and name.endswith(".ended") for name in runs)
    assert 1 == sum(name.startswith(info.run.hex()) and name.endswith(".done") for name in runs)


def test_a_completion_killed_just_before_it_dropped_its_note_is_not_done_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_a_run(world)
    with monkeypatch.context() as patch:
        patch.setattr("dedupstore.writing.checkpoints.forget", lambda state, run: None)
        complete(world)
    assert ([], []) == complete(world)
    assert 1 == len(world.files("snapshots"))


def test_a_stream_that_builds_on_what_is_gone_is_not_completed(world: World) -> None:
    kill_a_run(world)
    with world.open(world.writer) as repository:
        missing = {"first": bytes(32)}
        (info,) = repository.complete_interrupted(lambda stream: missing.get(stream.name, b""))
        assert ["second"] == [stream.name for stream in repository.streams(info)]
        assert any("builds on" in told for told in repository.damage)


def test_what_was_condemned_meanwhile_is_not_completed(world: World) -> None:
    pruner = world.member("pruner", role="pruner")
    kill_a_run(world)
    index = b"".join(layout.digests(world.backend().names("index")))
    world.sign(pruner, Kind.CONDEMNED, Condemned(1, b"", index, b"", b""))
    published, damage = complete(world)
    assert [] == published
    assert 2 == sum("stored again" in told for told in damage)


def test_a_note_of_another_run_publishes_nothing(world: World) -> None:
    """The state folder is not believed further than the signed checkpoint goes."""
    kill_a_run(world)
    (note,) = (world.folder / "state" / "writer" / "checkpoints").iterdir()
    note.rename(note.with_name("00" * 16))
    published, (told,) = complete(world)
    assert [] == published
    assert "not the checkpoint" in told


def test_a_checkpoint_without_streams_writes_nothing(world: World, tmp_path: Path) -> None:
    with world.open(world.writer) as repository:
        session = begin(repository)
        session.checkpoint()
        session.__exit__(None, None, None)
    assert [] == world.files("checkpoints")
    assert not (StateFolder(world.folder / "state" / "writer").path / "checkpoints").exists()


@pytest.mark.parametrize("name", ["README", "AB" * 16, "ab cd", "ab", "lost+found/"])
def test_what_else_lies_among_the_notes_is_left_alone(world: World, name: str) -> None:
    kill_a_run(world)
    other = world.folder / "state" / "writer" / "checkpoints" / name
    other.mkdir() if name.endswith("/") else other.write_bytes(bytes(32))
    ((info,), damage) = complete(world)
    assert (2, []) == (info.streams, damage)
    assert other.exists()


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 200])
def test_a_damaged_note_is_told_once_and_stops_no_later_run(world: World, content: bytes) -> None:
    kill_a_run(world)
    (note,) = (world.folder / "state" / "writer" / "checkpoints").iterdir()
    note.write_bytes(content)
    published, (told,) = complete(world)
    assert [] == published
    assert "note of the checkpoint" in told
    assert ([], []) == complete(world)


class Stale(LocalBackend):
    """Its first listing of runs is of long ago."""

    fresh = False

    def names(self, folder: str) -> Iterator[str]:
        if folder == "runs" and not self.fresh:
            self.fresh = True
            return iter(())
        return super().names(folder)


def test_a_stale_listing_does_not_publish_a_run_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kill_a_run(world)
    with monkeypatch.context() as patch:
        patch.setattr("dedupstore.writing.checkpoints.forget", lambda state, run: None)
        complete(world)
    with (
        world.open(world.writer, backend=Stale(world.path)) as repository,
        pytest.raises(TrustError, match="rollback detected"),
    ):
        repository.complete_interrupted()
    assert ([], []) == complete(world)
    assert 1 == len(world.files("snapshots"))
