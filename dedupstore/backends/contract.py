"""What every back end promises: the `Backend` protocol, the names of files, and how big they may be.

Invariant: whatever keeps this contract can hold a repository.  A file is there whole or not at all, never
changes once it is there, and a name is never given to a second file.

A back end MUST:

- show a file under its name only when every byte of it is there.  What is still being written lies under a
  random name in the folder `tmp`, which the listing of any other folder never shows;
- refuse, as one atomic step, to create a name that exists: of any number of writers exactly one wins;
- return from `create` only when the file would survive a power failure, as far as `properties.durable` says;
- return from `read` exactly the bytes that were asked for, or raise: never fewer;
- come back from every call in bounded time: with a result or with one of the errors below.  A server that is silent
  while an answer is due, or moves bytes so slowly that the call does not end in time (`deadline`), is given up with a
  TransientError, whatever it sends to look alive.  A disk of this machine is the kernel's to time;
- hold no more than a call is for: bytes of one file, or the names of one folder in MAX_LISTING bytes and eight more
  for each of MAX_NAMES.  A folder with more than that is a BackendError, before more is read;
- let every method be called from several threads at once;
- raise only these for what can go wrong outside the program:

    | error              | means                                           | asking again                   |
    |--------------------|-------------------------------------------------|--------------------------------|
    | NotFoundError      | no such file                                    | same answer                    |
    | AlreadyExistsError | the name is taken, durably; nothing was changed | same answer                    |
    | NoSpaceError       | disk or quota full; nothing was created         | after someone made room        |
    | DamageError        | the file is shorter or larger than it may be    | same answer                    |
    | TransientError     | connection lost, time-out; outcome unknown      | worth it                       |
    | BackendError       | anything else (rights, a broken disk): permanent| only after someone repaired it |

Which calls may be repeated: `list`, `names`, `read` and `size` always.  `create` too, but after a TransientError the
first try may have succeeded unseen, so that the second finds the name taken: compare the bytes (the wrapper
`retry.Retry` does so).  A name or size that this module refuses is a bug in the caller, and a ValueError.

There is no way to delete, on purpose: an account that only writes must not need one.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from dedupstore.errors import DamageError

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_FILE_SIZE = 64 << 20
"""Bytes in the largest file.  Files are handled in memory, so a reader must know what it may have to hold."""

MAX_NAMES = 4 << 20
"""Names in the fullest folder, whatever they are.  Of a run, `runs` gets two and `snapshots` and `index` one or a few:
100 hosts that run every night make 365,250 runs in ten years, 730,500 names in `runs`.  This is five times that."""

MAX_LISTING = 256 << 20
"""Bytes of the names that are kept of one folder: 64 for each, as many as a SHA-256 has digits."""

MAX_WHOLE = 9 << 20
"""Bytes in the largest file that is read without saying how much: all but packs, of which parts are read."""

FILE_MODE = 0o400
"""Files never change, so they are read-only: an intruder in the account cannot simply write over them."""

TEMPORARY_FOLDER = "tmp"
"""Where unfinished files lie.  One flat folder, so that what crashed writers left is found by one listing."""

_MAX_NAME = 255
_SEGMENT = r"(?!\.\.?(?:/|\Z))[a-z0-9.-]+"
_NAME = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")


class Entry(NamedTuple):
    """One file of a listing: its full name, as `read` takes it, and its size in bytes."""

    name: str
    size: int


class Properties(NamedTuple):
    """What a caller must know of a back end to use it well.

    `ask_durable` answers `durable`.  `parallel`: how many calls of `create` at once pay; 1 where a second would only
    wait for the first.  `remote`: each answer takes a round trip, so many reads and listings at once pay.
    """

    ask_durable: Callable[[], bool]
    parallel: int
    remote: bool

    @property
    def durable(self) -> bool:
        """Whether a created file is known to survive a power failure on the machine that stores it.

        It is not where the server cannot sync files, or the folders that hold their names.  May have to ask the
        server, and then raises what any call raises.
        """
        return self.ask_durable()


class Backend(Protocol):
    """The files of one repository.  The module's docstring says what every method must keep to."""

    @property
    def properties(self) -> Properties:
        """What a caller must know of it; looking connects to nothing."""
        ...

    def list(self, folder: str) -> Iterator[Entry]:
        """List the files directly in `folder` ("" is the top), in any order.

        The listing is complete when this returns: iterating needs no storage and cannot fail.  A folder that does
        not exist is empty.  Folders, links, and files whose names `check_name` refuses are not listed.
        """
        ...

    def names(self, folder: str) -> Iterator[str]:
        """List the names only: cheaper where a back end must ask for the size of each file."""
        ...

    def read(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return exactly `length` bytes from `offset`, or, without a length, all from there to the end.

        Raises NotFoundError, or DamageError if the file ends too early or, read without a length, is larger than
        MAX_WHOLE: then nothing was allocated for it.
        """
        ...

    def create(self, name: str, data: Buffer) -> None:
        """Store a new file, whole and durable, making the folders above it.

        Raises AlreadyExistsError if the name exists, NoSpaceError if it does not fit.
        """
        ...

    def size(self, name: str) -> int:
        """Return the file's size in bytes; raise NotFoundError if there is no such file."""
        ...

    def close(self) -> None:
        """Close connections and end processes.  The back end cannot be used afterwards."""
        ...


def check_name(name: str) -> str:
    """Return `name` if it is one that every back end can hold; else raise ValueError.

    The rules, and why:

    - lower case letters, digits, dot and hyphen: a disk that folds case must not make one file of two, and
      nothing has to be quoted in a shell, a URL or an SFTP message;
    - segments divided by single slashes, none of them empty, "." or "..", and no slash in front: a name from
      a damaged or hostile index must never lead out of the repository;
    - at most 255 characters: file systems and old servers take no more.
    """
    if len(name) > _MAX_NAME:
        raise ValueError(f"file name too long: {name[:40]!r}...")
    if not _NAME.fullmatch(name):
        raise ValueError(f"not a file name of a repository: {name!r}")
    return name


def is_name(name: str) -> bool:
    """Return whether `check_name` accepts the name: listings leave out others."""
    return len(name) <= _MAX_NAME and _NAME.fullmatch(name) is not None


def check_folder(folder: str) -> str:
    """Return `folder` if it is the top ("") or a good name; else raise ValueError."""
    return folder and check_name(folder)


def temporary_name() -> str:
    """Return a name for a file while it is being written, which nothing else has."""
    return f"{TEMPORARY_FOLDER}/{os.urandom(16).hex()}"


def check_range(offset: int, length: int | None) -> None:
    """Raise ValueError for a range that no file can have."""
    if not 0 <= offset <= MAX_FILE_SIZE or not 0 <= (length or 0) <= MAX_FILE_SIZE:
        raise ValueError(f"no file has a range of {length} bytes from {offset}")


def file_bytes(data: Buffer) -> memoryview:
    """Return `data` as plain bytes, not copied; raise ValueError if it is larger than a file may be."""
    view = memoryview(data).cast("B")
    if len(view) > MAX_FILE_SIZE:
        raise ValueError(f"a file of {len(view)} bytes is larger than {MAX_FILE_SIZE}")
    return view


def has_bytes(backend: Backend, name: str, data: Buffer) -> bool:
    """Return whether an existing file has exactly these bytes."""
    return backend.size(name) == len(data) and backend.read(name, 0, len(data)) == data


def length_to_end(where: str, size: int, offset: int) -> int:
    """Return how many bytes a file of `size` bytes has from `offset` on, after checking both.

    Raises DamageError, naming `where`, before anything is allocated.
    """
    if size > MAX_WHOLE:
        raise DamageError(f"{where} has {size} bytes, more than a file that is read as a whole may have")
    if offset > size:
        raise too_short(where, size, offset)
    return size - offset


def too_short(where: str, size: int, needed: int) -> DamageError:
    """Return the error for a file that ends after `size` bytes and should go on to `needed`."""
    return DamageError(f"{where} is too short: it ends after {size} of {needed} bytes")
