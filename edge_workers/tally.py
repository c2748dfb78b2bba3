"""What an edge worker counts, in one place so that the stages read as what they do."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from edge_workers.encode import Encoded
from edge_workers.incoming import Incoming
from edge_workers.metrics import EdgeMetrics
from gating.gate import GateResult
from runtime.metrics import Metrics
from runtime.redis_store import PutResult
from schemas.label import Label, State
from uplink.metrics import UplinkMetrics
from uplink.shell import Outcome, Sent


class EdgeTally:
    """Writes the edge's metrics; all from the event loop's thread."""

    def __init__(self, metrics: Metrics, frames_topic: str) -> None:
        self._process = metrics.process
        self._consumer = metrics.consumer
        self._edge = metrics.group(EdgeMetrics)
        self._uplink = metrics.group(UplinkMetrics)
        self._topic = frames_topic

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The time inside is one call of the stage."""
        began_s = time.perf_counter()
        yield
        self._consumer.stage_time.labels(name).observe(time.perf_counter() - began_s)

    def read(self, num_records: int) -> None:
        """Records were taken from `frames`."""
        self._consumer.records.labels(self._topic).inc(num_records)

    def waiting(self, num_frames: int, num_bytes: int) -> None:
        """What the backlog holds."""
        self._consumer.queue_items.labels("backlog").set(num_frames)
        self._consumer.queue_bytes.labels("backlog").set(num_bytes)

    def opened(self, incoming: Incoming, utc_ns: int) -> None:
        """A frame's message is sound."""
        if incoming.live:
            self._edge.frame_age.observe(incoming.age_ns(utc_ns) / 1e9)

    def dead(self, reason: str) -> None:
        """A record is in the dead-letter topic."""
        self._consumer.dead_letters.labels(self._topic, reason).inc()

    def computed(self, frames: Sequence[Incoming], seconds: float, now_s: float) -> None:
        """One forward pass, which ended at the local monotonic time `now_s`."""
        self._consumer.batch_size.observe(len(frames))
        self._consumer.compute_time.observe(seconds)
        for frame in frames:
            self._consumer.queue_time.observe(now_s - seconds - frame.read_s)

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

    def offered(self, encoded: Encoded, outcome: Outcome) -> None:
        """The uplink is done with a record."""
        self._edge.patches_kept.observe(encoded.num_patches)
        if encoded.data is not None:
            self._edge.record_bytes.observe(len(encoded.data))
        if isinstance(outcome, Sent):
            self._uplink.offloads.labels("sent").inc()
            camera = self._uplink.label_of(encoded.record.camera)
            self._uplink.offload_bytes.labels(camera).inc(outcome.num_bytes)
            if encoded.unsure.repeated:
                self._uplink.repeated_bytes.inc(outcome.num_bytes)
        else:
            self._uplink.offloads.labels(outcome.cause).inc()
