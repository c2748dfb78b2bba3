import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation import gates


def logits_of(*rows: list[float]) -> np.ndarray:
    """Logits whose softmax is exactly the given probabilities."""
    return np.log(np.asarray(rows, dtype=np.float64))


def test_scores_of_hand_computed_distributions() -> None:
    logits = logits_of([0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3])
    np.testing.assert_allclose(gates.min_entropy_scores(logits), [1.0, math.log2(3)])
    np.testing.assert_allclose(gates.shannon_scores(logits), [1.5, math.log2(3)])
    np.testing.assert_allclose(gates.margin_scores(logits), [0.75, 1.0])


def test_a_frame_at_the_threshold_is_offloaded() -> None:
    assert gates.offloaded(np.array([0.7, 0.8, 0.9]), 0.8).tolist() == [False, True, True]


def test_the_oracle_sends_only_what_the_server_repairs() -> None:
    edge = np.array([True, True, False, False])
    server = np.array([True, False, True, False])
    assert gates.oracle(edge, server).tolist() == [False, False, True, False]


def test_threshold_for_ratio_counts_ties_together() -> None:
    scores = np.array([1.0, 2.0, 2.0, 3.0])
    assert gates.threshold_for_ratio(scores, 0.25) == 3.0
    assert gates.threshold_for_ratio(scores, 0.75) == 2.0
    assert gates.threshold_for_ratio(scores, 0.0) == math.inf
    # .5 lies between "one" and "three" of four: the one that sends fewer wins.
    assert gates.threshold_for_ratio(scores, 0.5) == 3.0


@given(st.lists(st.floats(0, 10), min_size=1, max_size=40), st.floats(0, 1))
def test_no_candidate_threshold_comes_closer_to_the_ratio(values: list[float], ratio: float) -> None:
    scores = np.array(values)
    found = gates.offloaded(scores, gates.threshold_for_ratio(scores, ratio)).mean()
    best = min(abs(gates.offloaded(scores, each).mean() - ratio) for each in [*values, math.inf])
    assert abs(found - ratio) == pytest.approx(best)


def test_tau_grid_falls_and_holds_the_papers_values_and_the_deciles() -> None:
    h_min = np.linspace(0.0, 2.0, 101)
    grid = gates.tau_grid(h_min)
    assert list(grid) == sorted(grid, reverse=True)
    assert set(gates.PAPER_TAUS) <= set(grid)
    assert {0.2, 0.4, 1.0, 1.8} <= set(grid)
    assert len(grid) == len(set(grid))


def test_quantiles_are_101_and_never_fall() -> None:
    quantiles = gates.h_min_quantiles(np.array([0.3, 0.1, 0.2]))
    assert len(quantiles) == 101
    assert quantiles[0] == pytest.approx(0.1)
    assert quantiles[50] == pytest.approx(0.2)
    assert quantiles[100] == pytest.approx(0.3)
    assert all(low <= high for low, high in pairwise(quantiles))
