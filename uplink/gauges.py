"""The uplink's metrics, set from what the scheduler explains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from uplink.metrics import UplinkMetrics
    from uplink.scheduler import UplinkScheduler

SHOW_S: Final = 1.0


class UplinkGauges:
    """Shows the scheduler once a second.

    State: the wire bytes already counted, the state and codec already shown, and when.
    """

    def __init__(self, metrics: UplinkMetrics) -> None:
        self._metrics = metrics
        self._wire_bytes = 0.0
        self._in_force: tuple[str, str] | None = None
        self._codec: tuple[str, int] | None = None
        self._shown_s = float("-inf")

    def send_delay(self, seconds: float) -> None:
        """A record was acknowledged so long after it was handed over."""
        self._metrics.send_delay.observe(seconds)

    def queue_age(self, seconds: float) -> None:
        """A record was handed over so long after it was queued."""
        self._metrics.queue_age.observe(seconds)

    def show(self, scheduler: UplinkScheduler, now_s: float) -> None:
        """The gauges hold what is true now; at most once a second."""
        if now_s < self._shown_s + SHOW_S:
            return
        self._shown_s = now_s
        told, metrics = scheduler.explain(now_s), self._metrics
        metrics.wire_bytes.inc(max(told.wire_bytes - self._wire_bytes, 0.0))
        self._wire_bytes = max(told.wire_bytes, self._wire_bytes)
        metrics.wire_rate.set(told.measured_bytes_per_s)
        metrics.budget_rate.set(scheduler.admission.allowance.told_bytes_per_s)
        metrics.share_rate.set(told.budget_bytes_per_s)
        by_servers = told.max_records_per_s * scheduler.admission.meter.record_bytes
        metrics.affordable_rate.set(min(told.usable_bytes_per_s, by_servers))
        metrics.burst_bytes.set(told.burst_bytes)
        metrics.tokens_bytes.set(scheduler.admission.allowance.bucket.tokens(now_s))
        metrics.waiting_records.set(told.waiting_records)
        metrics.waiting_bytes.set(told.waiting_bytes)
        metrics.in_flight_bytes.set(told.in_flight_bytes)
        metrics.tau.set(told.point.tau)
        metrics.delta.set(told.point.delta)
        metrics.min_patches.set(told.point.min_patches)
        metrics.expected_accuracy.set(told.expected_accuracy)
        metrics.accuracy_proxy.set(told.observed_accuracy)
        metrics.lease_workers.set(told.num_workers)
        if (told.state, told.cause) != self._in_force:
            self._in_force = (told.state, told.cause)
            metrics.in_state(told.state, told.cause)
        if (told.point.codec, told.point.quality) != self._codec:
            self._codec = (told.point.codec, told.point.quality)
            metrics.at_codec(told.point.codec, told.point.quality)
