"""From settings to an uplink: each kind of budget, and frontiers that do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.settings import load_settings
from runtime.clock import ManualClock
from runtime.metrics import Metrics
from schemas.errors import SettingsError
from schemas.frontier import dump_frontier
from uplink.default_curve import default_frontier
from uplink.setup import make_uplink
from uplink.shell import Uplink
from vit import SHIPPED_FRONTIER


def make(budget: dict[str, Any], **hashes: str) -> Uplink:
    settings = load_settings(None, {"budget": budget}, {})
    names: dict[str, Any] = {"edge_hash": "e" * 64, "classes_hash": "c" * 64} | hashes
    nothing: Any = object()
    return make_uplink(
        settings,
        nothing,
        nothing,
        ManualClock(100.0),
        Metrics("edge"),
        shipped=SHIPPED_FRONTIER,
        point=settings.edge.point,
        request_timeout_s=3.0,
        **names,
    )


def test_without_a_budget_nothing_is_limited_and_the_settings_decide_the_point() -> None:
    uplink = make({})
    assert uplink.max_record_bytes is None
    assert uplink.point == load_settings(None, {}, {}).edge.point


@pytest.mark.parametrize(
    ("rate", "told", "usable"),
    [
        ("400kbit", 50_000.0, 0.0),  # a told budget is spent under a lease only
        ("400kbit@0,80kbit@9", 50_000.0, 0.0),
        ("5GB/month", 0.0, 0.0),  # its rate comes from what was spent of it
        ("auto", float("inf"), 16_000.0),
    ],
)
def test_each_kind_of_budget_starts_as_it_must(rate: str, told: float, usable: float) -> None:
    allowance = make({"rate": rate})._scheduler.admission.allowance
    assert (allowance.told_bytes_per_s, allowance.rate_bytes_per_s) == (told, usable)


def test_a_schedule_may_have_begun_before_the_worker() -> None:
    start_unix_s = ManualClock(100.0).time_ns() / 1e9 - 20.0
    uplink = make({"rate": "400kbit@0,80kbit@9", "schedule_start_unix_s": start_unix_s})
    assert uplink._scheduler.admission.allowance.told_bytes_per_s == 10_000.0


def test_a_frontier_of_these_models_is_used_and_one_of_others_refused(tmp_path: Path) -> None:
    path = tmp_path / "frontier.json"
    frontier = replace(
        default_frontier(), edge_hash="e" * 64, classes_hash="c" * 64, points=default_frontier().points[:3]
    )
    dump_frontier(frontier, path)
    budget = {"rate": "400kbit", "frontier": str(path)}
    assert len(make(budget)._scheduler.tuning.curve.families) == 1
    with pytest.raises(SettingsError, match=r"budget\.frontier: .*edge model"):
        make(budget, edge_hash="x" * 64)
    path.write_text("{}")
    with pytest.raises(SettingsError, match=r"budget\.frontier: .*version"):
        make(budget)
