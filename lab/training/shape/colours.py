"""A baseline that sees colours only: if it did well, the scenes would be too easy."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

BINS: Final = 512
_LEVELS: Final = 8
_PENALTY: Final = 1e-4


def histogram(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the (512,) square roots of the shares of 8 × 8 × 8 colours in a (224, 224, 3) crop."""
    cells = (crop >> 5).astype(np.int64)
    index = (cells[..., 0] * _LEVELS + cells[..., 1]) * _LEVELS + cells[..., 2]
    shares = np.bincount(index.ravel(), minlength=BINS) / index.size
    return np.sqrt(shares).astype(np.float32)


def colour_accuracy(
    known: NDArray[np.float32],
    known_truth: NDArray[np.int64],
    fresh: NDArray[np.float32],
    fresh_truth: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Return (m,) whether a logistic regression on colour histograms of known scenes is right on fresh ones.

    Args:
        known: (n, 512) of scenes to fit on.
        known_truth: (n,) class indices.
        fresh: (m, 512).
        fresh_truth: (m,).

    """
    inputs, labels = standardised(known, known), torch.from_numpy(known_truth)
    classes = int(max(known_truth.max(), fresh_truth.max())) + 1
    weights = torch.zeros(BINS + 1, classes, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=200, history_size=10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = F.cross_entropy(inputs @ weights, labels) + _PENALTY * weights.square().sum()
        torch.autograd.backward(value)
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        answers = (standardised(fresh, known) @ weights).argmax(1).numpy()
    return np.asarray(answers == fresh_truth)


def standardised(inputs: NDArray[np.float32], known: NDArray[np.float32]) -> torch.Tensor:
    """Return inputs with the known ones' mean 0 and deviation 1 per bin, and a column of ones."""
    scaled = (inputs - known.mean(0)) / np.maximum(known.std(0), 1e-3)
    return torch.from_numpy(np.hstack([scaled, np.ones((len(inputs), 1))]).astype(np.float32))
