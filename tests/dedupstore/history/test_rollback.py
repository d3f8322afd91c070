"""Nothing goes back unnoticed, and one writer cannot spoil what another wrote."""

import io
import secrets
import shutil
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dedupstore.errors import DamageError, TrustError
from dedupstore.format import blocks, layout, record_files
from dedupstore.format.layout import Kind
from dedupstore.format.pack_records import Index
from dedupstore.format.packs import PackBuilder, describe, pack_buffer
from dedupstore.format.run_records import Closing, Condemned, Done, Ledger, Root, Snapshot, Stream, Tombstones
from dedupstore.history import closings, deletion
from dedupstore.repository import Repository, SnapshotInfo
from tests.store import World, begin, flip_bit, noise, signer_of

DATA = noise(1 << 20)


def alarms(world: World, host: str = "") -> list[str]:
    """Return the alarms that the writer's host sees."""
    with world.open(world.writer, host=host) as repository:
        repository.snapshots()
        return repository.alarms


def listed(world: World, host: str = "new") -> list[str]:
    """Return the names of the streams that the admin sees."""
    with world.open(world.admin, host=host) as repository:
        return [repository.streams(info)[0].name for info in repository.snapshots()]


def damage_found(repository: Repository) -> list[str]:
    """Return what a check finds, in contents or on its way."""
    found = repository.check(read_data=False, report=lambda *_: None).damaged
    return found + repository.damage


def tombstones(info: SnapshotInfo) -> Tombstones:
    """Return the record that a snapshot was deleted."""
    row = info.name + info.signer + bytes(32) + info.sequence.to_bytes(8, "little")
    return Tombstones(1, b"", row, b"")


def snapshot_record(world: World, **changes: Any) -> Snapshot:
    """Return a snapshot of the writer's that no run has made."""
    empty = Stream(name="lie", kind="raw", size=0, time=0, stored=0, new=0, content=Root())
    record = Snapshot(
        run=secrets.token_bytes(16),
        domain="writer",
        sequence=1,
        heads={},
        time=1_700_000_000,
        utc_offset=0,
        started=1,
        finished=1,
        host="host",
        program="program",
        roster=(1, bytes(32)),
        streams=[empty],
    )
    return msgspec.structs.replace(record, **changes)


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
    assert any("rollback detected" in line for line in alarms(world))
    before = world.files("snapshots")
    with pytest.raises(TrustError, match="rollback detected"):
        world.put(DATA)
    assert world.files("snapshots") == before


def test_a_whole_repository_rolled_back_is_an_alarm(world: World) -> None:
    """Yesterday's copy of everything is consistent in itself, but not what this host has seen."""
    world.put(DATA)
    shutil.copytree(world.path, world.folder / "yesterday")
    world.put(DATA + b"2")
    shutil.rmtree(world.path)
    (world.folder / "yesterday").rename(world.path)
    assert any("rollback detected" in line for line in alarms(world))


def test_an_old_backup_taken_from_the_middle_is_an_alarm_even_on_a_new_host(world: World) -> None:
    """Each snapshot names the heads it saw, so a gap shows to those who were not there."""
    first = world.put(DATA)
    world.put(DATA + b"2")
    (world.path / layout.content_file(Kind.SNAPSHOT, first.name)).unlink()
    assert any("rollback detected" in line for line in alarms(world, host="new"))


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
    """Of a former member, what its closing list names counts, and nothing else."""
    world.put(DATA, "first")
    world.put(DATA, "last")
    world.remove(world.writer)
    world.put(DATA, "late")
    assert ["first", "last"] == listed(world)


def test_losing_one_backup_of_a_removed_member_costs_that_one_and_is_an_alarm(world: World) -> None:
    """The others still count: none is reached through another."""
    names = [f"s{number}" for number in range(4)]
    lost = [world.put(DATA, name) for name in names][3]
    world.remove(world.writer)
    (world.path / layout.content_file(Kind.SNAPSHOT, lost.name)).unlink()
    assert names[:3] == listed(world)
    with world.open(world.admin, host="new") as repository:
        repository.snapshots()
        assert any(lost.name.hex() in line and "closing list" in line for line in repository.alarms)
        assert any(lost.name.hex() in line for line in damage_found(repository))


@pytest.mark.parametrize(("folder", "hidden"), [("index", False), ("index", True), ("snapshots", False)])
def test_a_file_that_cannot_be_read_during_a_removal_is_not_given_up(
    world: World, folder: str, hidden: bool
) -> None:
    """A storage that damages or hides it for a moment must not undo a backup for good."""
    world.put(DATA)
    (file,) = world.files(folder)
    kept = file.read_bytes()
    if hidden:
        file.unlink()
    else:
        flip_bit(file)
    world.remove(world.writer)
    file.write_bytes(kept)
    assert ["s"] == listed(world)
    assert DATA == world.get(host="new")


