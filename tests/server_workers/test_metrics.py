"""Metrics of a server worker: the names that dashboards rely on."""

from __future__ import annotations

from collections.abc import Callable

from runtime.metrics import MetricGroup
from server_workers.metrics import ServerMetrics


def test_a_server_worker_exports_its_names(names_of: Callable[[type[MetricGroup]], set[str]]) -> None:
    expected = {"server_records", "offload_age_seconds", "batch_tokens", "server_tokens"}
    assert names_of(ServerMetrics) == expected
