"""The control's promises, kept against simulated links, servers and faults."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lab.simulation.fixed import best_fixed
from lab.simulation.outcome import SimulationResult
from lab.simulation.recording import Recording, synthetic
from lab.simulation.simulate import RECORDED_FRAMES, Scenario, simulate
from lab.simulation.site import Faults
from schemas.rates import Auto, RateSchedule, constant
from uplink.default_curve import default_frontier

pytestmark = pytest.mark.slow  # minutes of cameras; test_pinned.py is the quick one

KBIT = 125.0
STEPS = RateSchedule((0.0, 30.0, 60.0, 90.0, 120.0), (1600 * KBIT, 300 * KBIT, 800 * KBIT, 0.0, 800 * KBIT))
"""1600 -> 300 -> 800 -> 0 -> 800 kbit/s"""
BUSY = {"cameras": 12, "frames_per_s": 10.0}
"""Demand of more than 1.5 times the largest rate."""


def used(result: SimulationResult, from_s: float, to_s: float, bytes_per_s: float) -> float:
    return result.bytes_between(from_s, to_s) / (bytes_per_s * (to_s - from_s))


def age_p99(result: SimulationResult, from_s: float, to_s: float) -> float:
    ages = sorted(age for second, age in result.queue_ages if from_s <= second < to_s)
    return ages[int(0.99 * (len(ages) - 1))]


@pytest.fixture(scope="module")
def told() -> SimulationResult:
    return simulate(Scenario(STEPS, 150.0, **BUSY))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def auto() -> SimulationResult:
    return simulate(Scenario(Auto(), 150.0, capacity=STEPS, delay_s=0.005, **BUSY))  # type: ignore[arg-type]


def test_a_told_budget_is_never_exceeded_and_used_to_five_percent(told: SimulationResult) -> None:
    """Any ten seconds from one second after a step on, when demand exceeds the budget."""
    assert told.windows_over_cap == 0
    for start_s, end_s, kbit in ((2, 30, 1600), (31, 60, 300), (61, 90, 800), (121, 150, 800)):
        for from_s in range(start_s, end_s - 10):
            record = 6_000 / (kbit * KBIT * 10)
            assert used(told, from_s, from_s + 10, kbit * KBIT) == pytest.approx(1.0, abs=max(0.05, record))


def test_a_step_down_is_obeyed_at_once_and_a_step_up_used_within_ten_seconds(told: SimulationResult) -> None:
    assert used(told, 31, 32, 300 * KBIT) < 1.5
    assert (
        told.bytes_between(90.1, 120.0) == 0
    )  # what was with the producer before leaves within a round trip
    assert used(told, 65, 70, 800 * KBIT) > 0.9
    taus = {moment.second: moment.point.tau for moment in told.moments}
    assert taus[33.0] > taus[29.0]


def test_the_queue_does_not_grow_after_a_step(told: SimulationResult, auto: SimulationResult) -> None:
    for result in (told, auto):
        for from_s, to_s in ((35, 60), (65, 90), (125, 150)):
            assert age_p99(result, from_s, to_s) < 1.0


def test_an_unknown_link_is_found_and_followed(auto: SimulationResult) -> None:
    for from_s, to_s, kbit in ((10, 30, 1600), (35, 60, 300), (70, 90, 800), (130, 150, 800)):
        assert used(auto, from_s, to_s, kbit * KBIT) > 0.93
    assert auto.expired_share < 0.02
    assert "server" not in {moment.cause for moment in auto.moments}


@pytest.mark.parametrize(
    ("round_trip_ms", "loss", "least_used", "longest_age_s"),
    [(10, 0.0, 0.95, 0.8), (300, 0.0, 0.95, 1.0), (600, 0.0, 0.95, 1.5), (600, 0.01, 0.8, 1.9)],
)
@pytest.mark.parametrize("is_told", [True, False], ids=["told", "auto"])
def test_a_long_way_is_filled_by_several_requests(
    is_told: bool, round_trip_ms: int, loss: float, least_used: float, longest_age_s: float
) -> None:
    """From the frame to the acknowledgement a record takes one round trip, one more where something was lost."""
    rate = constant(800 * KBIT)
    scenario = Scenario(rate if is_told else Auto(), 60.0, loss=loss, delay_s=round_trip_ms / 2_000, **BUSY)  # type: ignore[arg-type]
    result = simulate(replace(scenario, capacity=constant(1_000 * KBIT) if is_told else rate))
    assert used(result, 20, 60, 800 * KBIT) > least_used
    assert result.windows_over_cap == 0
    ages = sorted(age for second, age in result.ack_ages if second >= 15)
    assert ages[int(0.99 * (len(ages) - 1))] < longest_age_s


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "auto"])
def test_a_way_that_becomes_twice_as_long_is_filled_again_within_seconds(is_told: bool) -> None:
    """Its rate seems to fall, so the round trip is measured at once and not ten seconds after it was as short."""
    rate = constant(800 * KBIT)
    scenario = Scenario(
        rate if is_told else Auto(),
        60.0,
        capacity=constant(920 * KBIT) if is_told else rate,
        delay_s=lambda at_s: 0.15 if at_s < 30 else 0.3,
        **BUSY,  # type: ignore[arg-type]
    )
    assert used(simulate(scenario), 33, 60, 800 * KBIT) > 0.85


def test_one_producer_sends_one_request_after_the_other() -> None:
    """As without several: at 300 ms much of the link stays unused."""
    scenario = Scenario(Auto(), 60.0, capacity=constant(800 * KBIT), delay_s=0.15, producers=1, **BUSY)  # type: ignore[arg-type]
    assert used(simulate(scenario), 15, 60, 800 * KBIT) < 0.7


def test_labels_flow_again_within_five_seconds_of_an_outage(
    told: SimulationResult, auto: SimulationResult
) -> None:
    for result in (told, auto):
        assert not [at_s for at_s in result.final_times if 91.0 < at_s < 120.0]
        assert [at_s for at_s in result.final_times if 120.0 < at_s < 125.0]


def test_ten_times_the_demand_on_80_kbit_then_30_seconds_of_silence() -> None:
    """Nothing above the cap leaves, little is lost in the outage, and the link is in use right after it."""
    link = RateSchedule((0.0, 40.0, 70.0), (80 * KBIT, 0.0, 80 * KBIT))
    result = simulate(Scenario(constant(80 * KBIT), 100.0, capacity=link, **BUSY))  # type: ignore[arg-type]
    assert min(moment.wanted_bytes_per_s for moment in result.moments[3:]) > 10 * 80 * KBIT
    assert result.windows_over_cap == 0
    assert used(result, 5, 40, 80 * KBIT) > 0.85
    assert result.bytes_between(42.0, 70.0) == 0
    assert [at_s for at_s in result.final_times if 70.0 < at_s < 75.0]
    assert used(result, 75, 100, 80 * KBIT) > 0.85
    assert result.held_back["uplink_down"] > 0


def test_a_sudden_scene_change_does_not_break_the_cap() -> None:
    result = simulate(Scenario(constant(400 * KBIT), 60.0, hard=((30.0, 60.0),), **BUSY))  # type: ignore[arg-type]
    assert result.windows_over_cap == 0
    assert used(result, 30, 40, 400 * KBIT) == pytest.approx(1.0, abs=0.05)
    assert age_p99(result, 35, 60) < 1.0


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_five_seconds_after_the_servers_were_halved_few_records_expire(seed: int) -> None:
    servers = RateSchedule((0.0, 20.0), (40.0, 20.0))
    result = simulate(
        Scenario(constant(1600 * KBIT), 60.0, server_records_per_s=servers, seed=seed, **BUSY)  # type: ignore[arg-type]
    )
    sent = [second for second, _ in result.departures if second >= 25.0]
    expired = [second for second in result.expired_times if second >= 25.0]
    assert len(sent) > 35 * 10
    assert len(expired) < 0.05 * len(sent)


@pytest.mark.parametrize("kbit", [80, 300, 800])
def test_the_accuracy_is_within_half_a_point_of_the_best_fixed_point(kbit: int) -> None:
    frontier = default_frontier()
    scenario = Scenario(constant(kbit * KBIT), 120.0, cameras=8, frames_per_s=10.0, seed=5)
    recording = synthetic(frontier, frames=RECORDED_FRAMES, frames_per_s=10.0, seed=5)
    result = simulate(scenario, frontier=frontier, recording=recording)
    assert result.accuracy >= best_fixed(scenario, frontier, recording).accuracy - 0.005
    assert result.accuracy > result.accuracy_edge


FAULTS = {
    "none": Faults(),
    "one worker stopped": Faults(stopped={"edge-0": [(20.0, 40.0)]}),
    "one of three cut off from Redis": Faults(cut_off={"edge-1": [(20.0, 40.0)]}),
    "Redis restarted without its last second": Faults(redis_away=[(20.0, 21.0)]),
    "Redis away for long": Faults(redis_away=[(20.0, 40.0)]),
    "everything at once": Faults(
        stopped={"edge-0": [(18.0, 30.0)]},
        cut_off={"edge-1": [(19.0, 28.0)]},
        redis_away=[(20.0, 20.5), (23.0, 26.0)],
    ),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_three_workers_never_send_more_than_one_budget(faults: Faults) -> None:
    result = simulate(
        Scenario(constant(400 * KBIT), 60.0, workers=3, cameras=12, frames_per_s=10.0, faults=faults)
    )
    assert result.windows_over_cap == 0
    assert used(result, 50, 60, 400 * KBIT) > 0.9


def test_a_stopped_workers_share_goes_to_the_others_and_comes_back() -> None:
    faults = Faults(stopped={"edge-0": [(20.0, 40.0)]})
    result = simulate(
        Scenario(constant(400 * KBIT), 60.0, workers=3, cameras=12, frames_per_s=10.0, faults=faults)
    )
    shares = {(moment.worker, moment.second): moment.share for moment in result.moments}
    assert shares["edge-1", 30.0] == pytest.approx(0.5, rel=0.05)
    assert [shares[f"edge-{idx}", 50.0] for idx in range(3)] == pytest.approx([1 / 3] * 3, rel=0.05)


def test_two_workers_spend_fair_shares() -> None:
    """Five cameras on one worker and four on the other: both want more than half, so both get half."""
    result = simulate(Scenario(constant(400 * KBIT), 60.0, workers=2, cameras=9, frames_per_s=10.0))
    shares = {moment.worker: moment.share for moment in result.moments if moment.second == 30.0}
    assert list(shares.values()) == pytest.approx([0.5, 0.5], rel=0.05)
    one, two = result.bytes_by_worker.values()
    assert one == pytest.approx(two, rel=0.05)


def test_at_a_steady_budget_and_a_steady_scene_the_point_is_calm() -> None:
    """Frames in an order of chance: what moves the threshold is the control itself."""
    frontier = default_frontier()
    mood = synthetic(frontier, frames=RECORDED_FRAMES, frames_per_s=5.0, seed=0)
    order = np.random.default_rng(0).permutation(len(mood))
    steady = Recording(
        mood.min_entropy[order],
        mood.edge_right[order],
        mood.server_right[order],
        mood.num_bytes[order],
        mood.families,
    )
    scenario = Scenario(constant(200 * KBIT), 120.0, cameras=6)
    result = simulate(scenario, frontier=frontier, recording=steady)
    taus = [moment.point.tau for moment in result.moments if moment.second >= 20]
    steps = np.abs(np.diff(taus))
    assert 0.8 < min(taus) < max(taus) < 1.6
    assert steps.mean() < 0.08
    assert used(result, 20, 120, 200 * KBIT) > 0.97


def test_workers_whose_share_holds_no_record_take_turns() -> None:
    """Twenty on 100 kbit/s: a twentieth of the burst is 720 bytes, and even shares sent nothing."""
    result = simulate(Scenario(constant(100 * KBIT), 100.0, workers=20, cameras=20))
    assert result.windows_over_cap == 0
    assert used(result, 10, 100, 100 * KBIT) > 0.6
    assert len(result.finals_by_camera) == 20


def test_no_camera_starves() -> None:
    result = simulate(Scenario(constant(400 * KBIT), 120.0, **BUSY))  # type: ignore[arg-type]
    finals = [result.finals_by_camera[camera] for camera in range(12)]
    assert min(finals) > 0.3 * sum(finals) / len(finals)


def test_it_runs_much_faster_than_real_time_and_the_same_each_time() -> None:
    scenario = Scenario(constant(200 * KBIT), 120.0)
    one, two = simulate(scenario), simulate(scenario)
    assert one.departures == two.departures
    assert max(one.times_faster, two.times_faster) > 100


def test_a_large_site_keeps_its_budget() -> None:
    result = simulate(Scenario(constant(8e6 / 8), 10.0, workers=50, cameras=1000, frames_per_s=1.0))
    assert result.windows_over_cap == 0
    assert math.isclose(result.frames, 10_000, rel_tol=0.01)
