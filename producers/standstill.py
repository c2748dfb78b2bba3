"""Whether a live camera gives the same picture again and again: its encoder hangs, or a server keeps an old picture.

A sensor has noise, so no two pictures of a still scene are equal to the last bit. An encoder that hangs codes one
picture for ever: the pictures repeat, with its key frames, as soon as its rate has settled.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from producers.sources.source import EncodedImage, RawImage

KNOWN_PICTURES: Final = 64
"""Different pictures that are remembered: as many as an encoder makes of one picture between two key frames."""
_ROWS: Final = 128
"""Rows of a picture that are compared; noise is in all of them."""
_START_OF_SCAN: Final = b"\xff\xda"


class Standstill:
    """Watches the pictures of one camera in their order; called in one thread at a time."""

    def __init__(self, after_s: float) -> None:
        """Start an unused watch; pictures stand still when none has been new for `after_s` (above 0)."""
        self.after_s = after_s
        self._known: deque[int] = deque(maxlen=KNOWN_PICTURES)
        self._new_s = 0.0

    def see(self, image: RawImage | EncodedImage, now_s: float) -> bool:
        """Take in the next picture; return whether the pictures stand still at `now_s` (monotonic)."""
        mark = _mark(image)
        if mark not in self._known:
            self._known.append(mark)
            self._new_s = now_s
        return now_s - self._new_s >= self.after_s


def _mark(image: RawImage | EncodedImage) -> int:
    if isinstance(image, RawImage):
        step = max(1, image.pixels.shape[0] // _ROWS)
        return hash(image.pixels[::step].tobytes())
    if image.encoding == "jpeg":  # what stands before the pixels may hold the time
        return hash(image.data[image.data.find(_START_OF_SCAN) :])
    return hash(image.data)
