"""Disks that are full: the storage's, the local state's, the one that is restored to."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.cli.conftest import World


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Copy what is in the folder to a disk of that size, and show it in its place."""
    aside = folder.with_name(folder.name + ".aside")
    folder.rename(aside)
    folder.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder)], check=True)
    try:
        subprocess.run(["cp", "-a", f"{aside}/.", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_storage_lists_nothing_and_goes_on_later(world: World) -> None:
    data = os.urandom(6_000_000)
    with small_disk(world.repository, "4m"):
        said = world.wendy.fails("put x", data)
        assert "No space left on device" in said
        assert b"[]\n" == world.wendy.does("list --json")
        subprocess.run(["mount", "-o", "remount,size=40m", str(world.repository)], check=True)
        world.wendy.does("put x", data)
        assert data == world.alice.does("get latest x")


def test_a_full_state_folder_is_an_error(world: World) -> None:
    with small_disk(world.wendy.state, "1m"):
        subprocess.run(["cp", "/dev/zero", f"{world.wendy.state}/filler"], capture_output=True, check=False)
        said = world.wendy.dedup("put x", os.urandom(2_000_000))
    assert (1, b"") == (said.status, said.out)
    assert "No space left on device; free some space: its disk or quota is full" in said.err
    assert "this is a bug" not in said.err


def test_a_full_disk_leaves_no_half_file(stored: World) -> None:
    stored.wendy.does("put big", os.urandom(6_000_000))
    out = stored.folder / "out"
    out.mkdir()
    with small_disk(out, "4m"):
        said = stored.alice.fails(f"get latest big -o {out}/file")
        assert (
            f"dedup: cannot write {out}/file: No space left on device; make room there, or write to another place"
            == said
        )
        assert [] == list(out.iterdir())
