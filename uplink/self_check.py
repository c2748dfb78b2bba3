"""Whether the site is still like its calibration: how often the servers' answers name another class than the edge.

The calibration says, for each bin of the gate's score, how often an answer disagrees. The edge counts the same from
the answers that come back, and forgets: an answer's weight falls by a part in `MEMORY` with each one after it. Where
the sum over all bins is further from what was expected than chance explains, and by enough to matter, the site has
drifted: other cameras, another season, another model behind the uplink.

Until then, and beside it, the frontier's expectation follows each bin a little way: the gain of an answer is in the
disagreements, so that it grows and shrinks with them.

Pure. Not thread-safe.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.frontier import HminBin

Floats = NDArray[np.float64]

MEMORY: Final = 400
"""Answers."""
MIN_ANSWERS: Final = 100
"""The answers must weigh so much together before they say anything; the first 115 do."""
DRIFT_SIGMAS: Final = 4.0
DRIFT_SHARE: Final = 0.05
"""The least difference of the disagreeing share, over all answers, that is a drift; it ends at half of both."""
DISPERSION: Final = 2.0
"""Answers about one object agree or disagree together: the variance is so many times that of independent ones."""
SHRINKAGE: Final = 50.0
"""Answers of a bin that weigh as much as the calibration."""
MIN_CORRECTION: Final = 0.5
MAX_CORRECTION: Final = 2.0
_LEAST_EXPECTED: Final = 0.005


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The share of answers that name another class than the edge: lately, and as the calibration expects of them."""

    observed: float
    expected: float
    has_drifted: bool


class SelfCheck:
    """Counts answers against a frontier's bins; without measured agreement in all of them it says nothing.

    State: for each bin the weight of its answers, of those that disagree, and of their variance; whether it has
    drifted.
    """

    def __init__(self, bins: Sequence[HminBin]) -> None:
        bins = [each for each in bins if each.count > 0]
        self._is_able = bool(bins) and all(each.agreement is not None for each in bins)
        self._edges = [each.lo for each in bins[1:]]
        expected = [1.0 - (each.agreement or 0.0) for each in bins]
        self._expected = np.clip(expected, _LEAST_EXPECTED, 1.0 - _LEAST_EXPECTED)
        self._calibrated = np.array([each.count for each in bins], dtype=np.float64)
        self._answers, self._squares, self._disagreeing = (np.zeros(len(bins)) for _ in range(3))
        self._has_drifted = False

    def __repr__(self) -> str:
        return f"<SelfCheck {self.disagreement}>"

    def answered(self, score: float, *, agrees: bool) -> None:
        """A server's answer came back about a frame of this score (bits)."""
        if not self._is_able:
            return
        kept = 1.0 - 1.0 / MEMORY
        self._answers *= kept
        self._disagreeing *= kept
        self._squares *= kept * kept
        place = bisect_right(self._edges, score)
        self._answers[place] += 1.0
        self._squares[place] += 1.0
        self._disagreeing[place] += not agrees
        self._judge()

    @property
    def disagreement(self) -> Disagreement | None:
        """What the answers say; None while they are too few."""
        total = float(self._answers.sum())
        if total < MIN_ANSWERS:
            return None
        expected = float(self._answers @ self._expected)
        return Disagreement(float(self._disagreeing.sum()) / total, expected / total, self._has_drifted)

    @property
    def corrections(self) -> Floats:
        """(b,) how many times the calibrated gain an answer has in each bin, within bounds."""
        seen = self._disagreeing + SHRINKAGE * self._expected
        ratio = seen / ((self._answers + SHRINKAGE) * self._expected)
        return np.asarray(np.clip(ratio, MIN_CORRECTION, MAX_CORRECTION))

    def _judge(self) -> None:
        found = self.disagreement
        if found is None:
            return
        # Both samples vary: the answers', and the calibration's of the bins that they fall into.
        spread = self._expected * (1.0 - self._expected)
        variance = DISPERSION * float((self._squares + self._answers**2 / self._calibrated) @ spread)
        share = abs(found.observed - found.expected)
        sigmas = share * float(self._answers.sum()) / math.sqrt(variance)
        least = 0.5 if self._has_drifted else 1.0
        self._has_drifted = sigmas >= least * DRIFT_SIGMAS and share >= least * DRIFT_SHARE
