"""The context of an open repository: its back end, its members, and what this host keeps of it.

Invariant: the keys are unlocked when they are first needed, and once: what the local cache can answer needs none.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import TypeVar

from dedupstore.access import Access, Membership
from dedupstore.backends.contract import Backend
from dedupstore.cache.index_cache import IndexCache
from dedupstore.state.folder import StateFolder

FETCH_THREADS = 8
S = TypeVar("S")
T = TypeVar("T")


class Context:
    """What everything that works on a repository shares.

    `members` is what the accepted roster says.  `unlock` gives the keys.  `damage` collects what was found to be
    damaged on the way, and `newer` the files that need a newer program; callers show them.
    """

    def __init__(
        self, backend: Backend, members: Membership, unlock: Callable[[], Access], state: StateFolder
    ) -> None:
        self.backend = backend
        self.members = members
        self.state = state
        self.cache = IndexCache(state.path / "cache", members.repository)
        self.damage: list[str] = []
        self.newer: list[str] = []
        self._unlock = unlock
        self._rejected: dict[str, str] | None = None
        self._reported: set[str] = set()  # refused files that are in `damage`

    @cached_property
    def access(self) -> Access:
        """This member's keys."""
        return self._unlock()

    @cached_property
    def signer(self) -> bytes:
        """This member's name as a signer."""
        from dedupstore.format import crypto

        return crypto.signer_of(crypto.public_of(self.access.signing_key))

    def ignore(self, file: str) -> None:
        """Do not read a file again under this roster: it is valid, but does not count."""
        self.cache.reject(file, self.members.digest, "")
        if self._rejected is not None:
            self._rejected[file] = ""

    def reject(self, file: str, reason: str) -> None:
        """Note that a file was refused, in `damage` and for later: it is not read again under this roster."""
        self.cache.reject(file, self.members.digest, reason)
        if self._rejected is not None:
            self._rejected[file] = reason
        self._report(file, reason)

    def is_rejected(self, file: str) -> bool:
        """Return whether a file was refused before, which is then in `damage`, or does not count."""
        if self._rejected is None:
            self._rejected = self.cache.rejected(self.members.digest)
        reason = self._rejected.get(file)
        if reason:
            self._report(file, reason)
        return reason is not None

    def _report(self, file: str, reason: str) -> None:
        if file not in self._reported:
            self._reported.add(file)
            self.damage.append(reason)

    def fetch(
        self, items: Iterable[S], work: Callable[[S], T | None], at_once: int = 8 * FETCH_THREADS
    ) -> Iterator[list[T]]:
        """Yield the results of `work` on the items, batch by batch, without those that are None."""
        items = list(items)
        if not items:
            return
        _ = self.access  # unlock once, before threads need it
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(FETCH_THREADS) as pool:
            for start in range(0, len(items), at_once):
                results = pool.map(work, items[start : start + at_once])
                yield [result for result in results if result is not None]
