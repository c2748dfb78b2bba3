"""Metrics: the names that dashboards rely on, one registry a process, bounded series."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from runtime.metrics import MAX_CAMERA_SERIES, ConsumerMetrics, MetricGroup, Metrics, ProcessMetrics

Samples = Callable[[Metrics], dict[tuple[str, tuple[tuple[str, str], ...]], float]]


class DoorMetrics(MetricGroup):
    """What a role might add."""

    def __init__(self, registry: CollectorRegistry, *, per_camera: bool) -> None:
        super().__init__(registry, per_camera=per_camera)
        self.opened = self.counter("doors_opened_total", "Doors opened", ("camera",))


def test_a_process_exports_its_life(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    expected = {"process_state", "loop_lag_seconds", "loop_lag_now_seconds", "frames_dropped"}
    assert names_of(ProcessMetrics) == expected


def test_a_consumer_exports_its_names(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    assert names_of(ConsumerMetrics) == {
        "consumer_lag", "consumer_last_progress_timestamp_seconds", "consumer_records",
        "consumer_missed", "consumer_partitions", "rebalances", "dlq", "queue_items", "queue_bytes",
        "stage_seconds", "queue_seconds", "compute_seconds", "batch_size", "result_latency_seconds",
        "labels", "redis_write_seconds", "redis_up", "clock_offset_seconds",
        "model_generation", "model_failed",
    }  # fmt: skip


def test_a_group_is_made_once_and_two_processes_share_nothing(samples: Samples) -> None:
    first, second = Metrics("edge"), Metrics("server")
    key = ("saccade_doors_opened_total", (("camera", "gate"),))
    for metrics in (first, second):
        assert metrics.group(DoorMetrics) is metrics.group(DoorMetrics)
    first.group(DoorMetrics).opened.labels("gate").inc()
    assert samples(first)[key] == 1
    assert key not in samples(second)
    assert samples(second)["saccade_role", (("role", "server"),)] == 1


def test_without_per_camera_series_all_cameras_share_one() -> None:
    group = Metrics("edge", per_camera=False).group(DoorMetrics)
    assert {group.label_of(f"cam{idx}") for idx in range(5)} == {"all"}


def test_ten_thousand_invented_cameras_share_a_bounded_number_of_series() -> None:
    group = Metrics("edge").group(DoorMetrics)
    names = {group.label_of(f"cam{idx}") for idx in range(10_000)}
    assert len(names) == MAX_CAMERA_SERIES + 1
    assert group.label_of("cam7") == "cam7"
    assert group.label_of("cam9999") == "others"


def test_progress_is_stamped_by_topic(samples: Samples) -> None:
    metrics = Metrics("server")
    metrics.consumer.progressed("offload")
    stamp = samples(metrics)["saccade_consumer_last_progress_timestamp_seconds", (("topic", "offload"),)]
    assert abs(stamp - time.time()) < 60
