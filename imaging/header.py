"""What encoded images are and their sizes, read from their headers alone, so that no memory is spent on a lie.

Called before every decode of bytes that came from somewhere else.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from imaging.jpeg import parse_jpeg
from schemas.errors import DecodeError
from schemas.limits import MAX_SIDE

_HEIF_BRANDS: Final = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's header promises; `kind` is jpeg, png, webp_lossy, webp_lossless or webp_extended."""

    kind: str
    width: int
    height: int


def format_of(data: bytes) -> str | None:
    """Return jpeg, png, webp, bmp, tiff, ppm, avif or heif by the first bytes; None for everything else."""
    signatures = (
        (b"\xff\xd8", "jpeg"),
        (_PNG_SIGNATURE, "png"),
        (b"BM", "bmp"),
        *((start, "tiff") for start in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        *((b"P%d" % number, "ppm") for number in range(1, 7)),
    )
    for signature, name in signatures:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[4:8] == b"ftyp":
        # The major brand, or one of those that the file says it is compatible with.
        brands = {
            data[start : start + 4]
            for start in (8, *range(16, min(struct.unpack(">I", data[:4])[0], 256), 4))
        }
        if brands & {b"avif", b"avis"}:
            return "avif"
        if not brands.isdisjoint(_HEIF_BRANDS):
            return "heif"
    return None


def check_size(name: str, width: int, height: int, max_pixels: int) -> None:
    """Return when an image of that size may be decoded.

    Raises:
        DecodeError: `too_large`, names both sizes.
    """
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and width * height <= max_pixels):
        raise DecodeError(
            "too_large",
            f"{name} of {width}x{height} is outside 1 to {max_pixels} pixels and {MAX_SIDE} a side",
        )


def jpeg_header(data: bytes) -> ImageHeader:
    """Return the header of a JPEG; DecodeError where there is none."""
    jpeg = parse_jpeg(data)
    return ImageHeader("jpeg", jpeg.width, jpeg.height)


def png_header(data: bytes) -> ImageHeader:
    """Return the header of a PNG; DecodeError where there is none."""
    if len(data) < 24 or data[:8] != _PNG_SIGNATURE or data[12:16] != b"IHDR":
        raise DecodeError("bad_image", "no PNG header")
    width, height = struct.unpack(">II", data[16:24])
    return ImageHeader("png", width, height)


def webp_header(data: bytes) -> ImageHeader:
    """Return the header of a WebP file; DecodeError where there is none or bytes are missing.

    Pillow allocates the whole canvas when it opens a WebP, so its own size attribute would come too late.
    """
    if len(data) < 30 or data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise DecodeError("bad_image", "no WebP header")
    declared = struct.unpack("<I", data[4:8])[0] + 8
    if declared > len(data):
        raise DecodeError("truncated", f"WebP of {declared} bytes has only {len(data)}")
    chunk, payload = data[12:16], data[20:30]
    if chunk == b"VP8 " and payload[3:6] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", payload[6:10])
        return ImageHeader("webp_lossy", width & 0x3FFF, height & 0x3FFF)
    if chunk == b"VP8L" and payload[0] == 0x2F:
        bits = struct.unpack("<I", payload[1:5])[0]
        return ImageHeader("webp_lossless", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if chunk == b"VP8X":
        width = int.from_bytes(payload[4:7], "little") + 1
        height = int.from_bytes(payload[7:10], "little") + 1
        return ImageHeader("webp_extended", width, height)
    raise DecodeError("bad_image", f"WebP starts with unknown chunk {chunk!r}")
