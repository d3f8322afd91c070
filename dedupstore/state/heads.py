"""The newest snapshot that this host has seen of each writer, so that a rollback is detected.

Invariant: a head kept here only ever moves to a higher sequence number; one that the repository no longer has,
or has differently, is an alarm until a human accepts the repository (`forget`).
"""

from collections.abc import Mapping

import msgspec

from dedupstore.errors import StateError
from dedupstore.state.folder import StateFolder

_FILE = "heads.json"
_LOCK = "heads.lock"

Head = tuple[int, bytes]  # sequence number, snapshot name


def load(state: StateFolder) -> dict[bytes, Head]:
    """Return what was kept, by signer."""
    data = state.read(_FILE)
    if data is None:
        return {}
    try:
        stored = msgspec.json.decode(data, type=dict[str, tuple[int, str]])
        return {bytes.fromhex(k): (n, bytes.fromhex(name)) for k, (n, name) in stored.items()}
    except (msgspec.MsgspecError, ValueError):
        raise StateError(
            f"{state.path / _FILE} is damaged, so a rollback of the repository cannot be detected",
            "check the repository with `dedup list`; if it is right, run `dedup trust accept`",
        ) from None


def advance(state: StateFolder, seen: Mapping[bytes, Head]) -> None:
    """Keep each head that is newer than the one kept before."""
    with state.lock(_LOCK):
        kept = load(state)
        newer = {signer: head for signer, head in seen.items() if head[0] > kept.get(signer, (0, b""))[0]}
        if newer:
            kept.update(newer)
            plain = {signer.hex(): (n, name.hex()) for signer, (n, name) in kept.items()}
            state.write(_FILE, msgspec.json.encode(plain))


def forget(state: StateFolder) -> None:
    """Accept the repository as it is now; a human has checked it."""
    with state.lock(_LOCK):
        state.write(_FILE, b"{}")
