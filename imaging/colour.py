"""Stored numbers to 8-bit sRGB: embedded profiles, more than 8 bits, floats, four inks."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from imaging.tiff import BITS, PHOTOMETRIC, WHITE_IS_ZERO
from schemas.errors import DecodeError

Pixels = NDArray[np.uint8]

MIN_CHANGE: Final = 5
"""Levels. A profile that moves no colour by more is sRGB by another name; applying it would only cost time."""
_PLAIN: Final = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"})
_PROFILED: Final = {"L": "L", "LA": "L", "RGB": "RGB", "RGBA": "RGB", "RGBX": "RGB", "CMYK": "CMYK"}
_CACHED_PROFILES: Final = 32
_SRGB: Final = ImageCms.createProfile("sRGB")
_LAB: Final = ImageCms.createProfile("LAB")


def to_rgb(picture: Image.Image, icc: bytes) -> Pixels:
    """Return a loaded picture as (height, width, 3) uint8 sRGB.

    Values of 12 and 16 bits lose their low bits, floats from 0 to 1 are scaled, CIE Lab becomes sRGB, alpha is left
    out, and the profile `icc` (empty: none) is applied where it changes colours visibly.

    Raises:
        DecodeError: numbers that are no brightness in a known range, by name.
    """
    mode = picture.mode
    if mode.startswith("I;16") or (mode == "I" and picture.format == "PPM"):
        return _grey(_high_bits(picture))
    if mode == "F":
        return _grey(_scaled(np.asarray(picture)))
    if mode == "LAB":
        exact = ImageCms.Flags.NOOPTIMIZE  # a shortened table is wrong by 9 levels
        shown = ImageCms.profileToProfile(picture, _LAB, _SRGB, outputMode="RGB", flags=exact)
        return np.asarray(shown)
    if mode not in _PLAIN:
        names = {"I": "signed or 32-bit integers", "HSV": "HSV values"}
        raise DecodeError("bad_image", f"its pixels are {names.get(mode, mode)}, which have no known range")
    if icc and mode in _PROFILED:
        plain = picture.convert(_PROFILED[mode])
        converted = apply_profile(plain, icc)
        if converted is not None:
            return converted
    return np.asarray(picture.convert("RGB"))


def apply_profile(picture: Image.Image, icc: bytes) -> Pixels | None:
    """Return the picture (mode L, RGB or CMYK) in sRGB, None where its profile changes nothing or is broken."""
    transform = _transform(icc, picture.mode)
    return None if transform is None else np.asarray(ImageCms.applyTransform(picture, transform))


@lru_cache(_CACHED_PROFILES)
def _transform(icc: bytes, mode: str) -> Any:
    """Return Pillow's transform from the profile to sRGB, None where it is not needed or cannot be made."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(profile, _SRGB, mode, "RGB")
        if mode == "CMYK":
            return transform
        colours = _all_colours(mode)
        after = np.asarray(ImageCms.applyTransform(colours, transform)).astype(int)
        before = np.asarray(colours.convert("RGB")).astype(int)
        changes = np.abs(after - before).max() > MIN_CHANGE
    except Exception:  # noqa: BLE001 - a viewer shows the picture without a profile that cannot be read
        return None
    return transform if changes else None


def _all_colours(mode: str) -> Image.Image:
    """Every 16th level of each channel, in one picture."""
    levels = np.append(np.arange(0, 256, 16, dtype=np.uint8), np.uint8(255))
    if mode == "L":
        return Image.fromarray(levels[None])
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3)
    return Image.fromarray(grid)


def _grey(levels: Pixels) -> Pixels:
    return np.repeat(levels[..., None], 3, axis=2)


def _high_bits(picture: Image.Image) -> Pixels:
    """Return the high 8 bits of grey values of 16 bits, or of as many as a TIFF says; there 0 may be white."""
    tags: Any = getattr(picture, "tag_v2", {})
    levels: Pixels = (np.asarray(picture) >> (tags.get(BITS, (16,))[0] - 8)).astype(np.uint8)
    return 255 - levels if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else levels


def _scaled(values: NDArray[Any]) -> Pixels:
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # also where one is not a number
        raise DecodeError("bad_image", f"its pixels are floats from {low:g} to {high:g}; want 0 to 1")
    levels: Pixels = np.rint(values * 255).astype(np.uint8)
    return levels
