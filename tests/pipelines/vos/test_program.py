"""What `vos` is asked, and what is made of its answers."""

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.patterns import wants
from pipelines.vos import listing as vos_listing
from pipelines.vos import patterns, process
from pipelines.vos.listing import VolumeGoneError, VosError
from pipelines.vos.program import Dump, Vos
from pipelines.vos.settings import VosSettings
from tests.pipelines.vos.fake_vos import SERVER, FakeVos, entry, listing, nameless

DATABASE = """
user.a
    RWrite: 10     ROnly: 11     Backup: 12
    number of sites -> 1
       server fs1.example.org partition /vicepa RW Site

user.b
    RWrite: 20     Backup: 22
    number of sites -> 1
       server fs1.example.org partition /vicepa RW Site

"""


@pytest.fixture
def fake(tmp_path: Path) -> FakeVos:
    return FakeVos(tmp_path)


def test_a_listing_has_every_field_by_its_name() -> None:
    dates = {"creationDate": 1, "copyDate": 2, "backupDate": 3, "updateDate": 4, "accessDate": 5}
    text = listing(entry("user.a.backup", 12, "BK", 10, **dates, diskused=7, newField="x", backupID=9))
    expected = vos_listing.Volume("user.a.backup", 12, 10, "BK", SERVER, "/vicepa", "OK", 7, 1, 2, 3, 4, 5, 9)
    assert [expected] == vos_listing.parse_listing(text, SERVER)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"inUse": "N"}, "offline"),
        ({"inUse": "N", "needsSalvaged": "Y"}, "needs salvage"),
        ({"destroyMe": "Y"}, "half deleted"),
    ],
)
def test_a_volume_that_is_not_well_says_how(fields: dict[str, Any], status: str) -> None:
    (volume,) = vos_listing.parse_listing(listing(entry("user.a", 10, **fields)), SERVER)
    assert status == volume.status


def test_busy_and_unattachable_volumes_get_their_names_from_the_database(fake: FakeVos) -> None:
    fake.says(
        "listvol", listing(nameless(20, "BUSY"), nameless(12, "UNATTACHABLE"), nameless(99, "UNATTACHABLE"))
    )
    fake.says("listvldb", DATABASE)
    found = [(v.name, v.id, v.type, v.parent, v.status) for v in Vos(fake.settings).listing(SERVER)]
    assert [
        ("user.b", 20, "RW", 20, "busy"),
        ("user.a.backup", 12, "BK", 10, "unattachable"),
        ("", 99, "?", 0, "unattachable"),
    ] == found


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_a_listing_that_is_cut_short_anywhere_is_an_error(cut: int, volumes: int) -> None:
    text = listing(*(entry(f"user.{i}", i) for i in range(1, volumes + 1))).rstrip()
    text = text[: cut % len(text)]
    if text.endswith(b"\nEND_OF_ENTRY") or b"\n" not in text:
        text = text[:-1]
    if b"\n" in text:
        with pytest.raises(VosError):
            vos_listing.parse_listing(text, SERVER)


@pytest.mark.parametrize(("field", "value"), [("copyDate", "soon"), ("parentID", ""), ("diskused", "-1")])
def test_a_field_that_makes_no_sense_is_an_error_that_names_it(field: str, value: str) -> None:
    fields: dict[str, Any] = {field: value}
    with pytest.raises(VosError, match=f"no usable {field} for volume '10' on {SERVER}"):
        vos_listing.parse_listing(listing(entry("user.a", 10, **fields)), SERVER)


def test_odd_bytes_in_a_name_are_shown_and_lose_no_volume() -> None:
    text = listing(entry("user.a", 10), entry("b", 20)).replace(b"user.a", b"a\xff\x1c\xe2\x80\xa8 z")
    found = [volume.name for volume in vos_listing.parse_listing(text, SERVER)]
    assert ["a\\xff\x1c\u2028 z", "b"] == found


def test_only_wanted_volumes_are_listed_with_their_clones(fake: FakeVos) -> None:
    settings = VosSettings(
        servers=(SERVER,), program=fake.settings.program, include=("user.*",), exclude=("*.old",)
    )
    names = ["user.a", "user.a.backup", "user.b.old", "user.b.old.backup", "mail.a", "mail.a.backup"]
    kinds = ["BK" if name.endswith(".backup") else "RW" for name in names]
    fake.says("listvol", listing(*(entry(name, 10 + i, kinds[i]) for i, name in enumerate(names))))
    assert ["user.a", "user.a.backup"] == [volume.name for volume in Vos(settings).listing(SERVER)]


