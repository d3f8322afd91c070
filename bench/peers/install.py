"""The programs under comparison: those that were named, those that are there, and those that can be had.

borg is built by pip, each version in an environment of its own below build/peers, once; restic, bup and zstd are
Debian packages, installed when this is root.  What cannot be had is left out, and the report says so.
"""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

BORG = "borgbackup==1.4.5"
BORG2 = "borgbackup==2.0.0b23"
PLACE = Path(__file__).parents[2] / "build" / "peers"
HEADERS = "build-essential pkg-config python3-dev libssl-dev libacl1-dev liblz4-dev libzstd-dev libxxhash-dev"


class MissingError(Exception):
    """A program that cannot be had, and why."""


def find(name: str) -> str:
    """Return the program of that name; raises `MissingError`."""
    if name == "dedup":
        return str(Path(sys.executable).parent / "dedup")
    if name == "borg":
        return _built("borg1", BORG)
    if name == "borg2":
        return _built("borg2", BORG2, "paramiko")
    return _packaged(name)


def _built(folder: str, *what: str) -> str:
    """Build borg; paramiko is what borg 2 speaks SFTP with."""
    place = PLACE / folder
    program = place / "bin" / "borg"
    if program.exists():
        return str(program)
    print(f"building {what[0]} in {place} ...", file=sys.stderr)
    venv.create(place, with_pip=True, clear=True)
    command = [str(place / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet", *what]
    done = subprocess.run(command, stdout=-1, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-1:]
        raise MissingError(f"pip cannot build {what[0]}: {' '.join(last)} (it needs {HEADERS})")
    return str(program)


def _packaged(name: str) -> str:
    if found := shutil.which(name):
        return found
    if os.getuid() == 0 and shutil.which("apt-get"):
        print(f"installing {name} ...", file=sys.stderr)
        command = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", name]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    if found := shutil.which(name):
        return found
    raise MissingError(f"{name} is not installed (apt-get install {name})")
