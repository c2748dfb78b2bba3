"""Settings that somebody would choose for a stream: picked on some cameras, reported on the others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from lab.evaluation.bootstrap import Interval, paired_difference
from lab.evaluation.points import ALL, CALIBRATION, TEST, Point
from lab.evaluation.stream.frames import Frames, Outcome
from lab.evaluation.sweep import pareto_rows

NEAR: Final = (0.005, 0.01, 0.02, 0.05)
"""Distances from the server's answer on raw frames, as shares."""
FAMILIES: Final[tuple[str, ...]] = (
    "patches + gate",
    "still codec + gate",
    "every frame as stills",
    "every frame as video",
    "gated frames as video",
    "some stills, label held",
)


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
class Choices:
    """Each family's frontier by bytes, and by family the cheapest setting within each of `NEAR`, if any.

    `reported_on` is `test`, or `all` where there are too few cameras to choose on others.
    """

    reported_on: str
    frontier: tuple[Chosen, ...]
    near: dict[str, tuple[Chosen | None, ...]]


def family(point: Point) -> str | None:
    """Return which family a point belongs to; None for the edge alone and raw pixels."""
    each = point.setting
    video = (each.codec or "").startswith(("h264", "av1"))
    if each.method == "edge_only" or each.codec == "raw":
        return None
    if video:
        return FAMILIES[4] if each.gate else FAMILIES[3]
    if each.gate in {"every_nth", "frame_difference"}:
        return FAMILIES[5]
    if each.method == "server_only":
        return FAMILIES[2]
    return FAMILIES[1] if each.method == "codec_gate" else FAMILIES[0]


def choose(frames: Frames, outcomes: Sequence[Outcome]) -> Choices:
    """Return what each family would choose, and how that does on cameras that had no say."""
    chooses, reports = (CALIBRATION, TEST) if frames.has_halves else (ALL, ALL)
    (raw,) = (
        each for each in outcomes if (each.setting.method, each.setting.codec) == ("server_only", "raw")
    )
    best = frames.point(raw, chooses).figures.accuracy
    reference = frames.point(raw, reports).figures.correct
    rows = frames.rows(reports)
    cameras = frames.camera[rows][frames.scored[rows]]
    by_family: dict[str, list[Chosen]] = {}
    for outcome in outcomes:
        here, there = frames.point(outcome, chooses), frames.point(outcome, reports)
        name = family(here)
        if name is None:
            continue
        gain, interval = paired_difference(there.figures.correct, reference, cameras)
        by_family.setdefault(name, []).append(Chosen(name, here, there, gain, interval))
    frontier: list[Chosen] = []
    for mine in by_family.values():
        points = [each.calibration.figures for each in mine]
        front = pareto_rows([each.bytes_per_frame for each in points], [each.accuracy for each in points])
        frontier += [mine[row] for row in front]
    near = {
        name: tuple(_cheapest(by_family[name], best - distance) for distance in NEAR)
        for name in FAMILIES
        if name in by_family
    }
    return Choices(reports, tuple(frontier), near)


def _cheapest(options: Sequence[Chosen], accuracy: float) -> Chosen | None:
    good = [each for each in options if each.calibration.figures.accuracy >= accuracy]
    return min(good, key=lambda each: each.calibration.figures.bytes_per_frame, default=None)
