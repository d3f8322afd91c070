"""Every error that the store, the keys and the pipelines raise on purpose.

Invariant: the text of an error is written for the reader at 3 a.m.: one line that says what failed, on
what, and (after a semicolon or as `hint`) what to do.  It never holds secret material.  Anything else that
escapes is a bug and may show a traceback.
"""


class DedupError(Exception):
    """Base of all expected errors.

    `message` says what failed and on what; `hint` says what to do next, and may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class BackendError(DedupError):
    """The storage refused or failed, and asking again would not help."""


class TransientError(BackendError):
    """The storage failed in a way that may pass (a lost connection, a time-out): worth a retry."""


class NotFoundError(BackendError):
    """The named file does not exist in the back end."""


class AlreadyExistsError(BackendError):
    """The named file exists already; nothing was changed."""


class NoSpaceError(BackendError):
    """The back end's disk or quota is full."""


class NotARepositoryError(DedupError):
    """There is no repository at this place."""


class NewerFormatError(DedupError):
    """The repository needs a newer version of this program."""


class DamageError(DedupError):
    """A file of the repository is missing, altered, or does not say what it must."""


class TrustError(DedupError):
    """A repository, roster or signature is not one that this host may trust."""


class KeyAccessError(DedupError):
    """A GPG key is missing, wrong, locked, or may not do what was asked."""


class NotStoredError(DedupError):
    """No backup answers to this date or name."""


class StateError(DedupError):
    """The local state folder cannot be used."""


class DamagedStateError(StateError):
    """Local state was damaged and has been discarded: restart the program, which rebuilds it."""


class StreamError(DedupError):
    """The stream that was to be stored is not whole, or its source failed."""
