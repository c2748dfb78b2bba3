from pathlib import Path

import numpy as np
import torch

from lab.training.subsets import EDGE_ORDER_SHARE, SMALLEST_SHARE, Orders, subset_size, thin
from schemas.geometry import NUM_PATCHES


def sizes(count: int) -> np.ndarray:
    random = np.random.default_rng(1)
    return np.array([subset_size(random) for _ in range(count)])


def test_a_fifth_of_the_batches_is_whole_and_none_is_smaller_than_8_percent() -> None:
    drawn = sizes(3000)
    assert 0.17 < np.mean(drawn == NUM_PATCHES) < 0.24
    assert drawn.min() >= round(NUM_PATCHES * SMALLEST_SHARE)


def test_sizes_are_uniform_in_the_logarithm() -> None:
    thinned = sizes(4000)
    thinned = thinned[thinned < NUM_PATCHES]
    assert abs(np.log(thinned / NUM_PATCHES).mean() - np.log(SMALLEST_SHARE) / 2) < 0.06


def test_thinned_crops_keep_patches_with_their_positions_and_truths() -> None:
    batch = 64
    values = torch.arange(NUM_PATCHES).expand(batch, -1)
    patches = values[..., None].float().expand(-1, -1, 768)
    orders = np.tile(np.arange(NUM_PATCHES)[::-1], (batch, 1))
    random = np.random.default_rng(0)
    kept, (positions, truth, patch_truth, cover) = thin(
        patches, (values, torch.zeros(batch, dtype=torch.int64), values, values.float()), orders, random
    )
    assert kept.shape[1] < NUM_PATCHES
    assert (positions.diff(dim=1) > 0).all()
    assert (kept[..., 0] == positions).all()
    assert (patch_truth == positions).all()
    assert (cover == positions).all()
    assert truth.shape == (batch,)
    by_edge = (positions[:, 0] == NUM_PATCHES - positions.shape[1]).float().mean()
    assert abs(by_edge - EDGE_ORDER_SHARE) < 0.2


def test_without_an_order_each_crop_keeps_patches_of_its_own() -> None:
    values = torch.arange(NUM_PATCHES).expand(8, -1)
    patches = values[..., None].float().expand(-1, -1, 768)
    truth = torch.zeros(8, dtype=torch.int64)
    kept, (positions, *_) = thin(
        patches, (values, truth, values, values.float()), None, np.random.default_rng(0)
    )
    assert 0 < kept.shape[1] < NUM_PATCHES
    assert (positions.diff(dim=1) > 0).all()
    assert len({tuple(row.tolist()) for row in positions}) == 8


def test_orders_are_read_row_by_row(tmp_path: Path) -> None:
    ranks = np.stack([np.random.default_rng(i).permutation(NUM_PATCHES) for i in range(3)]).astype(np.uint8)
    np.save(tmp_path / "orders.npy", ranks)
    assert (Orders.open(tmp_path / "orders.npy").of(np.array([2, 0])) == ranks[[2, 0]]).all()
