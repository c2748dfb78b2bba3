"""Settings that somebody would choose for a stream: picked on some cameras, reported on the others. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lab.evaluation.bootstrap import Interval, mean_interval, paired_difference
from lab.evaluation.points import ALL, CALIBRATION, TEST, Point, Setting
from lab.evaluation.stream.frames import Frames, Outcome
from lab.evaluation.sweep import pareto_rows
from lab.evaluation.wire import value_bytes

NEAR: Final = (-0.01, 0.0, 0.005, 0.01, 0.02, 0.05)
"""How far below the server's answer on raw frames a setting may be, as shares; negative ones are above it."""
BUDGETS: Final = (5, 10, 15, 20, 30, 45, 60, 100, 200, 500, 1000)
"""Bytes a frame."""
FAMILIES: Final[tuple[str, ...]] = (
    "one belief a camera",
    "patches + gate, fused answers",
    "label held by the embedding",
    "patches + gate",
    "still codec + gate",
    "every frame as stills",
    "every frame as video",
    "gated frames as video",
    "some stills, label held",
)
_REMEMBERING: Final = dict(zip(("belief", "fused", "hold"), FAMILIES, strict=False))


@dataclass(frozen=True, slots=True)
class Chosen:
    """One setting of a family on the cameras that choose and on those that report.

    `gain` is its accuracy minus that of the server on every raw frame, paired, on the reporting cameras.
    """

    family: str
    calibration: Point
    test: Point
    gain: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ShownChoice:
    """Two settings, each chosen on one half of the cameras and shown on the other.

    `settings` are both choices, `accuracy` and `bytes_per_frame` those of all cameras together,
    `batched_bytes_per_frame` what it would be in batches of eight, and `payload_bytes_per_frame` the records' values
    alone. `gain` is the accuracy minus that of the server on every raw frame, paired; intervals resample whole
    cameras.
    """

    settings: tuple[Setting, ...]
    accuracy: float
    accuracy_interval: Interval
    offload_ratio: float
    bytes_per_frame: float
    batched_bytes_per_frame: float
    payload_bytes_per_frame: float
    server_macs: float
    gain: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class Choices:
    """Each family's frontier by bytes; the cheapest settings within each of `NEAR`; the best within each budget.

    The frontier is chosen on one half and shown on the other. `near` and `within` (by family, None where there is no
    such setting) are chosen and shown both ways round; `within` has one entry for each of `BUDGETS`.
    `reported_on` is `test`, or `all` where there are too few cameras to choose on others.
    """

    reported_on: str
    frontier: tuple[Chosen, ...]
    near: dict[str, tuple[ShownChoice | None, ...]]
    within: dict[str, tuple[ShownChoice | None, ...]]


def family(point: Point) -> str | None:
    """Return which family a point belongs to; None for the edge alone and raw pixels."""
    each = point.setting
    video = (each.codec or "").startswith(("h264", "av1"))
    if each.method in _REMEMBERING:
        return _REMEMBERING[each.method]
    if each.method == "edge_only" or each.codec == "raw":
        return None
    if video:
        return "gated frames as video" if each.gate else "every frame as video"
    if each.gate in {"every_nth", "frame_difference"}:
        return "some stills, label held"
    if each.method == "server_only":
        return "every frame as stills"
    return "still codec + gate" if each.method == "codec_gate" else "patches + gate"


def choose(frames: Frames, outcomes: Sequence[Outcome]) -> Choices:
    """Return what each family would choose, and how that does on cameras that had no say."""
    ways = ((CALIBRATION, TEST), (TEST, CALIBRATION)) if frames.has_halves else ((ALL, ALL),)
    raw = next(
        place
        for place, each in enumerate(outcomes)
        if (each.setting.method, each.setting.codec) == ("server_only", "raw")
    )
    points = {
        split: [frames.point(outcome, split) for outcome in outcomes] for split in {each for each, _ in ways}
    }
    members: dict[str, list[int]] = {}
    for place, point in enumerate(points[ways[0][0]]):
        if (name := family(point)) is not None:
            members.setdefault(name, []).append(place)
    frontier = [
        each for name in members for each in _frontier(frames, points, ways[0], raw, name, members[name])
    ]
    both = _BothWays(frames, outcomes, points, ways, raw)
    named = [name for name in FAMILIES if name in members]
    near = {name: tuple(both.cheapest(members[name], distance) for distance in NEAR) for name in named}
    within = {name: tuple(both.best(members[name], budget) for budget in BUDGETS) for name in named}
    return Choices(ways[0][1], tuple(frontier), near, within)


