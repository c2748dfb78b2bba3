"""JPEG: its markers, and its pixels by a fast decoder or, where that one is too strict, by a lenient one.

Every viewer opens files with bytes between their segments, without an end marker, or with sampling factors that
libjpeg-turbo's quick interface does not know. Their pixels are whole, so they are decoded here too. A file whose
pixels are not whole fails: half a picture is not what the camera saw.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from schemas.errors import DecodeError

MAX_SCANS: Final = 64
"""A progressive JPEG has about ten. Each scan, even an empty one of 50 bytes, costs a pass over all pixels."""

MAX_MARKERS: Final = 2_000
"""Before the pixels, where a picture has some tens; megabytes of empty ones would cost seconds."""

_MARKER: Final = re.compile(rb"\xff[^\x00\xff]")
_EOI, _SOS = 0xD9, 0xDA
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_APP1, _APP2 = 0xE1, 0xE2
_END: Final = b"\xff\xd9"
_FILLER: Final = bytes(byte % 0xFE for byte in range(7, 7 + 61 * 17, 17))
"""Bytes that would change the picture if its data ended too early, and are skipped if it did not."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Jpeg:
    """A JPEG's headers.

    `data` is the file without bytes between its segments and with an end marker. `exif` is the first APP1 of that
    kind, `icc` the whole profile; empty where there is none.
    """

    data: bytes
    width: int
    height: int
    components: int
    exif: bytes
    icc: bytes


def parse_jpeg(data: bytes) -> Jpeg:
    """Return the headers of a JPEG; no pixel is looked at.

    Raises:
        DecodeError: no JPEG, cut off before its pixels, or more scans than a picture needs.
    """
    if data[:2] != b"\xff\xd8":
        raise DecodeError("bad_image", "no JPEG header")
    found: dict[int, list[bytes]] = {}
    pieces, position, kept_from, marker, num_markers = [], 2, 0, 0, 0
    while marker != _SOS:
        num_markers += 1
        if num_markers > MAX_MARKERS:
            raise DecodeError("bad_image", f"a JPEG of more than {MAX_MARKERS} markers before its pixels")
        begin = _next_marker(data, position)
        if begin != position:  # bytes that belong to no segment
            pieces.append(data[kept_from:position])
            kept_from = begin
        marker, position = data[begin + 1], begin + 2
        if marker not in _ALONE:
            body, position = _segment(data, begin)
            found.setdefault(marker, []).append(body)
    if data.count(b"\xff\xda", begin) > MAX_SCANS:
        raise DecodeError("bad_image", f"a JPEG of more than {MAX_SCANS} scans")
    pieces.append(data[kept_from:])
    if data.rfind(_END, position) < 0:
        pieces.append(_END)
    frames = [body for kind in _FRAMES for body in found.get(kind, []) if len(body) >= 6]
    if not frames:
        raise DecodeError("bad_image", "no JPEG header: no frame before its pixels")
    precision, height, width, components = struct.unpack(">BHHB", frames[0][:6])
    if precision != 8:
        raise DecodeError("bad_image", f"a JPEG of {precision} bits a sample; 8 are supported")
    exif = next((body for body in found.get(_APP1, []) if body.startswith(b"Exif\0\0")), b"")
    profile = sorted(body[12:] for body in found.get(_APP2, []) if body.startswith(b"ICC_PROFILE\0"))
    whole = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    return Jpeg(whole, width, height, components, exif, b"".join(part[2:] for part in profile))


def decode_jpeg(jpeg: Jpeg) -> Pixels | Image.Image:
    """Return the pixels (height, width, 3) RGB as they are stored; a CMYK picture as it is, for its profile.

    Raises:
        DecodeError: pixels are missing or damaged.
    """
    if jpeg.components == 4:
        return _leniently(jpeg)
    try:
        return np.asarray(simplejpeg.decode_jpeg(jpeg.data, colorspace="RGB"))
    except Exception as error:
        words = str(error)
        if "extraneous bytes before marker 0xd9" in words:
            return np.asarray(simplejpeg.decode_jpeg(jpeg.data, colorspace="RGB", strict=False))
        if "subsampling" in words or "colorspace" in words:
            return np.asarray(_leniently(jpeg).convert("RGB"))
        raise


def check_jpeg(jpeg: Jpeg) -> None:
    """Return when `decode_jpeg` would give all pixels, at a third of its cost; raises what it raises."""
    if jpeg.components == 4:
        _leniently(jpeg)
        return
    try:
        simplejpeg.decode_jpeg(jpeg.data, colorspace="GRAY", min_height=1, min_width=1)
    except Exception:  # noqa: BLE001 - the decoder of record has the last word
        decode_jpeg(jpeg)


def _leniently(jpeg: Jpeg) -> Image.Image:
    """Decode by Pillow, which says nothing of missing pixels: they are there if filling in changes none."""
    end = jpeg.data.rfind(_END)
    filled = jpeg.data[:end] + _FILLER + jpeg.data[end:]
    pictures = []
    for data in (jpeg.data, filled):
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as picture:
            picture.load()
            pictures.append(picture.copy())
    whole, again = pictures
    if whole.tobytes() != again.tobytes():
        raise DecodeError("truncated", "jpeg does not decode: pixels are missing")
    return whole


def _next_marker(data: bytes, position: int) -> int:
    """Return where the next marker's last 0xFF stands, from `position` on."""
    found = _MARKER.search(data, position)
    if found is None:
        raise DecodeError("truncated", "no JPEG header: it ends before its pixels")
    return found.start()


def _segment(data: bytes, begin: int) -> tuple[bytes, int]:
    """Return the body of the segment whose marker stands at `begin`, and where the next one may begin."""
    length = int.from_bytes(data[begin + 2 : begin + 4], "big")
    end = begin + 2 + length
    if data[begin + 1] == _EOI or length < 2 or end > len(data):
        raise DecodeError("truncated", "no JPEG header: it ends before its pixels")
    return data[begin + 4 : end], end
