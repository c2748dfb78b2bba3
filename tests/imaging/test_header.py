import io

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from imaging.header import ImageHeader, jpeg_header, png_header, webp_header
from schemas.errors import DecodeError

PIXELS = np.arange(20 * 37 * 3, dtype=np.uint8).reshape(20, 37, 3)


def saved(image_format: str, **options):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, image_format, **options)
    return buffer.getvalue()


def test_each_header_gives_the_size_that_was_encoded() -> None:
    assert jpeg_header(simplejpeg.encode_jpeg(PIXELS)) == ImageHeader("jpeg", 37, 20)
    assert png_header(saved("PNG")) == ImageHeader("png", 37, 20)
    assert webp_header(saved("WEBP")) == ImageHeader("webp_lossy", 37, 20)
    assert webp_header(saved("WEBP", lossless=True)) == ImageHeader("webp_lossless", 37, 20)
    extended = saved("WEBP", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")
    assert webp_header(extended) == ImageHeader("webp_extended", 37, 20)


@pytest.mark.parametrize("parse", [jpeg_header, png_header, webp_header])
@pytest.mark.parametrize("data", [b"", b"x" * 10, b"RIFF\xff\xff\xff\x00WEBPVP9 " + bytes(40), bytes(100)])
def test_bytes_without_a_header_are_a_decode_error(parse, data) -> None:
    with pytest.raises(DecodeError):
        parse(data)


def test_a_webp_with_missing_bytes_is_truncated() -> None:
    with pytest.raises(DecodeError) as caught:
        webp_header(saved("WEBP")[:-1])
    assert caught.value.reason == "truncated"
