"""The site's answers against its calibration: silent without drift, told within a bounded number of answers with it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.frontier import HminBin
from uplink.curve import Curve
from uplink.default_curve import default_frontier
from uplink.scheduler import UplinkScheduler
from uplink.self_check import MAX_CORRECTION, MIN_ANSWERS, MIN_CORRECTION, SelfCheck
from uplink.shell import UNLIMITED

BINS = (
    HminBin(0.0, 0.5, 720, 0.97, 0.98, 0.96),
    HminBin(0.5, 1.0, 720, 0.85, 0.95, 0.84),
    HminBin(1.0, 4.0, 720, 0.60, 0.92, 0.62),
)
SCORES = (0.2, 0.7, 2.0)


def answers(check: SelfCheck, count: int, seed: int, *, times: float = 1.0, together: int = 1) -> list[bool]:
    """Feed `count` answers, mostly of the unsure bins, that disagree `times` as often as calibrated; when it drifted.

    So many answers one after the other are about the same object: they all agree or all disagree.
    """
    rng, drifted = np.random.default_rng(seed), []
    for _ in range(count // together):
        place = int(rng.choice(3, p=[0.1, 0.3, 0.6]))
        agrees = bool(rng.random() >= times * (1 - (BINS[place].agreement or 0.0)))
        for _ in range(together):
            check.answered(SCORES[place], agrees=agrees)
            found = check.disagreement
            drifted.append(found is not None and found.has_drifted)
    return drifted


@pytest.mark.parametrize("together", [1, 2])
def test_a_site_like_its_calibration_is_not_told_to_have_drifted(together: int) -> None:
    assert not any(any(answers(SelfCheck(BINS), 1_500, seed, together=together)) for seed in range(6))


def test_a_calibration_that_was_itself_a_sample_is_no_drift() -> None:
    """What it measured of 720 frames a bin differs from the truth by chance."""
    for seed in range(5):
        rng = np.random.default_rng(1_000 + seed)
        sampled = [
            replace(each, agreement=float(rng.binomial(720, each.agreement or 0.0)) / 720) for each in BINS
        ]
        assert not any(answers(SelfCheck(sampled), 1_500, seed))


@pytest.mark.parametrize(("times", "within"), [(2.0, 300), (1.6, 1_000), (0.3, 600)])
def test_a_drift_is_told_within_a_bounded_number_of_answers_and_ends_again(times: float, within: int) -> None:
    for seed in range(4):
        check = SelfCheck(BINS)
        assert not any(answers(check, 800, seed))
        assert any(answers(check, within, 100 + seed, times=times))
        assert not answers(check, 2_000, 200 + seed)[-1]


def test_too_few_answers_say_nothing() -> None:
    check = SelfCheck(BINS)
    for _ in range(MIN_ANSWERS):
        assert check.disagreement is None
        check.answered(2.0, agrees=False)
    for _ in range(20):
        check.answered(2.0, agrees=False)
    found = check.disagreement
    assert found is not None
    assert (found.observed, found.has_drifted) == (1.0, True)
    assert found.expected == pytest.approx(0.38)


@pytest.mark.parametrize("bins", [(), tuple(replace(each, agreement=None) for each in BINS)])
def test_without_a_measured_agreement_it_never_says_anything(bins: tuple[HminBin, ...]) -> None:
    check = SelfCheck(bins)
    for _ in range(500):
        check.answered(2.0, agrees=False)
    assert check.disagreement is None


@given(st.lists(st.tuples(st.floats(0, 4), st.booleans()), max_size=300))
def test_corrections_are_bounded_and_go_the_way_of_the_answers(seen: list[tuple[float, bool]]) -> None:
    check = SelfCheck(BINS)
    for score, agrees in seen:
        check.answered(score, agrees=agrees)
    corrections = check.corrections
    assert ((corrections >= MIN_CORRECTION) & (corrections <= MAX_CORRECTION)).all()
    for each, correction in zip(BINS, corrections, strict=True):
        mine = [agrees for score, agrees in seen if each.lo <= score < each.hi]
        if mine and all(mine):
            assert correction < 1
        if not mine:
            assert correction == pytest.approx(1.0)


def test_a_corrected_curve_gains_more_where_answers_disagree_more_and_nothing_else_changes() -> None:
    frontier = replace(default_frontier(), accuracy_by_h_min=BINS)
    curve = Curve(frontier)
    corrected = curve.corrected(np.array([1.0, 2.0, 0.5]))
    scores = np.array(SCORES)
    assert corrected.full_gain_at(scores).tolist() == pytest.approx([0.01, 0.2, 0.16])
    assert corrected.edge_accuracy_at(scores).tolist() == pytest.approx([0.97, 0.75, 0.76])
    assert corrected.gain_at(0.7, 0) == pytest.approx(2 * curve.gain_at(0.7, 0))
    assert curve.full_gain_at(scores).tolist() == pytest.approx([0.01, 0.1, 0.32])
    worse = replace(frontier, accuracy_by_h_min=(replace(BINS[0], server_accuracy=0.9), *BINS[1:]))
    assert Curve(worse).corrected(np.full(3, 2.0)).full_gain_at(scores)[0] == pytest.approx(-0.07)


def test_what_the_answers_say_stands_in_what_the_uplink_tells() -> None:
    frontier = replace(default_frontier(), accuracy_by_h_min=BINS)
    scheduler = UplinkScheduler(UNLIMITED, frontier, frontier.points[0].point, 0.0, is_fixed=True)
    scheduler.observe(2.0, 1.0, is_still=True)
    assert scheduler.explain(1.0).to_json()["disagreement"] is None
    for _ in range(200):
        scheduler.answered(2.0, agrees=False)
    told = json.loads(json.dumps(scheduler.explain(1.0).to_json(), allow_nan=False))
    assert told["disagreement"] == {"observed": 1.0, "expected": pytest.approx(0.38), "has_drifted": True}
    assert told["still_per_s"] > 0
