"""Photos as phones store them (ISO/IEC 23008-12): a grid of tiles, turned and mirrored by properties of the file."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imaging.decode import decode_image, travels_as_it_is
from imaging.header import format_of
from schemas.errors import DecodeError
from vit.preprocess import resize_crop

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

MAX_PIXELS = 10**6
_HIDDEN = 1


def tiled(
    pixels: Pixels,
    tile: int,
    *,
    turn: int = 0,
    mirror: int | None = None,
    coding: str = "heif",
    thumbnail: bool = False,
) -> bytes:
    """A still of square tiles: `pixels` are as they are stored.

    Args:
        pixels: the stored picture; the last tiles of each row and column are cut by the grid's size.
        tile: side of a tile, in pixels.
        turn: quarter turns against the clock that a viewer makes (irot).
        mirror: then what a viewer mirrors (imir): 0 top and bottom, 1 left and right.
        coding: heif (HEVC) or avif (AV1).
        thumbnail: whether a small grey picture stands before the whole one, which is the primary item.
    """
    height, width = pixels.shape[:2]
    rows, columns = -(-height // tile), -(-width // tile)
    room = np.pad(pixels, ((0, rows * tile - height), (0, columns * tile - width), (0, 0)), mode="edge")
    pieces = [
        room[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        for row in range(rows)
        for column in range(columns)
    ]
    if thumbnail:
        pieces.append(np.full((tile, tile, 3), 128, np.uint8))
    coded = [_coded(piece.tobytes(), tile, coding) for piece in pieces]
    codec = {"heif": b"hvc1", "avif": b"av01"}[coding]
    grid = 1000
    grid_body = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    tiles = list(range(1, rows * columns + 1))
    shown = [len(coded)] if thumbnail else []

    items = [_item(number, codec, 0 if number in shown else _HIDDEN) for number in range(1, len(coded) + 1)]
    items.append(_item(grid, b"grid", 0))
    properties = [configuration for configuration, _ in coded]
    properties += [
        _box(b"ispe", struct.pack(">III", 0, tile, tile)),
        _box(b"ispe", struct.pack(">III", 0, width, height)),
        _box(b"pixi", struct.pack(">IBBBB", 0, 3, 8, 8, 8)),
        _box(b"irot", bytes([turn])),
        _box(b"imir", bytes([mirror or 0])),
    ]
    size, whole, depth, rotation, reflection = range(len(coded) + 1, len(coded) + 6)
    owned = {number: [number, size, depth] for number in range(1, len(coded) + 1)}
    owned[grid] = [whole, depth, 0x80 | rotation] + ([] if mirror is None else [0x80 | reflection])
    ownership = b"".join(
        struct.pack(">HB", item, len(indices)) + bytes(indices) for item, indices in owned.items()
    )
    references = struct.pack(f">HH{len(tiles)}H", grid, len(tiles), *tiles)

    def meta(offset: int) -> bytes:
        places, at = b"", offset
        for number, (_, body) in enumerate(coded, 1):
            places += struct.pack(">HHHHII", number, 0, 0, 1, at, len(body))
            at += len(body)
        places += struct.pack(">HHHHII", grid, 1, 0, 1, 0, len(grid_body))  # in idat
        return _box(
            b"meta",
            bytes(4)
            + _box(b"hdlr", struct.pack(">II4s12xx", 0, 0, b"pict"))
            + _box(b"pitm", struct.pack(">IH", 0, grid))
            + _box(b"iloc", struct.pack(">IBBH", 1 << 24, 0x44, 0, len(coded) + 1) + places)
            + _box(b"iinf", struct.pack(">IH", 0, len(items)) + b"".join(items))
            + _box(b"iref", bytes(4) + _box(b"dimg", references))
            + _box(
                b"iprp",
                _box(b"ipco", b"".join(properties))
                + _box(b"ipma", struct.pack(">II", 0, len(owned)) + ownership),
            )
            + _box(b"idat", grid_body),
        )

    brand = {"heif": b"heic", "avif": b"avif"}[coding]
    start = _box(b"ftyp", brand + bytes(4) + b"mif1" + brand)
    first = len(start) + len(meta(0)) + 8
    return start + meta(first) + _box(b"mdat", b"".join(body for _, body in coded))


@cache
def _coded(pixels: bytes, tile: int, coding: str) -> tuple[bytes, bytes]:
    """A tile's configuration property and its bytes, taken out of a still of its own; each is encoded once."""
    buffer, image = io.BytesIO(), Image.frombytes("RGB", (tile, tile), pixels)
    if coding == "heif":
        pillow_heif.from_pillow(image).save(buffer, quality=100, chroma=444)
    else:
        image.save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    data = buffer.getvalue()
    top = dict(_boxes(data))
    meta = dict(_boxes(top[b"meta"][4:]))
    properties = dict(_boxes(dict(_boxes(meta[b"iprp"]))[b"ipco"]))
    name = b"hvcC" if coding == "heif" else b"av1C"
    return _box(name, properties[name]), top[b"mdat"]


