import numpy as np
import pytest

from vit.preprocess import resize_crop
from vit.resize import resize_crop_fast


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (256, 256), (224, 300), (100, 90), (1080, 1920), (257, 801)]
)
def test_the_fast_way_gives_the_same_crop_to_two_grey_levels(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    coarse = rng.integers(0, 256, (-(-size[0] // 4), -(-size[1] // 4), 3), np.uint8)
    image = np.ascontiguousarray(np.kron(coarse, np.ones((4, 4, 1), np.uint8))[: size[0], : size[1]])
    apart = np.abs(resize_crop_fast(image).astype(int) - resize_crop(image).astype(int))
    assert apart.shape == (224, 224, 3)
    assert apart.max() <= 2
    assert (apart > 0).mean() < 0.02


def test_read_only_images_are_taken_as_they_are() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    image.flags.writeable = False
    assert not resize_crop_fast(image).any()


def test_an_extreme_shape_needs_no_extreme_memory() -> None:
    assert resize_crop_fast(np.zeros((2, 300_000, 3), np.uint8)).shape == (224, 224, 3)
