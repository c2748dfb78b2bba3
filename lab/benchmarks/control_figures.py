"""What a run over a real link came to: figures against their goals. The picture is in `control_picture`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np

from devstack.link.judge import mean_rate, windows_over_cap
from lab.benchmarks.control_frontier import Measured
from lab.benchmarks.report import Figure
from lab.benchmarks.testbed import Write
from lab.simulation.fixed import BestFixed, best_fixed
from lab.simulation.recording import Recording
from lab.simulation.simulate import Scenario
from schemas.rates import Auto, RateSchedule
from uplink.tuning import MAX_FEEDBACK_GAIN

RECORD_OVERHEAD: Final = 0.2
"""Bytes on the link beyond the topic's values, at most: headers, requests, answers to them, metadata."""
WINDOW_S: Final = 10.0
_TOLERANCE = 0.05
_AFTER_DOWN_S, _AFTER_UP_S = 3.0, 10.0
"""A window is judged from so long after a step on: then its operating point, its rate must be reached."""
_CALM_S = 5.0
_AGE_S = 0.7
"""A record may take so much longer than a round trip."""
_VERY_LONG_S = 0.5

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame that a camera showed: when, in seconds since the first step, and the shot's place."""

    at_s: float
    place: int


@dataclass(frozen=True, slots=True)
class Course:
    """The steps of a link: the rate and the round trip of each."""

    name: str
    kbits: tuple[float, ...]
    round_trips_s: tuple[float, ...]


@dataclass(slots=True)
class Run:
    """What was seen of one run; times in seconds since the first step."""

    budget: str
    link_kind: str
    course: Course
    steps: RateSchedule
    link: RateSchedule
    fps: float
    measured: Measured
    counter: list[tuple[float, float]] = field(default_factory=list)
    states: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    shown: dict[Key, Shown] = field(default_factory=dict)
    begin_unix_s: float = 0.0
    topic_bytes: float = 0.0
    link_bytes: float = 0.0
    best: BestFixed | None = None

    @property
    def is_told(self) -> bool:
        return self.budget != "auto"

    @property
    def end_s(self) -> float:
        return self.steps.starts_s[-1] + self.steps.starts_s[1]

    def round_trip_s(self, at_s: float) -> float:
        """The link's round trip at that moment, without any queue."""
        return self.course.round_trips_s[max(bisect_right(self.steps.starts_s, at_s) - 1, 0)]

    def right(self, write: Write) -> bool:
        shot = self.measured.shots[self.shown[write.camera, write.seq].place]
        return write.label == shot.truth


def figures_of(run: Run) -> list[Figure]:
    """The figures of the design's list; goals where it names them."""
    found = [*cap(run), *use(run), *steps_down_and_up(run), *recovery(run), *labels(run), *accuracy(run)]
    extra = run.link_bytes / max(run.topic_bytes, 1.0) - 1.0
    found.append(Figure("link over topic bytes", extra, "share", RECORD_OVERHEAD, at_least=False))
    title = f"{run.course.name}, {'told' if run.is_told else 'auto'} ({run.link_kind})"
    return [replace(each, name=f"{title}: {each.name}", value=float(each.value)) for each in found]


def carried_more(run: Run) -> bool:
    """Return whether the link's bytes and the topic's differ by more than overhead."""
    return not 0.0 <= run.link_bytes / max(run.topic_bytes, 1.0) - 1.0 <= RECORD_OVERHEAD


def steps_of(run: Run) -> list[tuple[float, float, float]]:
    """(from, to, bytes/s) of each step."""
    ends = [*run.steps.starts_s[1:], run.end_s]
    return list(zip(run.steps.starts_s, ends, run.steps.rates_bytes_per_s, strict=True))


def cap(run: Run) -> list[Figure]:
    if not run.is_told:
        return []
    bursts = [state["burst_bytes"] for _, state in run.states if state["burst_bytes"] is not None]
    inside = [sample for sample in run.counter if sample[0] >= 0]
    over = windows_over_cap(inside, run.steps, max(bursts, default=0.0))
    return [
        Figure("windows over the cap", over, "windows", 0, at_least=False),
        Figure("largest burst", max(bursts, default=0.0), "bytes"),
    ]


