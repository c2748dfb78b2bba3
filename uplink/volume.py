"""A volume budget (5GB/month) as a rate: what is left of it, spread over what is left of the period.

Called by the uplink once a second. Pure: UTC and what the site has spent come in as arguments, both from where that
count is kept: its clock decides for all workers. What was not used is spread over the rest, what was overspent is saved
there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from schemas.rates import Volume

_HOUR_S: Final = 3600.0
_EVEN: Final = (1.0,) * 24


class VolumePlan:
    """Spreads a volume over periods that start at multiples of the period since 1970 (UTC).

    `hour_weights[h]` says how much more hour `h` (UTC) gets than an hour of weight 1.
    """

    def __init__(self, volume: Volume, hour_weights: Sequence[float] | None = None) -> None:
        self._volume = volume
        self._weights = tuple(hour_weights or _EVEN)
        if len(self._weights) != 24 or min(self._weights) < 0 or sum(self._weights) <= 0:
            raise ValueError("hour_weights: must be 24 weights that are >= 0, one above 0")

    @property
    def period_s(self) -> float:
        """The length of a period; the count of spent bytes starts anew with each."""
        return self._volume.period_s

    def rate_bytes_per_s(self, spent_bytes: float, utc_s: float) -> float:
        """The rate until the hour ends; 0 once the volume is spent or where the hour's weight is 0."""
        end_s = (utc_s // self.period_s + 1) * self.period_s
        left = max(self._volume.volume_bytes - spent_bytes, 0.0)
        ahead = self._weighted_s(utc_s, end_s)
        return left * self._weight_at(utc_s) / ahead if ahead > 0 else 0.0

    def _weight_at(self, utc_s: float) -> float:
        return self._weights[int(utc_s // _HOUR_S) % 24]

    def _weighted_s(self, from_s: float, to_s: float) -> float:
        """∫ weight dt over [from_s, to_s]: the rest of this hour, whole days, and the hours after them."""
        next_hour_s = min((from_s // _HOUR_S + 1) * _HOUR_S, to_s)
        total = (next_hour_s - from_s) * self._weight_at(from_s)
        days = int((to_s - next_hour_s) // (24 * _HOUR_S))
        total += days * sum(self._weights) * _HOUR_S
        at_s = next_hour_s + days * 24 * _HOUR_S
        while at_s < to_s:
            step_s = min(_HOUR_S, to_s - at_s)
            total += step_s * self._weight_at(at_s)
            at_s += step_s
        return total
