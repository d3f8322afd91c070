"""Where the files of a repository lie: `open_backend` gives the back end for a URL.

Each module calls only those below it:

| module     | what for |
|---|---|
| `local`    | a repository in a folder of this machine |
| `sftp`     | a repository in an SSH account, over the system's own `ssh` |
| `listing`  | the files of a folder, within bounds |
| `retry`    | retry calls that fail in a way that may pass |
| `contract` | what every back end promises |
| `explain`  | turn errors of systems and servers into those of the contract |

Behaviour that is not about one kind of storage (retry, and the faults that tests inject) is a wrapper that
keeps the contract itself; no back end knows of it.  Nothing here deletes: writers need no right to.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from dedupstore.backends.contract import Backend
from dedupstore.backends.local import LocalBackend
from dedupstore.backends.retry import Retry
from dedupstore.errors import DedupError

_ACCEPTED = "give a folder, file:///FOLDER, sftp://[USER@]HOST[:PORT]/FOLDER or sftp://[USER@]HOST/~/FOLDER"
_AUTHORITY = re.compile(r"(?:([^@]*)@)?(?:\[([0-9A-Fa-f:.%a-z]+)\]|([^@:\[\]]+))(?::([0-9]{1,5}))?")


def open_backend(url: str, *, retry: bool = True) -> Backend:
    """Return the back end at `url`; nothing is connected or read yet.

    - A path, absolute or relative, with a leading ~ expanded; or `file:///absolute/path`.
    - `sftp://[user@]host[:port]/absolute/path`, or `/~/path` for one that starts in the login's folder.  The
      host may be an alias of the ssh configuration, or an IPv6 address in brackets.

    In URLs, %XX stands for a byte.  With `retry`, calls are repeated as `Retry` does.

    Raises DedupError for anything else, and for a URL with a password.
    """
    scheme, separator, rest = url.partition("://")
    backend: Backend
    if not separator:
        backend = LocalBackend(_local_path(url))
    elif scheme == "file":
        backend = LocalBackend(_file_path(rest))
    elif scheme == "sftp":
        backend = _sftp(rest)
    else:
        raise DedupError(f"unknown scheme {scheme!r} in a repository's URL (known: file, sftp)", _ACCEPTED)
    return Retry(backend) if retry else backend


def _local_path(path: str) -> Path:
    if not path:
        raise DedupError("the repository's URL is empty", _ACCEPTED)
    # scp and rsync would take this for another machine: do not quietly make a folder of that name.
    if re.match(r"[^/]*:", path):
        raise DedupError(f"{path!r} may mean a host or a folder", f"{_ACCEPTED}, or put ./ in front")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DedupError(f"cannot expand {path!r}: there is no such user", _ACCEPTED) from error


def _file_path(rest: str) -> Path:
    host, _, path = rest.partition("/")
    if host not in ("", "localhost"):
        raise DedupError(f"a file URL must not name a host, but this one names {host!r}", _ACCEPTED)
    return Path("/" + _decode(path))


def _sftp(rest: str) -> Backend:
    authority, _, path = rest.partition("/")
    found = _AUTHORITY.fullmatch(authority)
    if found is None or int(found[4] or 1) not in range(1, 65536):
        # Not quoted: the part before the @ could be a password.
        raise DedupError(f"cannot find a host in the URL sftp://...{authority.rpartition('@')[2]}", _ACCEPTED)
    user, address, host, port = found.groups()
    if user is not None and ":" in user:
        raise DedupError(
            "the repository's URL holds a password, and would show it in logs and process lists",
            "remove it, and log in with an SSH key",
        )
    folder = _decode(path).rstrip("/")
    folder = folder[2:].lstrip("/") if folder.startswith("~/") else folder and f"/{folder}"
    if folder in ("", "/~"):
        raise DedupError("the repository's URL names no folder", _ACCEPTED)

    from dedupstore.backends.sftp.backend import SftpBackend

    return SftpBackend(address or host, _decode(user) if user else None, int(port) if port else None, folder)


def _decode(text: str) -> str:
    """Return `text` with %XX replaced; refuse what means something else in a URL, or cannot be in a path."""
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise DedupError(f"{text!r} in the repository's URL is not UTF-8", _ACCEPTED) from error
    if "?" in text or "#" in text or "\0" in decoded:
        raise DedupError(
            f"{text!r} in the repository's URL has a ?, # or zero byte", "write %3F for ?, %23 for #"
        )
    return decoded
