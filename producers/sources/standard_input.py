"""Video through a pipe: `-` for standard input, or the path of a FIFO. Played like a file."""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, ClassVar, Final, cast

from producers.pacing import Pace
from producers.sources.source import Captured, OpenOptions, Session, Unreadable
from producers.sources.video import FILE_FORMATS, VideoSession
from producers.trouble import CameraError, Trouble
from schemas.errors import SettingsError

FORM: Final = "- (standard input) or a FIFO"
_PIPED: Final = f"{FILE_FORMATS},jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,ppm_pipe,pgm_pipe,tiff_pipe"
_LOOK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Pipe:
    """Standard input (no path) or a FIFO."""

    live: ClassVar[bool] = False
    """Never: whoever writes into a pipe waits for its reader."""
    self_paced: ClassVar[bool] = False
    """Never: what was read once does not come again."""

    path: Path | None

    @property
    def shown(self) -> str:
        """The path, or the words for standard input."""
        return "standard input" if self.path is None else str(self.path)

    def open(self, options: OpenOptions) -> Session:
        """Return a session; waits until someone writes. `SourceError` where nothing readable comes."""
        return PipeSession(self, options)


def claims(text: str) -> bool:
    """Return whether `text` is `-` or the path of a FIFO."""
    try:
        return text == "-" or stat.S_ISFIFO(Path(text).expanduser().stat().st_mode)
    except OSError:
        return False


def parse(text: str) -> Pipe:
    """Return the pipe; `SettingsError` where standard input is closed or a terminal."""
    if text != "-":
        return Pipe(Path(text).expanduser())
    try:
        readable = not stat.S_ISCHR(os.fstat(sys.stdin.fileno()).st_mode)
    except (AttributeError, ValueError, OSError):
        readable = False
    if not readable:
        raise SettingsError("source '-': standard input is closed or a terminal; pipe a video into it")
    return Pipe(None)


class PipeSession:
    """A video that comes through a pipe."""

    def __init__(self, pipe: Pipe, options: OpenOptions) -> None:
        self._reader = PipeReader(pipe, options)
        try:
            self._video = VideoSession(pipe, cast("BinaryIO", self._reader), options, formats=_PIPED)
        except BaseException:
            self._reader.close()
            raise

    def pace(self, fps: float | None) -> Pace:
        """Return the pace of a file."""
        return self._video.pace(fps)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        return iter(self._video)

    def close(self) -> None:
        """Close the video and the FIFO; standard input stays open."""
        self._video.close()
        self._reader.close()


class PipeReader:
    """Reads a pipe in pieces and looks between them whether the session is to end."""

    def __init__(self, pipe: Pipe, options: OpenOptions) -> None:
        self._pause = options.pause
        self._owns = pipe.path is not None
        try:
            # Not blocking: opening a FIFO for reading would wait for its writer, deaf to everything else.
            self._fd = 0 if pipe.path is None else os.open(pipe.path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise CameraError(Trouble.NOT_FOUND, f"{pipe.shown}: {error.strerror}") from error

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end or when the session is to end."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN | select.POLLHUP)
        while not self._pause(0):
            if poll.poll(_LOOK_S * 1000):
                try:
                    return os.read(self._fd, size)
                except BlockingIOError:
                    continue
        return b""

    def seekable(self) -> bool:
        """Whether a file was put in the pipe's place (`< clip.mp4`), whose end can be read first."""
        return stat.S_ISREG(os.fstat(self._fd).st_mode)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place of the file and return it."""
        return os.lseek(self._fd, offset, whence)

    def tell(self) -> int:
        """Return the present place in the file."""
        return os.lseek(self._fd, 0, os.SEEK_CUR)

    def close(self) -> None:
        """Let go of a FIFO; harmless when called again."""
        if self._owns and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
