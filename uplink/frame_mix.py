"""What the cameras show now: the frame rate and the distribution of the gate's scores.

Both are weighted towards the present. Kept by tuning, weighed by the curve. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MEMORY_S: Final = 6.0
"""A steady mix of 30 frames/s seen over 2 s moved the threshold by a fifth of its value each second."""
RATE_WINDOW_S: Final = 3.0
MIN_FRAMES: Final = 32
MAX_FRAMES: Final = 4096
MAX_AGE_S: Final = 60.0
_PRIOR_FRAMES: Final = 8.0


@dataclass(frozen=True, slots=True)
class Mix:
    """The present mix of frames.

    `scores`: (n,) float64, of the gate, ascending, bits; `share_from`: (n,) float64, share of frames at or above each
    of them, descending from 1; `frames_per_s` over all cameras.
    """

    frames_per_s: float
    scores: Floats
    share_from: Floats


class FrameMix:
    """Collects frames; `snapshot` weighs them with exp(−age / memory), a memory of 16 frames at least.

    Until enough frames were seen, the distribution of the calibration fills in.

    State: the last frames' times and scores in `[_first, _last)` of two arrays, 4096 of them at most.
    """

    def __init__(self, prior_quantiles: Sequence[float], now_s: float) -> None:
        inner = np.asarray(prior_quantiles, dtype=np.float64)
        self._prior = inner[np.linspace(0, len(inner) - 1, 34).astype(int)[1:-1]] if len(inner) else inner
        self._prior_weights = np.full(len(self._prior), _PRIOR_FRAMES / max(len(self._prior), 1))
        self._times_s = np.empty(2 * MAX_FRAMES)
        self._scores = np.empty(2 * MAX_FRAMES)
        self._first = 0
        self._last = 0
        self._start_s = now_s

    def __len__(self) -> int:
        return self._last - self._first

    def observe(self, score: float, now_s: float) -> None:
        """One more frame was classified at `now_s`."""
        if self._last == len(self._times_s):
            kept = slice(self._last - MAX_FRAMES, self._last)
            self._times_s[:MAX_FRAMES] = self._times_s[kept]
            self._scores[:MAX_FRAMES] = self._scores[kept]
            self._first, self._last = 0, MAX_FRAMES
        self._times_s[self._last] = now_s
        self._scores[self._last] = score
        self._last += 1

    def frames_per_s(self, now_s: float) -> float:
        """Frames per second lately: over 3 s, or longer until 32 frames are counted."""
        times_s = self._times_s[self._first : self._last]
        from_idx = int(np.searchsorted(times_s, now_s - RATE_WINDOW_S, side="right"))
        from_idx = max(min(from_idx, len(times_s) - MIN_FRAMES), 0)
        count = len(times_s) - from_idx
        if count == 0:
            return 0.0
        since_s = max(now_s - float(times_s[from_idx]), RATE_WINDOW_S)
        return count / max(min(since_s, now_s - self._start_s), 0.25)

    def snapshot(self, now_s: float) -> Mix:
        """The mix as it is now; needs a frame or a prior, else it is empty."""
        self._forget(now_s - MAX_AGE_S)
        rate = self.frames_per_s(now_s)
        memory_s = max(MEMORY_S, 16.0 / rate) if rate > 0 else MAX_AGE_S
        from_idx = self._first + self._count_before(now_s - 6.0 * memory_s)
        scores = self._scores[from_idx : self._last]
        weights = np.exp((self._times_s[from_idx : self._last] - now_s) / memory_s)
        if len(scores) < MIN_FRAMES and len(self._prior):
            scores = np.concatenate([scores, self._prior])
            weights = np.concatenate([weights, self._prior_weights])
        order = np.argsort(scores, kind="stable")
        share_from = weights[order][::-1].cumsum()[::-1]
        if len(share_from):
            share_from = share_from / share_from[0]
        return Mix(rate, scores[order], share_from)

    def _count_before(self, at_s: float) -> int:
        return int(np.searchsorted(self._times_s[self._first : self._last], at_s))

    def _forget(self, before_s: float) -> None:
        self._first += self._count_before(before_s)
