"""All frames of several cameras at one rate as one table, and how a setting is scored on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import mean_interval
from evaluation.points import ALL, Point, Setting
from evaluation.stream.cameras import Camera
from evaluation.sweep import Payload, measure
from schemas.geometry import NUM_PATCHES

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Frames:
    """T frames of all cameras, one camera after the other.

    `camera` (T,) is the camera's number. `truth` (T,) is -1 where a frame is streamed but not scored.
    `edge_top1` and `h_min` (T,) are the edge's. `full_macs` is one server pass over a whole image.
    """

    cameras: Sequence[Camera]
    camera: Ints
    truth: Ints
    edge_top1: Ints
    h_min: Floats
    full_macs: float

    @property
    def num_frames(self) -> int:
        """How many frames every array has."""
        return int(self.camera.size)

    @property
    def scored(self) -> Mask:
        """(T,) which frames count for accuracy; all of them count for bytes and work."""
        return np.asarray(self.truth >= 0)

    @property
    def edge_correct(self) -> Mask:
        """(T,) whether the edge is right."""
        return np.asarray(self.edge_top1 == self.truth)

    def rows_of(self, number: int) -> Ints:
        """Return the rows of one camera, in the order of time."""
        return np.flatnonzero(self.camera == number)

    def whole_payload(self, top1: Ints, wire_bytes: Floats) -> Payload:
        """Return the payload of whole frames that the server answered with `top1`."""
        ones = np.ones(self.num_frames)
        return Payload(
            (top1 == self.truth).astype(np.float64), NUM_PATCHES * ones, wire_bytes, self.full_macs * ones
        )

    def point(self, setting: Setting, offload: Mask, payload: Payload, standing: Mask | None = None) -> Point:
        """Return the point of a setting.

        Args:
            offload: (T,) which frames are sent.
            payload: what sending does to each frame.
            standing: (T,) whether the answer at the frames that are not sent is right; the edge's if absent.

        Intervals resample whole cameras.
        """
        figures = measure(offload, self.edge_correct if standing is None else standing, payload)
        correct = figures.correct[self.scored]
        scored = replace(figures, correct=correct, accuracy=float(correct.mean()))
        return Point(setting, ALL, scored, mean_interval(correct, self.camera[self.scored]))
