"""Metrics of the edge model."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from runtime.metrics import SECONDS, MetricGroup
from schemas.geometry import NUM_PATCHES

_BITS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_PATCHES = (1, 2, 4, 8, 12, 24, 49, 74, 98, 123, 147, 172, NUM_PATCHES)
_BYTES = (500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000)


class EdgeMetrics(MetricGroup):
    """Frames through the edge model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.frames = self.counter(
            "frames_total", "Frames by the state they were left in by the edge", ("camera", "outcome")
        )
        self.frame_age = self.histogram("frame_age_seconds", "Age of live frames at intake", SECONDS)
        self.min_entropy = self.histogram("min_entropy_bits", "Min-entropy of the edge's answer", _BITS)
        self.patches_kept = self.histogram("patches_kept", "Patches of an offloaded frame", _PATCHES)
        self.record_bytes = self.histogram("offload_record_bytes", "Size of an offload record", _BYTES)
