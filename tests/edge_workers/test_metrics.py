"""Metrics of an edge worker: the names that dashboards rely on."""

from __future__ import annotations

from collections.abc import Callable

from edge_workers.metrics import EdgeMetrics
from runtime.metrics import MetricGroup


def test_an_edge_worker_exports_its_names(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    expected = {
        "frames",
        "still_frames",
        "frame_age_seconds",
        "gate_score",
        "patches_kept",
        "offload_record_bytes",
    }
    assert names_of(EdgeMetrics) == expected
