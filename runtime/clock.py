"""Time as an argument: the system's clock, and one that tests and simulations move by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What decides durations (`monotonic_s`) and stamps records (`time_ns`)."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start; never goes back."""
        ...

    def time_ns(self) -> int:
        """UTC in nanoseconds since 1970; may be stepped by the system."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        """Seconds of the system's monotonic clock."""
        return time.monotonic()

    def time_ns(self) -> int:
        """The system's UTC time."""
        return time.time_ns()


class ManualClock:
    """A clock that stands still until `advance` moves both times together."""

    def __init__(self, monotonic_s: float = 0.0, time_ns: int = 1_700_000_000_000_000_000) -> None:
        self._start_s = monotonic_s
        self._start_ns = time_ns
        self._elapsed_s = 0.0

    def monotonic_s(self) -> float:
        """The start and everything advanced so far."""
        return self._start_s + self._elapsed_s

    def time_ns(self) -> int:
        """The start and everything advanced so far."""
        return self._start_ns + round(self._elapsed_s * 1e9)

    def advance(self, seconds: float) -> None:
        """Both times are `seconds` later.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"advance: {seconds} s, a clock never goes back")
        self._elapsed_s += seconds
