"""Chooses the operating point that the card reports, on scenes of the calibration seeds only. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from gating.entropy import min_entropy_bits
from lab.training.shape.passes import Seen, column_of
from lab.training.shape.treatments import CALIBRATED, GATED, WHOLE, gated
from schemas.geometry import NUM_PATCHES

MOST_COST: Final = 0.20
_MARGIN: Final = 0.95  # aim below the limit, so that fresh scenes stay below it too
_LOSS: Final = 0.005
_TAUS: Final = 100


@dataclass(frozen=True, slots=True)
class GatePoint:
    """Offload at ``tau`` bits of min-entropy or more; keep patches by ``delta``, at least ``floor``."""

    tau: float
    delta: float
    floor: int


def choose(seen: Seen) -> GatePoint:
    """Return the point that offloads the fewest frames, from answers under `CALIBRATED`.

    Its patch cost is at most 0.20 and its accuracy within half a point of the server's on whole crops; where no
    point is both, it is the most accurate affordable one.

    Raises:
        ValueError: no point is that cheap, which only happens without scenes.

    """
    entropy = min_entropy_bits(seen.edge_logits)
    edge = seen.edge_logits.argmax(1) == seen.truth
    server = seen.answers[:, column_of(CALIBRATED, WHOLE)] == seen.truth
    wanted = float(server.mean()) - _LOSS
    best: tuple[tuple[float, float], GatePoint] | None = None
    for delta, floor in GATED:
        column = column_of(CALIBRATED, gated(delta, floor))
        served = seen.answers[:, column] == seen.truth
        cost = seen.patches[:, column] / NUM_PATCHES
        for tau in np.quantile(entropy, np.linspace(0, 1, _TAUS)):
            asked = entropy >= tau
            accuracy = float(np.where(asked, served, edge).mean())
            affordable = float(np.where(asked, cost, 0).mean()) <= MOST_COST * _MARGIN
            rank = min(accuracy, wanted), -float(asked.mean())
            if affordable and (best is None or rank > best[0]):
                best = rank, GatePoint(float(tau), delta, floor)
    if best is None:
        raise ValueError(f"no operating point among {len(seen.truth)} scenes costs at most {MOST_COST}")
    return best[1]
