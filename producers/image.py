"""One picture as it travels: within the limits, a JPEG unless a file's own bytes can stay. Pure, blocking.

Called in worker threads: simplejpeg and Pillow let go of the interpreter lock while they work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

from imaging.decode import decode_image
from producers.region import Region
from producers.sources.source import EncodedImage, RawImage
from schemas.errors import DecodeError

MIN_SIDE: Final = 224
"""The models look at 224x224 pixels: a picture that is not small enough at this size is dropped instead."""
LOWER_QUALITIES: Final = (75, 60, 45)
_SHRINK: Final = 0.7071
"""Side of the next smaller try: half the pixels."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What one frame may be, in compressed bytes and pixels, and the JPEG quality (1 to 100) tried first."""

    max_bytes: int
    max_pixels: int
    quality: int


class ImageTooLarge(DecodeError):  # noqa: N818 - an outcome that is counted
    """No allowed quality and size brings the picture below `max_bytes`.

    A `DecodeError`, as that is what costs its own picture only in a codec thread.
    """


def fits(image: RawImage | EncodedImage, limits: ImageLimits) -> bool:
    """Return whether the picture can travel as it is."""
    return (
        isinstance(image, EncodedImage)
        and len(image.data) <= limits.max_bytes
        and image.width * image.height <= limits.max_pixels
    )


def encode(image: RawImage | EncodedImage, limits: ImageLimits, region: Region) -> EncodedImage:
    """Return the picture as it is if it fits and is sent whole, else its region as a JPEG within the limits.

    A picture with too many pixels is scaled down first. One with too many bytes loses quality, then size.

    Raises:
        ImageTooLarge: even `MIN_SIDE` pixels at the lowest quality take too many bytes.
        DecodeError: the file's bytes cannot be decoded.
    """
    if isinstance(image, EncodedImage) and not region and fits(image, limits):
        return image
    pixels = _scaled(np.ascontiguousarray(region.of(_pixels(image))), limits.max_pixels)
    while True:
        for quality in (limits.quality, *(q for q in LOWER_QUALITIES if q < limits.quality)):
            data = simplejpeg.encode_jpeg(pixels, quality=quality, colorspace="RGB", colorsubsampling="420")
            if len(data) <= limits.max_bytes:
                return EncodedImage("jpeg", data, width=pixels.shape[1], height=pixels.shape[0])
        height, width = (round(side * _SHRINK) for side in pixels.shape[:2])
        if min(height, width) < MIN_SIDE:
            size = f"{pixels.shape[1]}x{pixels.shape[0]}"
            raise ImageTooLarge(
                "too_large", f"{len(data)} bytes as a JPEG of {size}, at most {limits.max_bytes}"
            )
        pixels = _resized(pixels, width, height)


def _pixels(image: RawImage | EncodedImage) -> npt.NDArray[np.uint8]:
    if isinstance(image, RawImage):
        return np.ascontiguousarray(image.pixels)
    return decode_image(image.data, image.encoding, image.width * image.height)


def _scaled(pixels: npt.NDArray[np.uint8], max_pixels: int) -> npt.NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    wanted_width, wanted_height = fit_within(width, height, max_pixels)
    if (wanted_width, wanted_height) == (width, height):
        return pixels
    return _resized(pixels, wanted_width, wanted_height)


def _resized(pixels: npt.NDArray[np.uint8], width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))


def fit_within(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return (width, height) scaled down alike to at most `max_pixels`, or as they are if they fit."""
    if width * height <= max_pixels:
        return width, height
    scale = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))
