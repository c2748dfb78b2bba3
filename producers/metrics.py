"""Metrics of cameras on their way to `frames`."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry

from runtime.metrics import MetricGroup, Metrics


class ProducerMetrics(MetricGroup):
    """Cameras on their way to `frames`."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.published = self.counter(
            "published_frames_total", "Frames acknowledged by the broker", ("camera",)
        )
        self.published_bytes = self.counter(
            "published_bytes_total", "Bytes of acknowledged frames", ("camera",)
        )
        self.connected = self.gauge("camera_connected", "1 while the source gives frames", ("camera",))
        self.frozen = self.gauge(
            "camera_frozen", "1 while the source gives the same picture again and again", ("camera",)
        )
        self.reconnects = self.counter("camera_reconnects_total", "Sessions that ended unasked", ("camera",))
        self.errors = self.counter("camera_errors_total", "Errors of cameras, by name", ("camera", "error"))
        self.last_frame = self.gauge(
            "camera_last_frame_timestamp_seconds", "UTC time of the latest acknowledged frame", ("camera",)
        )
        self.in_flight_bytes = self.gauge(
            "producer_in_flight_bytes", "Bytes handed to Kafka and not acknowledged"
        )


class CameraSeries:
    """One camera's series, for its producer."""

    def __init__(self, metrics: Metrics, camera: str) -> None:
        self._process = metrics.process
        self._producer = metrics.group(ProducerMetrics)
        self._label = self._producer.label_of(camera)

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

    def frozen(self, yes: bool) -> None:
        """Whether the source gives the same picture again and again."""
        self._producer.frozen.labels(self._label).set(yes)

    def reconnected(self) -> None:
        """One session ended unasked."""
        self._producer.reconnects.labels(self._label).inc()

    def troubled(self, trouble: str) -> None:
        """One error of that name kept the camera from giving frames."""
        self._producer.errors.labels(self._label, trouble).inc()
