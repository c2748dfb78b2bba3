"""What each operating point would cost and be worth for the frames of now: a frontier, re-weighed.

`Curve` is the calibrated frontier. A family is a way to encode (δ, floor, codec, quality, selection); τ is free
within it. The frontier's accuracy by score says what a server answer is worth at each, its points say how much of
that a family keeps.

Called by tuning. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SaccadeError
from schemas.frontier import Frontier, FrontierPoint
from schemas.operating_point import OperatingPoint
from uplink.frame_mix import Floats, Mix

Indices = NDArray[np.intp]
Bools = NDArray[np.bool_]

OVERDEMAND: Final = 8.0
"""How much more is asked for as soon as the bucket runs full."""
KEEP_MARGIN: Final = 0.002
"""Another family must promise this much more accuracy before the encoder changes."""


_ROUGH_BYTES: Final[dict[str, tuple[tuple[int, ...], tuple[float, ...]]]] = {
    "avif": ((10, 30, 45, 75), (1_500.0, 3_000.0, 4_400.0, 9_000.0)),
    "webp": ((10, 50, 75, 90), (2_500.0, 6_300.0, 8_700.0, 15_000.0)),
    "jpeg": ((10, 50, 75, 90), (3_200.0, 8_100.0, 11_200.0, 19_000.0)),
    "webp_lossless": ((0,), (75_000.0,)),
    "raw": ((0,), (150_000.0,)),
}
"""Codec → qualities, and the bytes of a whole frame at each."""


@dataclass(frozen=True, slots=True)
class Family:
    """One way to encode: `kept` is the part of the server's gain that survives its patches and its codec.

    `asks` is how many of the frames from τ on ask: all of them, but where a camera's belief asks for several.
    """

    point: OperatingPoint
    bytes_per_offload: float
    bytes_per_offload_p95: float
    kept: float
    asks: float = 1.0


@dataclass(frozen=True, slots=True)
class Choice:
    """A decision: the point, the share of frames that it offloads now, and what that costs and is worth.

    `overdemand_point` offloads some times as much: for moments at which less comes than was foreseen.
    `wanted_bytes_per_s` is what the frames would cost if nothing limited them, `edge_accuracy` that of the edge
    alone.
    """

    point: OperatingPoint
    overdemand_point: OperatingPoint
    family: int
    share: float = 1.0
    bytes_per_offload: float = 0.0
    bytes_per_s: float = 0.0
    wanted_bytes_per_s: float = 0.0
    accuracy: float = 0.0
    edge_accuracy: float = 0.0


@dataclass(frozen=True, slots=True)
class Weighed:
    """A mix of n frames seen through the curve.

    `edge_accuracy`: of the edge alone. `gain_from`: (n+1,) float64, the accuracy gained by a server that
    answers all frames from each place on. `best_from`, `best_start`: (n+1,), the largest gain of a start at
    or after each place, and that start; asking for less is better where the edge beats the server.
    """

    mix: Mix
    edge_accuracy: float
    gain_from: Floats
    best_from: Floats
    best_start: Indices


class FrontierRefusedError(SaccadeError, ValueError):
    """The frontier was calibrated for other models or classes."""


def check_models(frontier: Frontier, *, edge_hash: str, classes_hash: str) -> None:
    """The frontier was calibrated for this edge model and these classes.

    Raises:
        FrontierRefusedError: it was not; the message names both.
    """
    for name, found, expected in (
        ("edge model", frontier.edge_hash, edge_hash),
        ("class list", frontier.classes_hash, classes_hash),
    ):
        if found != expected:
            raise FrontierRefusedError(
                f"frontier: calibrated for {name} {found[:16]!r} ({frontier.edge_model}), "
                f"this worker runs {expected[:16]!r}; run `saccade calibrate` for these models"
            )


class Curve:
    """A frontier ready for decisions; immutable."""

    def __init__(self, frontier: Frontier) -> None:
        self._edges, self._edge_accuracy, self._gain = _accuracy_by_score(frontier)
        self.families = tuple(_family(frontier, group) for group in _grouped(frontier.points))
        self._bytes = np.array([family.bytes_per_offload for family in self.families])
        self._bytes_p95 = np.array([family.bytes_per_offload_p95 for family in self.families])
        self._kept = np.array([family.kept for family in self.families])
        self._asks = np.array([family.asks for family in self.families])
        self._bin_bits, self._gain_by_bin = self._edges.tolist(), self._gain.tolist()
        self._kept_by_family = self._kept.tolist()

    def edge_accuracy_at(self, scores: Floats) -> Floats:
        """(n,) bits -> (n,): how likely the edge is right at each score."""
        return self._edge_accuracy[self._bin(scores)]

    def full_gain_at(self, scores: Floats) -> Floats:
        """(n,) bits -> (n,): how much likelier the server is right with the whole frame."""
        return self._gain[self._bin(scores)]

    def corrected(self, corrections: Floats) -> Curve:
        """Return the curve with the gain of each bin multiplied by its (b,) correction, and the edge as much worse.

        The server's accuracy stays, and so does a bin in which it gains nothing.
        """
        curve = copy(self)
        curve._gain = np.where(self._gain > 0, self._gain * corrections, self._gain)
        curve._edge_accuracy = np.maximum(self._edge_accuracy - (curve._gain - self._gain), 0.0)
        curve._gain_by_bin = curve._gain.tolist()
        return curve

    def gain_at(self, score: float, family: int) -> float:
        """How much likelier than the edge's a server answer is right for a frame of this score."""
        gain: float = self._gain_by_bin[bisect_right(self._bin_bits, score)]
        kept: float = self._kept_by_family[family]
        return gain * kept

    def family_of(self, point: OperatingPoint) -> int:
        """The index of the family that encodes as `point` does; if none does, the nearest in rough size."""
        plain, size = replace(point, tau=0.0), _rough_size(point)
        distances = [
            (family.point != plain, abs(_rough_size(family.point) - size), family.point.codec != point.codec)
            for family in self.families
        ]
        return distances.index(min(distances))

    def weigh(self, mix: Mix) -> Weighed:
        """What any share of this mix, the most uncertain first, would gain."""
        idx = self._bin(mix.scores)
        weights = mix.share_from.copy()
        weights[:-1] -= mix.share_from[1:]
        gain_from = np.zeros(len(idx) + 1)
        gains = weights * self._gain[idx]
        gain_from[:-1] = gains[::-1].cumsum()[::-1]
        best_from, best_start = _best_suffix(gain_from, gains)
        return Weighed(mix, float(weights @ self._edge_accuracy[idx]), gain_from, best_from, best_start)

    def choose(
        self,
        weighed: Weighed,
        *,
        affordable_bytes_per_s: float,
        overhead_bytes: float,
        bytes_scale: float = 1.0,
        max_records_per_s: float = math.inf,
        max_record_bytes: float = math.inf,
        overdemand: float = OVERDEMAND,
        current: int | None = None,
    ) -> Choice:
        """The family and τ with the highest accuracy that the rates allow.

        Args:
            weighed: the present frames; at least one.
            affordable_bytes_per_s: wire bytes per second that may be asked for.
            overhead_bytes: wire bytes of a record beyond its value.
            bytes_scale: by how much records are larger now than when calibrated.
            max_records_per_s: what the servers finish.
            max_record_bytes: families whose 95th percentile is above it are left out while others remain.
            overdemand: by how much `overdemand_point` asks for more.
            current: the family in use; kept unless another is better by `KEEP_MARGIN`.
        """
        mix = weighed.mix
        cost = self._bytes * bytes_scale + overhead_bytes
        fits = self._fits(max_record_bytes, bytes_scale) if max_record_bytes < math.inf else None
        frames_per_s = max(mix.frames_per_s, 1e-9)
        allowed = np.minimum(affordable_bytes_per_s / cost, max_records_per_s) / (frames_per_s * self._asks)
        descending = -mix.share_from
        first = descending.searchsorted(-allowed)
        value = _among(self._kept * weighed.best_from[first], fits)
        family = int(value.argmax())
        if current is not None and value[current] >= value[family] - KEEP_MARGIN:
            family = current
        start = int(weighed.best_start[first[family]])
        more = descending.searchsorted(-overdemand * allowed[family])
        above = float(mix.share_from[start]) if start < len(mix.share_from) else 0.0
        share = above * self.families[family].asks
        point = self.families[family].point
        return Choice(
            point=replace(point, tau=_tau(mix, start)),
            overdemand_point=replace(point, tau=_tau(mix, int(weighed.best_start[more]))),
            family=family,
            share=share,
            bytes_per_offload=float(cost[family]),
            bytes_per_s=share * frames_per_s * float(cost[family]),
            wanted_bytes_per_s=self._wanted_bytes_per_s(weighed, cost, fits),
            accuracy=weighed.edge_accuracy + float(self._kept[family] * weighed.gain_from[start]),
            edge_accuracy=weighed.edge_accuracy,
        )

    def _wanted_bytes_per_s(self, weighed: Weighed, cost: Floats, fits: Bools | None) -> float:
        """What the frames would cost if nothing but the size of a record limited them."""
        mix, start = weighed.mix, int(weighed.best_start[0])
        share = float(mix.share_from[start]) if start < len(mix.share_from) else 0.0
        family = _among(self._kept * weighed.best_from[0], fits).argmax()
        return share * max(mix.frames_per_s, 1e-9) * float(self._asks[family] * cost[family])

    def _fits(self, max_record_bytes: float, bytes_scale: float) -> Bools:
        fits: Bools = self._bytes_p95 * bytes_scale <= max_record_bytes
        if not fits.any():
            fits = self._bytes_p95 <= self._bytes_p95.min()
        return fits

    def _bin(self, scores: Floats) -> Indices:
        return self._edges.searchsorted(scores, side="right")


