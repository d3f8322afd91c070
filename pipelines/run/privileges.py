"""A run that root started: what a kind of source needs stays root, all the rest becomes the backup user.

Invariant: root's rights are gone from this process before it reads the first byte from the network.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pipelines
from dedupstore.errors import StateError
from pipelines.config.run_settings import RunConfig
from pipelines.sources.kinds import kind_of


@contextmanager
def privileges(config: RunConfig, state: Path) -> Iterator[Mapping[str, Any]]:
    """Become the user that the config names, if we are root; yield what stays root for each source, by its name.

    Call it before any thread is started.  `state` is the folder of this host's state, which must be that user's.
    Raises `StateError` if it is not, and `PrivilegeError`, also for a config file that users other than root could have
    written.
    """
    if os.geteuid() != 0:
        yield {}
        return
    from pipelines.vos import privileges as root

    root.trusted(config.file)  # root does what it says
    if not config.run.user:
        yield {}
        return
    account = root.user_of(config.run.user)
    if not state.is_dir() or state.stat().st_uid != account.pw_uid:
        raise StateError(
            f"the state folder {state} does not belong to {account.pw_name}, the user of the run",
            f"set state_dir in {config.file}, then: install -d -m 700 -o {account.pw_name} {state}; and as that "
            "user: dedup trust accept",
        )
    with ExitStack() as stack:
        root_parts = {
            source.name: stack.enter_context(kind_of(source).keep_root(source)) for source in config.sources
        }
        root.become(config.run.user)
        root.can_read(config.run.user, (sys.executable, os.__file__, pipelines.__file__))
        yield root_parts
