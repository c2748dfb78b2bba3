"""The picture of a simulation: budget and bytes, operating point, queue age and accuracy over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lab.simulation.outcome import SimulationResult
from schemas.rates import RateSchedule


def plot(result: SimulationResult, limit: RateSchedule | None, path: Path) -> None:
    """`path` holds the picture; its suffix decides the format."""
    # Matplotlib takes a second to import and only pictures need it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(4, 1, figsize=(10, 11), sharex=True, constrained_layout=True)
    _rates(axes[0], result, limit)
    seconds = sorted({moment.second for moment in result.moments})
    first = [moment for moment in result.moments if moment.worker == result.moments[0].worker]
    axes[1].step(seconds, [moment.point.tau for moment in first], where="post", label="τ, bits")
    axes[1].step(
        seconds, [moment.point.quality / 100 for moment in first], where="post", label="quality / 100"
    )
    axes[1].step(seconds, [moment.point.delta for moment in first], where="post", label="δ")
    axes[2].plot(*_ages(result), ".", markersize=2, label="age of sent records, s")
    axes[3].plot(_smooth(result.accuracy_by_second), label="accuracy (10 s)")
    axes[3].axhline(result.accuracy_edge, color="gray", linestyle=":", label="edge alone")
    axes[3].set_xlabel("s")
    for each in axes:
        each.legend(loc="upper right")
        each.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _rates(axes: Any, result: SimulationResult, limit: RateSchedule | None) -> None:
    seconds = np.arange(int(result.duration_s) + 1)
    times = np.array([second for second, _ in result.departures])
    sizes = np.array([num_bytes for _, num_bytes in result.departures])
    sent, _ = np.histogram(times, bins=seconds, weights=sizes)
    axes.step(seconds[:-1], sent / 1000, where="post", label="sent, kB/s", linewidth=0.8)
    axes.plot(seconds[:-1], _smooth(list(sent / 1000)), label="sent (10 s)")
    if limit is not None:
        allowed = [limit.rate_at(float(second)) / 1000 for second in seconds]
        axes.step(seconds, allowed, where="post", color="black", label="allowed")


def _ages(result: SimulationResult) -> tuple[list[float], list[float]]:
    return [second for second, _ in result.queue_ages], [age for _, age in result.queue_ages]


def _smooth(values: list[float]) -> list[float]:
    return [float(np.mean(values[max(idx - 9, 0) : idx + 1])) for idx in range(len(values))]