def _item(number: int, kind: bytes, flags: int) -> bytes:
    return _box(b"infe", struct.pack(">IHH4sx", 2 << 24 | flags, number, 0, kind))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        yield data[at + 4 : at + 8], data[at + 8 : at + size]
        at += size


def corners(height: int = 250, width: int = 390) -> Pixels:
    """Smooth colours with a red, a green and a blue corner; no side is a whole number of tiles."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 200 // width, y * 200 // height, (x + y) * 200 // (width + height)], -1).astype(
        np.uint8
    )
    pixels[: height // 3, : width // 4] = (230, 20, 20)
    pixels[: height // 3, -width // 4 :] = (20, 230, 20)
    pixels[-height // 3 :, : width // 4] = (20, 20, 230)
    return pixels


def shown(pixels: Pixels, turn: int, mirror: int | None) -> Pixels:
    """ISO/IEC 23008-12, 6.5.10 and 6.5.12: turned against the clock, then mirrored."""
    turned = np.rot90(pixels, turn)
    return turned if mirror is None else turned[::-1] if mirror == 0 else turned[:, ::-1]


def apart(one: Pixels, other: Pixels) -> int:
    crops = [resize_crop(np.ascontiguousarray(each)).astype(int) for each in (one, other)]
    return int(np.abs(crops[0] - crops[1]).max())


@pytest.mark.parametrize("coding", ["heif", "avif"])
@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("mirror", [None, 0, 1])
def test_a_photo_of_tiles_is_whole_and_upright(coding: str, turn: int, mirror: int | None) -> None:
    data = tiled(corners(), 128, turn=turn, mirror=mirror, coding=coding)
    assert format_of(data) == coding
    found, expected = decode_image(data, coding, MAX_PIXELS), shown(corners(), turn, mirror)
    assert found.shape == expected.shape
    assert apart(found, expected) <= 4
    assert travels_as_it_is(data, coding, MAX_PIXELS) is None


@pytest.mark.parametrize("coding", ["heif", "avif"])
def test_the_primary_picture_counts_wherever_it_stands(coding: str) -> None:
    data = tiled(corners(), 128, coding=coding, thumbnail=True)
    assert apart(decode_image(data, coding, MAX_PIXELS), corners()) <= 4


@pytest.mark.parametrize("coding", ["heif", "avif"])
def test_half_a_photo_fails(coding: str) -> None:
    """libheif itself would leave the tiles that are missing grey."""
    data = tiled(corners(), 128, coding=coding)
    for length in [*range(0, len(data), 499), len(data) - 1]:
        with pytest.raises(DecodeError):
            decode_image(data[:length], coding, MAX_PIXELS)


def test_too_many_pixels_are_refused_before_one_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*arguments: Any) -> None:
        raise AssertionError("decoded")

    data = tiled(corners(), 128)
    monkeypatch.setattr("pillow_heif.HeifImage.load", decode)
    with pytest.raises(DecodeError, match="heif of 390x250 is outside") as caught:
        decode_image(data, "heif", 390 * 250 - 1)
    assert caught.value.reason == "too_large"


@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1), value=st.integers(0, 255))
def test_a_damaged_table_of_parts_gives_a_picture_or_a_decode_error(place: float, value: int) -> None:
    data = bytearray(SMALL)
    data[int(place * SMALL.index(b"mdat"))] = value
    with suppress(DecodeError):
        assert decode_image(bytes(data), "heif", MAX_PIXELS).ndim == 3


SMALL = tiled(corners(90, 100), 64)
