"""What a run over a real link came to: figures against their goals, and the picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import Figure
from benchmarks.testbed import Write
from saccade.link.judge import mean_rate, windows_over_cap
from schemas.rates import Schedule

RECORD_OVERHEAD = 0.35
"""Bytes on the link beyond the topic's values, at most: headers, requests, answers to them, metadata."""


@dataclass(slots=True)
class Run:
    """What was seen of one run; times in seconds since the first step."""

    budget: str
    link_kind: str
    steps: Schedule
    link: Schedule
    fps: float
    counter: list[tuple[float, float]] = field(default_factory=list)
    states: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    truths: dict[tuple[str, int], int] = field(default_factory=dict)
    published: int = 0
    begin_unix_s: float = 0.0
    topic_bytes: float = 0.0
    link_bytes: float = 0.0


def figures_of(run: Run) -> list[Figure]:
    """The figures of the design's list; goals where it names them."""
    name = f"{'auto' if run.budget == 'auto' else 'told'} ({run.link_kind})"
    found = [*cap(run, name), *use(run, name), *recovery(run, name), *labels(run, name)]
    extra = run.link_bytes / max(run.topic_bytes, 1.0) - 1.0
    found.append(Figure(f"{name}: link over topic bytes", extra, "share", RECORD_OVERHEAD, at_least=False))
    return found


def steps_of(run: Run) -> list[tuple[float, float, float]]:
    """(from, to, bytes/s) of each step."""
    ends = [*run.steps.starts_s[1:], run.steps.starts_s[-1] + run.steps.starts_s[1]]
    return list(zip(run.steps.starts_s, ends, run.steps.rates_bytes_per_s, strict=True))


def cap(run: Run, name: str) -> list[Figure]:
    bursts = [state["burst_bytes"] for _, state in run.states if state["burst_bytes"] is not None]
    if run.budget == "auto":
        return []
    inside = [sample for sample in run.counter if sample[0] >= 0]
    over = windows_over_cap(inside, run.steps, max(bursts, default=0.0))
    return [
        Figure(f"{name}: windows over the cap", over, "windows", 0, at_least=False),
        Figure(f"{name}: largest burst", max(bursts, default=0.0), "bytes"),
    ]


def use(run: Run, name: str) -> list[Figure]:
    found = []
    for from_s, to_s, rate in steps_of(run):
        if rate == 0:
            left = mean_rate(run.counter, from_s + 2, to_s)
            found.append(Figure(f"{name}: sent in the outage", left, "bytes/s"))
            continue
        title = f"{name}: {rate / 125:.0f} kbit/s from {from_s:.0f} s"
        wanted = [s["wanted_bytes_per_s"] for at_s, s in run.states if from_s + 3 < at_s < to_s]
        demand = float(np.median(wanted)) / rate if wanted else 0.0
        used = mean_rate(run.counter, from_s + min(10.0, (to_s - from_s) / 3), to_s) / rate
        found.append(Figure(f"{title}: demand", demand, "x", 1.5))
        found.append(Figure(f"{title}: used", used, "share", 0.9 if run.budget == "auto" else 0.95))
    for (_, _, before), (from_s, to_s, rate) in pairwise(steps_of(run)):
        if 0 < rate < before:
            after = mean_rate(run.counter, from_s + 1, from_s + 3) / rate
            found.append(
                Figure(f"{name}: step down, 1 to 3 s after", after, "of new rate", 1.5, at_least=False)
            )
        if rate > before > 0:
            reached = next(
                (
                    s
                    for s in np.arange(1.0, to_s - from_s, 0.5)
                    if mean_rate(run.counter, from_s + s - 2, from_s + s) >= 0.9 * rate
                ),
                float("nan"),
            )
            found.append(Figure(f"{name}: step up used to 90 %", reached, "s", 10.0, at_least=False))
    return found


