"""`dedup run` as cron starts it: root, who keeps nothing but `vos`; everything else is an ordinary user's."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.afsdump import make_dump, same_volume
from tests.e2e.conftest import ROOT
from tests.gpg_home import GpgHome
from tests.servers.afs_cell import AfsCell
from tests.servers.sshd import wait_for

USER = "nobody"
FILES = {"a": b"first" * 300, "folder/b": b"second" * 300}
BIG = 64 << 20

# Runs a command in a view of the file system in which everybody may reach folders that lie in root's own home, as
# Python or these sources do on some machines.  $1: a folder to work in, $2: the closed folder, then the open ones.
OPENED = """
work=$1 closed=$2; shift 2
n=0; for each; do [ "$each" = -- ] && break; n=$((n+1)); mkdir -p "$work/$n"; mount --bind "$each" "$work/$n"; done
mount -t tmpfs -o mode=755 none "$closed"
n=0; while [ "$1" != -- ]; do n=$((n+1)); mkdir -p "$1"; mount --move "$work/$n" "$1"; shift; done
shift; exec "$@"
"""


def opened(work: Path) -> list[str]:
    """Return what goes before a command so that another user can run it."""
    needed = {Path(sys.base_prefix), Path(sys.prefix), ROOT}
    hidden = sorted(str(path) for path in needed if Path("/root") in path.parents)
    if not hidden:
        return []
    unshare = ["unshare", "--mount", "--propagation=private"]
    return [*unshare, "sh", "-ec", OPENED, "sh", str(work), "/root", *hidden, "--"]


class Site:
    """A file server: root's configuration, a user's keys, state and repository."""

    def __init__(self, cell: AfsCell, folder: Path, home: GpgHome) -> None:
        self.cell = cell
        self.folder = folder
        self.home = home
        self.config = folder / "dedup.toml"
        self.environ = {**cell.environ, "PYTHONPATH": str(ROOT), "DEDUP_CONFIG": str(self.config)}
        for name in ("DEDUP_REPOSITORY", "DEDUP_STATE_DIR", "GNUPGHOME"):
            self.environ.pop(name, None)

    def configure(self, include: str, more: str = "") -> None:
        self.config.write_text(
            f'repository = "{self.folder}/repository"\nstate_dir = "{self.folder}/state"\n'
            f'gpg_home = "{self.home.path}"\n[run]\nuser = "{USER}"\nretries = 0\n{more}\n[[source]]\n'
            f'kind = "afs"\nname = "cell"\nservers = ["{self.cell.server}"]\ninclude = ["{include}"]\n'
            f'vos = "{self.cell.bin}/vos"\n'
        )

    def command(self, line: str, *, user: bool) -> list[str]:
        become = ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups"]
        return [
            *opened(self.folder / "opened"),
            *(become if user else []),
            sys.executable,
            "-m",
            "pipelines.cli",
            *line.split(),
        ]

    def dedup(
        self, line: str, *, user: bool = False, status: int = 0
    ) -> "subprocess.CompletedProcess[bytes]":
        done = subprocess.run(
            self.command(line, user=user), capture_output=True, env=self.environ, cwd="/", timeout=120
        )
        assert status == done.returncode, done.stderr.decode()
        return done

    def run(self, status: int = 0) -> dict[str, Any]:
        summary: dict[str, Any] = json.loads(self.dedup("run --json", status=status).stdout)
        return summary

    def create(self, name: str, files: dict[str, bytes]) -> None:
        dump = make_dump(name, 1, files)
        self.cell.vos("restore", self.cell.server, self.cell.partition, name, stdin=dump)


@pytest.fixture
def site(afs_cell: AfsCell) -> Iterator[Site]:
    # not in pytest's folder, which is root's alone
    with GpgHome() as home, tempfile.TemporaryDirectory(prefix="dedup-site-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        writer, alice = home.make_key("writer@example.org"), home.make_key("alice@example.org")
        site = Site(afs_cell, folder, home)
        site.configure("r.*")
        site.dedup(f"init --writer {writer} --admin {alice}")
        home.stop_agent()
        for path in (folder / "repository", folder / "state", home.path):
            for each in (path, *path.rglob("*")):
                os.chown(each, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        yield site


def test_root_starts_it_and_only_vos_stays_root(site: Site) -> None:
    site.create("r.one", FILES)
    site.create("r.two", {**FILES, "c": b"third" * 1000})
    summary = site.run()
    assert {"r.one": "full", "r.two": "full"} == {line["name"]: line["kind"] for line in summary["lines"]}
    assert {"r.one": "small", "r.two": "small"} | {"r.one": "new", "r.two": "new"} == {
        line["name"]: line["reason"] for line in summary["lines"]
    }
    made = [path for name in ("repository", "state") for path in (site.folder / name).rglob("*")]
    assert {USER} == {path.owner() for path in made}

    stored = site.dedup("get latest r.two --raw", user=True).stdout
    assert [] == same_volume(site.cell.vos("dump", "-id", "r.two.backup").stdout, stored)


def test_files_are_read_as_the_user_and_not_as_root(site: Site) -> None:
    (site.folder / "open").write_bytes(b"for all")
    (site.folder / "closed").write_bytes(b"for root")
    (site.folder / "closed").chmod(0o600)
    files = (
        f'[[source]]\nkind = "files"\nname = "f"\nfolder = "{site.folder}"\ninclude = ["open", "closed"]\n'
    )
    site.config.write_text(site.config.read_text() + files)
    lines = json.loads(site.dedup("run --source f --json", status=3).stdout)["lines"]
    assert {
        "f.open": "",
        "f.closed": f"{USER} may not read {site.folder}/closed; let {USER} read it, and enter every folder above "
        "it: setfacl or chgrp",
    } == {line["name"]: line["error"] for line in lines}
    assert b"for all" == site.dedup("get latest f.open", user=True).stdout


@pytest.mark.parametrize("dry", ["", " --dry-run"])
def test_patterns_that_match_nothing_are_a_failure_under_the_helper_too(site: Site, dry: str) -> None:
    site.create(f"n.one{len(dry)}", FILES)
    site.configure("no-such.*")
    (line,) = json.loads(site.dedup(f"run --json{dry}", status=1).stdout)["lines"]
    assert "failed" == line["state"]
    assert line["error"].startswith("include and exclude match none of the ")


def test_root_does_not_trust_what_others_could_have_written(site: Site) -> None:
    site.config.chmod(0o666)
    failed = site.dedup("run", status=1).stderr.decode()
    assert f"refused {site.config}: only root may have write permission on {site.config}; " in failed


def test_a_state_folder_of_another_user_is_refused_with_what_to_do(site: Site) -> None:
    shutil.rmtree(site.folder / "state")
    failed = site.dedup("run", status=1).stderr.decode()
    assert f"the state folder {site.folder}/state does not belong to {USER}" in failed
    assert f"install -d -m 700 -o {USER} {site.folder}/state" in failed


def test_a_user_who_cannot_read_dedup_itself_gets_an_error(site: Site) -> None:
    hidden = site.folder / "hidden"
    hidden.mkdir(mode=0o700)
    for package in ("dedupstore", "keys", "pipelines"):
        (hidden / package).symlink_to(ROOT / package)
    site.environ["PYTHONPATH"] = str(hidden)
    failed = site.dedup("run", status=1).stderr.decode()
    assert (
        f"dedup: {USER} cannot read {hidden}/pipelines/__init__.py; install Python and dedup where this user "
        "can read them\n"
    ) == failed


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_no_volume_busy(site: Site, number: signal.Signals) -> None:
    name = f"s.{number.name.lower()}"
    site.configure(name)
    site.create(name, {"noise": os.urandom(BIG)})
    process = subprocess.Popen(
        site.command("run", user=False),
        env=site.environ,
        cwd="/",
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        wait_for(lambda: not idle(site.cell), 60)
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == (128 + number if number == signal.SIGTERM else -number), said.decode()
    wait_for(lambda: idle(site.cell), 30)
    assert [] == json.loads(site.dedup("list --json", user=True).stdout)
    assert "full" == site.run()["lines"][0]["kind"]


def idle(cell: AfsCell) -> bool:
    return b"No active transactions" in cell.vos("status", cell.server).stdout
