"""TIFF: what Pillow reads wrong is set right, and what it does not read is named."""

from __future__ import annotations

import io
from typing import Any, Final

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from schemas.errors import DecodeError

BITS, PHOTOMETRIC, SAMPLES, PLANAR, SAMPLE_FORMAT = 258, 262, 277, 284, 339
"""Tags of TIFF 6.0."""
WHITE_IS_ZERO: Final = 0
_SEPARATE: Final = 2
_NUMBERS: Final = {1: "integers", 2: "signed integers", 3: "floats"}
_BIG: Final = (b"II+\0", b"MM\0+")


def open_tiff(data: bytes) -> Image.Image:
    """Return the first picture, its pixels not read yet.

    Raises:
        DecodeError: damaged, or of a kind that is not read here, by name.
    """
    try:
        picture = Image.open(io.BytesIO(data), formats=["TIFF"])
    except UnidentifiedImageError:
        raise DecodeError("bad_image", f"tiff does not decode: {_kind(data)}") from None
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    if tags.get(PLANAR) == _SEPARATE and tags.get(BITS, (8,))[0] == 16 and picture.tile[0][0] == "raw":
        # Pillow takes the numbers of separate planes for bytes.
        order = "L" if data[:1] == b"I" else "B"
        picture.tile = [
            tile._replace(args=(f"{tile.args[0]};16{order}", *tile.args[1:]))  # type: ignore[index]
            for tile in picture.tile
        ]
    return picture


def _kind(data: bytes) -> str:
    """Return what the tags say of the pixels."""
    big = data[:4] in _BIG
    tags: Any = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if big else 8])
    file = io.BytesIO(data)
    try:
        file.seek(tags.next)
        tags.load(file)
        bits, count = tags[BITS][0], tags.get(SAMPLES, 1)
        numbers = _NUMBERS.get(tags.get(SAMPLE_FORMAT, (1,))[0], "numbers of an unknown kind")
    except Exception:  # noqa: BLE001 - damaged tags
        return "it is damaged"
    return (
        f"damaged, or of a kind that is not read here: {count} x {bits}-bit {numbers} a pixel, "
        f"photometric {tags.get(PHOTOMETRIC)}"
    )
