import numpy as np
import pytest

from lab.scenes.classes import IGNORE, NONE
from lab.training.batches import BARE, COVERED, patch_truth, relit, sample, window_truth


@pytest.mark.parametrize("window", [5, 7, 14])
def test_a_batch_holds_the_pixels_of_the_patches_it_names(pool, window) -> None:
    batch, indices = sample(pool, np.random.default_rng(0), 6, window, range(pool.size))
    assert batch.pixels.shape == (6, 16 * window, 16 * window, 3)
    assert batch.positions.shape == batch.patch_truth.shape == batch.cover.shape == (6, window**2)
    for row, index in enumerate(indices):
        assert (batch.cover[row] * 255 == pool.cover[index][batch.positions[row]]).all()
        top, left = divmod(int(batch.positions[row, 0]), 14)
        source = pool.crops[index, 16 * top : 16 * (top + window), 16 * left : 16 * (left + window)]
        assert np.corrcoef(source.ravel(), batch.pixels[row].ravel())[0, 1] > 0.8


def test_the_same_generator_state_gives_the_same_batch(pool) -> None:
    one, _ = sample(pool, np.random.default_rng([1, 2]), 4, 7, range(pool.size))
    other, _ = sample(pool, np.random.default_rng([1, 2]), 4, 7, range(pool.size))
    assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(one, other, strict=True))


def test_only_available_crops_are_drawn(pool) -> None:
    _, indices = sample(pool, np.random.default_rng(0), 100, 5, range(4, 8))
    assert set(indices) == {4, 5, 6, 7}


@pytest.mark.parametrize(
    ("label", "visible", "side_px", "truth"),
    [(2, 0.6, 24, 2), (2, 0.59, 24, IGNORE), (2, 0.6, 20, IGNORE), (2, 0.09, 90, NONE), (NONE, 0.0, 0, NONE)],
)
def test_a_window_is_judged_by_what_it_shows(label: str, visible: float, side_px: int, truth) -> None:
    found = window_truth(np.array([label]), np.array([visible]), np.array([side_px], np.float32))
    assert found.tolist() == [truth]


def test_a_patch_is_the_objects_where_mostly_covered() -> None:
    cover = np.array([[0, BARE, BARE + 1, COVERED - 1, COVERED, 255]], np.uint8)
    assert patch_truth(np.array([3]), cover).tolist() == [[NONE, NONE, IGNORE, IGNORE, 3, 3]]


def test_other_light_keeps_the_shape_and_the_order_of_levels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    lit = relit(ramp, np.random.default_rng(1))
    assert lit.shape == ramp.shape
    assert (np.diff(lit.astype(int), axis=1) >= 0).all()
