"""What a kind of source gives to the rest: a parsed `Source`, its open `Session`, and one picture at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from producers.pacing import Pace


@dataclass(frozen=True, slots=True)
class RawImage:
    """Decoded pixels: (height, width, 3) uint8, RGB."""

    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class EncodedImage:
    """A file's bytes as they are; `encoding` as in `schemas.frame.ENCODINGS`, size from the header."""

    encoding: str
    data: bytes
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Captured:
    """One picture of a source.

    `truth` is None when unknown, -1 when the picture is not to be scored, else the class index. `time_s` is
    the stream's own time (seconds from any origin), None where there is none. `taken_ns` is when a file says
    that it was taken (UTC), given only where it was asked for. `still` says that it has nothing to do with the
    picture before it.
    """

    image: RawImage | EncodedImage
    truth: int | None = None
    time_s: float | None = None
    taken_ns: int | None = None
    still: bool = False


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that the source had but could not read: broken file, damaged packet. `why` is one line."""

    why: str


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a source is to be opened.

    Attributes:
        fps: the rate that was asked for, None for all pictures.
        open_timeout_s, read_timeout_s: for networks and devices.
        max_pixels: larger pictures are not decoded.
        own_time: fill `Captured.taken_ns`.
        rtsp_transport: how RTSP cameras send unless their address says otherwise: tcp, udp, multicast or http.
        verify_tls: refuse cameras whose certificate no known authority has signed.
        pause: waits for that many seconds and returns True as soon as the session is to end.
    """

    fps: float | None
    open_timeout_s: float
    read_timeout_s: float
    max_pixels: int
    own_time: bool
    rtsp_transport: str
    verify_tls: bool
    pause: Callable[[float], bool]


class Session(Protocol):
    """An open source. Everything blocks: only a capture thread calls it.

    Iterating opens nothing anew; the end of a file ends the iteration. Raises `SourceError` when the source
    is lost or cannot go on.
    """

    def pace(self, fps: float | None) -> Pace:
        """Return a fresh pace for these pictures at `fps` frames per second; None keeps all of them."""

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        """Give the pictures in order."""

    def close(self) -> None:
        """Let go of files, sockets and devices; harmless when called again."""


class Source(Protocol):
    """Where one camera's pictures come from, parsed and checked; frozen, opened as often as needed."""

    @property
    def shown(self) -> str:
        """The source for logs and errors, without credentials."""

    @property
    def live(self) -> bool:
        """Whether its frames can grow too old."""

    @property
    def self_paced(self) -> bool:
        """Whether it sets its own pace, can be lost, and is then tried again: streams and devices."""

    def open(self, options: OpenOptions) -> Session:
        """Return a new session. Blocks: called from a capture thread.

        Raises:
            SourceError: it cannot be opened; one line, without credentials.
        """


class SourceKind(Protocol):
    """One kind of source: a module with these three, listed in `producers.sources.registry`."""

    @property
    def FORM(self) -> str:  # noqa: N802 - a constant of the module
        """What a person writes, for error messages: `webcam:0`."""

    def claims(self, text: str) -> bool:
        """Return whether `text` names a source of this kind, well or badly."""

    def parse(self, text: str) -> Source:
        """Return the source that `text` names. Networks and devices are not tried.

        Raises:
            SettingsError: it is claimed but wrong; one line, without credentials.
        """