def test_dumps_name_ids_places_and_times_by_numbers(fake: FakeVos) -> None:
    fake.says("listvol", listing(entry("-id evil; x", 12, "BK", 10)))
    fake.says("dump.12", b"data")
    vos = Vos(fake.settings)
    vos.listing(SERVER)
    with vos.dump(12, 1795264901) as dump:
        assert 4 == dump.readinto(memoryview(bytearray(9)))
        assert 0 == dump.readinto(memoryview(bytearray(9)))
    expected = f"dump -id 12 -server {SERVER} -partition /vicepa -time 1795264901 -encrypt -localauth"
    assert expected == fake.called()[-1]


def test_backupsys_gives_the_patterns_as_expressions_of_whole_names(fake: FakeVos) -> None:
    settings = VosSettings(
        (SERVER,), ("a",), ("user.*", "db"), ("*.old",), localauth=False, noauth=True, cell="example.org",
        program=fake.settings.program,
    )  # fmt: skip
    fake.says("backupsys", "Backing up .. Could not backup user.b\nCould not backup user.c\ndone\nTotal\n")
    assert "Could not backup user.b; Could not backup user.c" == Vos(settings).backupsys(SERVER)
    assert [
        rf"backupsys -prefix ^user\..*$ ^db$ -xprefix ^.*\.old$ -server {SERVER} -partition a"
        " -cell example.org -noauth"
    ] == fake.called()


@pytest.mark.parametrize(
    ("server", "encrypt", "more"),
    [
        (SERVER, True, " -encrypt"),
        (SERVER, False, ""),
        ("127.0.0.1", True, ""),
        ("localhost", True, ""),
        ("no-such-host.invalid", True, " -encrypt"),
    ],
)
def test_what_comes_from_another_host_is_encrypted(
    fake: FakeVos, server: str, encrypt: bool, more: str
) -> None:
    fake.says("listvol", listing(entry("a", 12, "BK", 10)))
    fake.says("dump.12", b"data")
    vos = Vos(replace(fake.settings, servers=(server,), encrypt=encrypt))
    vos.listing(server)
    with vos.dump(12, 0):
        pass
    expected = f"dump -id 12 -server {server} -partition /vicepa -time 0{more} -localauth"
    assert expected == fake.called()[-1]


def test_a_place_that_would_be_an_option_is_an_error(fake: FakeVos) -> None:
    evil = entry("a", 12, "BK", 10).replace("/vicepa", "-localauth")
    fake.says("listvol", listing(evil))
    with pytest.raises(VosError, match="'-localauth' is not a valid partition"):
        Vos(fake.settings).listing(SERVER)


def test_every_server_of_the_database_counts_once(fake: FakeVos) -> None:
    settings = VosSettings(program=fake.settings.program)
    assert ["192.0.2.1", "192.0.2.2"] == Vos(settings).servers()


def test_words_say_that_a_volume_is_gone(fake: FakeVos) -> None:
    fake.says("fails", "Could not fetch the entry for volume 12 from VLDB \nVLDB: no such entry\n")
    with pytest.raises(
        VolumeGoneError, match=r"vos size 12 failed: Could not .* / VLDB: no such entry; it was"
    ):
        Vos(fake.settings).dump_size(12, 0)


def test_a_command_that_fails_counts_for_nothing_whatever_it_wrote(fake: FakeVos) -> None:
    fake.says("listvol", listing(entry("user.a", 10)))
    fake.says("fails", "Possible communication failure\n")
    with pytest.raises(VosError, match=f"vos listvol {SERVER} failed with exit status 255: Possible comm"):
        Vos(fake.settings).listing(SERVER)


def test_a_dump_that_fails_after_its_last_byte_has_no_end(fake: FakeVos) -> None:
    fake.says("dump.12", b"data")
    fake.says("fails", "VOLSER: volume is busy\n")
    with Vos(fake.settings).dump(12, 0) as dump:
        assert 4 == dump.readinto(memoryview(bytearray(9)))
        with pytest.raises(VosError, match=r"vos dump 12 failed with exit status 255: .*volume is busy"):
            dump.readinto(memoryview(bytearray(9)))