Points = Mapping[str, Sequence[Point]]


def _frontier(
    frames: Frames, points: Points, way: tuple[str, str], raw: int, name: str, members: Sequence[int]
) -> list[Chosen]:
    chooses, reports = way
    figures = [points[chooses][place].figures for place in members]
    front = pareto_rows([each.bytes_per_frame for each in figures], [each.accuracy for each in figures])
    reference, cameras = points[reports][raw].figures.correct, frames.scored_cameras(reports)
    found = []
    for place in (members[row] for row in front):
        there = points[reports][place]
        gain, interval = paired_difference(there.figures.correct, reference, cameras)
        found.append(Chosen(name, points[chooses][place], there, gain, interval))
    return found


@dataclass(frozen=True)
class _BothWays:
    """Chooses on one half and shows on the other, for each of `ways`; `raw` is the server on every raw frame."""

    frames: Frames
    outcomes: Sequence[Outcome]
    points: Points
    ways: Sequence[tuple[str, str]]
    raw: int

    def cheapest(self, members: Sequence[int], distance: float) -> ShownChoice | None:
        """Return the cheapest settings within a distance of the server; None where one half has none."""

        def pick(split: str) -> int | None:
            figures = [self.points[split][place].figures for place in members]
            wanted = self.points[split][self.raw].figures.accuracy - distance
            good = [idx for idx, each in enumerate(figures) if each.accuracy >= wanted]
            return min(
                (members[idx] for idx in good), key=lambda place: self._cost(split, place), default=None
            )

        return self._shown([pick(chooses) for chooses, _ in self.ways])

    def best(self, members: Sequence[int], budget: float) -> ShownChoice | None:
        """Return the most accurate settings within a budget of bytes a frame; None where one half has none."""

        def pick(split: str) -> int | None:
            good = [place for place in members if self._cost(split, place) <= budget]
            return max(good, key=lambda place: self.points[split][place].figures.accuracy, default=None)

        return self._shown([pick(chooses) for chooses, _ in self.ways])

    def _cost(self, split: str, place: int) -> float:
        return self.points[split][place].figures.bytes_per_frame

    def _shown(self, picked: Sequence[int | None]) -> ShownChoice | None:
        places = [place for place in picked if place is not None]
        if len(places) < len(self.ways):
            return None
        chosen = [(place, reports) for place, (_, reports) in zip(places, self.ways, strict=True)]
        shown = [self.points[reports][place].figures for place, reports in chosen]
        correct = np.concatenate([each.correct for each in shown])
        reference = np.concatenate([self.points[reports][self.raw].figures.correct for _, reports in chosen])
        cameras = np.concatenate([self.frames.scored_cameras(reports) for _, reports in chosen])
        gain, interval = paired_difference(correct, reference, cameras)
        sizes = np.asarray([self.frames.rows(reports).size for _, reports in chosen], dtype=np.float64)
        sent = [self._sent(place, reports) for place, reports in chosen]

        def mean(values: Sequence[float]) -> float:
            return float(np.average(values, weights=sizes))

        return ShownChoice(
            settings=tuple(self.outcomes[place].setting for place in places),
            accuracy=float(correct.mean()),
            accuracy_interval=mean_interval(correct, cameras),
            offload_ratio=mean([each.offload_ratio for each in shown]),
            bytes_per_frame=mean([each.bytes_per_frame for each in shown]),
            batched_bytes_per_frame=mean([batched for batched, _ in sent]),
            payload_bytes_per_frame=mean([payload for _, payload in sent]),
            server_macs=mean([each.server_macs for each in shown]),
            gain=gain,
            interval=interval,
        )

    def _sent(self, place: int, split: str) -> tuple[float, float]:
        """Return the bytes a frame in batches, and those of the values alone."""
        outcome, rows = self.outcomes[place], self.frames.rows(split)
        values = outcome.offload[rows] * value_bytes(outcome.payload.wire_bytes[rows])
        return self.frames.batched_bytes(outcome, split), float(values.mean())
