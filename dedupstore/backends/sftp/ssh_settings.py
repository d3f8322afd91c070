"""The settings of ssh for a host, and the one that is changed for speed: the order of its ciphers.

ssh prefers ChaCha20 (ssh_config(5), Ciphers), which costs ssh and the server a third more time than AES where
processors have AES: on a fast line, most of the time that there is.

Invariant: ciphers that the user, the system's configuration or DEDUP_SSH chose are left alone; none is ever added to
those that ssh would use anyway.
"""

import subprocess
from contextlib import suppress
from pathlib import Path

_OPTIONS = -4  # where a command's options end: -s -- HOST sftp
_PROCESSOR = Path("/proc/cpuinfo")
_PREFERRED = "aes256-gcm@openssh.com"  # its key is as long as ChaCha20's


def with_options(command: list[str], *options: str) -> list[str]:
    """Return the command of `ssh_command` with more options, as in ssh_config(5)."""
    return _with(command, *(f"-o{option}" for option in options))


def settings(command: list[str], timeout: float, *arguments: str) -> dict[str, str]:
    """Return the options of ssh, by their names in lower case; none if it is not OpenSSH's."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(
            _with(command, *arguments, "-G"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=timeout,
            check=True,
        )
        lines = done.stdout.decode(errors="replace").splitlines()
        found = dict(line.split(" ", 1) for line in lines if " " in line)
        return found if "hostname" in found else {}
    return {}


def fast_ciphers(command: list[str], chosen: dict[str, str], timeout: float) -> list[str]:
    """Return the option that puts AES first; none where ciphers are configured, or the processor has no AES.

    `chosen` is what `settings` gives for the command.
    """
    ciphers = chosen.get("ciphers", "")
    others = ciphers.split(",")
    if _PREFERRED not in others or not _has_aes():
        return []
    if settings(command, timeout, "-Fnone").get("ciphers") != ciphers:
        return []
    others.remove(_PREFERRED)
    return ["Ciphers=" + ",".join([_PREFERRED, *others])]


def _has_aes() -> bool:
    with suppress(OSError), _PROCESSOR.open() as lines:
        for line in lines:
            name, _, features = line.partition(":")
            if name.strip() in ("flags", "Features"):  # of x86, of ARM; all cores have the same
                return "aes" in features.split()
    return False


def _with(command: list[str], *arguments: str) -> list[str]:
    return [*command[:_OPTIONS], *arguments, *command[_OPTIONS:]]
