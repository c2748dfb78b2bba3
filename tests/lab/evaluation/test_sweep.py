import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation.sweep import Payload, mean_payload, measure, random_gate_share


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
