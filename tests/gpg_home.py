"""A throw-away GNUPGHOME for tests, with real keys, a real agent, and a pinentry that needs no human.

The folder lies directly in /tmp: the agent's socket must fit into 107 bytes.  Keys are Ed25519 with a Curve25519
subkey, which take some 30 ms each.

    with GpgHome() as everyone:
        alice, wendy = everyone.make_key("alice"), everyone.make_key("wendy")
        with everyone.subset(wendy) as host:  # all public keys, but only wendy's secret key
            host.gpg.decrypt(...)
"""

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from keys.gpg import Gpg

_PINENTRY = """#!/bin/sh
# Answers with the file "pin" beside it, as often as it is asked; cancels if there is none.
here=$(dirname "$0")
echo "OK ready"
while read -r verb rest; do
    echo "$verb $rest" >>"$here/pinentry.log"
    case $verb in
    GETPIN)
        if [ -e "$here/pin" ]; then
            echo "D $(cat "$here/pin")"
            echo OK
        else
            echo "ERR 83886179 Operation cancelled"
        fi ;;
    BYE) echo OK; exit 0 ;;
    *) echo OK ;;
    esac
done
"""


def gpg_with(folder: Path, options: str) -> Path:
    """Make a folder for PATH whose `gpg` is the real one, always run with these options first; it counts its runs.

    Each run adds its arguments as a line to the file `runs` there.
    """
    folder.mkdir()
    script = folder / "gpg"
    script.write_text(f'#!/bin/sh\necho "$*" >>{folder}/runs\nexec {shutil.which("gpg")} {options} "$@"\n')
    script.chmod(0o700)
    return folder


class GpgHome:
    """One GNUPGHOME; as a context manager it ends its agent and is deleted at the end."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="dg-", dir="/tmp"))
        self.gpg = Gpg(self.path)
        self.pinentry_log = self.path / "pinentry.log"
        pinentry = self.path / "pinentry"
        pinentry.write_text(_PINENTRY)
        pinentry.chmod(0o700)
        # The small count makes passphrases cheap to try; gpg-agent would spend 0.1 s of each start on finding its own.
        (self.path / "gpg-agent.conf").write_text(f"pinentry-program {pinentry}\ns2k-count 65536\n")

    def __enter__(self) -> "GpgHome":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the agent and delete the folder."""
        self.stop_agent()
        shutil.rmtree(self.path)

    def stop_agent(self) -> None:
        """End the agent, which forgets all passphrases; the next call starts another."""
        subprocess.run(
            ["gpgconf", "--homedir", self.path, "--kill", "gpg-agent"], check=True, capture_output=True
        )
        deadline = time.monotonic() + 60
        while any(self.path.glob("S.*")):  # it removes its sockets as it ends, after gpgconf has returned
            assert time.monotonic() < deadline, f"the agent of {self.path} does not end"
            time.sleep(0.005)

    def run(self, *arguments: str, data: bytes = b"") -> bytes:
        """Run gpg here with `data` as input and return its output; fails the test if gpg fails."""
        command = ["gpg", "--homedir", str(self.path), "--batch", "--no-tty", "--quiet", *arguments]
        done = subprocess.run(command, input=data, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    def make_key(
        self,
        name: str,
        *options: str,
        passphrase: str = "",
        algorithm: str = "future-default",
        usage: str = "default",
    ) -> str:
        """Make a key and return its full fingerprint.  `options` come first, as --faked-system-time."""
        out = self.run(
            *options,
            *("--status-fd", "1", "--pinentry-mode", "loopback", "--passphrase", passphrase),
            *("--quick-gen-key", name, algorithm, usage, "0"),
        )
        return out.split(b"KEY_CREATED ")[1].split()[1].decode()

    def answer_passphrase(self, passphrase: str) -> None:
        """Let pinentry give this passphrase from now on, and the agent forget what it knows."""
        (self.path / "pin").write_text(passphrase)
        self.stop_agent()

    def cancel_passphrase(self) -> None:
        """Let pinentry be cancelled from now on, and the agent forget what it knows."""
        (self.path / "pin").unlink(missing_ok=True)
        self.stop_agent()

    def subset(self, *secret: str) -> "GpgHome":
        """Return another home with all public keys of this one, but only these fingerprints' secret keys."""
        other = GpgHome()
        shutil.copy(self.path / "pubring.kbx", other.path)
        folder = other.path / "private-keys-v1.d"
        folder.mkdir(mode=0o700)
        for fingerprint in secret:
            listing = self.run("--with-colons", "--with-keygrip", "--list-secret-keys", fingerprint).decode()
            for line in listing.splitlines():
                if line.startswith("grp:"):
                    shutil.copy(self.path / "private-keys-v1.d" / f"{line.split(':')[9]}.key", folder)
        return other
