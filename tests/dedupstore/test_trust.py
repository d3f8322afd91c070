"""Nothing goes back unnoticed, and one writer cannot spoil what another wrote."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from dedupstore import blocks, catalogue, layout
from dedupstore.errors import TrustError
from dedupstore.layout import Kind
from dedupstore.packs import PackBuilder, pack_buffer
from dedupstore.records import Index
from tests.store import World, begin, noise

DATA = noise(1 << 20)


def alarms(world: World, host: str = "") -> list[str]:
    """Return the alarms that the writer's host sees."""
    with world.open(world.writer, host=host) as repository:
        repository.snapshots()
        return repository.alarms


def done_record(world: World, run: bytes) -> Path:
    """Return the file of a run's done record."""
    (found,) = (world.path / "runs").glob(f"{run.hex()}-*.done")
    return found


@pytest.mark.parametrize("gone", ["snapshot", "done", "both"])
def test_a_backup_that_was_seen_and_is_gone_is_an_alarm(world: World, gone: str) -> None:
    """The newest backup disappears, or is undone: told at the next look, and nothing is written."""
    world.put(DATA)
    info = world.put(DATA + b"2")
    if gone in ("snapshot", "both"):
        (world.path / layout.content_file(Kind.SNAPSHOT, info.name)).unlink()
    if gone in ("done", "both"):
        done_record(world, info.run).unlink()
    assert any("went back" in line for line in alarms(world))
    before = world.files("runs")
    with pytest.raises(TrustError, match="went back"):
        world.put(DATA)
    assert world.files("runs") == before


def test_a_whole_repository_rolled_back_is_an_alarm(world: World) -> None:
    """Yesterday's copy of everything is consistent in itself, but not what this host has seen."""
    world.put(DATA)
    shutil.copytree(world.path, world.folder / "yesterday")
    world.put(DATA + b"2")
    shutil.rmtree(world.path)
    (world.folder / "yesterday").rename(world.path)
    assert any("went back" in line for line in alarms(world))


def test_an_old_backup_taken_from_the_middle_is_an_alarm_even_on_a_new_host(world: World) -> None:
    """Each snapshot names the heads it saw, so a gap shows to those who were not there."""
    first = world.put(DATA)
    world.put(DATA + b"2")
    (world.path / layout.content_file(Kind.SNAPSHOT, first.name)).unlink()
    assert any("went back" in line for line in alarms(world, host="new"))


def test_a_fork_is_an_alarm(world: World) -> None:
    """Two histories of one writer cannot be joined quietly."""
    world.put(DATA)
    shutil.copytree(world.path, world.folder / "copy")
    shutil.copytree(world.folder / "state", world.folder / "copy-of-state")
    world.put(DATA + b"left")
    shutil.move(world.path, world.folder / "left")
    shutil.move(world.folder / "copy", world.path)
    shutil.rmtree(world.folder / "state")
    shutil.move(world.folder / "copy-of-state", world.folder / "state")
    world.put(DATA + b"right")
    shutil.copytree(world.folder / "left", world.path, dirs_exist_ok=True)
    assert any("forked" in line for line in alarms(world))


def test_a_removed_member_cannot_add_backups(world: World) -> None:
    """Of a former member, the last snapshot that the roster names and its predecessors count, and no other."""
    world.put(DATA, "first")
    last = world.put(DATA, "last")
    world.put(DATA, "late")
    member = world.signers[last.signer]
    world.signers[last.signer] = replace(member, last_snapshot=last.name)
    with world.open(world.admin, host="new") as repository:
        assert [repository.streams(info)[0].name for info in repository.snapshots()] == ["first", "last"]


def test_junk_in_the_place_of_a_done_record_changes_nothing(world: World) -> None:
    """Nobody can take a name that a run will need: it depends on what will be in it."""
    info = world.put(DATA)
    world.backend().create(layout.done_file(info.run, bytes(32)), b"junk")
    with world.open(world.admin, host="new") as repository:
        assert [found.name for found in repository.snapshots()] == [info.name]


def test_a_pruner_cannot_publish_backups(world: World) -> None:
    """Each role may sign its own kinds of file only."""
    pruner = world.member("pruner", role="pruner")
    world.put(b"lie", "lie", access=pruner)
    with world.open(world.admin, host="new") as repository:
        assert repository.snapshots() == []
        assert any("a pruner, who may not" in line for line in repository.damage)


