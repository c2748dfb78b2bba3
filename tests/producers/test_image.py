from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from producers.image import ImageLimits, ImageTooLarge, encode, fit_within, fits
from producers.region import WHOLE, Region
from producers.sources.source import EncodedImage, RawImage

LIMITS = ImageLimits(max_bytes=10**6, max_pixels=10**6, quality=85)


def noise(height: int, width: int) -> RawImage:
    return RawImage(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


def opened(image: EncodedImage) -> Image.Image:
    return Image.open(io.BytesIO(image.data))


def test_pixels_become_a_jpeg_of_the_same_size() -> None:
    image = encode(noise(48, 64), LIMITS, WHOLE)
    assert (image.encoding, image.width, image.height) == ("jpeg", 64, 48)
    assert opened(image).size == (64, 48)


def test_a_flat_picture_keeps_its_colour() -> None:
    pixels = np.full((32, 32, 3), (200, 30, 90), np.uint8)
    image = encode(RawImage(pixels), LIMITS, WHOLE)
    assert np.abs(np.asarray(opened(image)).astype(int) - pixels).max() <= 6


def test_a_non_contiguous_view_is_encoded_too() -> None:
    view = noise(64, 64).pixels[:, ::-1]
    assert encode(RawImage(view), LIMITS, WHOLE).width == 64


def test_a_file_within_the_limits_stays_byte_for_byte() -> None:
    image = encode(noise(48, 64), LIMITS, WHOLE)
    assert fits(image, LIMITS)
    assert encode(image, LIMITS, WHOLE) is image


def test_too_many_pixels_are_scaled_down_keeping_the_shape() -> None:
    image = encode(noise(600, 800), ImageLimits(10**6, 300 * 400, 85), WHOLE)
    assert (image.width, image.height) == (400, 300)


def test_too_many_bytes_lose_quality_first_and_size_after() -> None:
    picture = noise(480, 640)
    full = encode(picture, LIMITS, WHOLE)
    coarser = encode(full, ImageLimits(len(full.data) - 1, 10**6, 85), WHOLE)
    assert len(coarser.data) < len(full.data)
    assert (coarser.width, coarser.height) == (640, 480)
    smaller = encode(full, ImageLimits(len(full.data) // 5, 10**6, 85), WHOLE)
    assert len(smaller.data) <= len(full.data) // 5
    assert 224 <= smaller.height < 480


def test_a_picture_that_never_fits_is_refused_with_its_size() -> None:
    with pytest.raises(ImageTooLarge, match="at most 1000"):
        encode(noise(480, 640), ImageLimits(1000, 10**6, 85), WHOLE)


@given(width=st.integers(1, 8000), height=st.integers(1, 8000), max_pixels=st.integers(224 * 224, 10**8))
def test_fit_within_never_grows_and_never_exceeds(width: int, height: int, max_pixels: int) -> None:
    new_width, new_height = fit_within(width, height, max_pixels)
    assert 1 <= new_width <= width
    assert 1 <= new_height <= height
    assert new_width * new_height <= max_pixels
    if width * height <= max_pixels:
        assert (new_width, new_height) == (width, height)


def test_only_the_region_is_sent_and_masked_parts_are_black() -> None:
    pixels = np.full((40, 80, 3), 200, np.uint8)
    region = Region(crop=(0.5, 0.0, 1.0, 0.5), mask=((0.75, 0.0, 1.0, 1.0),))
    image = encode(encode(RawImage(pixels), LIMITS, WHOLE), LIMITS, region)
    assert (image.width, image.height) == (40, 20)
    sent = np.asarray(opened(image))
    assert sent[:, 2:14].min() > 190
    assert sent[:, 26:].max() < 10
    assert pixels.min() == 200


@pytest.mark.parametrize(
    "crop", [(0, 0, 0, 1), (0.5, 0, 0.4, 1), (0, 0, 1.1, 1), (-0.1, 0, 1, 1), (0, float("nan"), 1, 1)]
)
def test_what_is_no_rectangle_is_refused_by_its_numbers(crop: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match=r"crop .*: want left, top, right, bottom"):
        Region(crop)


def test_a_region_of_no_pixel_is_one_pixel() -> None:
    assert Region((0.001, 0.001, 0.002, 0.002)).of(np.zeros((10, 10, 3), np.uint8)).shape == (1, 1, 3)
