"""The mosaic as the AV1 picture of an AVIF file, without the file around it.

An AVIF container costs 275 bytes, 6 % of a typical payload, and says nothing that the number of patches does
not say; so only its AV1 bytes travel, and the receiver writes the container itself. That also leaves a single
place where a size can be claimed, the AV1 sequence header, which is held against the expected size before the
decoder sees it.
"""

from __future__ import annotations

import struct

from PIL import AvifImagePlugin

from schemas.errors import DecodeError
from vit.mosaic import load, mosaic_codec, save
from vit.preprocess import Pixels

# Pillow offers no thread count per call; one image this small gains nothing from more than one.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
# 9 needs 2 % more bytes than 8 and 2 ms instead of 8.
_SPEED = 9

_AV1_CONFIG = bytes.fromhex("81000c00")  # profile 0, 8 bits, 4:2:0
_COLOUR = b"nclx" + bytes.fromhex(
    "0001000d000680"
)  # BT.709 primaries, sRGB transfer, BT.601 matrix, full range
_TEMPORAL_DELIMITER, _SEQUENCE_HEADER, _FRAME = 2, 1, 6
_STILL_MAIN_PROFILE = 0b00011  # seq_profile 0, still_picture, reduced_still_picture_header


def _encode(mosaic: Pixels, quality: int) -> bytes:
    return av1_of(save(mosaic, "AVIF", quality=quality, speed=_SPEED, max_threads=1))


def _decode(data: bytes, height: int, width: int) -> Pixels:
    return load(avif_of(data, width, height), "AVIF")


MEMBER = mosaic_codec(_encode, _decode)


def av1_of(avif: bytes) -> bytes:
    """Return the AV1 bytes of an AVIF file that Pillow's encoder wrote for an RGB image.

    Raises:
        ValueError: the encoder wrote another kind of file than `avif_of` can restore.
    """
    if _box(b"av1C", _AV1_CONFIG) not in avif or _box(b"colr", _COLOUR) not in avif:
        raise ValueError("the AVIF encoder chose another profile or colour space than 8-bit 4:2:0 sRGB")
    start = 0
    while start + 8 <= len(avif):
        length, kind = struct.unpack(">I4s", avif[start : start + 8])
        if kind == b"mdat":
            return avif[start + 8 : start + length]
        start += max(length, 8)
    raise ValueError("the AVIF encoder wrote no mdat box")


def avif_of(av1: bytes, width: int, height: int) -> bytes:
    """Return an AVIF file around AV1 bytes that hold one still picture of exactly width x height.

    Raises:
        DecodeError: `bad_patches` unless the bytes are one sequence header of that size and one frame.
    """
    kinds_and_bodies = _units(av1)
    if [kind for kind, _ in kinds_and_bodies] != [_TEMPORAL_DELIMITER, _SEQUENCE_HEADER, _FRAME]:
        raise DecodeError("bad_patches", "avif: not one AV1 sequence header and one frame")
    found = _still_size(kinds_and_bodies[1][1])
    if found != (width, height):
        raise DecodeError("bad_patches", f"avif: {found[0]}x{found[1]}, expected {width}x{height}")
    properties = (
        _full_box(b"ispe", struct.pack(">II", width, height))
        + _full_box(b"pixi", b"\x03\x08\x08\x08")
        + _box(b"av1C", _AV1_CONFIG)
        + _box(b"colr", _COLOUR)
    )
    # One item, number 1, with the four properties; the configuration (3) and the colour (4) are essential.
    associations = _full_box(b"ipma", struct.pack(">IHB4B", 1, 1, 4, 1, 2, 0x83, 4))
    item = _box(b"infe", b"\x02" + bytes(3) + struct.pack(">HH", 1, 0) + b"av01Color\x00")
    before = _full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)) + _full_box(b"pitm", struct.pack(">H", 1))
    after = _full_box(b"iinf", struct.pack(">H", 1) + item) + _box(
        b"iprp", _box(b"ipco", properties) + associations
    )
    file_type = _box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miafMA1B")
    location_bytes = 30
    offset = len(file_type) + 12 + len(before) + location_bytes + len(after) + 8
    location = _full_box(b"iloc", struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(av1)))
    assert len(location) == location_bytes
    return file_type + _full_box(b"meta", before + location + after) + _box(b"mdat", av1)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _full_box(kind: bytes, body: bytes) -> bytes:
    return _box(kind, bytes(4) + body)


def _units(av1: bytes) -> list[tuple[int, bytes]]:
    """Return the open bitstream units as (type, body), at most four of them."""
    units: list[tuple[int, bytes]] = []
    start = 0
    while start < len(av1):
        header = av1[start]
        # Forbidden bit and extension must be off, the size field must be there, the reserved bit is 0.
        if header & 0b10000111 != 0b010 or len(units) == 4:
            raise DecodeError("bad_patches", f"avif: AV1 unit header {header:#04x} at byte {start}")
        length, start = _leb128(av1, start + 1)
        if start + length > len(av1):
            raise DecodeError("truncated", f"avif: AV1 unit of {length} bytes at byte {start} of {len(av1)}")
        units.append((header >> 3, av1[start : start + length]))
        start += length
    return units


def _leb128(data: bytes, start: int) -> tuple[int, int]:
    """Return the number at `start` and where it ends; DecodeError past four bytes."""
    value = 0
    for index, byte in enumerate(data[start : start + 4]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, start + index + 1
    raise DecodeError("bad_patches", f"avif: AV1 unit length at byte {start} has no end")


def _still_size(sequence_header: bytes) -> tuple[int, int]:
    """Return (width, height) of a reduced still-picture sequence header (AV1 specification, 5.5.1)."""
    total = len(sequence_header) * 8
    bits = int.from_bytes(sequence_header)

    def take(at: int, count: int) -> int:
        if at + count > total:
            raise DecodeError("truncated", f"avif: AV1 sequence header of {total} bits")
        return bits >> (total - at - count) & ((1 << count) - 1)

    if take(0, 5) != _STILL_MAIN_PROFILE:
        raise DecodeError("bad_patches", "avif: not an 8-bit 4:2:0 still picture")
    width_bits, height_bits = take(10, 4) + 1, take(14, 4) + 1  # after 5 bits of level
    return take(18, width_bits) + 1, take(18 + width_bits, height_bits) + 1
