"""Clocks: the system's own, and one that only tests move."""

from __future__ import annotations

import pytest

from runtime.clock import ManualClock, SystemClock


def test_the_manual_clock_moves_both_times_by_hand_only() -> None:
    clock = ManualClock(monotonic_s=5.0, time_ns=1_000)
    assert (clock.monotonic_s(), clock.time_ns()) == (5.0, 1_000)
    clock.advance(1.5)
    assert (clock.monotonic_s(), clock.time_ns()) == (6.5, 1_500_001_000)
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-0.1)


def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    first = clock.monotonic_s(), clock.time_ns()
    assert clock.monotonic_s() >= first[0]
    assert first[1] > 1_700_000_000_000_000_000
