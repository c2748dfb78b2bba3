"""Metrics: the names that dashboards rely on, one registry a process, bounded series."""

from __future__ import annotations

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def names(metrics: Metrics) -> set[str]:
    return {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (["process"], {"process_state", "loop_lag_seconds", "loop_lag_now_seconds", "frames_dropped"}),
        (
            ["consumer"],
            {
                "consumer_lag", "consumer_last_progress_timestamp_seconds", "consumer_records",
                "consumer_missed", "consumer_partitions", "rebalances", "dlq", "queue_items", "queue_bytes",
                "stage_seconds", "queue_seconds", "compute_seconds", "batch_size", "result_latency_seconds",
                "labels", "redis_write_seconds", "redis_up", "clock_offset_seconds",
            },
        ),
        (
            ["producer"],
            {
                "published_frames", "published_bytes", "camera_connected", "camera_reconnects",
                "camera_last_frame_timestamp_seconds", "producer_in_flight_bytes",
            },
        ),
        (
            ["edge"],
            {"frames", "frame_age_seconds", "min_entropy_bits", "patches_kept", "offload_record_bytes"},
        ),
        (
            ["uplink"],
            {
                "offload_records", "offload_bytes", "uplink_bytes", "uplink_bytes_per_second",
                "budget_bytes_per_second", "budget_share_bytes_per_second", "affordable_bytes_per_second",
                "burst_bytes", "tokens_bytes", "uplink_waiting_records", "uplink_waiting_bytes",
                "uplink_in_flight_bytes", "uplink_send_seconds", "uplink_queue_seconds", "tau_bits", "delta",
                "min_patches", "codec_quality", "controller_state", "expected_accuracy", "accuracy_proxy",
                "uplink_workers",
            },
        ),
        (["server"], {"server_records", "offload_age_seconds", "batch_tokens", "server_tokens"}),
    ],
)  # fmt: skip
def test_every_group_exports_its_names(groups: list[str], expected: set[str]) -> None:
    metrics = Metrics("edge")
    bare = names(metrics)
    for group in groups:
        getattr(metrics, group)
    added = names(metrics) - bare
    assert added >= {f"saccade_{name}" for name in expected}
    assert all(name.startswith("saccade_") for name in added)


def test_all_groups_fit_into_one_registry_and_two_processes_share_nothing() -> None:
    first, second = Metrics("edge"), Metrics("server")
    for metrics in (first, second):
        for group in ("process", "consumer", "producer", "edge", "uplink", "server"):
            getattr(metrics, group)
    first.edge.frames.labels("gate", "final").inc()
    key = ("saccade_frames_total", (("camera", "gate"), ("outcome", "final")))
    assert samples(first)[key] == 1
    assert key not in samples(second)
    assert samples(second)["saccade_role", (("role", "server"),)] == 1


def test_a_camera_counts_its_frames_drops_and_sessions() -> None:
    metrics = Metrics("producer")
    camera = metrics.camera("gate")
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


def test_without_per_camera_series_all_cameras_share_one() -> None:
    metrics = Metrics("producer", per_camera=False)
    for idx in range(5):
        metrics.camera(f"cam{idx}").published(10)
    assert samples(metrics)["saccade_published_frames_total", (("camera", "all"),)] == 5


def test_the_controller_is_in_one_state_with_one_codec() -> None:
    metrics = Metrics("edge")
    for state, cause in (("startup", "none"), ("degrade", "server")):
        metrics.uplink.in_state(state, cause)
    metrics.uplink.at_codec("webp", 75)
    metrics.uplink.at_codec("avif", 45)
    seen = {key: value for key, value in samples(metrics).items() if key[0].endswith(("_state", "_quality"))}
    assert seen == {
        ("saccade_controller_state", (("cause", "server"), ("state", "degrade"))): 1,
        ("saccade_codec_quality", (("codec", "avif"),)): 45,
    }


def test_progress_is_stamped_by_topic() -> None:
    metrics = Metrics("server")
    metrics.consumer.progressed("offload")
    stamp = samples(metrics)["saccade_consumer_last_progress_timestamp_seconds", (("topic", "offload"),)]
    assert abs(stamp - time.time()) < 60
