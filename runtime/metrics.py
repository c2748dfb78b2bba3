"""The registry of a process's metrics, and the groups that every process or every consumer has.

Each role declares its own groups beside it. A group is registered when it is first asked for, so that a process
exports only what it measures. All calls are thread-safe.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, TypeVar

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

PREFIX: Final = "saccade_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
ALL_CAMERAS: Final = "all"
OTHER_CAMERAS: Final = "others"
MAX_CAMERA_SERIES: Final = 2_000
"""Cameras that come later share one series: whoever invents names fills no memory."""

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_BATCH = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# A `_created` series beside every counter and histogram would nearly double what each camera costs.
disable_created_metrics()  # type: ignore[no-untyped-call]


class MetricGroup:
    """Metrics with the common prefix in one registry."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        self._registry = registry
        self._per_camera = per_camera
        self._cameras: set[str] = set()

    def label_of(self, camera: str) -> str:
        """The value of the label `camera`: one for all where a series for each costs too much, and for all beyond
        the limit."""
        if not self._per_camera:
            return ALL_CAMERAS
        if len(self._cameras) < MAX_CAMERA_SERIES:
            self._cameras.add(camera)
        return camera if camera in self._cameras else OTHER_CAMERAS

    def counter(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter of the group."""
        return Counter(PREFIX + name, meaning, labels, registry=self._registry)

    def gauge(self, name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
        """A new gauge of the group."""
        return Gauge(PREFIX + name, meaning, labels, registry=self._registry)

    def histogram(
        self, name: str, meaning: str, buckets: Sequence[float], labels: Sequence[str] = ()
    ) -> Histogram:
        """A new histogram of the group."""
        return Histogram(PREFIX + name, meaning, labels, registry=self._registry, buckets=buckets)


class ProcessMetrics(MetricGroup):
    """What every process has."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.state = Enum(
            PREFIX + "process_state",
            "Where the process stands in its life",
            states=["starting", "running", "stopping"],
            registry=registry,
        )
        self.loop_lag = self.histogram("loop_lag_seconds", "How late the event loop runs a timer", SECONDS)
        self.loop_lag_now = self.gauge("loop_lag_now_seconds", "How late the event loop ran its latest timer")
        self.frames_dropped = self.counter(
            "frames_dropped_total", "Frames dropped, by cause", ("camera", "reason")
        )


class ConsumerMetrics(MetricGroup):
    """A member of a Kafka group that writes labels to Redis."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.lag = self.gauge(
            "consumer_lag", "Records in the assigned partitions that are not taken yet", ("topic",)
        )
        self.last_progress = self.gauge(
            "consumer_last_progress_timestamp_seconds", "UTC time of the last finished record", ("topic",)
        )
        self.records = self.counter("consumer_records_total", "Records taken", ("topic",))
        self.missed = self.counter(
            "consumer_missed_total", "Records that the broker deleted before they were read", ("topic",)
        )
        self.assigned = self.gauge("consumer_partitions", "Partitions now assigned", ("topic",))
        self.rebalances = self.counter("rebalances_total", "Assignments received from the group")
        self.dead_letters = self.counter(
            "dlq_total", "Records written to a dead-letter topic", ("topic", "reason")
        )
        self.queue_items = self.gauge("queue_items", "Items waiting between two stages", ("stage",))
        self.queue_bytes = self.gauge("queue_bytes", "Bytes waiting between two stages", ("stage",))
        self.stage_time = self.histogram(
            "stage_seconds", "Time of one call of a stage (decode, select, encode, ...)", SECONDS, ("stage",)
        )
        self.queue_time = self.histogram(
            "queue_seconds", "Time of a record from intake to the model", SECONDS
        )
        self.compute_time = self.histogram("compute_seconds", "Time of one forward pass", SECONDS)
        self.batch_size = self.histogram("batch_size", "Frames or records of one forward pass", _BATCH)
        self.result_latency = self.histogram(
            "result_latency_seconds", "Time from capture to the label in Redis", SECONDS, ("source",)
        )
        self.labels = self.counter(
            "labels_total", "Labels offered to Redis, by what it did with them", ("state", "result")
        )
        self.redis_write = self.histogram(
            "redis_write_seconds", "Time of one pipelined write of labels", SECONDS
        )
        self.model_generation = self.gauge(
            "model_generation", "Deployment whose pair the worker follows; 0 without one"
        )
        self.model_failed = self.gauge(
            "model_failed", "1 while a deployed pair could not be taken and the one before works on"
        )
        self.redis_up = self.gauge("redis_up", "1 while the site's Redis answers", ("site",))
        self.clock_offset = self.gauge(
            "clock_offset_seconds", "This machine's UTC minus the site Redis's", ("site",)
        )

    def progressed(self, topic: str) -> None:
        """A record of `topic` was finished now."""
        self.last_progress.labels(topic).set(time.time())


Group = TypeVar("Group", bound=MetricGroup)


class Metrics:
    """The registry of one process and its groups."""

    def __init__(self, role: str, *, per_camera: bool = True) -> None:
        self.registry = CollectorRegistry()
        self._per_camera = per_camera
        self._groups: dict[type[MetricGroup], MetricGroup] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        Gauge(
            PREFIX + "role", "Always 1; says what this process is", ("role",), registry=self.registry
        ).labels(role).set(1)

    @property
    def process(self) -> ProcessMetrics:
        """What every process has."""
        return self.group(ProcessMetrics)

    @property
    def consumer(self) -> ConsumerMetrics:
        """Kafka group and Redis."""
        return self.group(ConsumerMetrics)

    def group(self, kind: type[Group]) -> Group:
        """The process's one group of this kind; its series are exported from the first call on."""
        made = self._groups.get(kind)
        if made is None:
            made = self._groups[kind] = kind(self.registry, per_camera=self._per_camera)
        assert isinstance(made, kind)
        return made

    def exposition(self) -> bytes:
        """Everything in Prometheus's text format."""
        return generate_latest(self.registry)
