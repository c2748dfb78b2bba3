"""All frames of several cameras at one rate as one table, and how a setting is scored on it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gating.entropy import min_entropy_bits
from lab.evaluation.bootstrap import mean_interval
from lab.evaluation.corpus import calibration_half
from lab.evaluation.models import Embedding, Logits
from lab.evaluation.points import ALL, CALIBRATION, Point, Setting
from lab.evaluation.stream.cameras import Camera
from lab.evaluation.sweep import Payload, measure
from lab.evaluation.wire import share_of_a_batch
from schemas.geometry import NUM_PATCHES

ANSWER_S: Final = 0.2
"""From the capture of a frame to the server's answer about it."""

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """What one setting does to T frames.

    `offload` (T,) are the frames that are sent, `payload` what sending does to each. `standing` (T,) tells
    whether the answer at the frames that are not sent is right, None for the edge's own.
    """

    setting: Setting
    offload: Mask
    payload: Payload
    standing: Mask | None = None


@dataclass(frozen=True)
class Frames:
    """T frames of all cameras, one camera after the other.

    `camera` (T,) is the camera's number. `truth` (T,) is -1 where a frame is streamed but not scored.
    `edge_logits` (T, C) and `embedding` (T, D) are the edge's. `full_macs` is one server pass over a whole image.
    """

    cameras: Sequence[Camera]
    camera: Ints
    truth: Ints
    edge_logits: Logits
    embedding: Embedding
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
        return np.asarray(self.edge_logits.argmax(axis=1) == self.truth)

    @cached_property
    def h_min(self) -> Floats:
        """(T,) min-entropy of the edge in bits."""
        return min_entropy_bits(self.edge_logits)

    @property
    def delay(self) -> int:
        """After how many frames the server's answer is there."""
        return max(1, round(ANSWER_S * self.cameras[0].fps))

    @property
    def alike(self) -> list[Ints]:
        """(K, L) rows of the cameras of each length, in the order of time."""
        rows = [self.rows_of(number) for number in range(len(self.cameras))]
        lengths = dict.fromkeys(each.size for each in rows)
        return [np.stack([each for each in rows if each.size == length]) for length in lengths]

    def rows_of(self, number: int) -> Ints:
        """Return the rows of one camera, in the order of time."""
        return np.flatnonzero(self.camera == number)

    def whole_payload(self, top1: Ints, wire_bytes: Floats) -> Payload:
        """Return the payload of whole frames that the server answered with `top1`."""
        ones = np.ones(self.num_frames)
        return Payload(
            (top1 == self.truth).astype(np.float64), NUM_PATCHES * ones, wire_bytes, self.full_macs * ones
        )

    @property
    def calibration(self) -> Mask:
        """(T,) which frames choose: those of half of the cameras, by the hash of their names."""
        return calibration_half([camera.name for camera in self.cameras])[self.camera]

    @property
    def has_halves(self) -> bool:
        """Whether scored frames of some cameras choose and those of others can report."""
        halves = self.calibration[self.scored]
        return bool(halves.any() and not halves.all())

    def rows(self, split: str) -> Ints:
        """Return the rows of `all`, `calibration` or `test`."""
        if split == ALL:
            return np.arange(self.num_frames)
        return np.flatnonzero(self.calibration if split == CALIBRATION else ~self.calibration)

    def scored_cameras(self, split: str) -> Ints:
        """Return the camera of each scored frame of a split."""
        rows = self.rows(split)
        return self.camera[rows][self.scored[rows]]

    def batched_bytes(self, outcome: Outcome, split: str) -> float:
        """Return the mean bytes a frame of a split's cameras, had all records left in batches of eight."""
        rows = self.rows(split)
        sent = outcome.offload[rows].astype(np.float64)
        return float((sent * share_of_a_batch(outcome.payload.wire_bytes[rows])).mean())

    def point(self, outcome: Outcome, split: str = ALL) -> Point:
        """Return the point of an outcome on a split's cameras; intervals resample whole cameras."""
        rows = self.rows(split)
        standing = self.edge_correct if outcome.standing is None else outcome.standing
        figures = measure(outcome.offload[rows], standing[rows], outcome.payload.take(rows))
        scored = self.scored[rows]
        correct = figures.correct[scored]
        figures = replace(figures, correct=correct, accuracy=float(correct.mean()))
        return Point(outcome.setting, split, figures, mean_interval(correct, self.camera[rows][scored]))
