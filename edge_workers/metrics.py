"""What an edge worker counts: the metrics of its model, and what the stages tell them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry

from edge_workers.task import FrameTask, Span
from gating.gate import GateResult
from runtime.clock import Clock
from runtime.metrics import SECONDS, MetricGroup, Metrics
from schemas.geometry import NUM_PATCHES
from schemas.label import Label, LabelState
from schemas.win_rule import PutResult
from uplink.metrics import UplinkMetrics
from uplink.task import Delivered, DeliveryResult

_SCORES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PATCHES = (1, 2, 4, 8, 12, 24, 49, 74, 98, 123, 147, 172, NUM_PATCHES)
_BYTES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000)


class EdgeMetrics(MetricGroup):
    """Frames through the edge model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.frames = self.counter(
            "frames_total", "Frames by the state they were left in by the edge", ("camera", "outcome")
        )
        self.still_frames = self.counter(
            "still_frames_total",
            "Frames that look like the last classified one and take its answer",
            ("camera",),
        )
        self.frame_age = self.histogram("frame_age_seconds", "Age of live frames at intake", SECONDS)
        self.gate_score = self.histogram(
            "gate_score", "The gate's score of the edge's answer, in its unit", _SCORES
        )
        self.patches_kept = self.histogram("patches_kept", "Patches of an offloaded frame", _PATCHES)
        self.record_bytes = self.histogram("offload_record_bytes", "Size of an offload record", _BYTES)


class FrameMetrics:
    """What stages tell of frames, written to the metrics; all from the event loop's thread."""

    def __init__(self, metrics: Metrics, frames_topic: str, clock: Clock) -> None:
        self._process = metrics.process
        self._consumer = metrics.consumer
        self._edge = metrics.group(EdgeMetrics)
        self._uplink = metrics.group(UplinkMetrics)
        self._topic = frames_topic
        self._clock = clock

    @contextmanager
    def stage(self, name: str, tasks: Sequence[FrameTask]) -> Iterator[None]:
        """The time inside is one call of the stage, for each of the tasks."""
        began_s = self._clock.monotonic_s()
        yield
        span = Span(began_s, self._clock.monotonic_s())
        for task in tasks:
            task.spans[name] = span
        self._consumer.stage_time.labels(name).observe(span.ended_s - span.began_s)

    def read(self, num_records: int) -> None:
        """Records were taken from `frames`."""
        self._consumer.records.labels(self._topic).inc(num_records)

    def waiting(self, num_frames: int, num_bytes: int) -> None:
        """What the backlog holds."""
        self._consumer.queue_items.labels("backlog").set(num_frames)
        self._consumer.queue_bytes.labels("backlog").set(num_bytes)

    def opened(self, task: FrameTask, utc_ns: int) -> None:
        """A frame's message is sound."""
        if task.live:
            self._edge.frame_age.observe(task.age_ns(utc_ns) / 1e9)

    def dead(self, reason: str) -> None:
        """A record is in the dead-letter topic."""
        self._consumer.dead_letters.labels(self._topic, reason).inc()

    def still(self, tasks: Sequence[FrameTask]) -> None:
        """These frames need no forward pass."""
        for task in tasks:
            self._edge.still_frames.labels(self._edge.label_of(task.camera)).inc()

    def inferred(self, tasks: Sequence[FrameTask]) -> None:
        """These frames were one forward pass."""
        span = tasks[0].spans["infer"]
        self._consumer.batch_size.observe(len(tasks))
        self._consumer.compute_time.observe(span.ended_s - span.began_s)
        for task in tasks:
            self._consumer.queue_time.observe(span.began_s - task.read_s)

    def gated(self, results: Sequence[GateResult]) -> None:
        """The gate saw these frames."""
        for result in results:
            self._edge.gate_score.observe(result.score)

    def labelled(self, label: Label, result: PutResult) -> None:
        """A label was offered to Redis, which did `result` with it."""
        camera = self._edge.label_of(label.camera)
        self._edge.frames.labels(camera, label.state.value).inc()
        if label.state is LabelState.DROPPED and result is PutResult.WRITTEN:
            self._process.frames_dropped.labels(camera, label.cause).inc()

    def offered(self, task: FrameTask, result: DeliveryResult) -> None:
        """The uplink is done with a record."""
        self._edge.patches_kept.observe(task.num_patches)
        if task.data is not None:
            self._edge.record_bytes.observe(len(task.data))
        if isinstance(result, Delivered):
            self._uplink.offloads.labels("sent").inc()
            self._uplink.offload_bytes.labels(self._uplink.label_of(task.camera)).inc(result.num_bytes)
            if task.repeated:
                self._uplink.repeated_bytes.inc(result.num_bytes)
        else:
            self._uplink.offloads.labels(result.cause).inc()
