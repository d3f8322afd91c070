"""SFTP's packets and their fields, as paramiko puts them together and takes them apart; nothing else of paramiko.

Importing the package loads a transport, two more libraries for cryptography and asyncio: 20 MiB and a tenth of a
second, for nothing, as ssh is the transport.  So the three modules are loaded as those of a package whose
`__init__` has not run.

Invariant: nothing of that is left in `sys.modules`: who imports paramiko before or afterwards, not in another thread
meanwhile, gets the whole of it.
"""

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paramiko import Message, SFTPAttributes
    from paramiko import sftp as wire

__all__ = ["Message", "SFTPAttributes", "wire"]


def _modules(*names: str) -> list[ModuleType]:
    """Import modules of paramiko without what its `__init__` imports; raises ImportError."""
    package = find_spec("paramiko")
    if package is None:
        raise ModuleNotFoundError("paramiko is not installed")
    before = sys.modules.copy()
    hidden: dict[str, Any] = {"paramiko": module_from_spec(package), "invoke": None}  # that runs `Match exec`
    sys.modules.update(hidden)
    try:
        return [import_module(f"paramiko.{name}") for name in names]
    finally:
        for name in list(sys.modules):
            if name.partition(".")[0] in hidden:
                del sys.modules[name]
        sys.modules.update({name: before[name] for name in before if name.partition(".")[0] in hidden})


if not TYPE_CHECKING:
    _message, wire, _attributes = _modules("message", "sftp", "sftp_attr")
    Message, SFTPAttributes = _message.Message, _attributes.SFTPAttributes
