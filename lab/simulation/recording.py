"""What the controller is replayed against: entropies, and the outcome and bytes of every way to encode.

A recording is made by running the real models over real frames, or drawn from a frontier (`synthetic`).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint, point_from_fields
from uplink.curve import Curve

PERSISTENCE_S: Final = 2.0
"""How long a camera's entropies stay alike in a synthetic recording."""


@dataclass(frozen=True, slots=True)
class Streamed:
    """What a belief needs of n frames in the order of time.

    `truth`: (n,) int64, -1 where a frame is shown but not scored. `logits`: (n, C) float32 and `embedding`:
    (n, D) float32, the edge's. `server`: (n, families, C) float64, the probabilities of its answers as they travel.
    """

    truth: NDArray[np.int64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    server: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Recording:
    """Frames in order, each with its outcome under every family of points (τ only decides whether to ask).

    `min_entropy`: (n,) float64, bits. `edge_right`: (n,) bool. `server_right`: (n, families) bool.
    `num_bytes`: (n, families) int64, sizes of the encoded offload records. `families`: their points, τ = 0. `stream`:
    what a belief needs, None where each frame stands by itself.
    """

    min_entropy: NDArray[np.float64]
    edge_right: NDArray[np.bool_]
    server_right: NDArray[np.bool_]
    num_bytes: NDArray[np.int64]
    families: tuple[OperatingPoint, ...]
    stream: Streamed | None = None

    def __post_init__(self) -> None:
        shape = (len(self.min_entropy), len(self.families))
        if shape[0] < 1 or shape[1] < 1:
            raise ValueError(f"recording: {shape[0]} frames and {shape[1]} families, each must be at least 1")
        for name in ("server_right", "num_bytes"):
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(f"recording.{name}: shape {found}, must be {shape}")

    def __len__(self) -> int:
        return len(self.min_entropy)

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(n,) which frames count for accuracy; no label of another one is right."""
        if self.stream is None:
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(self.stream.truth >= 0)

    def save(self, path: Path) -> None:
        """`path` holds the recording as a compressed .npz."""
        np.savez_compressed(
            path,
            min_entropy=self.min_entropy,
            edge_right=self.edge_right,
            server_right=self.server_right,
            num_bytes=self.num_bytes,
            families=np.array(json.dumps([point.to_json() for point in self.families])),
            **({} if self.stream is None else {name: getattr(self.stream, name) for name in _STREAMED}),
        )


_STREAMED: Final = tuple(each.name for each in fields(Streamed))


def load_recording(path: Path) -> Recording:
    """The recording of `Recording.save`; never unpickles.

    Raises:
        DecodeError: the file is none.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points: list[Any] = json.loads(str(arrays["families"]))
            return Recording(
                min_entropy=arrays["min_entropy"].astype(np.float64),
                edge_right=arrays["edge_right"].astype(bool),
                server_right=arrays["server_right"].astype(bool),
                num_bytes=arrays["num_bytes"].astype(np.int64),
                families=tuple(point_from_fields(Fields.of("recording.families", p)) for p in points),
                stream=Streamed(*(arrays[name] for name in _STREAMED)) if "logits" in arrays else None,
            )
    except (OSError, ValueError, KeyError) as error:
        raise DecodeError("unreadable", f"recording {path}: {error}") from None


def synthetic(frontier: Frontier, *, frames: int, frames_per_s: float, seed: int) -> Recording:
    """Frames drawn from a frontier: entropies by its quantiles, outcomes by accuracies, sizes by bytes.

    Neighbouring frames are alike for about `PERSISTENCE_S`; one uniform number per frame decides all
    outcomes, so a family that keeps more is right wherever one that keeps less is.
    """
    rng = np.random.default_rng(seed)
    curve = Curve(frontier)
    like = math.exp(-1.0 / (PERSISTENCE_S * frames_per_s))
    noise = rng.standard_normal(frames)
    mood = np.empty(frames)
    mood[0] = noise[0]
    for idx in range(1, frames):
        mood[idx] = like * mood[idx - 1] + math.sqrt(1.0 - like * like) * noise[idx]
    rank = np.argsort(np.argsort(mood)) / max(frames - 1, 1)
    entropy = np.interp(rank, np.linspace(0.0, 1.0, len(frontier.h_min_quantiles)), frontier.h_min_quantiles)
    luck = rng.random(frames)
    edge = curve.edge_accuracy_at(entropy)
    right = np.empty((frames, len(curve.families)), dtype=bool)
    num_bytes = np.empty((frames, len(curve.families)), dtype=np.int64)
    size = rng.standard_normal(frames)
    for idx, family in enumerate(curve.families):
        right[:, idx] = luck < edge + family.kept * curve.full_gain_at(entropy)
        spread = _spread(family.bytes_per_offload_p95 / max(family.bytes_per_offload, 1.0))
        num_bytes[:, idx] = family.bytes_per_offload * np.exp(spread * size - spread * spread / 2)
    return Recording(
        entropy,
        luck < edge,
        right,
        np.maximum(num_bytes, 64),
        tuple(family.point for family in curve.families),
    )


def _spread(p95_over_mean: float) -> float:
    """σ of the log-normal whose 95th percentile is so much above its mean: 1.645 σ − σ²/2 = ln ratio."""
    target = math.log(min(max(p95_over_mean, 1.0), 3.8))
    return 1.645 - math.sqrt(max(1.645**2 - 2 * target, 0.0))
