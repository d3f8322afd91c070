"""What `dedup restore` decides without a cell; with one: tests/e2e/test_restore.py."""

import shlex
from pathlib import Path

import pytest

from dedupstore.errors import DedupError
from pipelines.restore.to_afs import Site, Vos
from pipelines.restore.volume import Target, check_name, find_target, keep_clone, next_steps, undo
from pipelines.vos.listing import Volume, VosError
from tests.pipelines.vos.fake_vos import FakeVos

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
        "vos dump -id user.a.backup -encrypt -cell 'a b' | vos restore -server fs1.example.org -partition /vicepa "
        "-name user.a -overwrite full -encrypt -cell 'a b'"
    ) == undo(vos, target)
    assert undo(vos, target) in [line for line, _ in next_steps(vos, target, "user.a")]


REFUSALS = [
    "Could not start a transaction: Permission denied",
    "VOLSER: no permission access for call",
]
HINT = "kinit and aklog first, or as root on a server: --localauth"


@pytest.mark.parametrize("said", REFUSALS)
def test_who_may_not_is_told_how_to_get_tokens(tmp_path: Path, said: str) -> None:
    fake = FakeVos(tmp_path)
    fake.says("fails", said)
    vos = Vos(str(tmp_path / "vos"))
    with pytest.raises(VosError) as caught:
        vos.free(SITE)
    assert (f"vos partinfo failed with exit status 255: {said}", HINT) == caught.value.args
    with pytest.raises(DedupError) as refused:
        keep_clone(vos, Volume("user.a", 7, 7, "RW", *SITE, "OK"))
    assert f"nothing was replaced; {HINT}" == refused.value.hint
    running = vos.restore(SITE, "user.a.r", overwrite=False)
    try:
        with pytest.raises(VosError) as caught:
            running.feed([], lambda done: None)
    finally:
        running.stop()
        running.close()
    assert (f"vos restore failed with exit status 255: {said}", HINT) == caught.value.args


def test_another_failure_of_vos_has_no_hint_about_tokens(tmp_path: Path) -> None:
    FakeVos(tmp_path).says("fails", "disk full")
    with pytest.raises(VosError) as caught:
        Vos(str(tmp_path / "vos")).free(SITE)
    assert "" == caught.value.hint


def test_nothing_is_made_where_something_was_to_be_overwritten(tmp_path: Path) -> None:
    FakeVos(tmp_path).says("fails", "VLDB: no such entry")
    with pytest.raises(DedupError) as caught:
        find_target(Vos(str(tmp_path / "vos")), "user.a", "user.a", SITE, overwrite=True)
    assert "there is no volume user.a to overwrite; leave --overwrite out to make it" == str(caught.value)


@pytest.mark.parametrize("site", [Site("-noauth", "/vicepa"), Site("fs1", "-localauth"), Site("", "a")])
def test_no_place_becomes_an_option_of_vos(site: Site) -> None:
    with pytest.raises(VosError, match=r"is not a valid (server|partition); .*no name begins with a hyphen"):
        site.arguments()


def test_no_cell_and_no_stored_name_becomes_an_option_of_vos(tmp_path: Path) -> None:
    fake = FakeVos(tmp_path)
    fake.says("fails", "VLDB: no such entry")
    with pytest.raises(DedupError, match="there is no volume -localauth beside which to restore"):
        find_target(Vos(str(tmp_path / "vos")), "new", "-localauth", None, overwrite=False)
    assert ["examine -id new -format -noresolve"] == fake.called()
    with pytest.raises(DedupError, match="'-config' is not a valid cell"):
        Vos.find(localauth=False, cell="-config")


@pytest.mark.parametrize(("server", "more"), [("fs1.example.org", " -encrypt"), ("127.0.0.1", "")])
def test_what_goes_to_another_host_is_encrypted(tmp_path: Path, server: str, more: str) -> None:
    fake = FakeVos(tmp_path)
    running = Vos(str(tmp_path / "vos")).restore(Site(server, "a"), "user.a.r", overwrite=False)
    running.feed([], lambda done: None)
    running.close()
    assert [f"restore -server {server} -partition a -name user.a.r{more}"] == fake.called()
