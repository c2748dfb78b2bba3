"""Token sets as the server will meet them: the edge's most attended patches, or a random choice."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gating.select import rank
from lab.progress import Progress
from lab.training.pool import Pool
from schemas.geometry import NUM_PATCHES
from vit.edge_forward import EdgeForward
from vit.model import Model

SMALLEST_SHARE = 0.08
WHOLE_SHARE = 0.2
EDGE_ORDER_SHARE = 0.7

Tensors = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Orders:
    """The frozen edge's patch order of every crop in a pool: (size, 196) uint8, most attended first."""

    ranks: NDArray[np.uint8]

    @classmethod
    def open(cls, path: Path) -> Orders:
        """Return the orders stored in an .npy file."""
        return cls(np.load(path, mmap_mode="r"))

    def of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the (B, 196) orders of these crops."""
        return self.ranks[indices].astype(np.int64)


def subset_size(random: np.random.Generator) -> int:
    """Return k = 196 · exp(U(ln 0.08, 0)) patches, or all of them for a fifth of the batches."""
    if random.random() < WHOLE_SHARE:
        return NUM_PATCHES
    return max(1, round(NUM_PATCHES * math.exp(random.uniform(math.log(SMALLEST_SHARE), 0.0))))


def thin(
    patches: Tensor, tensors: Tensors, orders: NDArray[np.int64] | None, random: np.random.Generator
) -> tuple[Tensor, Tensors]:
    """Return a batch of whole crops with k patches each, in ascending position order.

    The same k for the batch; 70 % of the crops keep the edge's first k patches, the others a random k. Without
    orders all keep a random k.
    """
    k = subset_size(random)
    if k == NUM_PATCHES:
        return patches, tensors
    batch = len(patches)
    by_edge = random.random(batch) < EDGE_ORDER_SHARE
    chosen = np.argsort(random.random((batch, NUM_PATCHES)), axis=1)
    if orders is not None:
        chosen = np.where(by_edge[:, None], orders, chosen)
    kept = np.sort(chosen[:, :k], axis=1)
    index = torch.from_numpy(kept).to(patches.device)
    positions, truth, patch_truth, cover = tensors
    picked = patches.gather(1, index[..., None].expand(-1, -1, patches.shape[-1]))
    return picked, (positions.gather(1, index), truth, patch_truth.gather(1, index), cover.gather(1, index))


BATCH: Final = 64


def rank_pool(
    edge: Model, pool: Pool, path: Path, *, threads: int, device: str, progress: Progress
) -> Orders:
    """Return the edge's patch order of every crop of a full pool, kept in ``path`` for the next time.

    The file's name should hold the edge's weights hash: an order of another model is as good as chance.
    """
    if not path.exists():
        forward = EdgeForward(edge, threads=threads, device=device)
        ranks = np.empty((pool.size, NUM_PATCHES), np.uint8)
        progress.start("edge's patch orders", pool.size)
        for start in range(0, pool.size, BATCH):
            stop = min(start + BATCH, pool.size)
            ranks[start:stop] = rank(forward(np.array(pool.crops[start:stop])).attention)
            progress.advance(stop - start)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, ranks)
        partial.replace(path)
    return Orders.open(path)