def test_a_member_cannot_make_its_closing_list_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its backups rely on comes first; what is left out is reported."""
    world.put(DATA)
    for _ in range(3):  # index files that no backup names
        spare = Index(run=secrets.token_bytes(16), domain=world.writer.domain, time=0, packs=[])
        record_files.publish_record(world.backend(), world.writer, Kind.INDEX, spare)
    monkeypatch.setattr(closings, "ROOM", 2)
    world.remove(world.writer)
    assert ["s"] == listed(world)
    assert DATA == world.get(host="new")


def test_a_member_that_stored_more_than_a_closing_list_can_name_is_removed_and_keeps_its_first(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thief of its keys adds snapshots behind those that were stored before, and never in place of them."""
    for name in ("s", "t", "u", "v"):
        world.put(DATA, name)
    monkeypatch.setattr(closings, "ROOM", 2)
    assert world.remove(world.writer) == [
        "the closing list of the member has no room for 2 of its snapshots, which count no more; run `dedup check`"
    ]
    assert ["s", "t"] == listed(world)
    assert DATA == world.get("t", host="new")


def test_a_removed_member_without_a_closing_list_counts_for_nothing(world: World) -> None:
    world.put(DATA)
    world.remove(world.writer, closing=b"")
    assert [] == listed(world)


def test_a_closing_list_that_is_gone_is_an_alarm_until_it_is_back(world: World) -> None:
    """Whether this host has read it before or not; nothing of the member counts meanwhile."""
    world.put(DATA, "s")
    world.remove(world.writer)
    assert ["s"] == listed(world, "seen")
    (file,) = world.files("closings")
    away = file.rename(world.folder / "away")
    for host in ("seen", "new"):
        assert [] == listed(world, host)
        with world.open(world.admin, host=host) as repository:
            repository.snapshots()
            assert [f"closings/{file.name}"] == [line.split()[0] for line in repository.alarms]
            repository.refresh_index()
    away.rename(file)
    assert ["s"] == listed(world, "seen") == listed(world, "new")
    assert DATA == world.get(host="seen") == world.get(host="new")


def test_a_closing_list_counts_only_for_the_member_that_it_names(world: World) -> None:
    other = world.member("other")
    world.put(DATA, "mine")
    world.put(DATA, "others", access=other)
    with world.open(world.admin) as repository:
        closing = repository.closing_of(signer_of(other))
    world.remove(other, closing=closing)
    world.remove(world.writer, closing=closing)
    assert ["others"] == listed(world)


def test_only_an_admin_makes_closing_lists(world: World) -> None:
    info = world.put(DATA)
    record = Closing(signer=info.signer, time=1, snapshots=info.name, index=b"", records=b"")
    world.remove(world.writer, closing=world.sign(world.writer, Kind.CLOSING, record))
    assert [] == listed(world)
    with world.open(world.admin, host="new") as repository:
        assert any("who may not sign such a file" in line for line in damage_found(repository))


def test_another_closing_list_takes_the_place_of_the_first(world: World) -> None:
    """A later roster may name one with less, or with more."""
    first, last = world.put(DATA, "first"), world.put(DATA, "last")
    world.remove(world.writer)
    with world.open(world.admin, host="new") as repository:
        index = b"".join(repository.cache.index_files() or layout.digests(repository.backend.names("index")))
    record = Closing(signer=first.signer, time=1, snapshots=first.name, index=index, records=b"")
    world.remove(world.writer, closing=world.sign(world.admin, Kind.CLOSING, record))
    assert ["first"] == listed(world)
    record = Closing(signer=first.signer, time=1, snapshots=first.name + last.name, index=index, records=b"")
    world.remove(world.writer, closing=world.sign(world.admin, Kind.CLOSING, record))
    assert ["first", "last"] == listed(world)


def test_what_a_removed_admin_wrote_is_restored_by_a_host_that_is_new_and_by_one_that_is_not(
    world: World,
) -> None:
    """Index files, too, are judged by the present roster, wherever they were read first."""
    other = world.member("other admin", role="admin")
    world.put(DATA, access=other)
    assert DATA == world.get(host="warm")
    world.remove(other)
    late = world.put(noise(1 << 20, "late"), "late", access=other)
    assert DATA == world.get(host="warm") == world.get(host="new")
    for host in ("warm", "new"):
        with world.open(world.admin, host=host) as repository:
            assert late.name not in [info.name for info in repository.snapshots()]
            repository.refresh_index()
            assert len(world.files("index")) - 1 == len(repository.cache.index_files())


