from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from schemas.operating_point import OperatingPoint
from uplink.admission import AdmissionLimits
from uplink.default_curve import default_frontier
from uplink.task import OffloadTask
from uplink.tuning import MAX_FEEDBACK_GAIN, Tuning, TuningState

FRONTIER = default_frontier()
START = OperatingPoint(tau=0.8, delta=1.0)
ENTROPIES = np.random.default_rng(0).exponential(1.0, 4_000).tolist()
FPS = 20
LIMITS = AdmissionLimits(
    bytes_per_s=40_000.0,
    cause="budget",
    records_per_s=math.inf,
    record_bytes=5_000.0,
    overhead_bytes=300.0,
    max_record_bytes=17_000.0,
    depth_bytes=18_000.0,
    blocked="",
    is_overrun=False,
    is_probing=False,
)


def make_tuning() -> Tuning:
    return Tuning(FRONTIER, START, 0.0, is_fixed=False)


def settle(
    tuning: Tuning, from_s: float, seconds: float, *, offered_bytes_per_s: float = 48_000.0, **changes: Any
) -> float:
    """Frames of all entropies, so much offered, and a decision each quarter of a second."""
    for quarter in range(int(seconds * 4)):
        now_s = from_s + quarter / 4
        for idx in range(FPS // 4):
            place = int(now_s * FPS) + idx
            tuning.mix.observe(ENTROPIES[place % len(ENTROPIES)], now_s)
        tuning.offered(offered_bytes_per_s / 4, now_s)
        tuning.update(replace(LIMITS, **changes), now_s)
    return from_s + seconds


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (TuningState.STEADY, "budget")),
        ({"cause": "link"}, (TuningState.STEADY, "link")),
        ({"bytes_per_s": 1e7}, (TuningState.STEADY, "demand")),
        ({"blocked": "uplink_down"}, (TuningState.DEGRADE, "uplink_down")),
        ({"is_overrun": True}, (TuningState.DEGRADE, "server")),
        ({"records_per_s": 2.0}, (TuningState.DEGRADE, "server")),
        ({"is_probing": True, "cause": "link"}, (TuningState.PROBE, "link")),
    ],
)
def test_each_situation_has_its_state_and_cause(
    changes: dict[str, Any], expected: tuple[TuningState, str]
) -> None:
    tuning = make_tuning()
    settle(tuning, 0.0, 10.0, **changes)
    assert (tuning.controller.state, tuning.controller.cause) == expected


def test_it_starts_up_until_frames_came() -> None:
    tuning = make_tuning()
    for quarter in range(40):
        tuning.update(LIMITS, quarter / 4)
    assert (tuning.controller.state, tuning.controller.cause) == (TuningState.STARTUP, "warm_up")


def test_it_starts_up_then_steadies_and_degrades_for_two_seconds_after_a_fall() -> None:
    tuning = make_tuning()
    now_s = settle(tuning, 0.0, 0.25)
    assert tuning.controller.state is TuningState.STARTUP
    now_s = settle(tuning, now_s, 5.0)
    before = tuning.choice.point.tau
    now_s = settle(tuning, now_s, 0.25, bytes_per_s=10_000.0)
    assert tuning.controller.state is TuningState.DEGRADE
    assert tuning.choice.point.tau > before + 0.5
    settle(tuning, now_s, 2.5, bytes_per_s=10_000.0)
    assert tuning.controller.state is TuningState.STEADY


def test_blocked_means_that_the_edge_goes_on_alone() -> None:
    tuning = make_tuning()
    settle(tuning, 0.0, 3.0, blocked="uplink_down")
    assert tuning.choice.share == 0.0
    settle(tuning, 3.0, 3.0, blocked="no_server", records_per_s=1.0)
    assert 0.0 < tuning.choice.share <= MAX_FEEDBACK_GAIN / FPS


def test_the_feedback_gain_follows_what_is_offered_and_does_not_wind_up() -> None:
    tuning = make_tuning()
    now_s = settle(tuning, 0.0, 30.0, offered_bytes_per_s=10_000.0)
    assert tuning.feedback.gain == MAX_FEEDBACK_GAIN
    settle(tuning, now_s, 1.0, blocked="uplink_down", offered_bytes_per_s=0.0)
    assert tuning.feedback.gain < 1.5
    saturated = make_tuning()
    settle(saturated, 0.0, 60.0, bytes_per_s=1e7, offered_bytes_per_s=1e5)
    assert saturated.feedback.gain < 1.5


def test_larger_records_than_calibrated_raise_tau() -> None:
    tuning = make_tuning()
    now_s = settle(tuning, 0.0, 5.0)
    before = tuning.choice
    num_bytes = int(2 * tuning.curve.families[before.family].bytes_per_offload)
    for _ in range(200):
        tuning.encoded(OffloadTask(camera="cam", score=1.0, deadline_s=9.0, num_bytes=num_bytes))
    settle(tuning, now_s, 1.0)
    assert tuning.feedback.bytes_scale == pytest.approx(2.0, rel=0.05)
    assert tuning.choice.share < before.share


def test_what_the_cameras_want_is_told_whatever_limits() -> None:
    tuning = make_tuning()
    settle(tuning, 0.0, 3.0, bytes_per_s=1_000.0)
    assert tuning.choice.wanted_bytes_per_s > 50_000


def test_answers_that_disagree_more_than_calibrated_lower_what_is_expected_of_the_edge_alone() -> None:
    bins = [replace(each, agreement=0.9) for each in FRONTIER.accuracy_by_h_min]
    tuning = Tuning(replace(FRONTIER, accuracy_by_h_min=tuple(bins)), START, 0.0, is_fixed=False)
    now_s = settle(tuning, 0.0, 4.0)
    before = tuning.choice.edge_accuracy
    for number in range(400):
        tuning.check.answered(ENTROPIES[number], agrees=number % 3 > 0)
    settle(tuning, now_s, 1.0)
    assert tuning.choice.edge_accuracy < before - 0.01
    assert tuning.check.disagreement is not None
    assert tuning.check.disagreement.has_drifted