def _rough_size(point: OperatingPoint) -> float:
    """The logarithm of a record's size as codecs compare on photos; good for which of two points is larger."""
    qualities, sizes = _ROUGH_BYTES.get(point.codec, _ROUGH_BYTES["webp"])
    return float(np.interp(point.quality, qualities, np.log(sizes)) + math.log(max(point.delta, 0.01)))


def _among(value: Floats, fits: Bools | None) -> Floats:
    """The values, those of families that do not fit below all others."""
    return value if fits is None else np.where(fits, value, value - 1e3)


def _family(frontier: Frontier, group: list[FrontierPoint]) -> Family:
    """What is kept of the gain, over all of the family's points: Σ measured gains / Σ full gains."""
    full = sum(_full_gain(frontier, point.point.tau) for point in group)
    measured = sum(point.accuracy for point in group) - len(group) * _edge_alone(frontier)
    heavy = max(group, key=lambda point: point.offload_ratio)
    return Family(
        point=replace(heavy.point, tau=0.0),
        bytes_per_offload=heavy.bytes_per_offload,
        bytes_per_offload_p95=max(point.bytes_per_offload_p95 for point in group),
        kept=min(max(measured / full, 0.0), 1.5) if full > 1e-6 else 1.0,
        asks=1.0 if frontier.belief is None else _asks(frontier, group),
    )


