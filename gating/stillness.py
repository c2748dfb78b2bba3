"""Whether a camera still shows what its last classified frame showed, so that its model need not run again.

Each frame is reduced to `TILES` x `TILES` mean colours of the part that the model sees. Its change is the largest
difference of a tile to the last *classified* frame: the largest and not the mean, as a small thing that moves changes
few tiles; the last classified and not the last, so that a slow change adds up until it is seen. A frame is still where
its change is within `NOISE_RANGE` times the camera's noise. After `MAX_AGE_S` a frame is classified whatever it shows.

The noise is the smallest change that the camera's frames had lately. It falls at once and rises slowly, so that things
that move are not learnt as noise. It is bounded: a camera that moves is not still.

Pure numpy without clock or await. Not thread-safe.
"""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Tiles = NDArray[np.uint8]
"""(TILES, TILES, 3) mean colours."""
T = TypeVar("T")

TILES: Final = 28
"""A tile is 8 pixels wide of the model's 224, so that a sign of 28 pixels covers at least four."""
MAX_AGE_S: Final = 1.0
"""A frame so long after the last classified one is classified."""
NOISE_RANGE: Final = 2.0
"""How far the noise's largest tile of one frame may be above that of the quietest."""
LEAST_NOISE: Final = 2.0
MAX_NOISE: Final = 6.0
"""Bounds of the learnt noise in grey levels. Below, values are rounded; above, signs would be lost in it."""
NOISE_DOUBLES_S: Final = 30.0
"""How fast the learnt noise can rise."""
_MOST_DOUBLINGS: Final = 8.0


class CameraStillness(Generic[T]):
    """What one camera showed when it was last classified, and how noisy it is.

    State: the last classified frame with what was `shown` beside it, the noise, and the newest frame's place.
    """

    def __init__(self) -> None:
        self._reference: tuple[Tiles, int, T] | None = None
        self._seq = -1
        self._captured_ns = 0
        self._noise = MAX_NOISE

    def __repr__(self) -> str:
        return f"<CameraStillness seq={self._seq} noise={self._noise:.2f}>"

    @property
    def noise(self) -> float:
        """The change of a frame in which nothing moved, in grey levels."""
        return self._noise

    def look(self, seq: int, captured_ns: int, tiles: Tiles, shown: T) -> T | None:
        """Return what was `shown` with the classified frame that this one looks like; None: classify it.

        A frame to be classified is the one that later frames are compared with. A frame that comes again, or after
        a later one, is to be classified and changes nothing.

        Args:
            seq: of the frame.
            captured_ns: when it was taken.
            tiles: what it shows.
            shown: what to return for later frames that look like this one.
        """
        if seq <= self._seq:
            return None
        passed_s = max(0, captured_ns - self._captured_ns) / 1e9
        self._seq, self._captured_ns = seq, captured_ns
        if self._reference is not None:
            before, before_ns, answer = self._reference
            change = float(np.abs(tiles.astype(np.int16) - before).max())
            self._learn(change, passed_s)
            age_s = (captured_ns - before_ns) / 1e9
            if 0 <= age_s < MAX_AGE_S and change <= NOISE_RANGE * self._noise:
                return answer
        self._reference = (tiles, captured_ns, shown)
        return None

    def forget(self) -> None:
        """The next frame is to be classified: one came that nobody could look at, and it may show anything."""
        self._reference = None

    def _learn(self, change: float, passed_s: float) -> None:
        """The same picture once more, as of a camera that stands, says nothing of its noise."""
        risen = self._noise * 2.0 ** min(passed_s / NOISE_DOUBLES_S, _MOST_DOUBLINGS)
        self._noise = min(max(change, LEAST_NOISE) if change > 0 else MAX_NOISE, risen, MAX_NOISE)
