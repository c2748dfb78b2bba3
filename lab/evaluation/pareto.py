"""Which operating points no other point beats. Pure numpy."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def pareto_rows(costs: Sequence[float], accuracies: Sequence[float]) -> NDArray[np.int64]:
    """Return the rows on the frontier, by rising cost; accuracy rises strictly along them.

    A row is left out when another has no higher cost and no lower accuracy. Of equal rows the first stays.

    Args:
        costs: (N,), finite.
        accuracies: (N,), finite.
    """
    cost = np.asarray(costs, dtype=np.float64)
    accuracy = np.asarray(accuracies, dtype=np.float64)
    if cost.shape != accuracy.shape or cost.ndim != 1:
        raise ValueError(f"costs {cost.shape} and accuracies {accuracy.shape} must be (N,) alike")
    kept = []
    best = -np.inf
    # By rising cost, then falling accuracy, then row: the first row of each cost is its best.
    for row in np.lexsort((np.arange(cost.size), -accuracy, cost)):
        if accuracy[row] > best:
            kept.append(row)
            best = accuracy[row]
    return np.asarray(kept, dtype=np.int64)


def accuracy_at_cost(costs: Sequence[float], accuracies: Sequence[float], cost: float) -> float:
    """Return the best accuracy to be had for `cost`, linear between frontier points (mix two settings in
    time).

    Returns NaN below the cheapest point; beyond the dearest point its accuracy holds.
    """
    rows = pareto_rows(costs, accuracies)
    xs = np.asarray(costs, dtype=np.float64)[rows]
    ys = np.asarray(accuracies, dtype=np.float64)[rows]
    if xs.size == 0 or cost < xs[0]:
        return float("nan")
    return float(np.interp(cost, xs, ys))
