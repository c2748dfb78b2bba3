import io

import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from schemas.errors import DecodeError
from vit.preprocess import decode_image, from_patches, resize_crop, to_patches


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, encoding: str) -> bytes:
    if encoding == "jpeg":
        return simplejpeg.encode_jpeg(pixels, quality=95)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, encoding.upper(), lossless=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (640, 480), (720, 1280), (299, 299), (333, 500), (333, 201), (224, 224), (479, 641)],
)
def test_the_crop_is_torchvisions_resize_256_and_centre_crop_224(height, width):
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
def test_every_size_gives_a_crop(height, width):
    crop = resize_crop(noise(height, width))
    assert crop.shape == (224, 224, 3)
    assert crop.dtype == np.uint8


def test_an_extreme_shape_needs_no_extreme_memory():
    assert resize_crop(np.zeros((1, 200_000, 3), np.uint8)).shape == (224, 224, 3)


def test_a_pil_image_in_another_mode_is_taken_as_rgb():
    grey = Image.fromarray(noise(300, 300)[..., 0])
    crop = resize_crop(grey)
    assert np.array_equal(crop[..., 0], crop[..., 1])


@pytest.mark.parametrize("encoding", ["png", "webp"])
def test_lossless_encodings_decode_to_the_very_pixels(encoding):
    pixels = noise(30, 50)
    assert np.array_equal(decode_image(encoded(pixels, encoding), encoding, 1500), pixels)


def test_a_jpeg_decodes_at_full_size_in_rgb():
    pixels = np.full((48, 64, 3), (200, 100, 20), np.uint8)
    decoded = decode_image(encoded(pixels, "jpeg"), "jpeg", 48 * 64)
    assert decoded.shape == (48, 64, 3)
    assert np.abs(decoded.astype(int) - pixels).max() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_jpegs_of_other_colour_models_become_rgb(mode):
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, "JPEG")
    assert decode_image(buffer.getvalue(), "jpeg", 1200).shape == (30, 40, 3)


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp"])
def test_a_size_above_the_limit_is_refused_from_the_header(encoding):
    header_only = encoded(noise(30, 50), encoding)
    with pytest.raises(DecodeError, match="50x30 is outside 1 to 1499 pixels") as caught:
        decode_image(header_only, encoding, 1499)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("encoding", ["jpeg", "png", "webp"])
def test_truncated_images_are_decode_errors(encoding):
    data = encoded(noise(30, 50), encoding)
    for length in range(0, len(data) - 20, 97):
        with pytest.raises(DecodeError):
            decode_image(data[:length], encoding, 1500)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(["jpeg", "png", "webp"]), st.floats(0, 1), st.integers(1, 255))
def test_a_corrupt_byte_gives_an_image_of_the_size_or_a_decode_error(encoding, place, flip):
    data = bytearray(encoded(noise(16, 24), encoding))
    data[int(place * (len(data) - 1))] ^= flip
    try:
        decoded = decode_image(bytes(data), encoding, 10_000)
    except DecodeError:
        return
    assert decoded.ndim == 3
    assert decoded.shape[2] == 3
    assert decoded.shape[0] * decoded.shape[1] <= 10_000


def test_an_unknown_encoding_is_named():
    with pytest.raises(DecodeError, match="'tiff' is not one of jpeg, png, webp"):
        decode_image(b"", "tiff", 100)


def test_patches_are_row_major_and_reversible():
    crop = noise(224, 224)
    patches = to_patches(crop)
    assert patches.shape == (196, 16, 16, 3)
    assert np.array_equal(patches[15], crop[16:32, 16:32])
    assert np.array_equal(from_patches(patches), crop)


@pytest.mark.parametrize(
    ("function", "shape"), [(to_patches, (224, 223, 3)), (from_patches, (195, 16, 16, 3))]
)
def test_other_shapes_are_refused(function, shape):
    with pytest.raises(ValueError, match="must be"):
        function(np.zeros(shape, np.uint8))
