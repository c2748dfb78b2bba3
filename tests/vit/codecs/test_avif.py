import io

import numpy as np
import pytest
from PIL import Image

from schemas.errors import DecodeError
from vit.codecs.avif import av1_of, avif_of


def encoded(height: int, width: int, **options):
    pixels = np.random.default_rng(height).integers(0, 255, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "AVIF", quality=50, speed=9, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(("height", "width"), [(16, 16), (192, 208), (224, 224)])
def test_the_container_is_restored_to_the_byte(height: int, width: int) -> None:
    avif = encoded(height, width)
    assert avif_of(av1_of(avif), width, height) == avif


def test_another_size_than_expected_is_refused_before_decoding() -> None:
    with pytest.raises(DecodeError, match="208x192, expected 192x192"):
        avif_of(av1_of(encoded(192, 208)), 192, 192)


def test_two_pictures_in_one_payload_are_refused() -> None:
    av1 = av1_of(encoded(16, 16))
    with pytest.raises(DecodeError, match="AV1 unit header 0x0a at byte"):
        avif_of(av1 + av1, 16, 16)


def test_missing_bytes_are_truncated() -> None:
    av1 = av1_of(encoded(16, 16))
    for length in range(len(av1)):
        with pytest.raises(DecodeError):
            avif_of(av1[:length], 16, 16)


def test_another_profile_is_refused_when_encoding() -> None:
    with pytest.raises(ValueError, match="another profile"):
        av1_of(encoded(16, 16, subsampling="4:4:4"))
