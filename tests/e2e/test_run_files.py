"""`dedup run` with the files of a folder as sources."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.afsdump import make_dump
from tests.e2e.conftest import Shell


@pytest.fixture
def folder(shell: Shell, tmp_path: Path) -> Path:
    """Return a folder, which is the source `d` of the shell's `dedup run`."""
    folder = tmp_path / "dumps"
    folder.mkdir()
    shell.environ["DEDUP_CONFIG"] = str(tmp_path / "dedup.toml")
    configure(shell, folder)
    return folder


def configure(shell: Shell, folder: Path, more: str = "", run: str = "retries = 0") -> None:
    Path(shell.environ["DEDUP_CONFIG"]).write_text(
        f'[run]\n{run}\n[[source]]\nkind = "files"\nname = "d"\nfolder = "{folder}"\n{more}\n'
    )


def run(shell: Shell, line: str = "", status: int = 0) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(shell(f"dedup run --json {line}", status=status).stdout)
    return answer


def test_every_file_comes_back(shell: Shell, folder: Path) -> None:
    files = {
        "big": os.urandom(9_000_000),
        "small": b"x",
        "volume.dump": make_dump("v", 1, {"a": b"data" * 5000}),
        "zeros": bytes(3 << 20),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    summary = run(shell)
    assert {"d.big": "raw", "d.small": "raw", "d.volume.dump": "afs", "d.zeros": "raw"} == {
        line["name"]: line["kind"] for line in summary["lines"]
    }
    assert sum(map(len, files.values())) == summary["size"]
    for name, data in files.items():
        assert data == shell(f"dedup get latest d.{name}").stdout
    assert 0 == run(shell)["new"]


def test_a_file_that_cannot_be_stored_is_named_and_the_others_are_stored(shell: Shell, folder: Path) -> None:
    (folder / "good").write_bytes(b"good")
    (folder / "empty").touch()
    (folder / "half").write_bytes(make_dump("v", 1, {"a": b"data" * 5000})[:-2000])
    (folder / os.fsdecode(b"caf\xe9")).write_bytes(b"x")
    (folder / "link").symlink_to("good")
    done = shell("dedup run", status=3)
    lines = done.stdout.decode().splitlines()
    assert lines[0].endswith(": 1 stream stored, 3 FAILED, 1 with warnings")
    assert any(
        line.startswith("  d.empty: the stream d.empty is empty, so nothing was stored")
        and line.endswith("; allow_empty = true stores it as it is")
        for line in lines
    )
    assert any(line.startswith("  d.half: ") for line in lines)
    assert any(line.startswith(r"  d.caf\udce9: the name 'd.caf\udce9' is not valid UTF-8") for line in lines)
    assert any(line.startswith("  d: skipped link (a symbolic link): not plain files") for line in lines)
    assert b"good" == shell("dedup get latest d.good").stdout

    configure(shell, folder, 'include = ["empty"]\nallow_empty = true')
    assert [0] == [line["size"] for line in run(shell)["lines"]]
    assert b"" == shell("dedup get latest d.empty").stdout


def test_a_format_that_is_asked_for_must_be_one(shell: Shell, folder: Path) -> None:
    (folder / "x").write_bytes(b"no tar")
    configure(shell, folder, 'format = "tar"')
    said = shell("dedup run", status=1).stdout
    assert b"the stream for d.x is not a tar" in said
    assert b'; no backup was recorded; to keep it as it is: format = "raw"\n' in said


def test_a_file_that_is_written_to_all_the_time_is_refused(shell: Shell, folder: Path) -> None:
    (folder / "quiet").write_bytes(b"quiet")
    (folder / "log").write_bytes(bytes(50_000_000))
    stop = threading.Event()

    def write() -> None:
        with open(folder / "log", "ab") as file:
            while not stop.is_set():
                file.write(b"x")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        summary = run(shell, status=3)
    finally:
        stop.set()
        writer.join()
    errors = {line["name"]: line["error"] for line in summary["lines"]}
    assert "" == errors["d.quiet"]
    assert f"{folder}/log changed while it was read (" in errors["d.log"]
    assert "d.log" in [line["name"] for line in run(shell)["lines"] if line["state"] == "stored"]


def test_a_dry_run_says_what_would_be_stored(shell: Shell, folder: Path) -> None:
    (folder / "a.sql").write_bytes(bytes(1234))
    (folder / "b.part").write_bytes(b"x")
    configure(shell, folder, 'include = ["*.sql", "b.dump"]')
    said = shell("dedup run --dry-run", status=3).stdout.decode()
    assert "d       auto    1.2 kB  d.a.sql\n" in said
    assert f"d       FAILED          d.b.dump  b.dump does not exist in {folder}; " in said
    assert "b.part" not in said
    assert [] == json.loads(shell("dedup list --json").stdout)


def test_a_missing_folder_is_reported_by_the_check_and_by_the_run(shell: Shell, folder: Path) -> None:
    assert b"is valid: 1 source: d\n" in shell("dedup config check").stdout
    configure(shell, folder / "no")
    failed = shell("dedup config check", status=1).stderr.decode()
    assert f": source d: no such folder: {folder}/no; create it, or correct the path\n" in failed
    assert f"  d: no such file: {folder}/no; ".encode() in shell("dedup run", status=1).stdout
    (folder / "file").touch()
    configure(shell, folder / "file")
    failed = shell("dedup config check", status=1).stderr.decode()
    assert f": source d: not a folder: {folder}/file; correct the path\n" in failed


def test_an_excluded_name_is_reported_by_the_check_and_by_the_run(shell: Shell, folder: Path) -> None:
    (folder / "b.c").write_bytes(b"x")
    configure(shell, folder, 'include = ["b.c"]\nexclude = ["b.*"]')
    for line in ("config check", "run"):
        failed = shell(f"dedup {line}", status=1).stderr.decode()
        assert ", line 7: include names 'b.c', but exclude matches it; correct one of them\n" in failed
