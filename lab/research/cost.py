"""What one picture costs on both sides of the cut, and how long it takes until the answer is there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

RATES_MBIT_S: Final = (0.1, 1.0, 20.0)
DEVICE_GMACS_PER_S: Final = 20.0
SERVER_GMACS_PER_S: Final = 1000.0
"""Stated speeds, not measured: a Jetson-class device at small batches, and a server's GPU."""
_RUNS: Final = 15


class Cost(NamedTuple):
    """Work and time for one picture; the server's parts where it is sent. Times are this machine's, one at a time."""

    device_macs: float
    server_macs: float
    device_ms: float
    server_ms: float

    def where_sent(self, share: float) -> Cost:
        """Return the mean over all pictures of which `share` are sent."""
        return self._replace(server_macs=share * self.server_macs, server_ms=share * self.server_ms)

    @property
    def stated(self) -> Cost:
        """The same work at the stated speeds."""
        return self._replace(
            device_ms=self.device_macs / (DEVICE_GMACS_PER_S * 1e6),
            server_ms=self.server_macs / (SERVER_GMACS_PER_S * 1e6),
        )

    def latency_ms(self, wire_bytes: float) -> tuple[float, ...]:
        """Return device + uplink + server at `RATES_MBIT_S`; no queue, no round trip, no downlink, no coder."""
        return tuple(
            self.device_ms + wire_bytes * 8.0 / (rate * 1000.0) + self.server_ms for rate in RATES_MBIT_S
        )


def fastest_ms(call: Callable[[], object]) -> float:
    """Return the milliseconds of the fastest of some runs: what else the machine does only adds to a run."""
    fastest_s = float("inf")
    for _ in range(_RUNS):
        begun_s = time.perf_counter()
        call()
        fastest_s = min(fastest_s, time.perf_counter() - begun_s)
    return 1000.0 * fastest_s
