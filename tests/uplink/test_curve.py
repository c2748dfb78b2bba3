from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.belief_rule import BeliefRule
from schemas.frontier import dump_frontier, load_frontier
from schemas.operating_point import OperatingPoint
from uplink.curve import Curve, FrontierRefusedError, check_models
from uplink.default_curve import IS_DEFAULT, default_frontier
from uplink.frame_mix import Mix


def calibration_mix(frames_per_s: float = 10.0) -> Mix:
    """The mix that the built-in curve was made for."""
    entropies = np.interp(np.linspace(0.0005, 0.9995, 1000), np.linspace(0, 1, 101), QUANTILES)
    return Mix(frames_per_s, entropies, 1.0 - np.arange(1000) / 1000)


FRONTIER = default_frontier()
QUANTILES = FRONTIER.h_min_quantiles


def test_the_calibrated_points_come_out_as_they_were_measured() -> None:
    """On the calibration's mix, the curve promises each point's own accuracy at its own rate."""
    curve, mix = Curve(FRONTIER), calibration_mix()
    weighed = curve.weigh(mix)
    for point in FRONTIER.points:
        family = curve.family_of(point.point)
        rate = point.bytes_per_frame * mix.frames_per_s
        choice = curve.choose(weighed, affordable_bytes_per_s=rate, overhead_bytes=0.0)
        assert choice.bytes_per_s <= rate * 1.001
        assert choice.accuracy >= point.accuracy - 0.003
        assert curve.families[family].kept == pytest.approx(kept_of(point), abs=0.02)


def kept_of(point: object) -> float:
    return {30: 0.60, 45: 0.76, 50: 0.85, 75: 0.92, 90: 0.97}.get(
        point.point.quality if point.point.delta == 1 else -1,  # type: ignore[attr-defined]
        0.88,
    )


@pytest.mark.parametrize("rate", [0.0, 500.0, 3_000.0, 20_000.0, 100_000.0, math.inf])
def test_a_choice_never_costs_more_than_is_affordable(rate: float) -> None:
    weighed = Curve(FRONTIER).weigh(calibration_mix())
    choice = Curve(FRONTIER).choose(weighed, affordable_bytes_per_s=rate, overhead_bytes=300.0)
    assert choice.bytes_per_s <= rate


def test_more_bytes_never_promise_less() -> None:
    curve = Curve(FRONTIER)
    weighed = curve.weigh(calibration_mix())
    accuracies = [
        curve.choose(weighed, affordable_bytes_per_s=rate, overhead_bytes=300.0).accuracy
        for rate in np.linspace(0, 120_000, 200)
    ]
    assert (np.diff(accuracies) >= -1e-12).all()


def test_a_harder_mix_raises_tau_at_the_same_rate() -> None:
    curve, easy = Curve(FRONTIER), calibration_mix()
    hard = replace(easy, scores=easy.scores + 1.0)
    taus = [
        curve.choose(curve.weigh(mix), affordable_bytes_per_s=10_000.0, overhead_bytes=300.0).point.tau
        for mix in (easy, hard)
    ]
    assert taus[1] > taus[0] + 0.9


def test_what_the_servers_finish_limits_the_share() -> None:
    curve = Curve(FRONTIER)
    choice = curve.choose(
        curve.weigh(calibration_mix(100.0)),
        affordable_bytes_per_s=math.inf,
        overhead_bytes=0.0,
        max_records_per_s=5.0,
    )
    assert choice.share * 100 <= 5.0
    assert choice.share * 100 == pytest.approx(5.0, rel=0.05)


def test_where_few_of_the_frames_in_doubt_ask_more_of_them_may_be_in_doubt() -> None:
    """A belief that asked about a tenth of the frames from each τ on: a tenth of the bytes, at the same τ."""
    points = tuple(replace(point, offload_ratio=point.offload_ratio / 10) for point in FRONTIER.points)
    believing = Curve(replace(FRONTIER, belief=BeliefRule(patience_s=0.5), points=points))
    plain = Curve(FRONTIER)
    mine, theirs = (
        curve.choose(curve.weigh(calibration_mix()), affordable_bytes_per_s=rate, overhead_bytes=100.0)
        for curve, rate in ((believing, 500.0), (plain, 5_000.0))
    )
    assert mine.point.tau == pytest.approx(theirs.point.tau, rel=0.1)
    assert mine.bytes_per_s == pytest.approx(theirs.bytes_per_s / 10, rel=0.1)
    assert mine.bytes_per_s <= 500.0


def test_families_whose_records_cannot_pass_the_bucket_are_left_out() -> None:
    curve = Curve(FRONTIER)
    weighed = curve.weigh(calibration_mix())
    for limit, quality in ((math.inf, 90), (9_000.0, 45), (1_000.0, 30)):
        choice = curve.choose(
            weighed, affordable_bytes_per_s=math.inf, overhead_bytes=0.0, max_record_bytes=limit
        )
        assert choice.point.quality == quality


