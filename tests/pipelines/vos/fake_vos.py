"""A `vos` that answers from files and writes down how it was called, for tests that need no cell.

`listing` makes what `vos listvol -format` says.
"""

from pathlib import Path
from typing import Any

from pipelines.vos.settings import VosSettings

SERVER = "fs1.example.org"

_SCRIPT = """#!/bin/sh
cd "${0%/*}"
echo "$@" >> called
verb=$1
case $verb in
listaddrs) printf 'UUID: 1\\n192.0.2.1\\n\\nUUID: 2\\n192.0.2.2\\n192.0.2.3\\n\\n' ;;
examine) cat "examine.$3" 2>/dev/null ;;
size) echo "Volume: $3"; echo "dump_size: 12345" ;;
dump)
    echo $$ > "pid.$3"
    if [ -e "dump.$3" ]; then cat "dump.$3"; else exec yes; fi
    echo "Dumped volume $3 in stdout" >&2 ;;
*) [ ! -e "$verb" ] || cat "$verb" ;;
esac
if [ -e "fails" ]; then cat fails >&2; exit 255; fi
"""


def entry(name: str, volume: int, kind: str = "RW", parent: int = 0, **fields: Any) -> str:
    """Return the fields of one volume."""
    values: dict[str, object] = {"backupID": 0, "parentID": parent or volume, "cloneID": 0, "inUse": "Y"}
    values |= {"needsSalvaged": "N", "destroyMe": "N", "type": kind}
    for date in ("creation", "access", "update", "backup", "copy"):
        values[f"{date}Date"] = "1795264911\tSat Nov 21 12:41:51 2026"
    values |= {"flags": "0\t(Optional)", "diskused": 2, "maxquota": 5000, "filecount": 1} | fields
    lines = [f"name\t\t{name}", f"id\t\t{volume}", f"serv\t\t192.0.2.1\t{SERVER}", "part\t\t/vicepa"]
    return "\n".join([*lines, "status\t\tOK", *(f"{key}\t{value}" for key, value in values.items())]) + "\n"


def nameless(volume: int, status: str) -> str:
    """Return what the server says of a volume that it cannot look at."""
    return f"id\t\t{volume}\nserv\t\t192.0.2.1\t{SERVER}\npart\t\t/vicepa\nstatus\t\t{status}\n"


def listing(*entries: str) -> bytes:
    """Return the answer of `vos listvol -format` for one partition."""
    head = f"Total number of volumes on server {SERVER} partition /vicepa: {len(entries)} \n"
    return (head + "".join(f"BEGIN_OF_ENTRY\n{each}END_OF_ENTRY\n\n" for each in entries)).encode()


class FakeVos:
    """A folder with such a `vos`; `settings` are settings that uses it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "vos"
        program.write_text(_SCRIPT)
        program.chmod(0o755)
        self.settings = VosSettings(servers=(SERVER,), program=str(program))

    def says(self, what: str, answer: bytes | str) -> None:
        """Let it answer `listvol`, `examine.ID`, `dump.ID` and so on; `fails` makes everything fail."""
        (self.folder / what).write_bytes(answer if isinstance(answer, bytes) else answer.encode())

    def called(self) -> list[str]:
        """Return the arguments of each call so far."""
        file = self.folder / "called"
        return file.read_text().splitlines() if file.exists() else []
