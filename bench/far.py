"""A server that seems far away: a proxy on this machine, in a process of its own, that delays what goes both ways."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from tests.servers.slow_link import SlowLink


@contextmanager
def far_away(port: int, milliseconds: float) -> Iterator[int]:
    """The port at which the server of `port` seems to be so far away, there and back."""
    if not milliseconds:
        yield port
        return
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.Process(target=_carry, args=(port, milliseconds / 2000, theirs), daemon=True)
    process.start()
    yield ours.recv()
    ours.send(None)
    process.join()


def _carry(target: int, delay: float, told: Connection) -> None:
    with SlowLink(target, delay) as link:
        told.send(link.port)
        told.recv()
