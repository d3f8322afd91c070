"""`vos` and the volumes of a real cell: as ourselves, and through the root helper as an ordinary user."""

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.formats.splitters import AfsSplitter
from pipelines.sources.kinds.afs import decide
from pipelines.sources.kinds.afs.decide import Parent, Verdict
from pipelines.vos.listing import Volume, VolumeGoneError, VosError
from pipelines.vos.program import Vos
from pipelines.vos.settings import VosSettings
from tests.afsdump import make_dump, parse
from tests.servers.afs_cell import AfsCell
from tests.servers.sshd import wait_for

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "tests" / "data" / "afs"
FILES = {"a": b"first" * 300, "folder/b": b"second" * 300}


@pytest.fixture(scope="module")
def settings(afs_cell: AfsCell) -> VosSettings:
    return VosSettings((afs_cell.server,), include=("v.*",), program=str(afs_cell.bin / "vos"))


@pytest.fixture
def vos(settings: VosSettings) -> Vos:
    return Vos(settings)


def create(cell: AfsCell, name: str, dump: bytes | None = None) -> None:
    cell.vos("create", cell.server, cell.partition, name)
    restore(cell, name, make_dump(name, 1, FILES) if dump is None else dump)


def restore(cell: AfsCell, name: str, dump: bytes, how: str = "full", *more: str) -> None:
    cell.vos("restore", cell.server, cell.partition, name, "-overwrite", how, *more, stdin=dump)


def listed(vos: Vos, name: str) -> Volume:
    (server,) = vos.servers()
    (found,) = [volume for volume in vos.listing(server) if volume.name == name]
    return found


def dumped(vos: Vos, volume: int, since: int) -> bytes:
    out, buffer = bytearray(), memoryview(bytearray(1 << 20))
    with vos.dump(volume, since) as dump:
        while count := dump.readinto(buffer):
            out += buffer[:count]
    return bytes(out)


def store(
    vos: Vos, name: str, parent: Verdict | None, *, due: str = "", fresh: bool = True
) -> tuple[decide.Plan, Verdict]:
    """Back a volume up as a run does, without a repository."""
    volume = listed(vos, name)
    # or else the clone might be from before a restore; the volume server's clock may lag by a second
    wait_for(lambda: int(time.time()) > volume.copy + 1, 5)
    backup = vos.backup(volume.id) if fresh else vos.examine(volume.backup_id)
    known = Parent(b"\xab" * 32, parent.facts) if parent and parent.facts else None
    state = parent.state if parent else None
    plan = decide.plan(volume, backup, known, state, due)
    dump = dumped(vos, backup.id, plan.since)
    splitter = AfsSplitter()
    splitter.split(dump, True)
    verdict = decide.judge(
        plan, volume, backup, splitter, length=len(dump), parent=known, state=state,
        size_now=lambda: vos.dump_size(backup.id, plan.since),
    )  # fmt: skip
    return plan, verdict


def next_second(vos: Vos, name: str) -> None:
    """Wait until a clone made now has another date than the last."""
    backup = vos.examine(listed(vos, name).backup_id)
    wait_for(lambda: int(time.time()) > backup.backup, 5)


LISTENER = """
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 8, 1 << 26)
print("ready", flush=True)
packets = clear = 0
while b"END OF TEST" not in (packet := wire.recv(65536)):
    packets += len(packet) > 500
    clear += b"firstfirst" in packet
print(packets, clear, flush=True)
"""
GOODBYE = "import socket; socket.socket(2, 2).sendto(b'END OF TEST', ('192.0.2.1', 9))"


@pytest.mark.parametrize("encrypt", [True, False])
def test_a_dump_of_another_host_is_not_to_be_read_on_the_way(
    afs_cell: AfsCell, settings: VosSettings, encrypt: bool
) -> None:
    name = f"v.secret.{encrypt}"
    create(afs_cell, name)
    vos = Vos(replace(settings, encrypt=encrypt))
    backup = vos.backup(listed(vos, name).id)
    with subprocess.Popen(
        afs_cell.command(sys.executable, "-c", LISTENER), stdout=subprocess.PIPE, text=True
    ) as listener:
        assert listener.stdout is not None
        assert "ready\n" == listener.stdout.readline()
        dump = dumped(vos, backup.id, 0)
        afs_cell.run(sys.executable, "-c", GOODBYE)
        packets, clear = map(int, listener.stdout.readline().split())
    assert b"firstfirst" in dump
    assert packets > 0
    assert encrypt == (clear == 0)