def test_an_admin_may_index_what_others_stored(world: World) -> None:
    """After an index file is lost, an admin can write one anew for the writer's domain."""
    world.put(DATA)
    (lost,) = world.files("index")
    _, index = catalogue.open_record(world.writer, Kind.INDEX, f"index/{lost.name}", lost.read_bytes(), Index)
    lost.unlink()
    data = catalogue.seal_record(world.admin, Kind.INDEX, index)
    world.backend().create(layout.content_file(Kind.INDEX, layout.sha256(data)), data)
    assert world.get(host="new") == DATA


def test_a_backup_made_under_a_newer_roster_shows_that_one_is_withheld(world: World) -> None:
    """A new host that is given an old roster sees that others knew a newer one."""
    world.put(DATA)
    with world.open(world.admin, host="new") as repository:
        repository.members = replace(repository.members, serial=0)
        repository.snapshots()
        assert any("roster 1" in line for line in repository.alarms)


def test_one_writer_cannot_stop_the_others_by_what_it_claims(world: World) -> None:
    """A writer that claims to have seen what is not there is told, and others still back up."""
    evil = world.member("evil")
    first = world.put(b"1", access=evil)
    world.put(b"2", access=evil)
    (world.path / layout.content_file(Kind.SNAPSHOT, first.name)).unlink()
    assert any("went back" in line for line in alarms(world))
    assert world.put(DATA).streams == 1


def test_a_stranger_with_the_catalogue_key_cannot_add_backups(world: World) -> None:
    """A signature by no member counts for nothing."""
    stranger = world.member("stranger")
    signer = world.put(b"lie", "lie", access=stranger).signer
    del world.signers[signer]
    with world.open(world.admin) as repository:
        assert repository.snapshots() == []
        assert any("no member" in line for line in repository.damage)


def test_a_writer_cannot_poison_another(world: World) -> None:
    """Garbage published under known chunk ids changes nothing for other writers and their restores."""
    evil = world.member("evil")
    planned = noise(2 << 20, "planned")
    # the evil writer guesses what the other will store, and publishes garbage under those very ids
    with world.open(evil) as repository, begin(repository) as session:
        session.put("bait", io.BytesIO(planned))
        session.finish()
        access = repository.access
        entries = [pack for _, pack in repository.cache.packs_of(repository.cache.index_files())]
        assert entries
    builder = PackBuilder(access, Kind.DATA, pack_buffer(0))
    with world.open(evil) as repository:
        for path in world.files("index"):
            _, index = catalogue.open_record(
                access, Kind.INDEX, f"index/{path.name}", path.read_bytes(), Index
            )
            for pack in index.packs:
                if pack.kind == "D":
                    sizes = memoryview(pack.lengths).cast("I")
                    at = 0
                    for *_, count in pack.blocks:
                        garbage = bytes(sum(sizes[at : at + count]))
                        builder.add(
                            blocks.compress_block(garbage, 3),
                            pack.ids[32 * at : 32 * (at + count)],
                            bytes(sizes[at : at + count]),
                        )
                        at += count
    sealed = builder.finish()
    index = Index(run=bytes(16), domain="evil", time=0, packs=[sealed.entry])
    data = catalogue.seal_record(access, Kind.INDEX, index)
    backend = world.backend()
    backend.create(sealed.file, sealed.data)
    backend.create(layout.content_file(Kind.INDEX, layout.sha256(data)), data)

    info = world.put(planned, "mine")
    assert info.new > len(planned)  # nothing of the other domain was taken for known
    assert world.get("mine") == planned
    assert world.get("bait") == planned  # the older, right copy is behind the garbage, and is found


def test_an_index_for_anothers_domain_is_not_used(world: World) -> None:
    """A writer who claims another's domain in an index file is told, not believed."""
    evil = world.member("evil")
    index = Index(run=bytes(16), domain="writer", time=0, packs=[])
    data = catalogue.seal_record(evil, Kind.INDEX, index)
    world.backend().create(layout.content_file(Kind.INDEX, layout.sha256(data)), data)
    with world.open(world.admin) as repository:
        repository.refresh_index()
        assert any("not its signer's" in line for line in repository.damage)


def test_two_writers_of_one_domain_share_chunks(world: World) -> None:
    """Admins may let hosts share a domain; then what one stored is known to the other."""
    one, two = world.member("one", "shared"), world.member("two", "shared")
    world.put(DATA, "a", access=one, host="one")
    assert world.put(DATA, "b", access=two, host="two").new == 0
    assert world.get("b") == DATA
