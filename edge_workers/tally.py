"""What an edge worker counts, in one place so that the stages read as what they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_workers.metrics import EdgeMetrics
from edge_workers.task import FrameTask, Span
from gating.gate import GateResult
from runtime.clock import Clock
from runtime.metrics import Metrics
from schemas.label import Label, State
from schemas.win_rule import PutResult
from uplink.metrics import UplinkMetrics
from uplink.task import Delivered, DeliveryResult


class EdgeTally:
    """Writes the edge's metrics; all from the event loop's thread."""

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
            self._edge.min_entropy.observe(result.score)

    def labelled(self, label: Label, result: PutResult) -> None:
        """A label was offered to Redis, which did `result` with it."""
        camera = self._edge.label_of(label.camera)
        self._edge.frames.labels(camera, label.state.value).inc()
        if label.state is State.DROPPED and result is PutResult.WRITTEN:
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
