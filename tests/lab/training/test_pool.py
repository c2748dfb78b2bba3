from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.scenes.seeds import CALIBRATION_SEEDS
from lab.scenes.views import render_view
from lab.training.pool import JPEG_QUALITIES, Pool, camera_crop, fill, patch_cover, quality_of


def test_a_pool_keeps_what_is_put_into_it(tmp_path: Path) -> None:
    made = Pool.open(tmp_path, 2, create=True)
    view = render_view(7, want_mask=True)
    crop = camera_crop(view.image, 90)
    made.put(1, view, crop)
    made.mark(2)
    again = Pool.open(tmp_path, 2)
    assert again.filled() == 2
    assert (again.crops[1] == crop).all()
    assert again.meta[1]["label"] == view.label
    assert again.meta[1]["truth"] == view.truth


def test_filling_goes_on_where_it_was_left_and_gives_the_same_pool(tmp_path: Path) -> None:
    whole, cut = (Pool.open(tmp_path / name, 6, create=True) for name in ("whole", "cut"))
    fill(whole, 100, step=4, easy=3)
    fill(cut, 100, step=4, easy=3)
    cut.crops[2:] = 0
    cut.mark(2)
    fill(cut, 100, step=4, easy=3)
    assert (whole.crops == cut.crops).all()
    assert (whole.cover == cut.cover).all()


def test_scenes_of_another_split_never_enter_a_training_pool(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not all train"):
        fill(Pool.open(tmp_path, 1, create=True), CALIBRATION_SEEDS.start)


def test_cover_is_the_share_of_each_patch_that_the_mask_fills() -> None:
    mask = Image.new("L", (640, 480))
    mask.paste(255, (110, 30, 320, 450))  # the left half of the crop
    cover = patch_cover(mask).reshape(14, 14)
    assert (cover[:, :6] > 240).all()
    assert (cover[:, 8:] < 5).all()
    assert not patch_cover(None).any()


def test_training_crops_pass_through_a_cameras_jpeg() -> None:
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    good, poor = camera_crop(image, 95), camera_crop(image, 30)
    assert good.shape == (224, 224, 3)
    assert (good != poor).any()


def test_qualities_spread_over_what_cameras_use() -> None:
    low, high = JPEG_QUALITIES
    qualities = {quality_of(seed) for seed in range(500)}
    assert min(qualities) == low
    assert max(qualities) == high - 1
