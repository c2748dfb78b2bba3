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
        # (Redis ns, local monotonic s, round trip s) of the best answer; replaced as a whole, so that codec
        # threads may read while the loop learns.
        self._answer: tuple[int, float, float] | None = None

    def __repr__(self) -> str:
        state = "unknown" if self._answer is None else f"+-{self._answer[2] / 2 * 1000:.1f} ms"
        return f"<SiteClock {state}>"

    @property
    def known(self) -> bool:
        """True once Redis has answered."""
        return self._answer is not None

    def learn(self, redis_ns: int, asked_s: float, answered_s: float) -> None:
        """Redis said `redis_ns` somewhere between the two local monotonic times."""
        round_trip_s = answered_s - asked_s
        if self._answer is None or round_trip_s <= _MAX_ROUND_TRIP_S:
            self._answer = (redis_ns, (asked_s + answered_s) / 2, round_trip_s)

    def time_ns(self, monotonic_s: float) -> int:
        """The time of Redis at a local monotonic time.

        Raises:
            RuntimeError: Redis has never answered.
        """
        redis_ns, at_s, _ = self._known_answer()
        return redis_ns + round((monotonic_s - at_s) * _NS_PER_S)

    def monotonic_s(self, redis_ns: int) -> float:
        """The local monotonic time at which Redis says `redis_ns`; raises as `time_ns`."""
        answered_ns, at_s, _ = self._known_answer()
        return at_s + (redis_ns - answered_ns) / _NS_PER_S

    def _known_answer(self) -> tuple[int, float, float]:
        if self._answer is None:
            raise RuntimeError("the site's time is not known before its Redis has answered once")
        return self._answer