def use(run: Run) -> list[Figure]:
    """Demand, and the least and the most that any ten seconds used of what could be sent."""
    found = []
    before = 0.0
    for (from_s, to_s, rate), round_trip_s in zip(steps_of(run), run.course.round_trips_s, strict=True):
        if rate == 0:
            found.append(Figure("sent in the outage", mean_rate(run.counter, from_s + 2, to_s), "bytes/s"))
            before = rate
            continue
        title = f"{rate / 125:.0f} kbit/s from {from_s:.0f} s"
        title += f", {1e3 * round_trip_s:.0f} ms" if round_trip_s else ""
        wanted = values(run, "wanted_bytes_per_s", from_s + _AFTER_DOWN_S, to_s)
        found.append(Figure(f"{title}: demand", float(np.median(wanted or [0.0])) / rate, "x", 1.5))
        settled_s = from_s + (_AFTER_UP_S if rate > before else _AFTER_DOWN_S)
        shares = [
            mean_rate(run.counter, start, start + WINDOW_S) / allowed(run, rate, start)
            for start in np.arange(settled_s, max(to_s - WINDOW_S, settled_s) + 0.25, 0.5)
        ]
        tolerance = max(_TOLERANCE, record_bytes(run) / (rate * WINDOW_S))
        of = "of the budget" if run.is_told else "of the estimate"
        found.append(Figure(f"{title}: any 10 s, least", min(shares), of, 1.0 - tolerance))
        found.append(Figure(f"{title}: any 10 s, most", max(shares), of, 1.0 + tolerance, at_least=False))
        if not run.is_told:
            carried = mean_rate(run.counter, settled_s, to_s) / rate
            goal = 0.9 if round_trip_s < _VERY_LONG_S else 0.85
            found.append(Figure(f"{title}: used", carried, "of the link", goal))
        before = rate
    return found


def allowed(run: Run, rate: float, start_s: float) -> float:
    """What could be sent in these ten seconds: the budget told, or what the edge believed of the link."""
    if run.is_told:
        return rate
    believed = values(run, "usable_bytes_per_s", start_s, start_s + WINDOW_S)
    return float(np.mean(believed)) if believed else rate


def record_bytes(run: Run) -> float:
    return float(max(point.bytes_per_offload for point in run.measured.frontier.points))


def values(run: Run, name: str, from_s: float, to_s: float) -> list[float]:
    return [state[name] for at_s, state in run.states if from_s <= at_s < to_s and state[name] is not None]


def steps_down_and_up(run: Run) -> list[Figure]:
    found = []
    for (_, _, before), (from_s, to_s, rate) in pairwise(steps_of(run)):
        title = f"step to {rate / 125:.0f} kbit/s at {from_s:.0f} s"
        if 0 < rate < before:
            after = mean_rate(run.counter, from_s + 1, from_s + 3) / rate
            burst = max(0.5 * rate, 16_000.0) / (2 * rate)
            if run.is_told:
                found.append(
                    Figure(f"{title}: 1 to 3 s after", after, "of new rate", 1.0 + burst, at_least=False)
                )
            obeyed = next(
                (
                    at_s - from_s
                    for at_s, state in run.states
                    if at_s >= from_s and state["expected_bytes_per_s"] <= MAX_FEEDBACK_GAIN * rate
                ),
                float("nan"),
            )
            found.append(Figure(f"{title}: operating point follows", obeyed, "s", 3.0, at_least=False))
        if rate > before > 0:
            reached = first_at(run.counter, from_s, to_s, 0.9 * rate)
            found.append(Figure(f"{title}: used to 90 %", reached, "s", 10.0, at_least=False))
    return found


def first_at(counter: Sequence[tuple[float, float]], from_s: float, to_s: float, rate: float) -> float:
    """Seconds from `from_s` to the end of the first two that carried `rate`; nan if none did."""
    ends = np.arange(1.0, to_s - from_s, 0.5)
    return next(
        (float(s) for s in ends if mean_rate(counter, from_s + s - 2, from_s + s) >= rate), float("nan")
    )


