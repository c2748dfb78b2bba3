import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.evaluation.confidence import auroc, reliability, risk_coverage


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], dtype=float)
    positive = np.array([flag for _, flag in pairs])
    wins = [1.0 if p > n else 0.5 if p == n else 0.0 for p in scores[positive] for n in scores[~positive]]
    result = auroc(scores, positive)
    if wins:
        assert result == pytest.approx(np.mean(wins))
    else:
        assert np.isnan(result)


def test_risk_coverage_keeps_the_surest_first_and_ties_together() -> None:
    coverage, risk = risk_coverage(np.array([0.3, 0.1, 0.3, 0.9]), np.array([False, True, True, False]))
    np.testing.assert_allclose(coverage, [0.25, 0.75, 1.0])
    np.testing.assert_allclose(risk, [0.0, 1 / 3, 0.5])


def test_calibration_error_of_two_bins_by_hand() -> None:
    """Confidences .2 .4 (half right) and .9 .7 (all right) in two bins: .5 |.3-.5| + .5 |.8-1| = .2."""
    result = reliability(np.array([0.2, 0.4, 0.9, 0.7]), np.array([True, False, True, True]), bins=2)
    assert result.counts.tolist() == [2, 2]
    assert result.error == pytest.approx(0.2)
    assert reliability(np.array([1.0]), np.array([True])).counts[-1] == 1
