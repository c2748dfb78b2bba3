"""Sequence numbers that are never used twice: blocks are written to disk before their first number is used.

A process that dies between reserving and using leaves a gap, never a repetition.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from schemas.errors import LeaseError, SettingsError, TransientError
from schemas.limits import MAX_SEQ

_FORMAT: Final = 1
_PASSING: Final = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
"""Errors of a disk that end by themselves, or when somebody makes room."""


def producer_id(folder: Path) -> str:
    """Return the name that all producers with this state folder share, making it when there is none. Blocks.

    Raises:
        TransientError: the disk is full or fails at present.
        SettingsError: the folder cannot be read or written.
    """
    path = folder / "producer-id"
    mine = folder / f"producer-id.{uuid4().hex}"
    try:
        if not path.exists():
            mine.write_text(f"{socket.gethostname()}:{uuid4().hex}", encoding="utf-8")
            with suppress(FileExistsError):
                os.link(mine, path)
            mine.unlink()
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _refused(f"producer.state_dir {str(folder)!r}", error) from error


def _refused(where: str, error: OSError) -> SettingsError | TransientError:
    """The error for a state folder that cannot be used: for now, or until somebody changes the setting."""
    kind = TransientError if error.errno in _PASSING else SettingsError
    return kind(f"{where}: {error.strerror}")


class SequenceFile:
    """A camera's reserved bound on disk, held by one process at a time.

    The lock lies on a file beside it, because the bound's own file is replaced at every reservation. The
    system lets go of it when the process dies, however it dies.
    """

    def __init__(self, folder: Path, camera: str) -> None:
        """Lock the camera's file, making the folder if needed.

        Raises:
            LeaseError: another process on this machine holds it.
            TransientError: the disk is full or fails at present.
            SettingsError: the folder cannot be written.
        """
        stem = quote(camera, safe="")
        self._camera = camera
        self._path = folder / f"{stem}.json"
        self._folder = folder
        self._lock_fd = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock_fd = os.open(folder / f"{stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise LeaseError(f"camera {camera}: another producer on this machine publishes it") from None
        except OSError as error:
            self.close()
            raise _refused(f"producer.state_dir {str(folder)!r}", error) from error

    def bound(self) -> int | None:
        """Return the first number that was never reserved, or None without a file. Blocks.

        Raises:
            SettingsError: the file is damaged; says what to do.
        """
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"producer.state_dir, file {str(self._path)!r}: {error.strerror}") from error
        try:
            state = json.loads(text)
            known = state["format"] == _FORMAT and state["camera"] == self._camera
            bound = state["reserved_below"]
        except (ValueError, KeyError, TypeError):
            known, bound = False, None
        if not known or not isinstance(bound, int) or not 0 <= bound <= MAX_SEQ:
            raise SettingsError(
                f"producer.state_dir, file {str(self._path)!r}: no sequence state of camera {self._camera}; "
                "delete it, and numbering resumes above the newest in Kafka and Redis"
            )
        return bound

    def reserve(self, bound: int) -> None:
        """Every number below `bound` is reserved when this returns, also after a power cut. Blocks.

        Raises:
            TransientError: the disk is full or fails at present; nothing is reserved.
            SettingsError: the disk refuses it for good.
        """
        temporary = self._path.with_suffix(".new")
        state = {"format": _FORMAT, "camera": self._camera, "reserved_below": bound}
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(state, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            folder_fd = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder_fd)
            finally:
                os.close(folder_fd)
        except OSError as error:
            raise _refused(f"producer.state_dir, file {str(self._path)!r}", error) from error

    def close(self) -> None:
        """Let go of the lock; harmless when called again."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


class Sequence:
    """Gives a camera's numbers, one larger each time, out of reserved blocks. Pure.

    `next` only gives reserved numbers; the caller reserves as `wanted_bound` says and reports it.
    """

    def __init__(self, first: int, *, block: int) -> None:
        """Nothing is reserved yet.

        Args:
            first: was never used.
            block: numbers per reservation, the largest gap that a kill leaves.
        """
        self._next = first
        self._bound = first
        self._block = block

    @property
    def wanted_bound(self) -> int | None:
        """The bound to reserve before the next number, or None while the block lasts."""
        return None if self._next < self._bound else self._next + self._block

    def reserved(self, bound: int) -> None:
        """Numbers below `bound` may be used from now on."""
        self._bound = max(self._bound, bound)

    def next(self) -> int:
        """Return a number that was never given before.

        Raises:
            ValueError: the block is used up.
        """
        if self._next >= self._bound:
            raise ValueError(f"sequence number {self._next} is not reserved")
        number = self._next
        self._next += 1
        return number
