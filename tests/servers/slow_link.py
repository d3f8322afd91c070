"""A long way to a server on this machine: a proxy that delivers every byte some milliseconds later.

    with SlowLink(server.port, delay=0.05) as link:
        ... connect to link.port; link.turns says how often somebody waited for an answer ...

Bandwidth is not limited: what counts are round trips.
"""

import queue
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self


class SlowLink:
    """Listens on `port` of the loopback interface and connects to `target`; `delay` is in seconds, each way.

    `turns`: how many times, on all connections, the client sent something after it had been answered, which
    is what a round trip is; requests that are sent without waiting in between count once.
    """

    def __init__(self, target: int, delay: float) -> None:
        self._target = target
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = [self._listener]
        self._lock = threading.Lock()
        self.turns = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):  # closed by `__exit__`
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets += [client, server]
                answered = threading.Event()  # the client has got something since it last sent
                answered.set()
                self._carry(client, server, partial(self._sent, answered))
                self._carry(server, client, answered.set)

    def _sent(self, answered: threading.Event) -> None:
        with self._lock:
            self.turns += answered.is_set()
            answered.clear()

    def _carry(self, source: socket.socket, target: socket.socket, note: Callable[[], object]) -> None:
        waiting: queue.Queue[tuple[float, bytes]] = queue.Queue()

        def take() -> None:
            with suppress(OSError):
                while data := source.recv(1 << 18):
                    waiting.put((time.monotonic() + self._delay, data))
            waiting.put((time.monotonic() + self._delay, b""))

        def give() -> None:
            with suppress(OSError):
                while True:
                    due, data = waiting.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        break
                    note()
                    target.sendall(data)
                target.shutdown(socket.SHUT_WR)

        for work in (take, give):
            threading.Thread(target=work, daemon=True).start()