@pytest.mark.parametrize("name", ["done", "ended", "fence", "condemned", "tombstone", "ledger"])
def test_junk_under_the_name_of_a_record_changes_nothing(world: World, name: str) -> None:
    """No file is believed for its name, and nobody can take a name that a run will need."""
    info = world.put(DATA)
    junk = b"junk"
    files = {
        "done": layout.run_record_file(Kind.DONE, info.run, layout.sha256(junk)),
        "ended": layout.run_record_file(Kind.ENDED, info.run, layout.sha256(junk)),
        "fence": layout.run_record_file(Kind.FENCE, info.run, layout.sha256(junk)),
        "condemned": layout.content_file(Kind.CONDEMNED, layout.sha256(junk)),
        "tombstone": layout.content_file(Kind.TOMBSTONES, layout.sha256(junk)),
        "ledger": layout.content_file(Kind.LEDGER, layout.sha256(junk)),
    }
    world.backend().create(files[name], junk)
    with world.open(world.admin, host="new") as repository:
        assert [found.name for found in repository.snapshots()] == [info.name]
    assert 2 == world.put(DATA).sequence


def test_a_done_record_of_another_member_publishes_nothing(world: World) -> None:
    """Nor does a tombstone or ledger that a writer signs do anything."""
    evil = world.member("evil")
    info = world.put(DATA)
    (world.path / "runs" / f"{info.run.hex()}.run").exists()
    done_record(world, info.run).unlink()
    world.sign(evil, Kind.DONE, Done(info.run, info.name, b"", 1), info.run)
    assert [] == listed(world)
    world.sign(world.writer, Kind.DONE, Done(info.run, info.name, b"", 1), info.run)
    assert ["s"] == listed(world)
    world.sign(evil, Kind.TOMBSTONES, tombstones(info))
    assert ["s"] == listed(world)


def test_a_ledger_stands_for_done_records(world: World) -> None:
    pruner = world.member("pruner", role="pruner")
    info = world.put(DATA)
    done_record(world, info.run).unlink()
    world.sign(pruner, Kind.LEDGER, Ledger(1, b"", info.run + info.signer + info.name))
    assert ["s"] == listed(world)
    assert [] == alarms(world)


def test_what_was_deleted_lawfully_does_not_count_and_is_no_alarm(world: World) -> None:
    """Even if it comes back; its number stays taken."""
    pruner = world.member("pruner", role="pruner")
    info = world.put(DATA, "old")
    world.sign(pruner, Kind.TOMBSTONES, tombstones(info))
    assert ([], []) == (listed(world), alarms(world))
    (world.path / layout.content_file(Kind.SNAPSHOT, info.name)).unlink()
    done_record(world, info.run).unlink()
    for host in ("", "another"):
        assert [] == alarms(world, host)
    assert 2 == world.put(DATA, "new", host="another").sequence
    assert ["new"] == listed(world)


def test_a_pruner_cannot_publish_backups(world: World) -> None:
    """Each role may sign its own kinds of file only."""
    pruner = world.member("pruner", role="pruner")
    world.put(b"lie", "lie", access=world.forging(pruner))
    with world.open(world.admin, host="new") as repository:
        assert repository.snapshots() == []
        assert any("a pruner, who may not" in line for line in repository.damage)


def test_an_admin_may_index_what_others_stored(world: World) -> None:
    """After an index file is lost, an admin can write one anew for the writer's domain."""
    world.put(DATA)
    (lost,) = world.files("index")
    _, index = record_files.open_record(
        world.writer, Kind.INDEX, f"index/{lost.name}", lost.read_bytes(), Index
    )
    lost.unlink()
    world.sign(world.admin, Kind.INDEX, index)
    assert world.get(host="new") == DATA


def test_a_backup_made_under_a_newer_roster_shows_that_one_is_withheld(world: World) -> None:
    """A new host that is given an old roster sees that others knew a newer one."""
    world.put(DATA)
    with world.open(world.admin, host="new") as repository:
        repository.members = replace(repository.members, serial=0)
        repository.snapshots()
        assert any("made under roster" in line for line in repository.alarms)


def test_one_writer_cannot_stop_the_others_by_what_it_claims(world: World) -> None:
    """A writer that claims to have seen what is not there is told, and others still back up."""
    evil = world.member("evil")
    first = world.put(b"1", access=evil)
    world.put(b"2", access=evil)
    (world.path / layout.content_file(Kind.SNAPSHOT, first.name)).unlink()
    assert any("rollback detected" in line for line in alarms(world))
    assert world.put(DATA).streams == 1


