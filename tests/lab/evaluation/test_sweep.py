import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation.sweep import (
    Payload,
    accuracy_at_cost,
    mean_payload,
    measure,
    pareto_rows,
    random_gate_share,
    two_rounds,
)


def payload_of(correct: list[float], patches: list[float], wire: list[float]) -> Payload:
    macs = [10.0 * each for each in patches]
    return Payload(*(np.asarray(each, dtype=np.float64) for each in (correct, patches, wire, macs)))


PAYLOAD = payload_of([1, 1, 0, 1], [196, 98, 49, 0], [1000, 500, 300, 100])
EDGE = np.array([True, False, True, False])


def test_a_point_against_hand_computed_figures() -> None:
    point = measure(np.array([True, True, False, False]), EDGE, PAYLOAD)
    assert point.correct.tolist() == [1, 1, 1, 0]
    assert point.accuracy == 0.75
    assert point.offload_ratio == 0.5
    assert point.patches_mean == (196 + 98) / 2
    assert point.bytes_per_offload == 750
    assert point.patch_cost == pytest.approx((196 + 98) / (196 * 4))
    assert point.bytes_per_frame == 375
    assert point.server_macs == (1960 + 980) / 4


def test_a_cost_per_frame_is_no_product_of_means() -> None:
    """Hard frames keep more patches; ratio times mean kept of all frames would miss that."""
    point = measure(np.array([True, False, False, False]), EDGE, PAYLOAD)
    assert point.patch_cost == 0.25
    assert point.patch_cost != pytest.approx(0.25 * PAYLOAD.patches.mean() / 196)


def test_nothing_offloaded_costs_nothing() -> None:
    point = measure(np.zeros(4, dtype=bool), EDGE, PAYLOAD)
    assert (point.accuracy, point.offload_ratio, point.patch_cost, point.bytes_per_frame) == (0.5, 0, 0, 0)
    assert (point.patches_mean, point.bytes_per_offload, point.server_macs) == (0, 0, 0)


def test_the_random_gate_is_the_mean_over_all_gates_of_its_ratio() -> None:
    """Checked against every way to choose two of four frames."""
    point = measure(random_gate_share(4, 0.5), EDGE, PAYLOAD)
    masks = [
        np.array([i in pair for i in range(4)]) for pair in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    ]
    each = [measure(mask, EDGE, PAYLOAD) for mask in masks]
    assert point.accuracy == pytest.approx(np.mean([one.accuracy for one in each]))
    assert point.bytes_per_frame == pytest.approx(np.mean([one.bytes_per_frame for one in each]))
    assert point.patch_cost == pytest.approx(np.mean([one.patch_cost for one in each]))
    assert point.offload_ratio == 0.5


def test_mean_payload_averages_draws_frame_by_frame() -> None:
    draws = [payload_of([1, 0], [10, 10], [100, 90]), payload_of([0, 0], [10, 10], [110, 100])]
    mean = mean_payload(draws)
    assert mean.correct.tolist() == [0.5, 0.0]
    assert mean.wire_bytes.tolist() == [105, 95]
    with pytest.raises(ValueError, match="empty"):
        mean_payload([])


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="same"):
        measure(np.zeros(3, dtype=bool), EDGE, PAYLOAD)
    with pytest.raises(ValueError, match="alike"):
        Payload(np.zeros(2), np.zeros(3), np.zeros(2), np.zeros(2))


@given(st.data())
def test_per_frame_costs_are_ratio_times_per_offload_costs(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 30))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    mask, edge = rng.random(size) < 0.5, rng.random(size) < 0.5
    payload = Payload(
        (rng.random(size) < 0.5).astype(float),
        rng.integers(1, 197, size).astype(float),
        rng.integers(100, 9999, size).astype(float),
        rng.random(size),
    )
    point = measure(mask, edge, payload)
    assert point.bytes_per_frame == pytest.approx(point.offload_ratio * point.bytes_per_offload)
    assert point.patch_cost == pytest.approx(point.offload_ratio * point.patches_mean / 196)
    assert 0 <= point.accuracy <= 1
    rows = np.flatnonzero(mask)
    if rows.size:
        assert point.bytes_per_offload == pytest.approx(payload.take(rows).wire_bytes.mean())


def test_round_two_replaces_the_answer_and_adds_its_cost_only_where_the_server_doubts() -> None:
    first = Payload(
        np.array([1.0, 0.0]), np.array([49.0, 49.0]), np.array([100.0, 100.0]), np.array([5.0, 5.0])
    )
    second = Payload(
        np.array([0.0, 1.0]), np.array([20.0, 20.0]), np.array([40.0, 50.0]), np.array([5.0, 5.0])
    )
    both = two_rounds(first, np.array([0.1, 0.8]), second, 0.8)
    assert both.correct.tolist() == [1, 1]
    assert both.patches.tolist() == [49, 69]
    assert both.wire_bytes.tolist() == [100, 150]
    assert both.server_macs.tolist() == [5, 10]


def test_dominated_and_equal_rows_are_left_out() -> None:
    costs = [3.0, 1.0, 2.0, 2.0, 1.0, 4.0]
    accuracies = [0.9, 0.5, 0.7, 0.6, 0.5, 0.9]
    assert pareto_rows(costs, accuracies).tolist() == [1, 2, 0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_frontier_is_exactly_the_undominated_values(points: list[tuple[int, int]]) -> None:
    rows = pareto_rows([c for c, _ in points], [a for _, a in points])
    kept = [points[row] for row in rows]
    expected = {
        (cost, accuracy)
        for cost, accuracy in points
        if not any(c <= cost and a >= accuracy and (c, a) != (cost, accuracy) for c, a in points)
    }
    assert set(kept) == expected
    assert kept == sorted(kept)
    assert len(kept) == len(expected)


def test_accuracy_at_cost_mixes_neighbouring_points() -> None:
    costs, accuracies = [0.0, 10.0, 5.0], [0.5, 0.9, 0.1]
    assert accuracy_at_cost(costs, accuracies, 5.0) == pytest.approx(0.7)
    assert accuracy_at_cost(costs, accuracies, 99.0) == 0.9
    assert math.isnan(accuracy_at_cost(costs, accuracies, -1.0))


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        pareto_rows([1.0], [0.1, 0.2])
    assert pareto_rows([], []).dtype == np.int64
