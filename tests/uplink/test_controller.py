from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.operating_point import OperatingPoint
from uplink.controller import MAX_PUSH, Controller, Sample, State
from uplink.curve import Curve
from uplink.default_curve import default_frontier
from uplink.mix import Mix

CURVE = Curve(default_frontier())
START = OperatingPoint(tau=0.8, delta=1.0)


def make_sample(**changes: Any) -> Sample:
    entropies = np.sort(np.random.default_rng(0).exponential(1.0, 400))
    sample = Sample(
        weighed=CURVE.weigh(Mix(20.0, entropies, 1.0 - np.arange(400) / 400)),
        num_frames=400,
        affordable_bytes_per_s=40_000.0,
        cause="budget",
        max_records_per_s=math.inf,
        offered_bytes_per_s=48_000.0,
        overhead_bytes=300.0,
        record_bytes=5_000.0,
        depth_bytes=18_000.0,
        max_record_bytes=17_000.0,
        blocked="",
        probes_servers=False,
        is_overrun=False,
        is_probing=False,
        is_hungry=False,
    )
    return replace(sample, **changes)


def settle(controller: Controller, from_s: float, seconds: float, **changes: Any) -> float:
    now_s = from_s
    while now_s < from_s + seconds:
        controller.update(make_sample(**changes), now_s)
        now_s += 0.25
    return now_s


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (State.STEADY, "budget")),
        ({"cause": "link"}, (State.STEADY, "link")),
        ({"affordable_bytes_per_s": 1e7}, (State.STEADY, "demand")),
        ({"blocked": "uplink_down"}, (State.DEGRADE, "uplink_down")),
        ({"is_overrun": True}, (State.DEGRADE, "server")),
        ({"max_records_per_s": 2.0}, (State.DEGRADE, "server")),
        ({"is_probing": True, "cause": "link"}, (State.PROBE, "link")),
        ({"num_frames": 3}, (State.STARTUP, "warm_up")),
    ],
)
def test_each_situation_has_its_state_and_cause(changes: dict[str, Any], expected: tuple[State, str]) -> None:
    controller = Controller(CURVE, START, 0.0)
    settle(controller, 0.0, 10.0, **changes)
    assert (controller.state, controller.cause) == expected


def test_it_starts_up_then_steadies_and_degrades_for_two_seconds_after_a_fall() -> None:
    controller = Controller(CURVE, START, 0.0)
    controller.update(make_sample(), 0.0)
    assert controller.state is State.STARTUP
    now_s = settle(controller, 0.25, 5.0)
    before = controller.choice.point.tau
    controller.update(make_sample(affordable_bytes_per_s=10_000.0), now_s)
    assert controller.state is State.DEGRADE
    assert controller.choice.point.tau > before + 0.5
    settle(controller, now_s, 2.5, affordable_bytes_per_s=10_000.0)
    assert controller.state is State.STEADY


def test_blocked_means_that_the_edge_goes_on_alone() -> None:
    controller = Controller(CURVE, START, 0.0)
    settle(controller, 0.0, 3.0, blocked="uplink_down")
    assert controller.choice.share == 0.0
    settle(controller, 3.0, 3.0, blocked="no_server", probes_servers=True, max_records_per_s=1.0)
    assert 0.0 < controller.choice.share <= MAX_PUSH / 20


def test_the_push_follows_what_is_offered_and_does_not_wind_up() -> None:
    controller = Controller(CURVE, START, 0.0)
    now_s = settle(controller, 0.0, 30.0, offered_bytes_per_s=10_000.0)
    assert controller.push == MAX_PUSH
    settle(controller, now_s, 1.0, blocked="uplink_down", offered_bytes_per_s=0.0)
    assert controller.push < 1.5
    saturated = Controller(CURVE, START, 0.0)
    settle(saturated, 0.0, 60.0, affordable_bytes_per_s=1e7, offered_bytes_per_s=1e5)
    assert saturated.push < 1.5


def test_larger_records_than_calibrated_raise_tau() -> None:
    controller = Controller(CURVE, START, 0.0)
    now_s = settle(controller, 0.0, 5.0)
    before = controller.choice
    for _ in range(200):
        family = controller.choice.family
        controller.record_encoded(int(2 * CURVE.families[family].bytes_per_offload), family)
    settle(controller, now_s, 1.0)
    assert controller.bytes_scale == pytest.approx(2.0, rel=0.05)
    assert controller.choice.share < before.share


def test_what_the_cameras_want_is_told_whatever_limits() -> None:
    controller = Controller(CURVE, START, 0.0)
    settle(controller, 0.0, 3.0, affordable_bytes_per_s=1_000.0)
    assert controller.wanted_bytes_per_s > 50_000
