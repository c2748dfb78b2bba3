"""Metrics of the uplink, and the scheduler shown in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry

from runtime.metrics import SECONDS, MetricGroup

if TYPE_CHECKING:
    from uplink.scheduler import UplinkScheduler

SHOW_S: Final = 1.0


class UplinkMetrics(MetricGroup):
    """The way out of an edge worker, its budget and the controller."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.offloads = self.counter(
            "offload_records_total", "Offload records by outcome: sent, or why not", ("outcome",)
        )
        self.offload_bytes = self.counter(
            "offload_bytes_total", "Bytes of acknowledged offload records", ("camera",)
        )
        self.repeated_bytes = self.counter(
            "offload_repeated_bytes_total", "Bytes of offload records sent again after a worker's end"
        )
        self.wire_bytes = self.counter(
            "uplink_bytes_total", "Bytes on the offload connections, with retransmissions and headers"
        )
        self.wire_rate = self.gauge("uplink_bytes_per_second", "Measured rate on the wire")
        self.budget_rate = self.gauge("budget_bytes_per_second", "Budget in force for the site")
        self.share_rate = self.gauge("budget_share_bytes_per_second", "This worker's share of the budget")
        self.affordable_rate = self.gauge(
            "affordable_bytes_per_second", "What budget, link and servers allow together"
        )
        self.burst_bytes = self.gauge("burst_bytes", "Depth of the token bucket")
        self.tokens_bytes = self.gauge("tokens_bytes", "Tokens in the bucket; may be negative")
        self.waiting_records = self.gauge("uplink_waiting_records", "Records waiting for tokens")
        self.waiting_bytes = self.gauge("uplink_waiting_bytes", "Bytes waiting for tokens")
        self.in_flight_bytes = self.gauge(
            "uplink_in_flight_bytes", "Bytes handed to Kafka and not acknowledged"
        )
        self.send_delay = self.histogram(
            "uplink_send_seconds", "Time from hand-over to acknowledgement", SECONDS
        )
        self.queue_age = self.histogram(
            "uplink_queue_seconds", "Time of a sent record from its offer to its hand-over", SECONDS
        )
        self.tau = self.gauge("tau_bits", "Threshold in force; +Inf = nothing is offloaded")
        self.delta = self.gauge("delta", "Attention share in force")
        self.min_patches = self.gauge("min_patches", "Floor of patches in force")
        self.quality = self.gauge("codec_quality", "Codec and its quality in force", ("codec",))
        self.controller = self.gauge(
            "controller_state", "1 for the controller's present state and its cause", ("state", "cause")
        )
        self.expected_accuracy = self.gauge(
            "expected_accuracy", "Accuracy that the frontier expects at the point in force"
        )
        self.accuracy_proxy = self.gauge(
            "accuracy_proxy", "Accuracy expected from the min-entropies seen and what was offloaded"
        )
        self.disagreement = self.gauge(
            "answers_disagreeing",
            "Share of the servers' answers that name another class than the edge, lately",
        )
        self.expected_disagreement = self.gauge(
            "answers_disagreeing_expected", "The same as the calibration expects it of these answers"
        )
        self.drifted = self.gauge(
            "calibration_drifted", "1 while the servers' answers are unlike those of the calibration"
        )
        self.lease_workers = self.gauge("uplink_workers", "Edge workers that share the budget")

    def in_state(self, state: str, cause: str) -> None:
        """The controller is in `state` because of `cause`; no other series of it remains."""
        self.controller.clear()
        self.controller.labels(state, cause).set(1)

    def at_codec(self, codec: str, quality: int) -> None:
        """The codec in force; no other series of it remains."""
        self.quality.clear()
        self.quality.labels(codec).set(quality)


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
        if told.disagreement is not None:
            metrics.disagreement.set(told.disagreement.observed)
            metrics.expected_disagreement.set(told.disagreement.expected)
            metrics.drifted.set(told.disagreement.has_drifted)
        if (told.state, told.cause) != self._in_force:
            self._in_force = (told.state, told.cause)
            metrics.in_state(told.state, told.cause)
        if (told.point.codec, told.point.quality) != self._codec:
            self._codec = (told.point.codec, told.point.quality)
            metrics.at_codec(told.point.codec, told.point.quality)