def test_a_command_that_hangs_is_an_error_in_time(tmp_path: Path) -> None:
    fake = FakeVos(tmp_path)
    Path(fake.settings.program).write_text("#!/bin/sh\nexec sleep 1000\n")
    with pytest.raises(VosError, match="vos examine 12 did not answer within 0 s"):
        Vos(fake.settings, timeout=0.1).examine(12)


def test_a_command_that_says_without_end_costs_no_memory_without_end(
    fake: FakeVos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LARGEST_OUTPUT", 1_000_000)
    Path(fake.settings.program).write_text("#!/bin/sh\nexec yes\n")
    with pytest.raises(VosError, match=r"vos examine 12 printed more than 1\.0 MB; check the server"):
        Vos(fake.settings).examine(12)


def test_a_vos_that_is_not_there_is_an_error() -> None:
    with pytest.raises(VosError, match="/no/vos cannot be started: No such file or directory; install"):
        Vos(VosSettings(program="/no/vos")).examine(1)


@pytest.mark.parametrize("since", [-1, 2**32])
def test_a_time_that_afs_does_not_have_is_an_error(fake: FakeVos, since: int) -> None:
    with pytest.raises(VosError, match=f"{since} is not a valid time in AFS"):
        Vos(fake.settings).dump_size(12, since)
    assert [] == fake.called()


NAMES = [
    "user.a",
    "userxa",
    "user.",
    "u*r",
    "a[b",
    "a]b",
    "a^b",
    "ab",
    "acb",
    "a-b",
    "a\\b",
    "a.b$",
    "^a",
    "a{2}",
    "aa",
]


@pytest.mark.parametrize(
    "pattern",
    ["*", "user.*", "user.?", "u[*]r", "a[[]b", "a[]]b", "a[!c]b", "a[^c]b", "a[^]b", "a[!]]b", "a[c-]b", "a[", "a[b",
     "a\\b", "*$", "^*", "a{2}", "a?b", "[a-u]*", "a[]b", ".*", "a+", "a[!^]b", "[^a]*"],
)  # fmt: skip
def test_an_expression_means_what_the_pattern_means(pattern: str) -> None:
    """By a real POSIX engine, `grep`."""
    done = subprocess.run(
        ["grep", "-e", patterns.expression(pattern)], input="\n".join(NAMES), capture_output=True, text=True
    )
    assert [name for name in NAMES if wants(name, [pattern], [])] == done.stdout.splitlines()
    assert "" == done.stderr


TRANSACTIONS = b"""--------------------------------------
transaction: 98  created: Sat Nov 21 12:52:24 2026
lastActiveTime: Sat Nov 21 12:52:24 2026
attachFlags:  busy
volume: 12  partition: /vicepa  procedure: Dump
packetRead: 2  lastReceiveTime: Sat Nov 21 12:52:25 2026
--------------------------------------
transaction: 99  created: Sat Nov 21 12:52:24 2026
attachFlags:  offline
volume: 20  partition: /vicepa  procedure: Restore
--------------------------------------
"""


def test_the_transaction_of_a_dump_whose_vos_was_killed_is_ended(fake: FakeVos) -> None:
    fake.says("listvol", listing(entry("user.a.backup", 12, "BK", 10)))
    fake.says("status", b"Total transactions: 2\n" + TRANSACTIONS)
    vos = Vos(fake.settings)
    vos.listing(SERVER)
    with vos.dump(12, 0) as dump:
        dump.readinto(memoryview(bytearray(9)))
        os.kill(int((fake.folder / "pid.12").read_text()), signal.SIGKILL)
        with pytest.raises(VosError, match="vos dump 12 was killed by SIGKILL; its volume may stay busy"):
            drain(dump)
    assert [f"status -server {SERVER}", f"endtrans -server {SERVER} -transaction 98"] == [
        call.removesuffix(" -localauth") for call in fake.called()[-2:]
    ]


def drain(dump: Dump) -> None:
    while dump.readinto(memoryview(bytearray(1 << 20))):
        pass
