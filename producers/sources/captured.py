"""What a source gives: one picture at a time, not yet numbered or timed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt


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

    `truth` is None when unknown, -1 when the picture is not to be scored, else the class index.
    """

    image: RawImage | EncodedImage
    truth: int | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that the source had but could not read: broken file, damaged packet. `why` is one line."""

    why: str


class FrameSource(Protocol):
    """One session with a source. Everything blocks: only a capture thread calls it.

    Iterating opens nothing anew; the end of a file ends the iteration. Raises `SourceError` when the source
    is lost or cannot go on.
    """

    @property
    def fps(self) -> float | None:
        """The source's own frames per second, None when it has none (a folder of photos)."""

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        """Give the pictures in order."""

    def close(self) -> None:
        """Let go of files, sockets and devices; harmless when called again."""
