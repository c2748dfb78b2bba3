"""What the cameras show now: frame rate and distribution of min-entropy, weighted towards the present.

Called by the governor for every frame and once per decision. Pure. Until enough frames were seen, the
distribution of the calibration fills in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEMORY_S: Final = 2.0
RATE_WINDOW_S: Final = 3.0
MIN_FRAMES: Final = 32
MAX_FRAMES: Final = 4096
MAX_AGE_S: Final = 60.0
_PRIOR_FRAMES: Final = 8.0


@dataclass(frozen=True, slots=True)
class Mix:
    """The present mix of frames.

    `min_entropy`: (n,) float64, ascending, bits; `share_from`: (n,) float64, share of frames at or above each
    of them, descending from 1; `frames_per_s` over all cameras.
    """

    frames_per_s: float
    min_entropy: Floats
    share_from: Floats

    def share_at(self, tau: float) -> float:
        """The share of frames whose min-entropy reaches `tau` bits."""
        idx = int(np.searchsorted(self.min_entropy, tau, side="left"))
        return float(self.share_from[idx]) if idx < len(self.share_from) else 0.0


class FrameMix:
    """Collects frames; `snapshot` weighs them with exp(−age / memory), a memory of 16 frames at least.

    State: the last frames' times and entropies, at most 4096 and a minute of them.
    """

    def __init__(self, prior_quantiles: Sequence[float], now_s: float) -> None:
        inner = np.asarray(prior_quantiles, dtype=np.float64)
        self._prior = inner[np.linspace(0, len(inner) - 1, 34).astype(int)[1:-1]] if len(inner) else inner
        self._frames: deque[tuple[float, float]] = deque(maxlen=MAX_FRAMES)
        self._start_s = now_s

    def __len__(self) -> int:
        return len(self._frames)

    def observe(self, min_entropy: float, now_s: float) -> None:
        """One more frame was classified at `now_s`."""
        self._frames.append((now_s, min_entropy))

    def frames_per_s(self, now_s: float) -> float:
        """Frames per second lately: over 3 s, or longer until 32 frames are counted."""
        count, since_s = 0, now_s
        for at_s, _ in reversed(self._frames):
            if at_s <= now_s - RATE_WINDOW_S and count >= MIN_FRAMES:
                return count / (now_s - since_s)
            count, since_s = count + 1, at_s
        span_s = min(now_s - self._start_s, max(now_s - since_s, RATE_WINDOW_S))
        return count / max(span_s, 0.25)

    def snapshot(self, now_s: float) -> Mix:
        """The mix as it is now; needs a frame or a prior, else it is empty."""
        frames = self._frames
        while frames and frames[0][0] < now_s - MAX_AGE_S:
            frames.popleft()
        rate = self.frames_per_s(now_s)
        memory_s = max(MEMORY_S, 16.0 / rate) if rate > 0 else MAX_AGE_S
        recent = np.array(frames, dtype=np.float64).reshape(-1, 2)
        recent = recent[np.searchsorted(recent[:, 0], now_s - 6.0 * memory_s) :]
        weights = np.exp((recent[:, 0] - now_s) / memory_s)
        entropies = recent[:, 1]
        if len(recent) < MIN_FRAMES and len(self._prior):
            entropies = np.concatenate([entropies, self._prior])
            filled = np.full(len(self._prior), _PRIOR_FRAMES / len(self._prior))
            weights = np.concatenate([weights, filled])
        order = np.argsort(entropies, kind="stable")
        ordered = weights[order]
        share_from = np.cumsum(ordered[::-1])[::-1]
        if len(share_from):
            share_from = share_from / share_from[0]
        return Mix(rate, entropies[order], share_from)
