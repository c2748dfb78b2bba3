import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vit.preprocess import from_patches, resize_crop, to_patches


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (640, 480), (720, 1280), (299, 299), (333, 500), (333, 201), (224, 224), (479, 641)],
)
def test_the_crop_is_torchvisions_resize_256_and_centre_crop_224(height: int, width: int) -> None:
    from torchvision import transforms

    reference = transforms.Compose(
        [
            transforms.Resize(256, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
        ]
    )
    pixels = noise(height, width)
    expected = np.asarray(reference(Image.fromarray(pixels))).astype(int)
    difference = np.abs(resize_crop(pixels).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 400), st.integers(1, 400))
def test_every_size_gives_a_crop(height: int, width: int) -> None:
    crop = resize_crop(noise(height, width))
    assert crop.shape == (224, 224, 3)
    assert crop.dtype == np.uint8


def test_an_extreme_shape_needs_no_extreme_memory() -> None:
    assert resize_crop(np.zeros((1, 200_000, 3), np.uint8)).shape == (224, 224, 3)


def test_a_pil_image_in_another_mode_is_taken_as_rgb() -> None:
    grey = Image.fromarray(noise(300, 300)[..., 0])
    crop = resize_crop(grey)
    assert np.array_equal(crop[..., 0], crop[..., 1])


def test_patches_are_row_major_and_reversible() -> None:
    crop = noise(224, 224)
    patches = to_patches(crop)
    assert patches.shape == (196, 16, 16, 3)
    assert np.array_equal(patches[15], crop[16:32, 16:32])
    assert np.array_equal(from_patches(patches), crop)


@pytest.mark.parametrize(
    ("function", "shape"), [(to_patches, (224, 223, 3)), (from_patches, (195, 16, 16, 3))]
)
def test_other_shapes_are_refused(function, shape) -> None:
    with pytest.raises(ValueError, match="must be"):
        function(np.zeros(shape, np.uint8))
