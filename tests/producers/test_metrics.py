"""Metrics of cameras: the names that dashboards rely on, and bounded series."""

from __future__ import annotations

import time
from collections.abc import Callable

from producers.metrics import CameraSeries, ProducerMetrics
from runtime.metrics import MetricGroup, Metrics

Samples = Callable[[Metrics], dict[tuple[str, tuple[tuple[str, str], ...]], float]]


def test_a_producer_exports_its_names(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    assert names_of(ProducerMetrics) == {
        "published_frames", "published_bytes", "camera_connected", "camera_errors", "camera_frozen",
        "camera_reconnects", "camera_last_frame_timestamp_seconds", "producer_in_flight_bytes",
    }  # fmt: skip


def test_a_camera_counts_its_frames_drops_and_sessions(samples: Samples) -> None:
    metrics = Metrics("producer")
    camera = CameraSeries(metrics, "gate")
    camera.connected(True)
    camera.published(1_000)
    camera.published(500)
    camera.dropped("queue_full")
    camera.reconnected()
    seen = samples(metrics)
    gate = (("camera", "gate"),)
    assert seen["saccade_published_frames_total", gate] == 2
    assert seen["saccade_published_bytes_total", gate] == 1_500
    assert seen["saccade_camera_connected", gate] == 1
    assert seen["saccade_camera_reconnects_total", gate] == 1
    assert seen["saccade_frames_dropped_total", (*gate, ("reason", "queue_full"))] == 1
    assert abs(seen["saccade_camera_last_frame_timestamp_seconds", gate] - time.time()) < 60


def test_without_per_camera_series_all_cameras_share_one(samples: Samples) -> None:
    metrics = Metrics("producer", per_camera=False)
    for idx in range(5):
        CameraSeries(metrics, f"cam{idx}").published(10)
    assert samples(metrics)["saccade_published_frames_total", (("camera", "all"),)] == 5
