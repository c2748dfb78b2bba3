"""The simulation where each camera has a belief: on recorded streams, against the same frames one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gating.entropy import min_entropy_bits, softmax
from lab.simulation.recording import Recording, Streamed, load_recording
from lab.simulation.simulate import Scenario, simulate
from schemas.belief_rule import BeliefRule
from schemas.frontier import Frontier
from schemas.rates import constant
from uplink.curve import Curve
from uplink.default_curve import default_frontier

pytestmark = pytest.mark.slow  # minutes of cameras

CLASSES, FRAMES = 8, 6_000
RULE = BeliefRule(floor=0.3, gamma=1.0, memory_s=8.0, alpha=0.7, beta=1.4, redundancy=0.9)
SCENARIO = Scenario(constant(25_000.0), 120.0, cameras=4, frames_per_s=5.0)


@pytest.fixture(scope="module")
def streams() -> Recording:
    """Objects that pass for about four seconds; an edge that is wrong for as long as it looks at some of them."""
    rng = np.random.default_rng(3)
    families = tuple(family.point for family in Curve(default_frontier()).families)
    passes = np.cumsum(rng.random(FRAMES) < 0.05)
    truth = rng.integers(CLASSES, size=passes[-1] + 1)[passes]
    looks = rng.normal(size=(passes[-1] + 1, 16))[passes] + 0.2 * rng.normal(size=(FRAMES, 16))
    confused = rng.normal(scale=1.2, size=(passes[-1] + 1, CLASSES))[passes]
    logits = confused + rng.normal(scale=0.5, size=(FRAMES, CLASSES)) + 2.2 * np.eye(CLASSES)[truth]
    said = softmax(rng.normal(size=(FRAMES, CLASSES)) + 5.0 * np.eye(CLASSES)[truth])
    server = np.repeat(said[:, None], len(families), axis=1)
    return Recording(
        min_entropy=min_entropy_bits(logits),
        edge_right=logits.argmax(axis=1) == truth,
        server_right=server.argmax(axis=2) == truth[:, None],
        num_bytes=np.full((FRAMES, len(families)), 3_000),
        families=families,
        stream=Streamed(truth, logits.astype(np.float32), looks.astype(np.float32), server),
    )


def with_belief(rule: BeliefRule = RULE) -> Frontier:
    return replace(default_frontier(), belief=rule)


def test_a_belief_is_right_more_often_at_the_same_budget(streams: Recording) -> None:
    alone = simulate(SCENARIO, frontier=default_frontier(), recording=streams)
    believed = simulate(SCENARIO, frontier=with_belief(), recording=streams)
    assert believed.accuracy > alone.accuracy + 0.02
    assert believed.windows_over_cap == alone.windows_over_cap == 0
    assert believed.accuracy_edge == pytest.approx(alone.accuracy_edge)
    assert believed.sent_bytes <= 1.02 * alone.sent_bytes


def test_it_comes_out_the_same_each_time(streams: Recording) -> None:
    one, two = (simulate(SCENARIO, frontier=with_belief(), recording=streams) for _ in range(2))
    assert one.departures == two.departures
    assert one.accuracy_by_second == two.accuracy_by_second


def test_without_a_belief_a_recording_of_streams_is_like_any_other(streams: Recording) -> None:
    plain = simulate(SCENARIO, recording=replace(streams, stream=None), frontier=with_belief())
    ignored = simulate(SCENARIO, recording=streams, frontier=default_frontier())
    assert plain.departures == ignored.departures
    assert plain.accuracy_by_second == ignored.accuracy_by_second


def test_without_an_uplink_the_belief_still_helps_the_edge(streams: Recording) -> None:
    result = simulate(replace(SCENARIO, budget=constant(0.0)), frontier=with_belief(), recording=streams)
    assert result.sent == 0
    assert result.accuracy > result.accuracy_edge


def test_frames_without_a_truth_are_shown_and_not_scored(streams: Recording) -> None:
    assert streams.stream is not None
    hidden = np.arange(FRAMES) % 4 == 0
    known = replace(streams.stream, truth=np.where(hidden, -1, streams.stream.truth))
    right = {name: getattr(streams, name).copy() for name in ("edge_right", "server_right")}
    for each in right.values():
        each[hidden] = False
    partly = replace(streams, stream=known, **right)
    for frontier in (default_frontier(), with_belief()):
        every, some = (simulate(SCENARIO, frontier=frontier, recording=each) for each in (streams, partly))
        assert some.departures == every.departures
        assert some.accuracy == pytest.approx(every.accuracy, abs=0.01)
        assert some.accuracy_edge == pytest.approx(every.accuracy_edge, abs=0.01)


def test_a_recording_of_streams_is_read_as_it_was_written(streams: Recording, tmp_path: Path) -> None:
    streams.save(tmp_path / "streams.npz")
    read = load_recording(tmp_path / "streams.npz").stream
    assert read is not None
    assert streams.stream is not None
    for name in ("truth", "logits", "embedding", "server"):
        assert (getattr(read, name) == getattr(streams.stream, name)).all()


def test_the_threshold_moves_with_the_scene_and_not_by_itself(streams: Recording) -> None:
    """What a fixed threshold would ask for at each moment is the scene's doing, and the threshold follows that."""
    budget = 20_000.0
    scenario = replace(SCENARIO, budget=constant(budget), cameras=16)
    result = simulate(scenario, frontier=with_belief(), recording=streams)
    tau = np.array([moment.point.tau for moment in result.moments if moment.second >= 26])
    fixed = replace(result.moments[-1].point, tau=float(np.median(tau)))
    free = replace(scenario, budget=constant(1e6), fixed_point=fixed)
    asked = simulate(free, frontier=with_belief(), recording=streams).departures
    by_second = np.bincount([int(second) for second, _ in asked], minlength=120)[20:]
    demand = np.convolve(by_second, np.ones(6) / 6, "valid")[: tau.size]
    assert np.corrcoef(np.log(tau[1:]), demand[:-1])[0, 1] > 0.7
    assert np.quantile(tau, 0.9) < 1.6 * np.quantile(tau, 0.1)
    assert len({moment.point.codec for moment in result.moments if moment.second >= 26}) == 1
    assert result.bytes_between(20, 120) == pytest.approx(100 * budget, rel=0.03)
