"""`vos` through the root helper: the side that has no rights.

`helper` describes the protocol.  Invariant: a descriptor from the helper is closed on every path, and no child of this
process inherits a copy: by it the helper and `vos` notice that nobody reads.
"""

import io
import os
import select
import socket
import struct
import threading
from enum import IntEnum
from typing import Any, TypeVar

import msgspec

from pipelines.output import pipes
from pipelines.vos.listing import Volume, VolumeGoneError, VosError
from pipelines.vos.process import GRACE, check
from pipelines.vos.program import LARGEST, Dump

T = TypeVar("T")

ASKED = struct.Struct("<III")  # verb, subject, since
YES, NO = b"\0", b"\1"
_LARGEST_ANSWER = 1 << 30
_ENDING_SECONDS = sum(GRACE) + 5.0


class Verb(IntEnum):
    """What the helper does."""

    SERVERS = 1
    LISTING = 2
    EXAMINE = 3
    BACKUP = 4
    BACKUPSYS = 5
    SIZE = 6
    DUMP = 7
    COUNT = 8


class HelperReply(msgspec.Struct):
    """What a channel carries: a value, or an error; for a dump, how `vos` ended."""

    value: Any = None
    error: str = ""
    hint: str = ""
    gone: bool = False
    status: int = 0
    errors: str = ""


class PrivilegedVos:
    """The methods of `program.Vos`, run by the helper; a context manager that ends it.

    The helper knows only ids from its own `listing`: list first.
    """

    def __init__(self, helper: socket.socket, pid: int) -> None:
        self._helper = helper
        self._pid = pid
        self._turn = threading.Lock()  # a reply belongs to the last request
        self._servers: list[str] = []

    def servers(self) -> list[str]:
        """Return the servers; see `Vos`."""
        self._servers = self._get(list[str], Verb.SERVERS, 0, "list the file servers")
        return list(self._servers)

    def listing(self, server: str) -> list[Volume]:
        """Return the wanted volumes of a server; see `Vos`."""
        return self._get(list[Volume], Verb.LISTING, self._number(server), f"list {server}")

    def count(self, server: str) -> int:
        """Return how many volumes the server has, wanted or not; see `Vos`."""
        return self._get(int, Verb.COUNT, self._number(server), f"count the volumes of {server}")

    def examine(self, volume: int) -> Volume:
        """Return the volume as it is now; see `Vos`."""
        return self._get(Volume, Verb.EXAMINE, volume, f"examine {volume}")

    def backup(self, volume: int) -> Volume:
        """Clone the volume again and return its backup volume; see `Vos`."""
        return self._get(Volume, Verb.BACKUP, volume, f"back up {volume}")

    def backupsys(self, server: str) -> str:
        """Clone all wanted volumes of the server again; see `Vos`."""
        return self._get(str, Verb.BACKUPSYS, self._number(server), f"back up all of {server}")

    def dump_size(self, volume: int, since: int) -> int:
        """Return the bytes of a dump; see `Vos`."""
        return self._get(int, Verb.SIZE, volume, f"size {volume}", since)

    def dump(self, volume: int, since: int) -> Dump:
        """Start to dump the volume; see `Vos`."""
        channel, pipe = self._ask(Verb.DUMP, volume, since, f"dump {volume}")
        return _HelpersDump(f"vos dump {volume}", pipe, socket.socket(fileno=channel))

    def close(self) -> None:
        """End the helper, and wait until it has ended all running dumps.

        A running `vos backupsys` continues, and nobody waits for it: stopping it would leave a volume busy.
        """
        if not self._pid:
            return
        self._helper.close()
        ended = os.pidfd_open(self._pid)
        try:
            if select.select([ended], [], [], _ENDING_SECONDS)[0]:
                os.waitpid(self._pid, 0)
        finally:
            os.close(ended)
        self._pid = 0

    def _number(self, server: str) -> int:
        try:
            return (self._servers or self.servers()).index(server)
        except ValueError:
            raise VosError(f"{server} is not among the servers of the configuration") from None

    def _get(self, kind: type[T], verb: Verb, subject: int, doing: str, since: int = 0) -> T:
        channel = socket.socket(fileno=self._ask(verb, subject, since, doing)[0])
        answer = _answer(channel)
        if answer.error:
            raise (VolumeGoneError if answer.gone else VosError)(answer.error, answer.hint)
        return msgspec.convert(answer.value, kind)

    def _ask(self, verb: Verb, subject: int, since: int, doing: str) -> list[int]:
        """Return the descriptors in the helper's reply."""
        if not (0 <= subject <= LARGEST and 0 <= since <= LARGEST):
            raise VosError(f"cannot {doing}: number out of range")
        with self._turn:
            try:
                self._helper.send(ASKED.pack(verb, subject, since))
                reply, descriptors, _, _ = socket.recv_fds(self._helper, 1, 2, socket.MSG_CMSG_CLOEXEC)
            except OSError:
                reply, descriptors = b"", []
        if reply == NO:
            raise VosError(
                f"the root helper refused to {doing}", "it works only on what it has listed itself"
            )
        if reply != YES:
            raise _helper_gone()
        return descriptors

    def __enter__(self) -> "PrivilegedVos":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _HelpersDump:
    """A dump by a `vos` of the helper; see `program.Dump`."""

    size = None  # known only at its end

    def __init__(self, doing: str, pipe: int, channel: socket.socket) -> None:
        pipes.prepare(pipe)
        self._doing = doing
        self._pipe = io.FileIO(pipe)
        self._channel = channel
        self._ending = threading.Lock()
        self._ended: HelperReply | None = None

    def fileno(self) -> int:
        """Return the pipe's descriptor."""
        return self._pipe.fileno()

    def readinto(self, buffer: memoryview, /) -> int:
        """Read what there is."""
        count = self._pipe.readinto(buffer)
        if count == 0:
            answer = self._end()
            check(self._doing, answer.status, answer.errors)
        return count

    def close(self) -> None:
        """End it."""
        self._end()

    def _end(self) -> HelperReply:
        with self._ending:
            if self._ended is None:
                self._pipe.close()
                try:
                    self._channel.shutdown(socket.SHUT_WR)  # the helper then waits for vos, or ends it
                    self._ended = _answer(self._channel)
                except (OSError, VosError):
                    self._ended = HelperReply(status=1, errors=_helper_gone().message)
            return self._ended

    def __enter__(self) -> "_HelpersDump":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _answer(channel: socket.socket) -> HelperReply:
    """Read the answer in a channel, and close it."""
    data = bytearray()
    with channel:
        while part := channel.recv(1 << 16):
            data += part
            if len(data) > _LARGEST_ANSWER:
                raise VosError("the root helper's answer is too long")
    if not data:
        raise _helper_gone()
    try:
        return msgspec.json.decode(data, type=HelperReply)
    except msgspec.DecodeError:  # it was killed in the middle of it
        raise _helper_gone() from None


def _helper_gone() -> VosError:
    return VosError("the root helper has ended", "see its messages above, then start the run again")