def recovery(run: Run, name: str) -> list[Figure]:
    found = []
    for from_s, to_s, rate in steps_of(run):
        if rate > 0:
            continue
        finals = [w.written_s - run.begin_unix_s - to_s for w in run.writes if w.source == "server"]
        first = min((late for late in finals if late > 0), default=float("nan"))
        found.append(Figure(f"{name}: outage to first server label", first, "s", 5.0, at_least=False))
        outage = {k for k, s in captured(run).items() if from_s <= s < to_s}
        labelled = {(w.camera, w.seq) for w in run.writes}
        share = len(outage & labelled) / max(len(outage), 1)
        found.append(Figure(f"{name}: outage's frames with a label", share, "share", 1.0))
    return found


def labels(run: Run, name: str) -> list[Figure]:
    last = {(w.camera, w.seq): w for w in run.writes}
    first = {(w.camera, w.seq): w for w in reversed(run.writes)}
    scored = [key for key, truth in run.truths.items() if truth >= 0 and key in last]
    pair = sum(last[key].label == run.truths[key] for key in scored) / max(len(scored), 1)
    edge = sum(first[key].label == run.truths[key] for key in scored) / max(len(scored), 1)
    calm = [
        w.written_s - w.captured_ns / 1e9
        for w in run.writes
        if w.source == "server" and not near_step(run, w.written_s - run.begin_unix_s)
    ]
    p99 = float(np.quantile(calm, 0.99)) if calm else float("nan")
    return [
        Figure(f"{name}: frames with a label", len(last) / max(run.published, 1), "share", 1.0),
        Figure(f"{name}: server label, p99 age", p99, "s"),
        Figure(f"{name}: accuracy", pair, "", note=f"edge alone {edge:.3f}"),
    ]


def captured(run: Run) -> dict[tuple[str, int], float]:
    """When each labelled frame was captured, in seconds since the first step."""
    return {(w.camera, w.seq): w.captured_ns / 1e9 - run.begin_unix_s for w in run.writes}


def near_step(run: Run, at_s: float) -> bool:
    return any(start <= at_s < start + 5 for start in run.steps.starts_s)


def plot(run: Run, path: Path) -> None:
    """`path` holds the picture of the run."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(4, 1, figsize=(10, 12), sharex=True, constrained_layout=True)
    end_s = steps_of(run)[-1][1]
    seconds = np.arange(0.0, end_s, 0.5)
    rates = [mean_rate(run.counter, s - 1.0, s) / 1000 for s in seconds]
    axes[0].plot(seconds, rates, label="on the link, kB/s (1 s)", linewidth=0.9)
    axes[0].step(
        seconds,
        [run.steps.rate_at(s) / 1000 for s in seconds],
        color="black",
        where="post",
        label="budget" if run.budget != "auto" else "link",
    )
    times = [at_s for at_s, _ in run.states]
    points = [state["point"] for _, state in run.states]
    taus = [np.nan if point["tau"] == "inf" else point["tau"] for point in points]
    axes[1].step(times, taus, where="post", label="τ, bits")
    axes[1].step(times, [point["delta"] for point in points], where="post", label="δ")
    axes[1].step(times, [point["quality"] / 100 for point in points], where="post", label="quality / 100")
    finals = [(w.captured_ns / 1e9 - run.begin_unix_s, w) for w in run.writes if w.source == "server"]
    axes[2].plot(
        [s for s, _ in finals],
        [w.written_s - w.captured_ns / 1e9 for _, w in finals],
        ".",
        markersize=2,
        label="age of server labels, s",
    )
    axes[3].plot(*accuracy_over_time(run, end_s), label="accuracy (10 s)")
    axes[3].set_xlabel("s since the first step")
    for each in axes:
        each.set_xlim(0, end_s)
        each.legend(loc="upper right")
        each.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def accuracy_over_time(run: Run, end_s: float) -> tuple[list[float], list[float]]:
    last = {(w.camera, w.seq): w for w in run.writes}
    scored = [
        (w.captured_ns / 1e9 - run.begin_unix_s, w.label == run.truths[key])
        for key, w in last.items()
        if run.truths.get(key, -1) >= 0
    ]
    seconds = [float(s) for s in np.arange(5.0, end_s, 1.0)]
    means = [[right for at_s, right in scored if abs(at_s - s) < 5] for s in seconds]
    return seconds, [float(np.mean(each)) if each else float("nan") for each in means]
