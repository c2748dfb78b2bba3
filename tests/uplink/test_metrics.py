"""Metrics of the uplink: the names that dashboards rely on, and one state at a time."""

from __future__ import annotations

from collections.abc import Callable

from runtime.metrics import MetricGroup, Metrics
from uplink.metrics import UplinkMetrics

Samples = Callable[[Metrics], dict[tuple[str, tuple[tuple[str, str], ...]], float]]


def test_an_uplink_exports_its_names(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    assert names_of(UplinkMetrics) == {
        "offload_records", "offload_bytes", "offload_repeated_bytes", "uplink_bytes",
        "uplink_bytes_per_second", "budget_bytes_per_second", "budget_share_bytes_per_second",
        "affordable_bytes_per_second", "burst_bytes", "tokens_bytes", "uplink_waiting_records",
        "uplink_waiting_bytes", "uplink_in_flight_bytes", "uplink_send_seconds", "uplink_queue_seconds",
        "tau_bits", "delta", "min_patches", "codec_quality", "controller_state", "expected_accuracy",
        "accuracy_proxy", "uplink_workers", "answers_disagreeing", "answers_disagreeing_expected",
        "calibration_drifted",
    }  # fmt: skip


def test_the_controller_is_in_one_state_with_one_codec(samples: Samples) -> None:
    metrics = Metrics("edge")
    uplink = metrics.group(UplinkMetrics)
    for state, cause in (("startup", "none"), ("degrade", "server")):
        uplink.in_state(state, cause)
    uplink.at_codec("webp", 75)
    uplink.at_codec("avif", 45)
    seen = {key: value for key, value in samples(metrics).items() if key[0].endswith(("_state", "_quality"))}
    assert seen == {
        ("saccade_controller_state", (("cause", "server"), ("state", "degrade"))): 1,
        ("saccade_codec_quality", (("codec", "avif"),)): 45,
    }
