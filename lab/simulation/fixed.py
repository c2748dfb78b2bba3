"""The rival of control: one point of the frontier, chosen in hindsight, under the same bucket and queue.

Every point is first replayed through a plain bucket, all points at once; the best few then run in full.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from lab.simulation.recording import Recording
from lab.simulation.simulate import Scenario, simulate
from lab.simulation.worker import (
    RECORD_OVERHEAD_BYTES,
    REQUEST_OVERHEAD_BYTES,
    SEGMENT_SHARE,
    Cameras,
    schedule_cameras,
)
from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint
from schemas.rates import RateSchedule
from uplink.allowance import DEPTH_SHARE, burst_bytes

NUM_FINALISTS: Final = 4


@dataclass(frozen=True, slots=True)
class BestFixed:
    """The point that came out best, and the accuracy it reached."""

    point: OperatingPoint
    accuracy: float


def best_fixed(scenario: Scenario, frontier: Frontier, recording: Recording) -> BestFixed:
    """The best single point for this scenario, told or with the link's capacity as its budget."""
    limit = scenario.budget if isinstance(scenario.budget, RateSchedule) else scenario.capacity
    known = set(recording.families)
    points = [point.point for point in frontier.points if replace(point.point, tau=0.0) in known]
    if limit is None or (frontier.belief is not None and recording.stream is not None):
        ranked = points  # what a frame asks depends on the answers before: only a full run tells
    else:
        cameras = _all_cameras(scenario, recording)
        scores = _plain_accuracies(points, recording, cameras, limit)
        ranked = [points[idx] for idx in np.argsort(scores)[::-1][:NUM_FINALISTS]]
    finalists = []
    for point in ranked:
        result = simulate(replace(scenario, fixed_point=point), frontier=frontier, recording=recording)
        finalists.append(BestFixed(point, result.accuracy))
    return max(finalists, key=lambda each: each.accuracy)


def _all_cameras(scenario: Scenario, recording: Recording) -> Cameras:
    return schedule_cameras(
        recording,
        cameras=range(scenario.cameras),
        frames_per_s=scenario.frames_per_s,
        duration_s=scenario.duration_s,
        hard=scenario.hard,
        rng=np.random.default_rng(scenario.seed + 1),
    )


def _plain_accuracies(
    points: list[OperatingPoint], recording: Recording, cameras: Cameras, limit: RateSchedule
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """(points,) accuracies if each frame above τ is sent whenever its bytes are there, all workers as one."""
    families = np.array([recording.families.index(replace(point, tau=0.0)) for point in points])
    taus = np.array([point.tau for point in points])
    wire = recording.num_bytes * (1.0 + SEGMENT_SHARE) + RECORD_OVERHEAD_BYTES + REQUEST_OVERHEAD_BYTES
    depth = DEPTH_SHARE * burst_bytes(limit.rate_at(0.0))
    tokens = np.full(len(points), depth)
    right = np.zeros(len(points))
    before_s = 0.0
    for at_s, idx in zip(cameras.times_s.tolist(), cameras.idx.tolist(), strict=True):
        rate = limit.rate_at(at_s)
        depth = DEPTH_SHARE * burst_bytes(rate) if rate > 0 else 0.0
        tokens = np.minimum(tokens + rate * (at_s - before_s), depth)
        before_s = at_s
        costs = wire[idx, families]
        sent = (recording.min_entropy[idx] >= taus) & (tokens >= costs)
        tokens -= np.where(sent, costs, 0.0)
        right += np.where(sent, recording.server_right[idx, families], recording.edge_right[idx])
    return right / max(len(cameras.times_s), 1)
