"""The errors that a user may meet, each one clear line; anything else is a bug and keeps its traceback."""

from __future__ import annotations

from schemas.errors import DecodeError

BadMessage = DecodeError
"""A record that does not follow its schema: counted, written to the dead-letter topic, skipped."""


class SaccadeError(Exception):
    """Base of all errors that end a command with one line on stderr and status 1."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class TransientError(SaccadeError):
    """Something outside did not answer (broker, Redis, camera); worth a retry with jittered back-off."""


class SettingsError(SaccadeError):
    """A setting is unknown, out of range or contradicts another; names key, value and what is allowed."""


class StackError(SaccadeError):
    """The embedded broker or Redis cannot start or stay up; names what is missing and the way out."""


class ModelError(SaccadeError):
    """A model cannot be loaded or does not fit its partner; names the other ways to get one."""


class SourceError(SaccadeError):
    """A camera source cannot be opened or understood; names it without its credentials."""


class LeaseError(SaccadeError):
    """Another live owner holds what was asked for, such as a camera's sequence numbers."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside nested exception groups, in order; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
