"""HEIF stills, as phones store them: tiles are put together, the picture that counts is chosen, half files fail.

libheif reads what there is and leaves the tiles that are missing grey, so that the places of all parts are looked
at here first (ISO/IEC 14496-12, 8.11.3).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from PIL import Image

from imaging.header import check_size
from schemas.errors import DecodeError

_ORIENTATION = 0x0112


def open_heif(data: bytes, max_pixels: int) -> Image.Image:
    """Return the primary picture, whole, upright and in 8 bits.

    Raises:
        DecodeError: too large, parts of it are missing, or the reader is not installed.
        Exception: what libheif raises of a damaged file.
    """
    heif = _opened(data)
    width, height = heif.size
    check_size("heif", width, height, max_pixels)
    if any(end > len(data) for end in _ends_of_parts(data)):
        raise DecodeError("truncated", "heif does not decode: a part of it is missing")
    picture: Image.Image = heif.to_pillow()
    picture.getexif()[_ORIENTATION] = 1  # it was turned by its own properties, which EXIF only repeats
    return picture


def heif_exif(data: bytes) -> Image.Exif:
    """Return the EXIF fields of the primary picture, which is not decoded; raises what `open_heif` does."""
    fields = Image.Exif()
    fields.load(_opened(data).info.get("exif") or b"")
    return fields


def _opened(data: bytes) -> Any:
    try:
        import pillow_heif
    except ImportError:
        raise DecodeError(
            "bad_image", "HEIC images need pillow-heif: pip install 'saccade[producer]'"
        ) from None
    return pillow_heif.open_heif(data, convert_hdr_to_8bit=True)


def _ends_of_parts(data: bytes) -> Iterator[int]:
    """Give where each part of each item ends in the file, by the item location box."""
    meta = _box(data, b"meta", 0, len(data))
    places = None if meta is None else _box(data, b"iloc", meta[0] + 4, meta[1])
    if places is None:
        raise DecodeError("truncated", "heif does not decode: it ends before its pictures")
    at = places[0]
    version, sizes, more_sizes = struct.unpack_from(">B3xBB", data, at)
    offset_bytes, length_bytes, base_bytes = sizes >> 4, sizes & 15, more_sizes >> 4
    index_bytes = more_sizes & 15 if version else 0

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(data[at - size : at], "big")

    at += 6
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        number(wide)
        in_file = (number(2) & 15 == 0) if version else True
        number(2)
        base = number(base_bytes)
        extents = number(2)
        for _ in range(extents if offset_bytes + length_bytes else 0):
            number(index_bytes)
            end = base + number(offset_bytes) + number(length_bytes)
            if in_file:
                yield end
        if at > places[1]:
            raise DecodeError("bad_image", "heif does not decode: its table of parts is damaged")


def _box(data: bytes, kind: bytes, begin: int, end: int) -> tuple[int, int] | None:
    """Return where the body of the first box of that kind begins and ends."""
    while begin + 8 <= end:
        size, found = struct.unpack_from(">I4s", data, begin)
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[begin + 8 : begin + 16], "big"), 16
        last = end if size == 0 else begin + size
        if size and size < head:
            return None
        if found == kind:
            return begin + head, min(last, end)
        begin = last
    return None
