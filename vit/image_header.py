"""Sizes of encoded images, read from their headers alone, so that no pixel memory is spent on a lie.

Called before every decode of bytes that came from somewhere else. Must not import torch.
"""

import struct
from dataclasses import dataclass

import simplejpeg

from schemas.errors import DecodeError

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image's header promises; `kind` is jpeg, png, webp_lossy, webp_lossless or webp_extended."""

    kind: str
    width: int
    height: int


def jpeg_header(data: bytes) -> ImageHeader:
    """Return the header of a JPEG; DecodeError where there is none."""
    try:
        height, width, _, _ = simplejpeg.decode_jpeg_header(data)
    except Exception as error:  # the binding raises whatever the C library left behind
        raise DecodeError("bad_image", f"no JPEG header: {error}") from error
    return ImageHeader("jpeg", int(width), int(height))


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
