import numpy as np

from lab.evaluation.confidence import auroc
from lab.evaluation.deferral import features, fit_deferral
from lab.evaluation.gates import min_entropy_scores


def synthetic(seed: int, size: int = 3000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-way doubt is repaired by the server, spread-out doubt is not."""
    rng = np.random.default_rng(seed)
    logits = np.zeros((size, 6))
    hopeless = rng.random(size) < 0.5
    logits[:, 0] = np.where(hopeless, 1.0, 4.0)
    logits[:, 1] = np.where(hopeless, 0.5, 3.6)
    logits += rng.normal(0, 0.3, logits.shape)
    edge = rng.random(size) < np.where(hopeless, 0.4, 0.5)
    server = rng.random(size) < np.where(hopeless, 0.4, 0.95)
    return logits, edge, server


def test_it_learns_where_the_server_helps_when_confidence_alone_misleads() -> None:
    gate = fit_deferral(*synthetic(0))
    logits, edge, server = synthetic(1)
    repaired = ~edge & server
    assert auroc(gate.score(logits), repaired) > 0.6
    assert auroc(min_entropy_scores(logits), repaired) < 0.5
    assert np.abs(gate.score(logits)).max() < 1


def test_constant_outcomes_are_survived() -> None:
    logits, edge, _ = synthetic(2, 200)
    gate = fit_deferral(logits, np.ones_like(edge), np.ones_like(edge))
    assert np.isfinite(gate.score(logits)).all()


def test_features_work_with_two_classes() -> None:
    assert features(np.array([[0.0, 1.0]])).shape == (1, 6)
