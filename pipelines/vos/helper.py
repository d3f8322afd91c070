"""A root process for `vos -localauth`, so that nothing else needs to be root.

It is forked while the program is still root: before it has used the network, parsed anything but root's own
configuration, or started a thread.  Then the program becomes the backup user (`privileges.become`), and sends requests:

    request    12 bytes, little endian: u32 verb, u32 subject, u32 since.  A packet of any other length, or an
               unknown verb, ends the helper.
    reply      1 byte: 0 and one or two descriptors, or 1 for "no".

| verb | subject | descriptors |
|---|---|---|
| 1 servers | 0 | channel |
| 2 listing | number of the server in the answer to `servers` | channel |
| 3 examine | id of a read-write or backup volume | channel |
| 4 backup | id of a read-write volume | channel |
| 5 backupsys | number of the server | channel |
| 6 size (since) | id of a backup volume | channel |
| 7 dump (since) | id of a backup volume | channel, read end of the dump's pipe |
| 8 count | number of the server | channel |

A channel is a stream socket.  It gives one JSON document, a `HelperReply`, and ends.  When the other side shuts down
its writing half or closes it, a dump is ended, the pipe first.  When the other side of the main socket closes, no
matter how, the helper ends everything and itself.

Invariant: the helper accepts nothing but these three numbers.  It works only on ids that its own listing contains
under root's patterns, and only ids and times become part of a command, in decimal.  Servers,
partitions, patterns and the program come from configuration that only root can write (the caller has checked it
with `privileges.trusted`).
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from pipelines.vos import privileges
from pipelines.vos.helper_client import ASKED, NO, YES, HelperReply, PrivilegedVos, Verb
from pipelines.vos.listing import BACKUP, READ_WRITE, Volume, VolumeGoneError, VosError
from pipelines.vos.process import VosProcess
from pipelines.vos.program import Vos
from pipelines.vos.settings import VosSettings

_MOST_JOBS = 100  # at the same time
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def start(settings: VosSettings) -> PrivilegedVos:
    """Fork the helper for these volumes; this needs root, and no threads.

    The caller has checked the configuration file with `privileges.trusted`.  Raises `PrivilegeError`, also if
    users other than root can write the `vos` that it names.
    """
    if os.geteuid() != 0:
        raise privileges.PrivilegeError("the helper for vos must be started as root")
    program = shutil.which(settings.program, path=os.environ.get("PATH", _SYSTEM_PATH))
    if program is None:
        raise VosError(f"there is no {settings.program}", "install openafs-client, or set vos to its path")
    privileges.trusted(Path(program))
    settings = replace(settings, program=str(Path(program).absolute()))  # what was checked, and nothing else
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        _be_the_helper(settings, theirs)
    theirs.close()
    return PrivilegedVos(ours, pid)


def _be_the_helper(settings: VosSettings, asked: socket.socket) -> None:
    """Serve until the other side is gone; never return, and run nothing registered for the program's exit."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        os.setsid()  # Ctrl-C is for the program, which then ends us
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # not SIG_IGN, which vos would inherit: we end with the socket, dumps by their pipes
            signal.signal(number, lambda *_: None)
        # not among the standard streams, which may have been closed before we started
        keep = fcntl.fcntl(asked.detach(), fcntl.F_DUPFD_CLOEXEC, 3)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        privileges.close_all_but((0, 1, 2, keep))
        os.chdir("/")
        environment = {"PATH": os.environ.get("PATH", _SYSTEM_PATH)}
        _Helper(Vos(settings, environment=environment), socket.socket(fileno=keep)).serve()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # a bug; the other side only sees our end
    finally:
        os._exit(status)


