"""The clock of a site's Redis as this process knows it, so that deadlines need no round trip a frame.

A plain object: the caller asks Redis for its time once a second and reports what it learnt.
"""

from __future__ import annotations

_NS_PER_S = 1_000_000_000
_MAX_ROUND_TRIP_S = 1.0
"""A slower answer says too little about when it was given, unless there is no better one."""


class SiteClock:
    """Redis TIME carried forward by the local monotonic clock, so steps of the wall clock do not move it."""

    def __init__(self) -> None:
        self._base_ns: int | None = None
        self._base_s = 0.0
        self._round_trip_s = 0.0

    def __repr__(self) -> str:
        state = "unknown" if self._base_ns is None else f"+-{self._round_trip_s / 2 * 1000:.1f} ms"
        return f"<SiteClock {state}>"

    @property
    def known(self) -> bool:
        """True once Redis has answered."""
        return self._base_ns is not None

    def learn(self, redis_ns: int, asked_s: float, answered_s: float) -> None:
        """Redis said `redis_ns` somewhere between the two local monotonic times."""
        round_trip_s = answered_s - asked_s
        if self.known and round_trip_s > _MAX_ROUND_TRIP_S:
            return
        self._base_ns = redis_ns
        self._base_s = (asked_s + answered_s) / 2
        self._round_trip_s = round_trip_s

    def time_ns(self, monotonic_s: float) -> int:
        """The time of Redis at a local monotonic time.

        Raises:
            RuntimeError: Redis has never answered.
        """
        if self._base_ns is None:
            raise RuntimeError("the site's time is not known before its Redis has answered once")
        return self._base_ns + round((monotonic_s - self._base_s) * _NS_PER_S)

    def monotonic_s(self, redis_ns: int) -> float:
        """The local monotonic time at which Redis says `redis_ns`; raises as `time_ns`."""
        if self._base_ns is None:
            raise RuntimeError("the site's time is not known before its Redis has answered once")
        return self._base_s + (redis_ns - self._base_ns) / _NS_PER_S