def test_a_lost_backup_of_another_is_an_alarm_that_lasts_and_stops_nobody(world: World) -> None:
    """Also if the other goes on as if nothing were missing."""
    other = world.member("other")
    lost = world.put(b"1", access=other)
    world.put(DATA)  # this host has seen it
    (world.path / layout.content_file(Kind.SNAPSHOT, lost.name)).unlink()
    shutil.rmtree(world.folder / "state" / "other")
    world.put(b"2", access=other)
    for _ in range(2):
        assert any(lost.name.hex() in line for line in alarms(world))
        world.put(DATA)


def test_an_index_file_that_a_backup_relied_on_and_is_gone_is_an_alarm(world: World) -> None:
    world.put(DATA)
    (file,) = world.files("index")
    away = file.rename(world.folder / "away")
    for host in ("", "new"):
        with world.open(world.writer, host=host) as repository:
            repository.snapshots()
            repository.refresh_index()
            (alarm,) = repository.alarms
            assert alarm.startswith(f"index/{file.name} is gone")
    assert 2 == world.put(DATA, "again").sequence
    away.rename(file)
    with world.open(world.writer) as repository:
        repository.snapshots()
        repository.refresh_index()
        assert [] == repository.alarms


def test_a_run_notices_that_an_index_file_is_gone(world: World) -> None:
    world.put(DATA)
    (file,) = world.files("index")
    file.unlink()
    with world.open(world.writer, host="new") as repository, begin(repository) as session:
        (alarm,) = repository.alarms
        assert alarm.startswith(f"index/{file.name} is gone")
        session.put("s", io.BytesIO(DATA))
        session.finish()
        assert [alarm] == repository.alarms


def test_no_writer_excuses_the_loss_of_an_index_file(world: World) -> None:
    world.put(DATA)
    (file,) = world.files("index")
    evil = world.member("evil")
    for role in ("evil", "writer"):
        record = Index(run=bytes(16), domain=role, time=0, packs=[], replaces=bytes.fromhex(file.name))
        world.sign(evil if role == "evil" else world.writer, Kind.INDEX, record)
    file.unlink()
    with world.open(world.writer) as repository:
        repository.snapshots()
        repository.refresh_index()
        (alarm,) = repository.alarms
        assert alarm.startswith(f"index/{file.name} is gone")


@pytest.mark.parametrize("how", ["tombstone", "replaced", "replaced twice"])
def test_an_index_file_that_was_replaced_or_deleted_lawfully_is_no_alarm(world: World, how: str) -> None:
    pruner = world.member("pruner", role="pruner")
    world.put(DATA)
    (file,) = world.files("index")
    name = bytes.fromhex(file.name)
    _, index = record_files.open_record(
        world.writer, Kind.INDEX, f"index/{file.name}", file.read_bytes(), Index
    )
    if how == "tombstone":
        world.sign(pruner, Kind.TOMBSTONES, Tombstones(1, b"", b"", name))
    else:
        for _ in how.split():
            index = msgspec.structs.replace(index, replaces=name)
            name = world.sign(pruner, Kind.INDEX, index)
    file.unlink()
    with world.open(world.writer) as repository:
        repository.snapshots()
        repository.refresh_index()
        assert [] == repository.alarms


def test_a_run_of_several_snapshots_that_lost_one_is_an_alarm(world: World) -> None:
    """Nobody's heads name the first of them."""
    with world.open(world.writer) as repository, begin(repository) as session:
        for number in range(40):
            session.put(f"s{number}", io.BytesIO(b"%d" % number))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dedupstore.format.layout.MAX_STREAMS", 15)
            assert 3 == session.finish().sequence
    with world.open(world.admin, host="new") as repository:
        first, second, third = repository.snapshots()
        assert [1, 2, 3] == [first.sequence, second.sequence, third.sequence]
        assert [15, 15, 10] == [first.streams, second.streams, third.streams]
        assert [] == repository.alarms
    (world.path / layout.content_file(Kind.SNAPSHOT, first.name)).unlink()
    assert any(first.name.hex() in line for line in alarms(world, "another"))