def test_a_listing_has_what_examine_has(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.listed")
    create(afs_cell, "not.wanted")
    backup = vos.backup(listed(vos, "v.listed").id)
    volume = listed(vos, "v.listed")
    assert ("v.listed.backup", "BK", volume.id, "OK") == (
        backup.name,
        backup.type,
        backup.parent,
        backup.status,
    )
    assert ("RW", volume.id, backup.id, "/vicepa") == (
        volume.type, volume.parent, volume.backup_id, volume.partition
    )  # fmt: skip
    assert backup == listed(vos, "v.listed.backup") == vos.examine(backup.id)
    assert volume == vos.examine(volume.id)
    names = {each.name for each in vos.listing(vos.servers()[0])}
    assert {"v.listed", "v.listed.backup"} <= names
    assert not [name for name in names if not name.startswith("v.")]


def test_all_servers_of_the_cell_are_found(afs_cell: AfsCell, settings: VosSettings) -> None:
    everywhere = VosSettings(program=settings.program, partitions=("a",), include=("v.*",))
    assert [afs_cell.server] == Vos(everywhere).servers()
    Vos(everywhere).listing(afs_cell.server)


def test_backupsys_clones_what_is_wanted_and_tells_what_it_could_not(
    afs_cell: AfsCell, settings: VosSettings
) -> None:
    for name in ("v.sys.a", "v.sys.b", "v.sys.locked", "v.sys.left", "w.sys"):
        create(afs_cell, name)
    afs_cell.vos("lock", "v.sys.locked")
    vos = Vos(
        VosSettings(settings.servers, include=("v.sys.*",), exclude=("*.left",), program=settings.program)
    )
    try:
        assert "Could not backup v.sys.locked" == vos.backupsys(afs_cell.server)
        with pytest.raises(VosError, match="vldb entry is already locked"):
            vos.backup(listed(vos, "v.sys.locked").id)
    finally:
        afs_cell.vos("unlock", "v.sys.locked")
    every = Vos(VosSettings(settings.servers, include=("*.sys*",), program=settings.program))
    found = [each.name for each in every.listing(afs_cell.server) if each.type == "BK"]
    assert ["v.sys.a.backup", "v.sys.b.backup"] == sorted(found)


def test_the_size_of_a_dump_is_known_before(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.size")
    backup = vos.backup(listed(vos, "v.size").id)
    for since in (0, backup.backup - 10):
        assert len(dumped(vos, backup.id, since)) == vos.dump_size(backup.id, since)


def test_a_full_and_its_incrementals_chain(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.chain", (SAMPLES / "2-full.dump").read_bytes())
    plan, full = store(vos, "v.chain", None)
    assert (True, 0, "new") == plan[:3]
    assert ("accept", (), ()) == (full.outcome, full.warnings, full.alarms)

    next_second(vos, "v.chain")
    plan, nothing = store(vos, "v.chain", full)
    assert full.facts is not None
    until = full.facts.until
    assert (False, until - decide.OVERLAP) == (plan.full, plan.since)
    assert ("accept", full.state) == (nothing.outcome, nothing.state)

    plan, again = store(vos, "v.chain", nothing, due="Sunday")
    assert (True, "Sunday", ()) == (plan.full, plan.reason, again.alarms)
    assert (again.outcome, again.state) == ("accept", full.state)


def test_changes_come_in_an_incremental_that_chains(afs_cell: AfsCell, vos: Vos) -> None:
    now = int(time.time())
    create(afs_cell, "v.change", make_dump("v.change", 1, FILES, now=now - 1000))
    _, full = store(vos, "v.change", None)
    # a restored incremental keeps the dates of its vnodes; files of now are as good as written now
    changed = make_dump("v.change", 1, {**FILES, "c": b"third" * 300}, now=now + 2)
    incremental = changed.replace(b"t\0\2" + bytes(4), b"t\0\2" + (now - 1000).to_bytes(4), 1)
    restore(afs_cell, "v.change", incremental, "incremental")
    next_second(vos, "v.change")
    plan, verdict = store(vos, "v.change", full)
    assert not plan.full
    assert ("accept", "") == (verdict.outcome, verdict.reason)
    assert len(verdict.state or b"") == len(full.state or b"") + 32


@pytest.mark.parametrize("keep", [(), ("-creation", "keep", "-lastupdate", "keep")])
def test_a_restored_volume_is_dumped_in_full(afs_cell: AfsCell, vos: Vos, keep: tuple[str, ...]) -> None:
    name = f"v.restored{len(keep)}"
    create(afs_cell, name)
    _, full = store(vos, name, None)
    next_second(vos, name)
    restore(afs_cell, name, make_dump(name, 1, FILES), "full", *keep)
    plan, verdict = store(vos, name, full)
    assert (True, "accept") == (plan.full, verdict.outcome)
    assert plan.reason.startswith("restored, moved or re-created on ")


def test_files_that_came_behind_our_back_mean_a_full(afs_cell: AfsCell, vos: Vos) -> None:
    """`vos restore -overwrite incremental` can bring files that are older than the last dump."""
    name = "v.behind"
    now = int(time.time())
    create(afs_cell, name, make_dump(name, 1, FILES, now=now - 5000))
    _, full = store(vos, name, None)
    other = make_dump(name, 1, {**FILES, "c": b"third" * 300}, now=now - 4000)
    incremental = other.replace(b"t\0\2" + bytes(4), b"t\0\2" + (now - 5000).to_bytes(4), 1)
    restore(afs_cell, name, incremental, "incremental")
    next_second(vos, name)
    plan, verdict = store(vos, name, full)
    assert not plan.full
    assert (
        "full",
        "its incremental dump leaves out 1 vnode that was never stored, first vnode 6.6",
    ) == verdict[:2]


def test_a_volume_created_again_under_the_same_name_is_another_one(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.anew")
    _, full = store(vos, "v.anew", None)
    afs_cell.vos("remove", "-id", "v.anew")
    create(afs_cell, "v.anew")
    plan, verdict = store(vos, "v.anew", full)
    assert (True, "accept") == (plan.full, verdict.outcome)
    assert full.facts is not None
    assert f"re-created: it was volume {full.facts.volume}" == plan.reason


def test_a_read_only_copy_that_became_the_volume_means_a_full(afs_cell: AfsCell, vos: Vos) -> None:
    """The id is the old one, the contents those of the last release: `vos convertROtoRW`."""
    name, now = "v.convert", int(time.time())
    site = ("-server", afs_cell.server, "-partition", afs_cell.partition)
    create(afs_cell, name, make_dump(name, 1, FILES, now=now - 5000))
    made = listed(vos, name).copy
    wait_for(lambda: int(time.time()) > made + 1, 5)  # the copy's date becomes the volume's
    afs_cell.vos("addsite", *site, "-id", name)
    afs_cell.vos("release", name)
    changed = make_dump(name, 1, {**FILES, "c": b"third" * 300}, now=now - 4000)
    incremental = changed.replace(b"t\0\2" + bytes(4), b"t\0\2" + (now - 5000).to_bytes(4), 1)
    restore(afs_cell, name, incremental, "incremental")
    _, full = store(vos, name, None)
    volume = listed(vos, name)
    afs_cell.vos("remove", *site, "-id", f"{name}.backup")
    afs_cell.vos("remove", *site, "-id", name)
    # OpenAFS 1.8.9 converts it, calls that a failure (it returns the length of a path), and leaves the database
    afs_cell.vos("convertROtoRW", *site, "-id", f"{name}.readonly", "-force", check=False)
    afs_cell.vos("syncvldb", afs_cell.server)
    assert (volume.id, "RW", "OK") == (vos.examine(volume.id).id, *listed(vos, name)[3:7:3])
    plan, verdict = store(vos, name, full)
    assert (True, "accept") == (plan.full, verdict.outcome)
    assert plan.reason.startswith("restored, moved or re-created on ")


def test_a_volume_deleted_between_list_and_dump_is_gone(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.deleted")
    volume = listed(vos, "v.deleted")
    backup = vos.backup(volume.id)
    afs_cell.vos("remove", "-id", "v.deleted")
    with pytest.raises(VolumeGoneError, match=f"vos dump {backup.id} failed: .*does not exist"):
        dumped(vos, backup.id, 0)
    for ask in (vos.examine, vos.backup):
        with pytest.raises(VolumeGoneError, match="no such entry"):
            ask(volume.id)


def test_the_old_clone_of_an_offline_volume_is_stored_under_its_own_time(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.offline")
    volume = listed(vos, "v.offline")
    clone = vos.backup(volume.id)
    afs_cell.vos("offline", afs_cell.server, afs_cell.partition, "v.offline")
    assert "offline" == vos.examine(volume.id).status
    with pytest.raises(VosError, match="off line"):
        vos.backup(volume.id)
    _, verdict = store(vos, "v.offline", None, fresh=False)
    assert verdict.facts is not None
    assert ("accept", clone.backup) == (verdict.outcome, verdict.facts.until)
    assert decide.is_stale(clone, clone.backup + 3600)


def test_a_volume_that_cannot_be_attached_is_listed_by_its_name(afs_cell: AfsCell, vos: Vos) -> None:
    create(afs_cell, "v.broken")
    number = listed(vos, "v.broken").id
    header = Path(afs_cell.bin).parent / "vicepa" / f"V{number:010}.vol"
    sound = header.read_bytes()
    afs_cell.vos("offline", afs_cell.server, afs_cell.partition, "v.broken")
    header.write_bytes(bytes(len(sound)))
    try:
        found = [(each.name, each.type) for each in vos.listing(afs_cell.server) if each.status != "OK"]
        assert ("v.broken", "RW") in found
    finally:
        header.write_bytes(sound)


def test_a_server_that_is_down_is_an_error_that_names_it(settings: VosSettings) -> None:
    vos = Vos(VosSettings(("192.0.2.77",), program=settings.program))
    with pytest.raises(
        VosError, match=r"vos listvol 192\.0\.2\.77 failed with exit status 1: .*communication"
    ):
        vos.listing("192.0.2.77")


@pytest.fixture(scope="module")
def big(afs_cell: AfsCell, settings: VosSettings) -> int:
    """Return the id of a backup volume that takes a while to dump."""
    create(afs_cell, "v.big", make_dump("v.big", 1, {"zeros": bytes(48 << 20)}))
    vos = Vos(settings)
    return vos.backup(listed(vos, "v.big").id).id


def test_a_dump_that_is_closed_early_leaves_its_volume_free(afs_cell: AfsCell, vos: Vos, big: int) -> None:
    listed(vos, "v.big")
    with vos.dump(big, 0) as dump:
        dump.readinto(memoryview(bytearray(100_000)))
        status = afs_cell.vos("status", afs_cell.server).stdout
        assert f"volume: {big}".encode() in status
    wait_for(lambda: b"No active transactions" in afs_cell.vos("status", afs_cell.server).stdout, 20)
    assert (48 << 20) < len(dumped(vos, big, 0))


# As `dedup run` does it: root forks the helper, then is nobody for good.
AS_NOBODY = """
    import hashlib, json, os, sys
    from pipelines.vos.settings import VosSettings
    from pipelines.vos import helper, privileges
    from pipelines.vos.listing import VosError
    server, program, big = sys.argv[1:]
    with helper.start(VosSettings((server,), include=("v.*",), program=program)) as vos:
        privileges.become("nobody")
        names = {volume.name: volume for volume in vos.listing(server)}
        backup = vos.backup(names["v.root"].id)
        assert vos.examine(backup.id) == backup
        size = vos.dump_size(backup.id, 0)
        digest, buffer = hashlib.sha256(), memoryview(bytearray(1 << 20))
        with vos.dump(backup.id, 0) as dump:
            while count := dump.readinto(buffer):
                digest.update(buffer[:count])
        with vos.dump(int(big), 0) as dump:
            dump.readinto(buffer)
        try:
            refused = str(vos.dump(names["v.root"].id, 0))
        except VosError as error:
            refused = error.message
        print(json.dumps([os.getuid(), backup.id, size, digest.hexdigest(), refused, vos.backupsys(server)]))
"""


@pytest.fixture
def root_volume(afs_cell: AfsCell) -> Iterator[None]:
    create(afs_cell, "v.root")
    yield
    afs_cell.vos("remove", "-id", "v.root")


@pytest.mark.usefixtures("root_volume")
def test_an_ordinary_user_dumps_through_the_helper(
    afs_cell: AfsCell, vos: Vos, settings: VosSettings, big: int
) -> None:
    program = textwrap.dedent(AS_NOBODY)
    done = subprocess.run(
        [sys.executable, "-c", program, afs_cell.server, settings.program, str(big)],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert (0, b"") == (done.returncode, done.stderr)
    uid, backup, size, digest, refused, complaints = json.loads(done.stdout)
    # backupsys made a new clone since: of the same contents and length, with other dates
    dump = afs_cell.vos("dump", str(backup)).stdout
    assert (65534, len(dump), 64) == (uid, size, len(digest))
    assert f"the root helper refused to dump {afs_cell.volume_id('v.root')}" == refused
    assert "v.root" not in complaints
    assert 4 == len(parse(dump).vnodes)
    wait_for(lambda: b"No active transactions" in afs_cell.vos("status", afs_cell.server).stdout, 20)
