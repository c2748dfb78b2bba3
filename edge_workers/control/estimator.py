"""The usable rate of the uplink, estimated from what comes back: for `auto`, and below a told budget.

Called by the governor each 100 ms. Pure. The rate grows while the path adds no delay and falls to what was
delivered once it does. Growth speeds up with the time since the last congestion, so that a far larger
capacity is found within seconds and a steady one is overshot by a little only. Delay-based as TCP Vegas and
BBR are.
"""

from __future__ import annotations

from typing import Final

START_BYTES_PER_S: Final = 16_000.0
MIN_BYTES_PER_S: Final = 1_000.0
SILENT_S: Final = 1.0
_CONGESTED_S: Final = 0.2
_DRAINED_S: Final = 0.08
_STARTUP_GROWTH_PER_S: Final = 1.0
_SLOWEST_GROWTH_PER_S: Final = 0.02
_FASTEST_GROWTH_PER_S: Final = 0.6
_RAMP_PER_S: Final = 0.1
_PATIENCE_S: Final = 3.0
_BACK_OFF: Final = 0.9
_DELIVERY_WINDOW_S: Final = 1.0


class RateEstimator:
    """One path's usable rate in bytes/s, between 1 kB/s and a ceiling (the told budget, or none).

    State: the present rate, when it was last cut, and whether the path was ever congested.
    """

    def __init__(self, now_s: float, ceiling_bytes_per_s: float = float("inf")) -> None:
        self._ceiling = ceiling_bytes_per_s
        self._rate = min(START_BYTES_PER_S, ceiling_bytes_per_s)
        if ceiling_bytes_per_s < float("inf"):
            self._rate = ceiling_bytes_per_s
        self._at_s = now_s
        self._cut_s = now_s
        self._was_congested = False
        self._before_silence = self._rate
        self._silent = False
        self._growth_per_s = 0.0

    @property
    def is_ramping(self) -> bool:
        """True while more is tried than was carried before."""
        return self._growth_per_s > _RAMP_PER_S

    @property
    def rate_bytes_per_s(self) -> float:
        """What the path is believed to carry."""
        return min(self._rate, self._ceiling)

    @property
    def limits(self) -> bool:
        """True while the estimate, not the ceiling, is what limits."""
        return self._rate < 0.98 * self._ceiling

    def set_ceiling(self, bytes_per_s: float) -> None:
        """The told budget changed; a path that was not the limit is believed to carry the new one too."""
        if not self.limits:
            self._rate = bytes_per_s
        self._ceiling = bytes_per_s
        self._rate = min(self._rate, bytes_per_s)

    def update(
        self,
        now_s: float,
        *,
        delivery_bytes_per_s: float,
        queueing_s: float,
        delay_trend: float,
        silence_s: float,
        is_used: bool,
    ) -> None:
        """The estimate agrees with one more sample.

        Args:
            now_s: the time of the sample.
            delivery_bytes_per_s: acknowledged over the last second.
            queueing_s: delay of the newest acknowledgement beyond the smallest lately.
            delay_trend: by how much the delay grows, in seconds per second.
            silence_s: how long nothing was acknowledged while something was in flight.
            is_used: the rate was the limit lately; a rate that nobody used says nothing and is kept.
        """
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        self._growth_per_s = 0.0
        if silence_s >= SILENT_S:
            self._fall_silent()
        elif self._silent:
            self._wake(now_s)
        elif queueing_s > _CONGESTED_S and delay_trend > -0.2:
            self._cut(now_s, delivery_bytes_per_s)
        elif is_used and queueing_s < _DRAINED_S:
            self._grow(now_s, elapsed_s)

    def _fall_silent(self) -> None:
        if not self._silent:
            self._before_silence = self._rate
        self._silent = True

    def _wake(self, now_s: float) -> None:
        """After an outage start at half of what was carried before; the ramp finds the rest."""
        self._silent = False
        self._rate = max(0.5 * self._before_silence, MIN_BYTES_PER_S)
        self._cut_s = now_s - _PATIENCE_S

    def _cut(self, now_s: float, delivery_bytes_per_s: float) -> None:
        """To what was delivered, less a tenth so that the queue drains; once per second at most."""
        if self._was_congested and now_s - self._cut_s < _DELIVERY_WINDOW_S:
            return
        self._was_congested = True
        self._cut_s = now_s
        self._rate = max(min(self._rate, _BACK_OFF * delivery_bytes_per_s), MIN_BYTES_PER_S)

    def _grow(self, now_s: float, elapsed_s: float) -> None:
        if not self._was_congested:
            growth = _STARTUP_GROWTH_PER_S
        else:
            calm_s = max(now_s - self._cut_s - _DELIVERY_WINDOW_S, 0.0)
            growth = min(_SLOWEST_GROWTH_PER_S * 2.0 ** (calm_s / 1.0), _FASTEST_GROWTH_PER_S)
        if self._rate < self._ceiling:
            self._growth_per_s = growth
        self._rate = min(self._rate * (1.0 + growth * elapsed_s), self._ceiling)
