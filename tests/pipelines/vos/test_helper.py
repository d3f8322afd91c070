"""The root helper for `vos`: it does what it should, and nothing else.

These tests are root, as the helper's side needs it; they talk to it as the backup user could.
"""

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.vos import helper, helper_client
from pipelines.vos.helper_client import ASKED, NO, YES, PrivilegedVos, Verb
from pipelines.vos.listing import VolumeGoneError, VosError
from pipelines.vos.privileges import PrivilegeError
from pipelines.vos.program import Dump
from pipelines.vos.settings import VosSettings
from tests.pipelines.vos.fake_vos import SERVER, FakeVos, entry, listing

ROOT = Path(__file__).parents[3]
DEADLINE = 20.0

VOLUMES: tuple[str, ...] = (
    entry("user.a", 10, backupID=12),
    entry("user.a.backup", 12, "BK", 10),
    entry("secret", 20, backupID=22),
)
VOLUMES += (entry("secret.backup", 22, "BK", 20), entry("user.r.readonly", 31, "RO", 30))


@pytest.fixture
def fake(tmp_path: Path) -> FakeVos:
    fake = FakeVos(tmp_path)
    fake.settings = VosSettings(servers=(SERVER,), include=("user.*",), program=fake.settings.program)
    fake.says("listvol", listing(*VOLUMES))
    return fake


@pytest.fixture
def vos(fake: FakeVos) -> Iterator[PrivilegedVos]:
    with helper.start(fake.settings) as vos:
        yield vos


@pytest.fixture
def listed(vos: PrivilegedVos) -> PrivilegedVos:
    assert [10, 12, 31] == [volume.id for volume in vos.listing(SERVER)]
    return vos


def main_socket(vos: PrivilegedVos) -> socket.socket:
    return vos._helper


def ask(vos: PrivilegedVos, packet: bytes) -> bytes:
    """Send these bytes and return the answer; descriptors of it are closed."""
    main_socket(vos).send(packet)
    said, descriptors, _, _ = socket.recv_fds(main_socket(vos), 100, 9)
    for descriptor in descriptors:
        os.close(descriptor)
    return said


def drain(dump: Dump) -> None:
    while dump.readinto(memoryview(bytearray(1 << 20))):
        pass


