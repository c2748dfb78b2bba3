"""The arithmetic of one operating point: accuracy, and what it costs, from arrays over frames. Pure numpy.

Two conventions hold for every method. Means "per offload" run over offloaded frames; costs "per frame" run
over all frames, those that stayed on the edge counting as zero.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.geometry import NUM_PATCHES

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Payload:
    """What happens to each frame if it is offloaded in one certain way.

    All arrays are (N,). `correct` tells whether the server's answer is right (a share in [0, 1] where several
    random draws are averaged), `patches` the pixels sent / 256, `wire_bytes` what leaves the uplink with
    headers, `server_macs` the multiply-accumulates on the server, summed over every pass.
    """

    correct: Floats
    patches: Floats
    wire_bytes: Floats
    server_macs: Floats

    def __post_init__(self) -> None:
        shapes = {each.shape for each in (self.correct, self.patches, self.wire_bytes, self.server_macs)}
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ValueError(f"payload: its four arrays must be (N,) alike, got shapes {sorted(shapes)}")

    def take(self, rows: Mask | NDArray[np.int64]) -> "Payload":
        """Return the payload of some frames only."""
        return Payload(self.correct[rows], self.patches[rows], self.wire_bytes[rows], self.server_macs[rows])


@dataclass(frozen=True, slots=True)
class Measurement:
    """One operating point over N frames; `correct` (N,) holds each frame's share of being right."""

    correct: Floats
    accuracy: float
    offload_ratio: float
    patches_mean: float
    bytes_per_offload: float
    patch_cost: float
    bytes_per_frame: float
    server_macs: float


def mean_payload(payloads: list[Payload]) -> Payload:
    """Return the frame-wise mean of several random draws of one method."""
    if not payloads:
        raise ValueError("payloads: empty, a mean needs at least one draw")
    return Payload(
        np.mean([each.correct for each in payloads], axis=0),
        np.mean([each.patches for each in payloads], axis=0),
        np.mean([each.wire_bytes for each in payloads], axis=0),
        np.mean([each.server_macs for each in payloads], axis=0),
    )


def measure(offload: Mask | Floats, edge_correct: Mask | Floats, payload: Payload) -> Measurement:
    """Return the figures of one operating point.

    Args:
        offload: (N,) which frames are offloaded, or with which probability in [0, 1].
        edge_correct: (N,) whether the edge's answer is right.
        payload: what offloading does to each frame.

    Where nothing is offloaded, the two means over offloads are 0.
    """
    share = np.asarray(offload, dtype=np.float64)
    edge = np.asarray(edge_correct, dtype=np.float64)
    if share.shape != edge.shape or share.shape != payload.correct.shape or share.size == 0:
        raise ValueError(
            f"offload {share.shape}, edge_correct {edge.shape} and payload {payload.correct.shape} "
            "must have the same (N,) shape, N >= 1"
        )
    correct = np.where(share > 0, share * payload.correct, 0.0) + (1.0 - share) * edge
    num_frames = share.size
    num_offloads = float(share.sum())
    patches = float((share * payload.patches).sum())
    num_bytes = float((share * payload.wire_bytes).sum())
    return Measurement(
        correct=correct,
        accuracy=float(correct.mean()),
        offload_ratio=num_offloads / num_frames,
        patches_mean=patches / num_offloads if num_offloads else 0.0,
        bytes_per_offload=num_bytes / num_offloads if num_offloads else 0.0,
        patch_cost=patches / (NUM_PATCHES * num_frames),
        bytes_per_frame=num_bytes / num_frames,
        server_macs=float((share * payload.server_macs).sum()) / num_frames,
    )


def random_gate_share(num_frames: int, ratio: float) -> Floats:
    """Return each frame's probability of being offloaded by a gate that draws lots.

    Measured with it, accuracy and costs are the exact mean over all draws, so no seed is involved.
    """
    return np.full(num_frames, ratio, dtype=np.float64)
