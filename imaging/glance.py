"""What a JPEG roughly shows, for a part of what decoding it costs."""

from __future__ import annotations

import math

import numpy as np
import simplejpeg
from PIL import Image

from imaging.header import check_size
from imaging.jpeg import Pixels, parse_jpeg

Window = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels of the whole picture, as it is stored."""


def glance(data: bytes, max_pixels: int, size: tuple[int, int], window: Window, side: int) -> Pixels | None:
    """Return (side, side, 3) uint8 mean colours of equal tiles of a window of a JPEG, as it is stored.

    It is decoded at an eighth of its size, or at as much more as the tiles need: a quarter of the cost, as most
    of the transform falls away. Every coded pixel is still read, so that a picture that is not whole is found out.

    None where this cannot be done, also where the picture is not of the (width, height) that somebody stated, which
    the window is of: of what does not decode, `decode_image` tells why.
    """
    try:
        jpeg = parse_jpeg(data)
        check_size("jpeg", jpeg.width, jpeg.height, max_pixels)
        if (jpeg.width, jpeg.height) != size:
            return None
        least = side / min(window[2] - window[0], window[3] - window[1])
        small = simplejpeg.decode_jpeg(
            jpeg.data,
            colorspace="RGB",
            min_height=math.ceil(least * jpeg.height),
            min_width=math.ceil(least * jpeg.width),
        )
        across, down = small.shape[1] / jpeg.width, small.shape[0] / jpeg.height
        box = (window[0] * across, window[1] * down, window[2] * across, window[3] * down)
        return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BOX, box=box))
    except Exception:  # noqa: BLE001 - the decoder of record has the last word
        return None