def test_the_encoder_changes_only_for_a_gain() -> None:
    curve = Curve(FRONTIER)
    weighed = curve.weigh(calibration_mix())
    free = curve.choose(weighed, affordable_bytes_per_s=60_000.0, overhead_bytes=0.0)
    near = next(idx for idx in range(len(curve.families)) if abs(idx - free.family) == 1)
    kept = curve.choose(weighed, affordable_bytes_per_s=60_000.0, overhead_bytes=0.0, current=near)
    assert kept.family in (near, free.family)
    assert kept.accuracy >= free.accuracy - 0.002


def test_frames_that_the_edge_answers_better_are_never_offloaded() -> None:
    bins = tuple(
        replace(each, server_accuracy=each.edge_accuracy - 0.1) if each.hi <= 0.8 else each
        for each in FRONTIER.accuracy_by_h_min
    )
    curve = Curve(replace(FRONTIER, accuracy_by_h_min=bins))
    weighed = curve.weigh(calibration_mix())
    choice = curve.choose(weighed, affordable_bytes_per_s=math.inf, overhead_bytes=0.0)
    assert choice.point.tau == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("limit", [math.inf, 12_000.0])
def test_what_is_wanted_is_the_choice_without_rates(limit: float) -> None:
    curve = Curve(FRONTIER)
    weighed = curve.weigh(calibration_mix())
    free = curve.choose(
        weighed,
        affordable_bytes_per_s=math.inf,
        overhead_bytes=300.0,
        bytes_scale=1.2,
        max_record_bytes=limit,
    )
    bound = curve.choose(
        weighed, affordable_bytes_per_s=5e3, overhead_bytes=300.0, bytes_scale=1.2, max_record_bytes=limit
    )
    assert bound.wanted_bytes_per_s == free.wanted_bytes_per_s == free.bytes_per_s > bound.bytes_per_s


@given(st.lists(st.floats(-0.5, 0.9).map(lambda gain: round(gain, 1)), min_size=6, max_size=6))
def test_the_best_start_is_the_last_of_those_with_the_largest_gain(gains: list[float]) -> None:
    bins = tuple(
        replace(each, edge_accuracy=0.05, server_accuracy=min(max(0.05 + gain, 0.0), 1.0))
        for each, gain in zip(FRONTIER.accuracy_by_h_min, gains, strict=True)
    )
    weighed = Curve(replace(FRONTIER, accuracy_by_h_min=bins)).weigh(calibration_mix())
    for start in range(0, 1001, 50):
        best = max(weighed.gain_from[start:])
        where = np.flatnonzero(weighed.gain_from[start:] == best)[-1] + start
        assert (weighed.best_from[start], weighed.best_start[start]) == (best, where)


def test_a_frontier_of_other_models_is_refused(tmp_path: object) -> None:
    frontier = replace(FRONTIER, edge_hash="a" * 64, classes_hash="b" * 64, edge_model="theirs")
    check_models(frontier, edge_hash="a" * 64, classes_hash="b" * 64)
    with pytest.raises(FrontierRefusedError, match=r"edge model 'aaaaaaaaaaaaaaaa' \(theirs\)"):
        check_models(frontier, edge_hash="c" * 64, classes_hash="b" * 64)
    with pytest.raises(FrontierRefusedError, match="class list"):
        check_models(frontier, edge_hash="a" * 64, classes_hash="c" * 64)


def test_a_frontier_without_bins_still_orders_its_points() -> None:
    curve = Curve(replace(FRONTIER, accuracy_by_h_min=()))
    weighed = curve.weigh(calibration_mix())
    poor = curve.choose(weighed, affordable_bytes_per_s=2_000.0, overhead_bytes=0.0)
    rich = curve.choose(weighed, affordable_bytes_per_s=60_000.0, overhead_bytes=0.0)
    assert poor.accuracy < rich.accuracy


def test_the_built_in_curve_is_a_valid_frontier(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "frontier.json"
    dump_frontier(FRONTIER, path)
    assert load_frontier(path) == FRONTIER
    assert FRONTIER.edge_model == IS_DEFAULT


@pytest.mark.parametrize(
    ("codec", "quality", "delta", "nearest"),
    [
        ("webp", 75, 1.0, ("webp", 75, 1.0)),
        ("jpeg", 75, 1.0, ("webp", 75, 1.0)),
        ("avif", 60, 1.0, ("webp", 50, 1.0)),
        ("avif", 31, 0.9, ("avif", 30, 1.0)),
        ("raw", 75, 1.0, ("webp", 90, 1.0)),
        ("unheard-of", 90, 1.0, ("webp", 90, 1.0)),
    ],
)
def test_a_point_of_no_family_belongs_to_the_nearest_in_size(
    codec: str, quality: int, delta: float, nearest: tuple[str, int, float]
) -> None:
    curve = Curve(FRONTIER)
    point = OperatingPoint(tau=1.0, delta=delta, codec=codec, quality=quality)
    found = curve.families[curve.family_of(point)].point
    assert (found.codec, found.quality, found.delta) == nearest
