"""The mosaic as a JPEG with 4:2:0, whose coding unit is 16x16: one patch, so that nothing bleeds into the next."""

from __future__ import annotations

import numpy as np
import simplejpeg

from imaging.header import jpeg_header
from vit.mosaic import expect, mosaic_codec
from vit.preprocess import Pixels


def _encode(mosaic: Pixels, quality: int) -> bytes:
    return bytes(
        simplejpeg.encode_jpeg(mosaic, quality=max(1, quality), colorspace="RGB", colorsubsampling="420")
    )


def _decode(data: bytes, height: int, width: int) -> Pixels:
    expect(jpeg_header(data), "jpeg", height, width)
    return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))


MEMBER = mosaic_codec(_encode, _decode)
