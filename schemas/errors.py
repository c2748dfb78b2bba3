"""The errors that a user may meet, each one clear line. Anything else is a bug and keeps its traceback.

One root for all rooms: a command line catches `SaccadeError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class SaccadeError(Exception):
    """Base of all errors that end a command with one line on stderr and status 1."""

    def __str__(self) -> str:
        return " ".join(super().__str__().split())


class DecodeError(SaccadeError, ValueError):
    """Bytes, fields or a file that do not follow their schema.

    `reason` is a short slug for metrics and dead-letter headers (`version`, `missing_field`, `wrong_type`,
    `out_of_range`, `too_large`, `truncated`, `trailing_bytes`, `bad_msgpack`, `bad_zstd`, `bad_bitmap`,
    `bad_patches`, `bad_image`, ...); `str()` is one line that names the field, the value and what is allowed.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return (type(self), (self.reason, str(self)))


def decodes(decode: Callable[P, R]) -> Callable[P, R]:
    """Whatever a decoder of others' bytes raises is a `DecodeError`, with reason `unforeseen` for a bug of its own.

    A worker that ended for such a bug would end at every start, for one record of one party.
    """

    @wraps(decode)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return decode(*args, **kwargs)
        except DecodeError:
            raise
        except Exception as error:
            what = f"{decode.__name__}: {type(error).__name__}: {error}"
            raise DecodeError("unforeseen", what[:300]) from error

    return wrapped


class TransientError(SaccadeError):
    """Something outside did not answer (broker, Redis, camera); worth a retry with jittered back-off."""


class SettingsError(SaccadeError):
    """A setting is unknown, out of range or contradicts another; names key, value and what is allowed."""


class StackError(SaccadeError):
    """The embedded broker or Redis cannot start or stay up; names what is missing and the way out."""


class ModelError(SaccadeError):
    """A model cannot be loaded, cannot run here or does not fit its partner; names the way out."""


class SourceError(SaccadeError):
    """A camera source cannot be opened or understood; names it without its credentials."""


class LeaseError(SaccadeError):
    """Another live owner holds what was asked for, such as a camera's sequence numbers."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside nested exception groups, in order; the error itself when it is no group."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]