def has_ended(pid: int) -> bool:
    """Tell whether that process ends, soon; a zombie has."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def dumping_pid(fake: FakeVos, volume: int) -> int:
    return int((fake.folder / f"pid.{volume}").read_text())


def test_every_method_answers_as_without_a_helper(fake: FakeVos, listed: PrivilegedVos) -> None:
    fake.says("examine.10", entry("user.a", 10, backupID=12))
    fake.says("examine.12", entry("user.a.backup", 12, "BK", 10))
    fake.says("backupsys", "Could not backup user.x\n")
    fake.says("dump.12", b"a dump")
    assert [SERVER] == listed.servers()
    assert ("user.a", 12) == (listed.examine(10).name, listed.examine(10).backup_id)
    assert "user.a.backup" == listed.backup(10).name
    assert "Could not backup user.x" == listed.backupsys(SERVER)
    assert 12345 == listed.dump_size(12, 7)
    buffer = bytearray(100)
    with listed.dump(12, 7) as dump:
        assert [6, 0] == [dump.readinto(memoryview(buffer)), dump.readinto(memoryview(buffer))]
    assert b"a dump" == buffer[:6]


def test_errors_of_vos_come_through_with_their_kind(fake: FakeVos, listed: PrivilegedVos) -> None:
    fake.says("fails", "VLDB: no such entry\n")
    with pytest.raises(VolumeGoneError, match="vos examine 12 failed: VLDB: no such entry"):
        listed.examine(12)
    fake.says("fails", "something else\n")
    with pytest.raises(VosError, match="vos size 12 failed with exit status 255: something else"):
        listed.dump_size(12, 0)
    fake.says("dump.12", b"data")
    with listed.dump(12, 0) as dump:
        dump.readinto(memoryview(bytearray(9)))
        with pytest.raises(VosError, match=r"vos dump 12 failed with exit status 255: .*something else"):
            dump.readinto(memoryview(bytearray(9)))


def test_several_dumps_and_questions_go_on_at_once(fake: FakeVos, listed: PrivilegedVos) -> None:
    fake.says("examine.12", entry("user.a.backup", 12, "BK", 10))
    buffer = memoryview(bytearray(1000))
    with listed.dump(12, 0) as one, listed.dump(12, 5) as other:
        for _ in range(3):
            assert 0 < one.readinto(buffer)
            assert "user.a.backup" == listed.examine(12).name
            assert 0 < other.readinto(buffer)


# -- who tries to cheat it


NOT_LISTED = [0, 11, 0x7FFFFFFF, 0xFFFFFFFF]


@pytest.mark.parametrize(
    ("verb", "subjects"),
    [
        (Verb.DUMP, [*NOT_LISTED, 10, 20, 22, 31]),  # a read-write one would be locked meanwhile
        (Verb.SIZE, [*NOT_LISTED, 10, 20, 22, 31]),
        (Verb.BACKUP, [*NOT_LISTED, 12, 20, 22, 31]),
        (Verb.EXAMINE, [*NOT_LISTED, 20, 22, 31]),
        (Verb.LISTING, [1, 10, 12, 0xFFFFFFFF]),
        (Verb.COUNT, [1, 10, 12, 0xFFFFFFFF]),
        (Verb.BACKUPSYS, [1, 10, 12, 0xFFFFFFFF]),
    ],
)
def test_what_is_not_in_its_own_listing_is_refused(
    fake: FakeVos, listed: PrivilegedVos, verb: Verb, subjects: list[int]
) -> None:
    before = fake.called()
    for subject in subjects:
        assert NO == ask(listed, ASKED.pack(verb, subject, 0))
    assert before == fake.called()


@pytest.mark.parametrize(
    "verb", [Verb.DUMP, Verb.SIZE, Verb.BACKUP, Verb.EXAMINE, Verb.LISTING, Verb.COUNT, Verb.BACKUPSYS]
)
def test_before_it_has_listed_it_knows_nothing(fake: FakeVos, vos: PrivilegedVos, verb: Verb) -> None:
    for subject in (0, 10, 12):
        assert NO == ask(vos, ASKED.pack(verb, subject, 0))
    assert [] == fake.called()


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(ASKED.pack(0, 0, 0), id="no verb"),
        pytest.param(ASKED.pack(9, 0, 0), id="unknown verb"),
        pytest.param(ASKED.pack(0xFFFFFFFF, 12, 0), id="negative verb"),
        pytest.param(b"dump 12 0;id", id="text"),
        pytest.param(b"\x07", id="short"),
        pytest.param(ASKED.pack(7, 12, 0) + b"\0", id="long"),
        pytest.param(ASKED.pack(7, 12, 0) * 10_000, id="huge"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_no_question_ends_it(fake: FakeVos, listed: PrivilegedVos, packet: bytes) -> None:
    before = fake.called()
    assert b"" == ask(listed, packet)
    assert has_ended(listed._pid)
    assert before == fake.called()
    with pytest.raises(VosError, match="the root helper has ended; see its messages above"):
        listed.examine(12)


def test_numbers_that_do_not_fit_are_never_sent(fake: FakeVos, listed: PrivilegedVos) -> None:
    for volume, since in ((-1, 0), (1 << 32, 0), (12, -1), (12, 1 << 32)):
        with pytest.raises(VosError, match="number out of range"):
            listed.dump(volume, since)


def test_descriptors_that_are_sent_along_are_dropped(fake: FakeVos, listed: PrivilegedVos) -> None:
    reading, writing = os.pipe()
    fake.says("examine.12", entry("user.a.backup", 12, "BK", 10))
    socket.send_fds(main_socket(listed), [ASKED.pack(Verb.EXAMINE, 12, 0)], [writing])
    os.close(writing)
    said, (channel,), _, _ = socket.recv_fds(main_socket(listed), 1, 1)
    os.close(channel)
    assert YES == said
    assert b"" == os.read(reading, 1)  # an end: nobody has the other side open
    os.close(reading)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40))
def test_no_packet_at_all_makes_it_call_anything_but_its_listing(fake: FakeVos, packet: bytes) -> None:
    before = len(fake.called())
    with helper.start(fake.settings) as vos:
        ask(vos, packet)
    assert {"listaddrs"} >= {call.split()[0] for call in fake.called()[before:]}


def test_a_volume_that_a_later_backup_makes_is_known(fake: FakeVos, vos: PrivilegedVos) -> None:
    fake.says("listvol", listing(entry("user.n", 40)))
    fake.says("examine.40", entry("user.n", 40, backupID=42))
    fake.says("examine.42", entry("user.n.backup", 42, "BK", 40))
    vos.listing(SERVER)
    with pytest.raises(VosError, match="the root helper refused to size 42; it works only on what"):
        vos.dump_size(42, 0)
    assert 42 == vos.backup(40).id
    assert 12345 == vos.dump_size(42, 0)


# -- how it ends


def test_a_closed_dump_ends_its_vos_by_the_pipe(fake: FakeVos, listed: PrivilegedVos) -> None:
    began = time.monotonic()
    with listed.dump(12, 0) as dump:
        dump.readinto(memoryview(bytearray(100)))
        pid = dumping_pid(fake, 12)
    assert has_ended(pid)
    assert time.monotonic() - began < DEADLINE  # SIGTERM would have come later
    dump.close()  # again


def test_only_the_reader_holds_the_pipe(fake: FakeVos, listed: PrivilegedVos) -> None:
    """Closed without telling the helper: `vos` must see it all the same."""
    main_socket(listed).send(ASKED.pack(Verb.DUMP, 12, 0))
    _, (channel, pipe), _, _ = socket.recv_fds(main_socket(listed), 1, 2)
    os.read(pipe, 100)
    pid = dumping_pid(fake, 12)
    os.close(pipe)
    assert has_ended(pid)
    os.close(channel)


@pytest.mark.parametrize("closing", ["everything", "all but the pipe"])
def test_it_ends_with_the_other_side_and_ends_its_dumps(
    fake: FakeVos, listed: PrivilegedVos, closing: str
) -> None:
    main_socket(listed).send(ASKED.pack(Verb.DUMP, 12, 0))
    _, (channel, pipe), _, _ = socket.recv_fds(main_socket(listed), 1, 2)
    os.read(pipe, 100)
    pid = dumping_pid(fake, 12)
    os.close(channel)
    if closing == "everything":
        os.close(pipe)
    main_socket(listed).close()
    if closing != "everything":
        for _ in range(100):  # vos is given time: it may be about to end by itself
            assert 0 < len(os.read(pipe, 10_000))
        os.close(pipe)
    assert has_ended(pid)
    assert has_ended(listed._pid)


def test_signals_of_the_terminal_and_the_service_manager_do_not_end_it(
    fake: FakeVos, listed: PrivilegedVos
) -> None:
    fake.says("examine.12", entry("user.a.backup", 12, "BK", 10))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(listed._pid, number)
    assert "user.a.backup" == listed.examine(12).name


def test_one_that_was_killed_is_an_error_not_an_end(fake: FakeVos, listed: PrivilegedVos) -> None:
    with listed.dump(12, 0) as dump:
        dump.readinto(memoryview(bytearray(100)))
        os.kill(listed._pid, signal.SIGKILL)
        assert has_ended(listed._pid)
        os.kill(dumping_pid(fake, 12), signal.SIGKILL)
        with pytest.raises(
            VosError, match="vos dump 12 failed with exit status 1: the root helper has ended"
        ):
            drain(dump)


def test_one_that_was_killed_while_it_answered_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b'{"value": "half of')
    with pytest.raises(VosError, match="the root helper has ended"):
        helper_client._answer(ours)


def test_a_relative_path_is_not_looked_up_twice(fake: FakeVos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fake.folder)
    with helper.start(replace(fake.settings, program="./vos")) as vos:
        assert [10, 12, 31] == [volume.id for volume in vos.listing(SERVER)]


def test_two_helpers_do_not_hold_each_other(fake: FakeVos, vos: PrivilegedVos) -> None:
    with helper.start(fake.settings):
        vos.close()
        assert vos._pid == 0


# -- what it trusts, and who is root


def test_a_vos_that_others_can_write_is_refused(fake: FakeVos) -> None:
    os.chmod(fake.settings.program, 0o775)
    with pytest.raises(
        PrivilegeError, match=r"refused .*/vos: only root may have write permission on .*/vos"
    ):
        helper.start(fake.settings)


def test_it_is_given_no_environment_but_the_path(fake: FakeVos, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFSCELL", "evil.example.org")
    Path(fake.settings.program).write_text(f"#!/bin/sh\nenv > {fake.folder}/environment\necho dump_size: 1\n")
    fake.says("listvol", "")
    with helper.start(fake.settings) as vos:
        with pytest.raises(VosError):
            vos.servers() and vos.dump_size(12, 0)
        vos.listing(SERVER)
    names = {line.partition("=")[0] for line in (fake.folder / "environment").read_text().splitlines()}
    assert names <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}


def test_it_works_where_the_standard_streams_are_closed(fake: FakeVos) -> None:
    program = (
        "import os; from pipelines.vos.settings import VosSettings; from pipelines.vos import helper\n"
        f"with helper.start(VosSettings(servers=('{SERVER}',), program='{fake.settings.program}')) as vos:\n"
        "    os.write(2, ' '.join(volume.name for volume in vos.listing(vos.servers()[0])).encode())"
    )
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- >&-', "sh", sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert b"user.a user.a.backup secret secret.backup user.r.readonly" == done.stderr


AS_NOBODY = """
    import os, sys
    from pipelines.vos.settings import VosSettings
    from pipelines.vos import helper, privileges
    with helper.start(VosSettings(servers=({server!r},), program={program!r})) as vos:
        privileges.become("nobody")
        vos.listing({server!r})
        with vos.dump(12, 0) as dump:
            dump.readinto(memoryview(bytearray(9)))
        print(os.getuid(), os.getgid(), os.environ["HOME"], os.getgroups())
        for attempt in (lambda: os.kill(vos._pid, 9), lambda: os.setuid(0), lambda: open("/etc/shadow")):
            try:
                attempt()
            except PermissionError:
                print("denied")
