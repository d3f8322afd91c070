"""Who does what in a run that root started: a helper for `vos` stays root, all the rest becomes the backup user.

Invariant: before the first byte comes from the network, root's rights are gone from this process.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from pipelines.config_run import AfsSource, RunConfig
from pipelines.sources.vos import AnyVos, Vos

VosOf: TypeAlias = Callable[[AfsSource], AnyVos]


@contextmanager
def privileges(config: RunConfig, state: Path) -> Iterator[VosOf]:
    """Become the user that the config names, if we are root; yield what gives each source its `vos`.

    Call it before any thread is started.  `state` is the folder of this host's state, which is made for that
    user.  Raises `PrivilegeError`, also for a config file that others than root could have written.
    """
    if os.geteuid() != 0 or not config.run.user:
        yield Vos
        return
    from pipelines.sources import helper
    from pipelines.sources import privileges as root

    root.trusted(config.file)
    account = root.user_of(config.run.user)
    with ExitStack() as stack:
        helpers = {
            source.name: stack.enter_context(helper.start(source))
            for source in config.sources
            if isinstance(source, AfsSource)
        }
        _make_state(state, account.pw_uid, account.pw_gid)
        root.become(config.run.user)
        yield lambda source: helpers[source.name]


def _make_state(path: Path, uid: int, gid: int) -> None:
    """Make the folder for its user, if it is not there and its parent is root's alone."""
    from pipelines.sources.privileges import PrivilegeError, trusted

    with suppress(PrivilegeError, FileExistsError, FileNotFoundError):
        trusted(path.parent)
        path.mkdir(mode=0o700)
        os.chown(path, uid, gid)
