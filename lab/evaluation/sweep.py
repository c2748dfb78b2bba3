"""The arithmetic of one operating point: accuracy, and what it costs, from arrays over frames. Pure numpy.

Two conventions hold for every method. Means "per offload" run over offloaded frames; costs "per frame" run
over all frames, those that stayed on the edge counting as zero.
"""

from collections.abc import Sequence
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


def two_rounds(first: Payload, doubt: NDArray[np.float64], second: Payload, tau: float) -> Payload:
    """Return the payload of a method whose server asks for more where it stays unsure.

    Args:
        first: the payload of round one.
        doubt: (N,) H_min in bits of the server's answer after round one.
        second: the payload of round two alone.
        tau: round two happens where `doubt` >= `tau`.
    """
    again = doubt >= tau
    return Payload(
        np.where(again, second.correct, first.correct),
        first.patches + again * second.patches,
        first.wire_bytes + again * second.wire_bytes,
        first.server_macs + again * second.server_macs,
    )


def pareto_rows(costs: Sequence[float], accuracies: Sequence[float]) -> NDArray[np.int64]:
    """Return the rows on the frontier, by rising cost; accuracy rises strictly along them.

    A row is left out when another has no higher cost and no lower accuracy. Of equal rows the first stays.

    Args:
        costs: (N,), finite.
        accuracies: (N,), finite.
    """
    cost = np.asarray(costs, dtype=np.float64)
    accuracy = np.asarray(accuracies, dtype=np.float64)
    if cost.shape != accuracy.shape or cost.ndim != 1:
        raise ValueError(f"costs {cost.shape} and accuracies {accuracy.shape} must be (N,) alike")
    kept = []
    best = -np.inf
    # By rising cost, then falling accuracy, then row: the first row of each cost is its best.
    for row in np.lexsort((np.arange(cost.size), -accuracy, cost)):
        if accuracy[row] > best:
            kept.append(row)
            best = accuracy[row]
    return np.asarray(kept, dtype=np.int64)


def accuracy_at_cost(costs: Sequence[float], accuracies: Sequence[float], cost: float) -> float:
    """Return the best accuracy to be had for `cost`, linear between frontier points (mix two settings in
    time).

    Returns NaN below the cheapest point; beyond the dearest point its accuracy holds.
    """
    rows = pareto_rows(costs, accuracies)
    xs = np.asarray(costs, dtype=np.float64)[rows]
    ys = np.asarray(accuracies, dtype=np.float64)[rows]
    if xs.size == 0 or cost < xs[0]:
        return float("nan")
    return float(np.interp(cost, xs, ys))
