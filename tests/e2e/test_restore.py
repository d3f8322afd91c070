"""`dedup restore` into a real cell: whole or not at all, and never over anything by mistake."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.afsdump import make_dump, same_volume
from tests.e2e.conftest import Shell
from tests.e2e.stored_volumes import DATES, Day, first_day, make_days, put, put_days, second_day, third_day
from tests.pipelines.volumes import facts_of
from tests.servers.afs_cell import AfsCell
from tests.servers.sshd import wait_for
from tests.store import flip_bit, noise

NAME, NEW = "user.bob", "user.bob.r"


@pytest.fixture(scope="module")
def days(afs_cell: AfsCell) -> list[Day]:
    return make_days(afs_cell, NAME, [first_day, second_day, third_day])


@pytest.fixture
def restoring(shell: Shell, afs_cell: AfsCell, days: list[Day]) -> Iterator[Shell]:
    """A shell in which `vos` talks to the cell, where the volume is, and a repository that holds its days."""
    shell.environ["PATH"] = f"{afs_cell.bin}:{shell.environ['PATH']}"
    shell.environ["TZ"] = "UTC"
    put_days(shell, NAME, days)
    before = volumes(afs_cell)
    place = ("-server", afs_cell.server, "-partition", afs_cell.partition)
    yield shell
    for number in volumes(afs_cell).keys() - before.keys():
        afs_cell.vos("remove", *place, "-id", number, check=False)  # a clone goes with its volume


def volumes(cell: AfsCell) -> dict[str, str]:
    """Return {id: line} of all volumes on the server, also of those that cannot be attached."""
    said = cell.vos("listvol", cell.server, cell.partition).stdout.decode()
    return {number: line for line in said.splitlines() for number in re.findall(r"\b(5\d{8})\b", line)}


def dumped(cell: AfsCell, name: str) -> bytes:
    return cell.vos("dump", name).stdout


@pytest.mark.parametrize("day", range(3))
def test_every_date_is_restored_to_what_the_volume_was(
    restoring: Shell, afs_cell: AfsCell, days: list[Day], day: int
) -> None:
    said = restoring(f"dedup restore {DATES[day]} {NAME} {NEW} --localauth")
    assert [] == same_volume(days[day].full, dumped(afs_cell, NEW))
    number = afs_cell.volume_id(NEW)
    assert f"is restored as {NEW} ({number}) on " in said.stderr.decode()
    assert b"" == said.stdout


def test_the_next_steps_can_be_typed_as_they_are(restoring: Shell, afs_cell: AfsCell) -> None:
    said = restoring(f"dedup restore latest {NAME} {NEW} --localauth").stderr.decode()
    steps = [line.strip().split("  ")[0] for line in said.partition("Next:\n")[2].splitlines()]
    assert [
        f"fs mkm {NEW} {NEW}",
        f"vos rename -oldname {NAME} -newname {NAME}.old -localauth",
        f"vos rename -oldname {NEW} -newname {NAME} -localauth",
        f"vos release -id {NAME} -localauth",
        "fs checkvolumes",
        f"vos remove -server {afs_cell.server} -partition /vicepa -id {NEW} -localauth",
    ] == steps
    number = afs_cell.volume_id(NEW)
    for step in steps[1:3]:
        restoring(step)
    assert number == afs_cell.volume_id(NAME)
    restoring(f"vos remove -id {NAME} -localauth && vos rename {NAME}.old {NAME} -localauth")


def test_a_restored_volume_is_sound(restoring: Shell, afs_cell: AfsCell) -> None:
    restoring(f"dedup restore latest {NAME} {NEW} --localauth")
    assert [] == afs_cell.salvager_complaints(NEW)


def test_a_volume_that_is_gone_needs_a_place(restoring: Shell, afs_cell: AfsCell) -> None:
    put(restoring, "gone", make_dump("gone", 1, {"a": b"a"}), day=5)
    said = restoring(f"dedup restore latest gone {NEW} --localauth", status=1)
    assert b"there is no volume gone beside which to restore; say where: --server" in said.stderr
    place = f"--server {afs_cell.server} --partition {afs_cell.partition}"
    restoring(f"dedup restore latest gone {NEW} --localauth {place}")
    assert b"On-line" in afs_cell.vos("examine", NEW).stdout


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{NAME} {NAME}", r"user.bob \(5\d+\) on \S+ /vicepa exists already; .* --overwrite"),
        (f"{NAME} {NEW} --server {AfsCell.server} --partition q", "partition q does not exist"),
        (f"{NAME} {NEW} --server no.such.example --partition a", "no.such.example"),
        (f"{NAME} {NEW} --overwrite", f"there is no volume {NEW} to overwrite; leave --overwrite out"),
        (f"{NAME} {NAME} --overwrite --server x --partition a", "is replaced where it is"),
        ("none x", "nothing called 'none' is stored"),
        ("text x", "text of .* is no volume dump"),
        (f"{NAME}.orphan {NEW}", "builds on a backup of about .* that is not stored any more"),
        (f"{NAME}.alone {NEW}", "has nothing to build on"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_made(
    restoring: Shell, afs_cell: AfsCell, days: list[Day], line: str, why: str
) -> None:
    put(restoring, "text", b"text", day=6)
    put(restoring, f"{NAME}.alone", days[1].dump, day=6)
    facts = facts_of(days[1].dump, b"\xab" * 32)
    put(restoring, f"{NAME}.orphan", days[1].dump, day=6, facts=facts)
    before, own = volumes(afs_cell), dumped(afs_cell, NAME)
    if "--server" not in line and NEW in line and NAME in line:
        line += f" --server {afs_cell.server} --partition {afs_cell.partition}"
    said = restoring(f"dedup restore latest {line} --localauth", status=1)
    assert re.search(why, said.stderr.decode()), said.stderr.decode()
    assert before == volumes(afs_cell)
    assert own == dumped(afs_cell, NAME)


@pytest.mark.parametrize(
    "line",
    [
        f"{NAME} {'x' * 23}",
        f"{NAME} new.backup",
        f"{NAME} 12345",
        f"{NAME} 'a b'",
        f"{NAME} -- -id",
        f"{NAME} {NEW} --server x",
        f"{NAME} {NEW} --localauth --cell x",
    ],
)
def test_wrong_usage_is_told(shell: Shell, line: str) -> None:
    shell(f"dedup restore latest {line}", status=2)


def test_a_partition_without_room_is_told(restoring: Shell, afs_cell: AfsCell, tmp_path: Path) -> None:
    told = 'echo "Free space on partition /vicepa: 77 K blocks out of total 1000"'
    replace_vos(restoring, afs_cell, tmp_path, "partinfo", told)
    said = restoring(f"dedup restore latest {NAME} {NEW} --localauth", status=1)
    assert re.search(r"needs 5.\d MB, but \S+ /vicepa has only 78.8 kB free", said.stderr.decode())
    assert not any(NEW in line for line in volumes(afs_cell).values())


def test_a_machine_without_vos_says_so(shell: Shell, days: list[Day], tmp_path: Path) -> None:
    put_days(shell, NAME, days)
    for program in ("gpg", "gpgconf", "gpg-agent", "bash", "sh"):
        (tmp_path / "bin" / program).symlink_to(f"/usr/bin/{program}")
    shell.environ["PATH"] = str(tmp_path / "bin")
    said = shell(f"/bin/true; dedup restore latest {NAME} {NEW}", status=1)
    assert b"there is no vos on this machine; install openafs-client" in said.stderr


def replace_vos(shell: Shell, cell: AfsCell, folder: Path, command: str, script: str) -> None:
    """Let one command of `vos` be this script; $vos is the real one."""
    fake = folder / "bin" / "vos"
    fake.write_text(f'#!/bin/bash\nvos={cell.bin}/vos\n[ "$1" = {command} ] || exec $vos "$@"\n{script}\n')
    fake.chmod(0o755)
    shell.environ["PATH"] = f"{fake.parent}:{shell.environ['PATH']}"


def big_dump() -> bytes:
    return make_dump("big", 1, {f"f{i}": noise(1_000_000, i) for i in range(40)})


def damage_contents(shell: Shell) -> None:
    """Change a bit in the last pack of data that was written."""
    folder = Path(shell.environ["DEDUP_REPOSITORY"]) / "data"
    flip_bit(
        max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    )


def test_what_a_failure_left_is_removed(restoring: Shell, afs_cell: AfsCell) -> None:
    put(restoring, NAME, big_dump(), day=9)
    damage_contents(restoring)
    before = volumes(afs_cell)
    said = restoring(f"dedup restore latest {NAME} {NEW} --localauth", status=1)
    assert f"dedup: warning: the half-restored volume {NEW} was removed\n".encode() in said.stderr
    assert before == volumes(afs_cell)
    assert b"no such entry" in afs_cell.vos("examine", NEW, check=False).stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_an_interruption_left_is_removed(
    restoring: Shell, afs_cell: AfsCell, tmp_path: Path, number: signal.Signals
) -> None:
    put(restoring, NAME, big_dump(), day=9)
    half, rest = tmp_path / "half", tmp_path / "rest"
    slow = f'exec $vos "$@" < <(head -c 20000000; touch {half}; cat >{rest})'
    replace_vos(restoring, afs_cell, tmp_path, "restore", slow)
    before = volumes(afs_cell)
    os.mkfifo(rest)  # nobody reads it: the restore hangs half way
    with restoring.start(f"dedup restore latest {NAME} {NEW} --localauth") as process:
        wait_for(half.exists, 60)
        process.send_signal(number)
        reader = subprocess.Popen(["cat", rest], stdout=subprocess.DEVNULL)
        said = process.communicate(timeout=90)[1]
        reader.wait(30)
    assert 128 + number == process.returncode
    assert f"the half-restored volume {NEW} was removed".encode() in said
    assert before == volumes(afs_cell)


@pytest.fixture
def replaced(restoring: Shell, afs_cell: AfsCell) -> bytes:
    """A volume to be replaced, called as `NEW`; return its dump."""
    afs_cell.vos(
        "restore", afs_cell.server, afs_cell.partition, NEW, stdin=make_dump(NEW, 1, {"old": b"old" * 9999})
    )
    return dumped(afs_cell, NEW)


def test_another_volume_is_not_replaced_without_a_yes(
    restoring: Shell, afs_cell: AfsCell, replaced: bytes
) -> None:
    said = restoring(f"dedup restore {DATES[1]} {NAME} {NEW} --overwrite --localauth", status=1).stderr
    asked = f"{NEW} is to be replaced by the backup of {NAME}, another volume; if that is meant, add --yes"
    assert asked.encode() in said
    assert [] == same_volume(replaced, dumped(afs_cell, NEW))


def test_overwriting_says_what_it_replaces_and_keeps_a_clone(
    restoring: Shell, afs_cell: AfsCell, days: list[Day], replaced: bytes
) -> None:
    number = afs_cell.volume_id(NEW)
    said = restoring(f"dedup restore {DATES[1]} {NAME} {NEW} --overwrite --yes --localauth").stderr.decode()
    assert re.search(
        rf"replacing {NEW} \({number}\) on \S+ /vicepa, \d+\.\d kB, last changed 2023.11.14T22:13; "
        rf"as it is now it stays in {NEW}.backup until the next vos backup",
        said,
    )
    assert number == afs_cell.volume_id(NEW)
    assert [] == same_volume(days[1].full, dumped(afs_cell, NEW))
    (undo,) = (line.strip().split("  ")[0] for line in said.splitlines() if "vos dump" in line)
    restoring(undo)
    assert [] == same_volume(replaced, dumped(afs_cell, NEW))


def test_nothing_is_overwritten_of_which_no_clone_can_be_made(
    restoring: Shell, afs_cell: AfsCell, replaced: bytes, tmp_path: Path
) -> None:
    replace_vos(restoring, afs_cell, tmp_path, "backup", "echo disk full >&2; exit 255")
    said = restoring(f"dedup restore latest {NAME} {NEW} --overwrite --yes --localauth", status=1)
    assert b"cannot be kept as a clone: vos backup failed with exit status 255: disk full" in said.stderr
    assert replaced == dumped(afs_cell, NEW)


def test_damage_is_found_before_anything_is_overwritten(
    restoring: Shell, afs_cell: AfsCell, replaced: bytes
) -> None:
    put(restoring, NAME, big_dump(), day=9)
    damage_contents(restoring)
    before = volumes(afs_cell)
    restoring(f"dedup restore latest {NAME} {NEW} --overwrite --yes --localauth", status=1)
    assert before == volumes(afs_cell)
    assert replaced == dumped(afs_cell, NEW)


def test_a_failure_in_overwriting_tells_how_to_go_back(
    restoring: Shell, afs_cell: AfsCell, replaced: bytes, tmp_path: Path
) -> None:
    path = restoring.environ["PATH"]
    replace_vos(restoring, afs_cell, tmp_path, "restore", 'head -c 2000000 | $vos "$@"')
    said = restoring(
        f"dedup restore latest {NAME} {NEW} --overwrite --yes --localauth", status=1
    ).stderr.decode()
    restoring.environ["PATH"] = path
    assert b"Off-line" in afs_cell.vos("examine", NEW).stdout
    (undo,) = re.findall(r"is incomplete, and off line; to put back what it was: (.*)", said)
    restoring(undo)
    assert [] == same_volume(replaced, dumped(afs_cell, NEW))
