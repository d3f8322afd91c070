"""What `dedup restore` decides without a cell; with one: tests/e2e/test_restore.py."""

import shlex

import pytest

from pipelines.restore import Target, check_name, next_steps, undo
from pipelines.sources.vos_listing import Volume
from pipelines.vos_restore import Site, Vos

SITE = Site("fs1.example.org", "/vicepa")


@pytest.mark.parametrize("name", ["user.alice", "a", "x" * 22, "a-b_c.1", "1a", "backup", "a.backup.b"])
def test_names_that_afs_takes(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "x" * 23, "12", "a b", "a/b", "a.backup", "a.readonly", "-id", "a\n", "é", "a;b", "a\0"]
)
def test_names_that_afs_does_not_take(name: str) -> None:
    with pytest.raises(ValueError, match="is no name for a volume"):
        check_name(name)


def test_next_steps_for_a_new_volume_name_it() -> None:
    steps = [line for line, _ in next_steps(Vos("/bin/vos"), Target("user.a.r", SITE, None), "user.a")]
    assert [
        "fs mkm user.a.r user.a.r",
        "vos rename -oldname user.a -newname user.a.old",
        "vos rename -oldname user.a.r -newname user.a",
        "vos release -id user.a",
        "fs checkvolumes",
        "vos remove -server fs1.example.org -partition /vicepa -id user.a.r",
    ] == steps


def test_a_volume_that_gets_its_own_name_back_is_not_renamed() -> None:
    steps = [line for line, _ in next_steps(Vos("/bin/vos"), Target("user.a", SITE, None), "user.a")]
    assert not any("rename" in line for line in steps)
    assert "vos release -id user.a" in steps


def test_a_stored_name_that_no_volume_has_is_in_no_command() -> None:
    hostile = "x; rm -rf ~"
    steps = [line for line, _ in next_steps(Vos("/bin/vos"), Target("new", SITE, None), hostile)]
    assert not any(";" in token for line in steps for token in shlex.split(line))
    assert "vos release -id new" in steps


def test_what_was_replaced_comes_back_from_its_clone() -> None:
    replaced = Volume("user.a", 7, 7, "RW", *SITE, "OK")
    target = Target("user.a", SITE, replaced)
    vos = Vos("/bin/vos", ("-cell", "a b"))
    assert (
        "vos dump -id user.a.backup -cell 'a b' | vos restore -server fs1.example.org -partition /vicepa "
        "-name user.a -overwrite full -cell 'a b'"
    ) == undo(vos, target)
    assert undo(vos, target) in [line for line, _ in next_steps(vos, target, "user.a")]
