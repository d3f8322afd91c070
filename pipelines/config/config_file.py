"""Where the repository, the GPG home and this host's state are: options, environment, config file, defaults.

Invariant: an option beats the environment, which beats the config file, which beats the default; and a config
file is valid as a whole, or refused.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dedupstore.errors import DedupError

DEFAULT_FILE = Path("/etc/dedup/dedup.toml")

LEVELS = range(1, 20)

# An example of each key, in the order in which an error lists them.
_EXAMPLES = {
    "repository": 'text, such as repository = "sftp://backup@host/~/cell"',
    "gpg_home": 'text, such as gpg_home = "/root/.gnupg"',
    "state_dir": 'text, such as state_dir = "/var/lib/dedup"',
    "compression": f"a Zstandard level from {LEVELS[0]} to {LEVELS[-1]}, such as compression = 3",
}

SECTIONS = ("run", "schedule", "source")
"""The tables that only `dedup run` reads, with `pipelines.config.run_settings`: other commands skip them."""


@dataclass(frozen=True)
class Settings:
    """What a command needs to know about this host.

    `repository` is a URL or an absolute path, None if none is configured.  `gpg_home` is None where gpg
    uses its default.  `state` is the folder of this host's local state, `compression` the level of Zstandard.
    `file` is the config file, which need not exist.
    """

    repository: str | None
    gpg_home: Path | None
    state: Path
    compression: int
    file: Path = DEFAULT_FILE


def load(repository: str | None, file: str | None, environment: Mapping[str, str], *, root: bool) -> Settings:
    """Put the settings together.

    `repository` and `file` are the options of the command line, if given.  A config file that was named must
    exist; the default one need not.  Raises `DedupError` for a file that cannot be read or is not valid.
    """
    named = file or environment.get("DEDUP_CONFIG")
    path = Path(named) if named else DEFAULT_FILE
    text = read(path, required=bool(named))
    values = parse(path, text) if text is not None else {}
    where = repository
    if where is None:  # an empty -r comes from an unset variable: never fall back to another repository
        where = environment.get("DEDUP_REPOSITORY") or values.get("repository")
    home = None if environment.get("GNUPGHOME") else values.get("gpg_home")
    state = environment.get("DEDUP_STATE_DIR") or values.get("state_dir")
    return Settings(
        repository=None if where is None else _absolute(where),
        gpg_home=_folder(home) if home else None,
        state=_folder(state) if state else _default_state(environment, root),
        compression=values.get("compression", 3),
        file=path,
    )


def _absolute(where: str) -> str:
    """Return the absolute path of a folder; return what is not a plain path unchanged."""
    path = os.path.expanduser(where)  # noqa: PTH111 - unlike Path's, leaves an unknown user's ~ alone
    plain = path and "://" not in path and ":" not in path.split("/")[0] and not path.startswith("~")
    return os.path.abspath(path) if plain else where  # noqa: PTH100 - unlike Path's, takes out `..`


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise DedupError(f"cannot expand {text!a}: no home folder", "give an absolute path") from None


def _default_state(environment: Mapping[str, str], root: bool) -> Path:
    if root:
        return Path("/var/lib/dedup")
    base = environment.get("XDG_STATE_HOME", "")
    # The XDG specification says that a relative path there is to be ignored.
    return _folder(base if base.startswith("/") else "~/.local/state") / "dedup"


def read(path: Path, *, required: bool = True) -> str | None:
    """Return the file's text; None if it does not exist and need not.  Raises `DedupError`."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        if not required:
            return None
        raise DedupError(f"no such config file: {path}", "check --config and DEDUP_CONFIG") from None
    except OSError as error:
        raise DedupError(f"cannot read the config file {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DedupError(f"the config file {path} is not valid TOML: {error}") from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """Return the values of the file at `path`, with all but `SECTIONS` checked.  Raises `DedupError`."""
    import tomllib  # only if there is a file: this costs more than all else here

    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DedupError(f"the config file {path} is not valid TOML: {error}") from None
    for key, value in values.items():
        if key in SECTIONS:
            continue
        if key not in _EXAMPLES:
            known = ", ".join((*_EXAMPLES, *SECTIONS))
            raise DedupError(f"{_place(path, text, key)}: unknown key {key!a}", f"known keys: {known}")
        if not (_is_level(value) if key == "compression" else isinstance(value, str) and value):
            raise DedupError(
                f"{_place(path, text, key)}: invalid value {key} = {value!a}", f"write {_EXAMPLES[key]}"
            )
    return values


def _place(path: Path, text: str, key: str) -> str:
    from pipelines.config.lines import lines

    return f"{path}, line {lines(text)[(key,)]}"


def _is_level(value: object) -> bool:
    return type(value) is int and value in LEVELS  # True is an int too, but no level
