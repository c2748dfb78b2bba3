"""Metrics of the server model."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from runtime.metrics import SECONDS, MetricGroup

_TOKENS = (197, 394, 788, 1_576, 3_152, 6_304, 12_608, 25_216, 50_432)


class ServerMetrics(MetricGroup):
    """Offload records through the server model."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.records = self.counter(
            "server_records_total",
            "Offload records by outcome: final, expired, dead_letter, ...",
            ("outcome",),
        )
        self.record_age = self.histogram(
            "offload_age_seconds", "Age of offload records on arrival, since capture", SECONDS
        )
        self.batch_tokens = self.histogram("batch_tokens", "Tokens of one forward pass", _TOKENS)
        self.tokens = self.counter("server_tokens_total", "Tokens computed")
