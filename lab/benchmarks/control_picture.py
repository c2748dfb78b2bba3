"""The picture of a run over a real link: budget and bytes, operating point, ages and accuracy over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from devstack.link.judge import mean_rate
from lab.benchmarks.control_figures import Run, written_age_s

_SMOOTH_S = 5.0


def plot(run: Run, path: Path) -> None:
    """`path` holds the picture of the run."""
    # Matplotlib takes a second to import and only the picture needs it.
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        5, 1, figsize=(9, 11), sharex=True, constrained_layout=True, height_ratios=(3, 1.5, 1.5, 2, 2)
    )
    _rates(axes[0], run)
    _point(axes[1], axes[2], run)
    _ages(axes[3], run)
    _accuracy(axes[4], run)
    axes[4].set_xlabel("seconds since the first step")
    for each in axes:
        each.set_xlim(0, run.end_s)
        each.grid(alpha=0.3)
        for start_s, rate in zip(run.steps.starts_s, run.steps.rates_bytes_per_s, strict=True):
            if rate == 0:
                each.axvspan(start_s, start_s + run.steps.starts_s[1], color="tab:red", alpha=0.08)
        each.legend(loc="upper right", fontsize=8, framealpha=0.9)
    title = "budget told" if run.is_told else "budget = auto, only the link steps"
    figure.suptitle(f"{title} ({run.link_kind})", fontsize=11)
    figure.savefig(path, dpi=90, pil_kwargs={"optimize": True})
    plt.close(figure)


def _rates(axis: Any, run: Run) -> None:
    seconds = np.arange(0.0, run.end_s, 0.5)
    short = [mean_rate(run.counter, s - 1.0, s) / 1000 for s in seconds]
    axis.plot(seconds, short, color="tab:blue", alpha=0.5, linewidth=0.8, label="on the link, 1 s")
    long = [mean_rate(run.counter, s - 5.0, s) / 1000 for s in seconds]
    axis.plot(seconds, long, color="tab:blue", label="on the link, 5 s")
    limit = [run.steps.rate_at(s) / 1000 for s in seconds]
    name = "budget" if run.is_told else "link's capacity"
    axis.step(seconds, limit, where="post", color="black", label=name)
    if not run.is_told:
        times, usable = _series(run, "usable_bytes_per_s")
        axis.step(times, usable / 1000, where="post", color="tab:orange", linewidth=0.9, label="estimate")
    times, wanted = _series(run, "wanted_bytes_per_s")
    axis.plot(times, wanted / 1000, ":", color="gray", label="demand")
    axis.set_ylim(0, 1.25 * max(*limit, float(np.median(wanted)) / 1000))
    axis.set_ylabel("kB/s")


def _point(above: Any, below: Any, run: Run) -> None:
    points = [state["point"] for _, state in run.states]
    times = [at_s for at_s, _ in run.states]
    taus = [np.nan if point["tau"] == "inf" else point["tau"] for point in points]
    above.step(times, taus, where="post", label="τ, bits")
    above.set_ylim(bottom=0)
    above.set_ylabel("bits")
    below.step(
        times, [point["quality"] for point in points], where="post", label=f"{points[-1]['codec']} quality"
    )
    below.step(times, [100 * point["delta"] for point in points], where="post", label="δ, %")
    below.set_ylim(75, 105)


def _ages(axis: Any, run: Run) -> None:
    for source, color in (("edge", "tab:green"), ("server", "tab:blue")):
        chosen = [w for w in run.writes if w.source == source]
        times = np.array([run.shown[w.camera, w.seq].at_s for w in chosen])
        ages = np.array([written_age_s(run, w) for w in chosen])
        axis.plot(times, ages, ".", markersize=1.5, color=color, label=f"{source} label")
    axis.set_yscale("log")
    axis.set_ylim(0.01, 10)
    axis.axhline(1.0, color="black", linewidth=0.6)
    axis.set_ylabel("age, s")


def _accuracy(axis: Any, run: Run) -> None:
    last = {(w.camera, w.seq): w for w in run.writes}
    first = {(w.camera, w.seq): w for w in reversed(run.writes)}
    for name, writes, color in (("with the server", last, "tab:blue"), ("edge alone", first, "tab:green")):
        times = np.array([run.shown[key].at_s for key in writes])
        right = np.array([run.right(write) for write in writes.values()], dtype=float)
        order = np.argsort(times)
        seconds, means = _means(times[order], right[order], run.end_s)
        axis.plot(seconds, means, color=color, label=f"{name}, 5 s")
    if run.best is not None:
        axis.axhline(
            run.best.accuracy, color="black", linestyle=":", linewidth=0.9, label="best fixed point, mean"
        )
    axis.set_ylabel("accuracy")


def _means(times: np.ndarray, values: np.ndarray, end_s: float) -> tuple[np.ndarray, np.ndarray]:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    seconds = np.arange(_SMOOTH_S, end_s, 0.5)
    ends = np.searchsorted(times, seconds)
    begins = np.searchsorted(times, seconds - _SMOOTH_S)
    with np.errstate(invalid="ignore"):
        return seconds, (sums[ends] - sums[begins]) / (ends - begins)


def _series(run: Run, name: str) -> tuple[np.ndarray, np.ndarray]:
    pairs = [(at_s, state[name]) for at_s, state in run.states if state[name] is not None]
    return np.array([at_s for at_s, _ in pairs]), np.array([value for _, value in pairs])