def _asks(frontier: Frontier, group: list[FrontierPoint]) -> float:
    """How many of the frames from τ on ask, over all of the family's points: Σ asks / Σ such frames."""
    scores = np.asarray(frontier.h_min_quantiles)
    above = sum(float((scores >= point.point.tau).mean()) for point in group)
    return min(max(sum(point.offload_ratio for point in group) / max(above, 1e-6), 1e-3), 1.0)


def _edge_alone(frontier: Frontier) -> float:
    total = sum(each.count for each in frontier.accuracy_by_h_min)
    if total == 0:
        return min(frontier.points, key=lambda p: p.offload_ratio).accuracy
    return sum(each.count * each.edge_accuracy for each in frontier.accuracy_by_h_min) / total


def _full_gain(frontier: Frontier, tau: float) -> float:
    """The accuracy gained by whole-frame answers for all of the calibration's frames from `tau` on."""
    total = sum(each.count for each in frontier.accuracy_by_h_min)
    if total == 0:
        return max(point.accuracy for point in frontier.points) - _edge_alone(frontier)
    gain = 0.0
    for each in frontier.accuracy_by_h_min:
        width = each.hi - each.lo
        above = min(max((each.hi - tau) / width, 0.0), 1.0) if 0 < width < math.inf else float(each.lo >= tau)
        gain += above * each.count * (each.server_accuracy - each.edge_accuracy)
    return gain / total


def _grouped(points: Iterable[FrontierPoint]) -> list[list[FrontierPoint]]:
    """The points by family, those that offload something; all of them if none does."""
    groups: dict[OperatingPoint, list[FrontierPoint]] = {}
    every = list(points)
    for point in [p for p in every if p.offload_ratio > 0] or every:
        groups.setdefault(replace(point.point, tau=0.0), []).append(point)
    return list(groups.values())


def _accuracy_by_score(frontier: Frontier) -> tuple[Floats, Floats, Floats]:
    """Bin edges (b−1,), edge accuracy (b,) and server gain (b,); one bin if the frontier has none."""
    bins = [each for each in frontier.accuracy_by_h_min if each.count > 0]
    if not bins:
        poor = min(frontier.points, key=lambda p: p.offload_ratio)
        rich = max(frontier.points, key=lambda p: p.offload_ratio)
        edge = poor.accuracy
        gain = max(rich.accuracy - edge, 1e-3) / max(rich.offload_ratio, 1e-3)
        return np.empty(0), np.array([edge]), np.array([gain])
    return (
        np.array([each.lo for each in bins[1:]]),
        np.array([each.edge_accuracy for each in bins]),
        np.array([each.server_accuracy - each.edge_accuracy for each in bins]),
    )


def _best_suffix(gain_from: Floats, gains: Floats) -> tuple[Floats, Indices]:
    """For each start: the best total gain of a start at or after it, and where that is, the last of equals."""
    num_worthless = len(gains) - int(np.count_nonzero(gains))
    if (gains[num_worthless:] > 0).all():  # none loses, all after the first few gain: nothing to search
        return gain_from, np.maximum(np.arange(len(gain_from)), num_worthless)
    reverse = gain_from[::-1]
    best = np.maximum.accumulate(reverse)
    is_new = np.concatenate([[True], best[1:] > best[:-1]])
    at = np.maximum.accumulate(np.where(is_new, np.arange(len(reverse)), 0))
    return best[::-1], (len(reverse) - 1 - at)[::-1]


def _tau(mix: Mix, start: int) -> float:
    """A threshold between the last frame that stays and the first that goes; above all if none goes."""
    if start == 0:
        return 0.0
    if start >= len(mix.scores):
        return float(np.nextafter(mix.scores[-1], math.inf)) if len(mix.scores) else math.inf
    return float(mix.scores[start - 1] + mix.scores[start]) / 2
