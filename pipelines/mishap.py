"""What a stream's failure costs: nothing but that stream, whatever was raised.

Invariant: an error that nobody foresaw is reported in one line like any other, and is not taken for something that all
other streams would run into, too.
"""

from pathlib import Path

from dedupstore.errors import DedupError, KeyAccessError, TransientError

FATAL = (KeyAccessError, TransientError)
"""What every other stream would run into, too, where streams are read."""


def told(error: BaseException | None) -> str:
    """Return what to say of an error: its text, or where in the program it comes from."""
    if isinstance(error, DedupError):
        return str(error)
    trace = error.__traceback__ if error is not None else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {error}{where}; this is a bug"
