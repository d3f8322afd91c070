"""Who does what in a run that root started: a helper for `vos` stays root, all the rest becomes the backup user.

Invariant: before the first byte comes from the network, root's rights are gone from this process.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pipelines
from dedupstore.errors import StateError
from pipelines.config.run_settings import AfsSource, RunConfig

if TYPE_CHECKING:
    from pipelines.vos.program import AnyVos

    VosOf = Callable[[AfsSource], AnyVos]


@contextmanager
def privileges(config: RunConfig, state: Path) -> "Iterator[VosOf]":
    """Become the user that the config names, if we are root; yield what gives each source its `vos`.

    Call it before any thread is started.  `state` is the folder of this host's state, which must be that user's.
    Raises `StateError` if it is not, and `PrivilegeError`, also for a config file that others than root could have
    written.
    """
    if os.geteuid() != 0:
        yield _vos
        return
    from pipelines.vos import privileges as root

    root.trusted(config.file)  # what it says is done by root
    if not config.run.user:
        yield _vos
        return
    from pipelines.vos import helper

    account = root.user_of(config.run.user)
    if not state.is_dir() or state.stat().st_uid != account.pw_uid:
        raise StateError(
            f"the state folder {state} does not belong to {account.pw_name}, whom the run is to become",
            f"set state_dir in {config.file}, then: install -d -m 700 -o {account.pw_name} {state}; and as that "
            "user: dedup trust accept",
        )
    with ExitStack() as stack:
        helpers = {
            source.name: stack.enter_context(helper.start(source))
            for source in config.sources
            if isinstance(source, AfsSource)
        }
        root.become(config.run.user)
        root.can_read(config.run.user, (sys.executable, os.__file__, pipelines.__file__))
        yield lambda source: helpers[source.name]


def _vos(source: AfsSource) -> "AnyVos":
    from pipelines.vos.program import Vos

    return Vos(source)