def test_a_number_far_above_the_one_before_it_is_an_alarm_and_no_evidence(world: World) -> None:
    """A thief of the key leaves the highest number there is; the host goes on below it, and is seen to."""
    assert 1 == world.put(DATA).sequence
    record = snapshot_record(world, sequence=layout.MAX_SEQUENCE - 1)
    name = world.sign(world.writer, Kind.SNAPSHOT, record)
    world.sign(world.writer, Kind.DONE, Done(record.run, name, b"", 1), record.run)
    for number in (2, 3):
        info = world.put(DATA, f"s{number}")
        assert (number, number - 1) == (info.sequence, info.heads[info.signer][0])
    for host in ("", "new"):
        (alarm,) = alarms(world, host)
        assert "far above" in alarm
    assert ["lie", "s", "s2", "s3"] == sorted(listed(world))


@pytest.mark.parametrize("sequence", [layout.MAX_SEQUENCE, 2**63 - 1])
def test_a_number_beyond_all_bounds_is_damage(world: World, sequence: int) -> None:
    world.put(DATA)
    with pytest.raises(DamageError, match="not well-formed"):
        world.sign(world.writer, Kind.SNAPSHOT, snapshot_record(world, sequence=sequence))


def test_a_number_that_an_unfinished_backup_has_is_not_used_again(world: World) -> None:
    world.put(DATA)
    world.sign(world.writer, Kind.SNAPSHOT, snapshot_record(world, sequence=2))
    shutil.rmtree(world.folder / "state")
    assert 3 == world.put(DATA).sequence


def test_heads_leave_removed_members_out(world: World) -> None:
    other = world.member("other")
    world.put(b"1", access=other)
    world.remove(other)
    assert {} == world.put(DATA).heads


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
    for path in world.files("index"):
        _, index = record_files.open_record(
            access, Kind.INDEX, f"index/{path.name}", path.read_bytes(), Index
        )
        for pack in index.packs:
            if pack.kind == "D":
                found = describe(access, pack, "evil", path.name)
                at = 0
                for block in found.blocks:
                    some = slice(at, at + block.chunks)
                    builder.add(
                        blocks.compress_block(bytes(block.unpacked), 3),
                        found.ids[16 * at : 16 * (at + block.chunks)],
                        struct.pack(f"<{block.chunks}I", *found.lengths[some]),
                    )
                    at += block.chunks
    sealed = builder.finish()
    index = Index(run=bytes(16), domain="evil", time=0, packs=[sealed.entry])
    world.backend().create(sealed.entry.file, sealed.data)
    world.sign(access, Kind.INDEX, index)

    info = world.put(planned, "mine")
    assert info.new > len(planned)  # nothing of the other domain was taken for known
    assert world.get("mine") == planned
    assert world.get("bait") == planned  # the older, right copy is behind the garbage, and is found


def test_an_index_for_anothers_domain_is_not_used(world: World) -> None:
    """A writer who claims another's domain in an index file is told, not believed."""
    evil = world.member("evil")
    index = Index(run=bytes(16), domain="writer", time=0, packs=[])
    world.sign(evil, Kind.INDEX, index)
    with world.open(world.admin) as repository:
        repository.refresh_index()
        assert any("not its signer's" in line for line in repository.damage)


def test_two_writers_of_one_domain_share_chunks(world: World) -> None:
    """Admins may let hosts share a domain; then what one stored is known to the other."""
    one, two = world.member("one", "shared"), world.member("two", "shared")
    world.put(DATA, "a", access=one, host="one")
    assert world.put(DATA, "b", access=two, host="two").new == 0
    assert world.get("b") == DATA


def test_what_a_pruner_signed_after_it_was_removed_buries_nothing(world: World) -> None:
    """A removed pruner has the catalogue key for ever; only what its closing list names goes on to count."""
    pruner = world.member("pruner", role="pruner")
    old, kept = world.put(DATA, "old"), world.put(DATA, "kept")

    def bury(info: SnapshotInfo) -> None:
        stone = info.name + info.signer + bytes(32) + info.sequence.to_bytes(8, "little")
        world.sign(pruner, Kind.TOMBSTONES, Tombstones(0, b"", stone, b""))

    bury(old)
    world.remove(pruner)
    bury(kept)
    assert ["kept"] == listed(world)


def test_what_a_pruner_condemned_and_fenced_counts_only_if_it_was_in_or_is_closed_in(world: World) -> None:
    pruner = world.member("pruner", role="pruner")
    names = [noise(32, n) for n in range(2)]
    world.sign(pruner, Kind.CONDEMNED, Condemned(0, names[0], b"", b"", b""))
    world.remove(pruner)
    world.sign(pruner, Kind.CONDEMNED, Condemned(0, names[1], b"", b"", b""))
    with world.open(world.writer) as repository:
        assert {names[0]} == deletion.condemned(repository).packs