class _Helper:
    """The root side.  Everything that it may do is in `_work`."""

    def __init__(self, vos: Vos, asked: socket.socket) -> None:
        self._vos = vos
        self._asked = asked
        self._servers: list[str] = []
        self._kinds: dict[int, str] = {}  # of the volumes that our own listings gave
        self._jobs: set[threading.Thread] = set()

    def serve(self) -> None:
        """Serve requests until the other side is gone, or sends one that is not valid."""
        with self._asked, contextlib.suppress(OSError):
            while len(packet := self._asked.recv(ASKED.size + 1)) == ASKED.size:  # drops descriptors, if any
                verb, subject, since = ASKED.unpack(packet)
                if verb not in iter(Verb):
                    break
                self._begin(Verb(verb), subject, since)
        for job in self._jobs:
            job.join()  # the other side's channels are closed as well, so each ends

    def _begin(self, verb: Verb, subject: int, since: int) -> None:
        self._jobs = {job for job in self._jobs if job.is_alive()}
        work = self._work(verb, subject, since) if len(self._jobs) < _MOST_JOBS else None
        process = None
        if work and verb == Verb.DUMP:
            try:
                process = self._vos.dump_process(subject, since)
            except VosError:
                work = None
        if work is None:
            self._asked.send(NO)
            return
        channel, theirs = socket.socketpair()
        job = threading.Thread(
            target=self._watch if process else self._answer, args=(channel, process or work)
        )
        try:
            with theirs:
                descriptors = [theirs.fileno()] + ([process.pipe.fileno()] if process else [])
                socket.send_fds(self._asked, [YES], descriptors)
        finally:
            if process:
                process.pipe.close()  # while we hold it open, vos does not notice that theirs is closed
            self._jobs.add(job)
            job.start()

    def _work(self, verb: Verb, subject: int, since: int) -> Callable[[], Any] | None:
        """Return what is to be done, None if it is not allowed."""
        kind = self._kinds.get(subject)
        if verb == Verb.SERVERS:
            return self._list_servers
        if verb == Verb.LISTING and subject < len(self._servers):
            return lambda: self._list(self._servers[subject])
        if verb == Verb.COUNT and subject < len(self._servers):
            return lambda: self._vos.count(self._servers[subject])
        if verb == Verb.BACKUPSYS and subject < len(self._servers):
            return lambda: self._vos.backupsys(self._servers[subject])
        if verb == Verb.EXAMINE and kind in (READ_WRITE, BACKUP):
            return lambda: self._vos.examine(subject)
        if verb == Verb.BACKUP and kind == READ_WRITE:
            return lambda: self._back_up(subject)
        if verb == Verb.SIZE and kind == BACKUP:
            return lambda: self._vos.dump_size(subject, since)
        if verb == Verb.DUMP and kind == BACKUP:
            return lambda: None
        return None

    def _list_servers(self) -> list[str]:
        self._servers = self._servers or self._vos.servers()  # their numbers must not change
        return self._servers

    def _list(self, server: str) -> list[Volume]:
        volumes = self._vos.listing(server)
        self._kinds |= {volume.id: volume.type for volume in volumes if volume.name}
        return volumes

    def _back_up(self, volume: int) -> Volume:
        made = self._vos.backup(volume)
        self._kinds[made.id] = BACKUP
        return made

    @staticmethod
    def _answer(channel: socket.socket, work: Callable[[], Any]) -> None:
        with channel:  # also after a failure: the other side waits for its end
            try:
                answer = HelperReply(value=work())
            except VosError as error:
                answer = HelperReply(
                    error=error.message, hint=error.hint, gone=isinstance(error, VolumeGoneError)
                )
            _send(channel, answer)

    @staticmethod
    def _watch(channel: socket.socket, process: VosProcess) -> None:
        with channel, process:
            process.wait_or(channel.fileno())
            status, errors = process.end()
            _send(channel, HelperReply(status=status, errors=errors))


def _send(channel: socket.socket, answer: HelperReply) -> None:
    with contextlib.suppress(OSError):  # the other side is gone
        channel.sendall(msgspec.json.encode(answer))