def recovery(run: Run) -> list[Figure]:
    found = []
    first = first_writes(run)
    for from_s, to_s, rate in steps_of(run):
        if rate > 0:
            continue
        finals = [w.written_s - run.begin_unix_s - to_s for w in run.writes if w.source == "server"]
        soonest = min((late for late in finals if late > 0), default=float("nan"))
        found.append(Figure("outage to first server label", soonest, "s", 5.0, at_least=False))
        outage = {key: shown.at_s for key, shown in run.shown.items() if from_s <= shown.at_s < to_s}
        ages = [
            first[key].written_s - run.begin_unix_s - at_s for key, at_s in outage.items() if key in first
        ]
        share = sum(first[key].source == "edge" for key in outage if key in first) / max(len(outage), 1)
        found.append(Figure("outage's frames with an edge label", share, "share", 1.0))
        found.append(Figure("outage's edge labels, p99 age", quantile(ages), "s", 1.0, at_least=False))
    return found


def labels(run: Run) -> list[Figure]:
    first = first_writes(run)
    causes = [state["cause"] for at_s, state in run.states if 0 <= at_s < run.end_s]
    return [
        Figure("frames with a label", len(first) / max(len(run.shown), 1), "share", 1.0),
        *ages(run),
        Figure("servers were the limit", causes.count("server") / max(len(causes), 1), "of the time"),
    ]


def ages(run: Run) -> list[Figure]:
    """From capture to server label, away from the steps, for each round trip."""
    found = []
    for round_trip_s in dict.fromkeys(run.course.round_trips_s):
        calm = [
            written_age_s(run, w)
            for w in run.writes
            if w.source == "server" and not near_step(run, at_s := run.shown[w.camera, w.seq].at_s)
            if run.round_trip_s(at_s) == round_trip_s
        ]
        title, goal_s = "offload age, p99", 1.0
        if round_trip_s:
            title, goal_s = f"{title} at {1e3 * round_trip_s:.0f} ms", round_trip_s + _AGE_S
        found.append(
            Figure(title, quantile(calm), "s", goal_s, at_least=False, note="capture to server label")
        )
    return found


def accuracy(run: Run) -> list[Figure]:
    """Of the frames shown from the first step on, beside the best point of the frontier without control."""
    found = rightness(run)
    first = first_writes(run)
    pair = sum(found.values()) / max(len(found), 1)
    edge = sum(run.right(first[key]) for key in found) / max(len(found), 1)
    run.best = best_fixed_of(run)
    behind = 100 * (run.best.accuracy - pair)
    note = f"{pair:.3f}, best fixed point {run.best.accuracy:.3f}, edge alone {edge:.3f}"
    return [Figure("accuracy below the best fixed point", behind, "points", 0.5, at_least=False, note=note)]


def rightness(run: Run) -> dict[Key, bool]:
    """Whether the last label is right, of each frame shown from the first step to the end that has one."""
    last = {(w.camera, w.seq): w for w in run.writes}
    return {
        key: run.right(last[key])
        for key, each in run.shown.items()
        if 0 <= each.at_s < run.end_s and key in last
    }


def best_fixed_of(run: Run) -> BestFixed:
    """The best fixed point on the very frames that were shown, in the simulation with the run's budget or link."""
    ordered = sorted((each for each in run.shown.values() if each.at_s >= 0), key=lambda each: each.at_s)
    places = [each.place for each in ordered]
    base = run.measured.recording
    frames = Recording(
        base.min_entropy[places],
        base.edge_right[places],
        base.server_right[places],
        base.num_bytes[places],
        base.families,
    )
    scenario = Scenario(
        budget=run.steps if run.is_told else Auto(),
        capacity=run.link,
        duration_s=run.end_s,
        cameras=1,
        frames_per_s=run.fps,
        delay_s=0.005,
    )
    return best_fixed(scenario, run.measured.frontier, frames)


def first_writes(run: Run) -> dict[Key, Write]:
    return {(w.camera, w.seq): w for w in reversed(run.writes)}


def written_age_s(run: Run, write: Write) -> float:
    return write.written_s - run.begin_unix_s - run.shown[write.camera, write.seq].at_s


def near_step(run: Run, at_s: float) -> bool:
    return any(start <= at_s < start + _CALM_S for start in run.steps.starts_s) or at_s < 0


def quantile(ages: Sequence[float], share: float = 0.99) -> float:
    return float(np.quantile(ages, share)) if ages else float("nan")
