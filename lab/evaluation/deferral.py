"""Learned deferral: offload where the server is likelier to be right than the edge. Pure numpy.

Two logistic regressions on the edge's output alone, P(edge right) and P(server right); the gate's score is
their difference. Fitted on the calibration half, so the report on the test half is honest.

Source: the optimal rule of Jitkrittum et al., NeurIPS 2023, arXiv 2307.02764.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits, shannon_entropy_bits, softmax

Floats = NDArray[np.float64]
Logits = NDArray[np.float32] | NDArray[np.float64]
Mask = NDArray[np.bool_]

_NEWTON_STEPS: Final = 25
_RIDGE: Final = 1.0
_TOP: Final = 3


@dataclass(frozen=True, slots=True)
class DeferralGate:
    """A fitted gate; `score` is P(server right) - P(edge right) for each row of the edge's logits."""

    mean: Floats
    scale: Floats
    edge_weights: Floats
    server_weights: Floats

    def score(self, logits: Logits) -> Floats:
        """Return (N,) scores in (-1, 1); the larger, the more an offload is worth."""
        inputs = _with_bias((features(logits) - self.mean) / self.scale)
        return np.asarray(_sigmoid(inputs @ self.server_weights) - _sigmoid(inputs @ self.edge_weights))


def features(logits: Logits) -> Floats:
    """Return (N, F): the largest log-odds, both entropies, their squares, of (N, C >= 2) logits."""
    probabilities = np.sort(softmax(logits), axis=-1)[:, ::-1]
    top = np.clip(probabilities[:, : min(_TOP, probabilities.shape[1])], 1e-6, 1 - 1e-6)
    h_min = min_entropy_bits(logits)[:, None]
    shannon = shannon_entropy_bits(logits)[:, None]
    return np.concatenate([np.log(top / (1 - top)), h_min, shannon, h_min**2, shannon**2], axis=1)


def fit_deferral(logits: Logits, edge_correct: Mask, server_correct: Mask) -> DeferralGate:
    """Return the gate fitted on calibration frames.

    Args:
        logits: (N, C) of the edge.
        edge_correct: (N,).
        server_correct: (N,) on the very payload that the gate will send.
    """
    inputs = features(logits)
    mean, scale = inputs.mean(axis=0), np.maximum(inputs.std(axis=0), 1e-9)
    standard = _with_bias((inputs - mean) / scale)
    return DeferralGate(mean, scale, _logistic(standard, edge_correct), _logistic(standard, server_correct))


def _with_bias(inputs: Floats) -> Floats:
    return np.concatenate([np.ones((inputs.shape[0], 1)), inputs], axis=1)


def _logistic(inputs: Floats, target: Mask) -> Floats:
    """Return ridge-regularised logistic weights by Newton's method; the bias is not penalised."""
    penalty = np.full(inputs.shape[1], _RIDGE)
    penalty[0] = 1e-6  # keeps the system solvable where every target is alike
    weights = np.zeros(inputs.shape[1])
    for _ in range(_NEWTON_STEPS):
        probability = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (probability - target) + penalty * weights
        curvature = (inputs * (probability * (1 - probability))[:, None]).T @ inputs + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        # A capped step cannot diverge where the classes are separable.
        weights = weights - step * min(1.0, 5.0 / (np.abs(step).max() + 1e-12))
    return weights


def _sigmoid(values: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * values)))
