"""Kept patches as one image, for the patch codecs that build on an image codec.

Must not import torch. The k patches lie in ascending position order in a near-square mosaic whose exact size
follows from k; the decoder holds the image header against that size before it decodes a pixel. With all 196
patches kept, the mosaic is the crop itself in its natural layout, so that this is a whole-frame codec.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image

from imaging.header import ImageHeader
from schemas.errors import DecodeError
from schemas.geometry import NUM_PATCHES, PATCH_SIDE, Positions
from vit.codecs import PatchCodec
from vit.preprocess import Pixels, to_patches


def mosaic_codec(
    encode: Callable[[Pixels, int], bytes],
    decode: Callable[[bytes, int, int], Pixels],
    *,
    lossless: bool = False,
) -> PatchCodec:
    """Return a codec that applies an image codec to the mosaic.

    Args:
        encode: takes the mosaic (height, width, 3) uint8 and the quality.
        decode: takes data, height and width; raises DecodeError unless the data promises that size.
        lossless: whether `decode` returns the very mosaic.
    """

    def encode_mosaic(crop: Pixels, positions: Positions, quality: int) -> bytes:
        if len(positions) == NUM_PATCHES:
            return encode(np.ascontiguousarray(crop), quality)
        return encode(_mosaic(to_patches(crop)[positions]), quality)

    def decode_mosaic(data: bytes, count: int) -> Pixels:
        rows, columns = mosaic_grid(count)
        mosaic = decode(data, rows * PATCH_SIDE, columns * PATCH_SIDE)
        grid = mosaic.reshape(rows, PATCH_SIDE, columns, PATCH_SIDE, 3).swapaxes(1, 2)
        return grid.reshape(rows * columns, PATCH_SIDE, PATCH_SIDE, 3)[:count]

    return PatchCodec(encode_mosaic, decode_mosaic, lossless=lossless)


def mosaic_grid(count: int) -> tuple[int, int]:
    """Return the mosaic's (rows, columns): the smallest near-square grid that holds `count` patches."""
    columns = math.isqrt(count - 1) + 1
    return -(-count // columns), columns


def expect(header: ImageHeader, kind: str, height: int, width: int) -> None:
    """Raise DecodeError unless the header promises exactly this kind and size."""
    if header != ImageHeader(kind, width, height):
        found = f"{header.kind} of {header.width}x{header.height}"
        raise DecodeError("bad_patches", f"mosaic is {found}, expected {kind} of {width}x{height}")


def save(mosaic: Pixels, image_format: str, **options: int | bool) -> bytes:
    """Return the mosaic as Pillow encodes it."""
    buffer = io.BytesIO()
    Image.fromarray(mosaic).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def load(data: bytes, image_format: str) -> Pixels:
    """Return the (height, width, 3) uint8 pixels that Pillow decodes; its errors as they come."""
    with Image.open(io.BytesIO(data), formats=[image_format]) as picture:
        return np.asarray(picture.convert("RGB"))


def _mosaic(patches: Pixels) -> Pixels:
    """Return the patches as one image; unused cells have the last patch's mean colour, which costs least."""
    count = len(patches)
    rows, columns = mosaic_grid(count)
    cells = np.empty((rows * columns, PATCH_SIDE, PATCH_SIDE, 3), dtype=np.uint8)
    cells[:count] = patches
    cells[count:] = patches[-1].mean(axis=(0, 1)).astype(np.uint8)
    grid = cells.reshape(rows, columns, PATCH_SIDE, PATCH_SIDE, 3).swapaxes(1, 2)
    return grid.reshape(rows * PATCH_SIDE, columns * PATCH_SIDE, 3)