"""


def test_neither_it_nor_vos_has_anything_open_but_what_it_needs(fake: FakeVos, tmp_path: Path) -> None:
    vos_program = tmp_path / "vos"
    script = vos_program.read_text().replace("verb=$1", "verb=$1; ls -l /proc/self/fd > open")
    vos_program.write_text(script)
    with open(tmp_path / "secret", "wb") as secret:
        high = fcntl.fcntl(secret, fcntl.F_DUPFD, 500)
        os.set_inheritable(high, True)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (400, limits[1]))
        try:
            with helper.start(fake.settings) as vos:
                vos.listing(SERVER)
                open_there = {path.name: path.readlink() for path in Path(f"/proc/{vos._pid}/fd").iterdir()}
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            os.close(high)
    assert 4 == len(open_there)
    targets = [str(target) for target in open_there.values()] + (tmp_path / "open").read_text().splitlines()
    assert not [target for target in targets if "secret" in target]


def test_the_rest_of_the_program_is_an_ordinary_user_for_good(fake: FakeVos) -> None:
    program = textwrap.dedent(AS_NOBODY).format(server=SERVER, program=fake.settings.program)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert "" == done.stderr
    assert ["65534 65534 /nonexistent [65534]", "denied", "denied", "denied"] == done.stdout.splitlines()
    assert f"dump -id 12 -server {SERVER} -partition /vicepa -time 0 -encrypt -localauth" in fake.called()
