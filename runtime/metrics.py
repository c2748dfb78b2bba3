"""Every metric that the programs export: name, unit, meaning. One registry a process.

A group is registered when a role first asks for it, so that a process exports only what it measures. All
calls are thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Enum,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from schemas.geometry import NUM_PATCHES

PREFIX: Final = "saccade_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
ALL_CAMERAS: Final = "all"

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_BITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PATCHES = (1, 2, 4, 8, 12, 24, 49, 74, 98, 123, 147, 172, NUM_PATCHES)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_TOKENS = (197, 394, 788, 1_576, 3_152, 6_304, 12_608, 25_216, 50_432)
_BYTES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000)

# A `_created` series beside every counter and histogram would nearly double what each camera costs.
disable_created_metrics()  # type: ignore[no-untyped-call]


class _Group:
    """Metrics with the common prefix in one registry."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        self._registry = registry
        self._per_camera = per_camera

    def label_of(self, camera: str) -> str:
        """The value of the label `camera`: one for all where a series for each costs too much."""
        return camera if self._per_camera else ALL_CAMERAS

    def _counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(PREFIX + name, meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(PREFIX + name, meaning, labels, registry=self._registry)

    def _histogram(
        self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        return Histogram(PREFIX + name, meaning, labels, registry=self._registry, buckets=buckets)


class ProcessMetrics(_Group):
    """What every process has."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.state = Enum(
            PREFIX + "process_state",
            "Where the process stands in its life",
            states=["starting", "running", "stopping"],
            registry=registry,
        )
        self.loop_lag = self._histogram("loop_lag_seconds", "How late the event loop runs a timer", _SECONDS)
        self.loop_lag_now = self._gauge(
            "loop_lag_now_seconds", "How late the event loop ran its latest timer"
        )
        self.frames_dropped = self._counter(
            "frames_dropped_total", "Frames dropped, by cause", ("camera", "reason")
        )


class ConsumerMetrics(_Group):
    """A member of a Kafka group that writes labels to Redis."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.lag = self._gauge(
            "consumer_lag", "Records in the assigned partitions that are not taken yet", ("topic",)
        )
        self.last_progress = self._gauge(
            "consumer_last_progress_timestamp_seconds", "UTC time of the last finished record", ("topic",)
        )
        self.records = self._counter("consumer_records_total", "Records taken", ("topic",))
        self.missed = self._counter(
            "consumer_missed_total", "Records that the broker deleted before they were read", ("topic",)
        )
        self.assigned = self._gauge("consumer_partitions", "Partitions now assigned", ("topic",))
        self.rebalances = self._counter("rebalances_total", "Assignments received from the group")
        self.dead_letters = self._counter(
            "dlq_total", "Records written to a dead-letter topic", ("topic", "reason")
        )
        self.queue_items = self._gauge("queue_items", "Items waiting between two stages", ("stage",))
        self.queue_bytes = self._gauge("queue_bytes", "Bytes waiting between two stages", ("stage",))
        self.stage_time = self._histogram(
            "stage_seconds", "Time of one call of a stage (decode, select, encode, ...)", _SECONDS, ("stage",)
        )
        self.queue_time = self._histogram(
            "queue_seconds", "Time of a record from intake to the model", _SECONDS
        )
        self.compute_time = self._histogram("compute_seconds", "Time of one forward pass", _SECONDS)
        self.batch_size = self._histogram("batch_size", "Frames or records of one forward pass", _BATCH)
        self.result_latency = self._histogram(
            "result_latency_seconds", "Time from capture to the label in Redis", _SECONDS, ("source",)
        )
        self.labels = self._counter(
            "labels_total", "Labels offered to Redis, by what it did with them", ("state", "result")
        )
        self.redis_write = self._histogram(
            "redis_write_seconds", "Time of one pipelined write of labels", _SECONDS
        )
        self.redis_up = self._gauge("redis_up", "1 while the site's Redis answers", ("site",))
        self.clock_offset = self._gauge(
            "clock_offset_seconds", "This machine's UTC minus the site Redis's", ("site",)
        )

    def progressed(self, topic: str) -> None:
        """A record of `topic` was finished now."""
        self.last_progress.labels(topic).set(time.time())


class ProducerMetrics(_Group):
    """Cameras on their way to `frames`."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.published = self._counter(
            "published_frames_total", "Frames acknowledged by the broker", ("camera",)
        )
        self.published_bytes = self._counter(
            "published_bytes_total", "Bytes of acknowledged frames", ("camera",)
        )
        self.connected = self._gauge("camera_connected", "1 while the source gives frames", ("camera",))
        self.reconnects = self._counter("camera_reconnects_total", "Sessions that ended unasked", ("camera",))
        self.last_frame = self._gauge(
            "camera_last_frame_timestamp_seconds", "UTC time of the latest acknowledged frame", ("camera",)
        )
        self.in_flight_bytes = self._gauge(
            "producer_in_flight_bytes", "Bytes handed to Kafka and not acknowledged"
        )


class EdgeMetrics(_Group):
    """Frames through the edge model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.frames = self._counter(
            "frames_total", "Frames by the state they were left in by the edge", ("camera", "outcome")
        )
        self.frame_age = self._histogram("frame_age_seconds", "Age of live frames at intake", _SECONDS)
        self.min_entropy = self._histogram("min_entropy_bits", "Min-entropy of the edge's answer", _BITS)
        self.patches_kept = self._histogram("patches_kept", "Patches of an offloaded frame", _PATCHES)
        self.record_bytes = self._histogram("offload_record_bytes", "Size of an offload record", _BYTES)


class UplinkMetrics(_Group):
    """The way out of an edge worker, its budget and the controller."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.offloads = self._counter(
            "offload_records_total", "Offload records by outcome: sent, or why not", ("outcome",)
        )
        self.offload_bytes = self._counter(
            "offload_bytes_total", "Bytes of acknowledged offload records", ("camera",)
        )
        self.repeated_bytes = self._counter(
            "offload_repeated_bytes_total", "Bytes of offload records sent again after a worker's end"
        )
        self.wire_bytes = self._counter(
            "uplink_bytes_total", "Bytes on the offload connections, with retransmissions and headers"
        )
        self.wire_rate = self._gauge("uplink_bytes_per_second", "Measured rate on the wire")
        self.budget_rate = self._gauge("budget_bytes_per_second", "Budget in force for the site")
        self.share_rate = self._gauge("budget_share_bytes_per_second", "This worker's share of the budget")
        self.affordable_rate = self._gauge(
            "affordable_bytes_per_second", "What budget, link and servers allow together"
        )
        self.burst_bytes = self._gauge("burst_bytes", "Depth of the token bucket")
        self.tokens_bytes = self._gauge("tokens_bytes", "Tokens in the bucket; may be negative")
        self.waiting_records = self._gauge("uplink_waiting_records", "Records waiting for tokens")
        self.waiting_bytes = self._gauge("uplink_waiting_bytes", "Bytes waiting for tokens")
        self.in_flight_bytes = self._gauge(
            "uplink_in_flight_bytes", "Bytes handed to Kafka and not acknowledged"
        )
        self.send_delay = self._histogram(
            "uplink_send_seconds", "Time from hand-over to acknowledgement", _SECONDS
        )
        self.queue_age = self._histogram(
            "uplink_queue_seconds", "Time of a sent record from its offer to its hand-over", _SECONDS
        )
        self.tau = self._gauge("tau_bits", "Threshold in force; +Inf = nothing is offloaded")
        self.delta = self._gauge("delta", "Attention share in force")
        self.min_patches = self._gauge("min_patches", "Floor of patches in force")
        self.quality = self._gauge("codec_quality", "Codec and its quality in force", ("codec",))
        self.controller = self._gauge(
            "controller_state", "1 for the controller's present state and its cause", ("state", "cause")
        )
        self.expected_accuracy = self._gauge(
            "expected_accuracy", "Accuracy that the frontier expects at the point in force"
        )
        self.accuracy_proxy = self._gauge(
            "accuracy_proxy", "Accuracy expected from the min-entropies seen and what was offloaded"
        )
        self.lease_workers = self._gauge("uplink_workers", "Edge workers that share the budget")

    def in_state(self, state: str, cause: str) -> None:
        """The controller is in `state` because of `cause`; no other series of it remains."""
        self.controller.clear()
        self.controller.labels(state, cause).set(1)

    def at_codec(self, codec: str, quality: int) -> None:
        """The codec in force; no other series of it remains."""
        self.quality.clear()
        self.quality.labels(codec).set(quality)


class ServerMetrics(_Group):
    """Offload records through the server model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.records = self._counter(
            "server_records_total",
            "Offload records by outcome: final, expired, dead_letter, ...",
            ("outcome",),
        )
        self.record_age = self._histogram(
            "offload_age_seconds", "Age of offload records on arrival, since capture", _SECONDS
        )
        self.batch_tokens = self._histogram("batch_tokens", "Tokens of one forward pass", _TOKENS)
        self.tokens = self._counter("server_tokens_total", "Tokens computed")


class Metrics:
    """The registry of one process and its groups."""

    def __init__(self, role: str, *, per_camera: bool = True) -> None:
        self.role = role
        self.registry = CollectorRegistry()
        self._per_camera = per_camera
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Gauge(
            PREFIX + "role", "Always 1; says what this process is", ("role",), registry=self.registry
        ).labels(role).set(1)

    @cached_property
    def process(self) -> ProcessMetrics:
        """What every process has."""
        return ProcessMetrics(self.registry, per_camera=self._per_camera)

    @cached_property
    def consumer(self) -> ConsumerMetrics:
        """Kafka group and Redis."""
        return ConsumerMetrics(self.registry, per_camera=self._per_camera)

    @cached_property
    def producer(self) -> ProducerMetrics:
        """Cameras."""
        return ProducerMetrics(self.registry, per_camera=self._per_camera)

    @cached_property
    def edge(self) -> EdgeMetrics:
        """The edge model."""
        return EdgeMetrics(self.registry, per_camera=self._per_camera)

    @cached_property
    def uplink(self) -> UplinkMetrics:
        """The way out and its controller."""
        return UplinkMetrics(self.registry, per_camera=self._per_camera)

    @cached_property
    def server(self) -> ServerMetrics:
        """The server model."""
        return ServerMetrics(self.registry, per_camera=self._per_camera)

    def camera(self, camera: str) -> CameraMetrics:
        """What a producer counts for one camera."""
        return CameraMetrics(self.process, self.producer, camera)

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)


class CameraMetrics:
    """One camera's series, for its producer."""

    def __init__(self, process: ProcessMetrics, producer: ProducerMetrics, camera: str) -> None:
        self._label = producer.label_of(camera)
        self._process = process
        self._producer = producer

    def published(self, num_bytes: int) -> None:
        """One frame of `num_bytes` was acknowledged."""
        self._producer.published.labels(self._label).inc()
        self._producer.published_bytes.labels(self._label).inc(num_bytes)
        self._producer.last_frame.labels(self._label).set(time.time())

    def dropped(self, cause: str) -> None:
        """One frame will not be published."""
        self._process.frames_dropped.labels(self._label, cause).inc()

    def connected(self, up: bool) -> None:
        """Whether the source gives frames now."""
        self._producer.connected.labels(self._label).set(up)

    def reconnected(self) -> None:
        """One session ended unasked."""
        self._producer.reconnects.labels(self._label).inc()
