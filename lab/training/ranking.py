"""Asks the finished edge model once how it ranks the patches of every crop in a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gating.select import rank
from lab.evaluation.reporter import Reporter
from lab.training.pool import Pool
from lab.training.subsets import Orders
from schemas.geometry import NUM_PATCHES
from vit.edge_forward import EdgeForward
from vit.model import Model

BATCH: Final = 64


def rank_pool(
    edge: Model, pool: Pool, path: Path, *, threads: int, device: str, reporter: Reporter
) -> Orders:
    """Return the edge's patch order of every crop of a full pool, kept in ``path`` for the next time.

    The file's name should hold the edge's weights hash: an order of another model is as good as chance.
    """
    if not path.exists():
        forward = EdgeForward(edge, threads=threads, device=device)
        ranks = np.empty((pool.size, NUM_PATCHES), np.uint8)
        reporter.start("edge's patch orders", pool.size)
        for start in range(0, pool.size, BATCH):
            stop = min(start + BATCH, pool.size)
            ranks[start:stop] = rank(forward(np.array(pool.crops[start:stop])).attention)
            reporter.advance(stop - start)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, ranks)
        partial.replace(path)
    return Orders.open(path)
