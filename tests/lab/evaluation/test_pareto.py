import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation.pareto import accuracy_at_cost, pareto_rows


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
