"""TIFFs of many kinds, written by hand (TIFF 6.0), beside the numbers that they were made of."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from imaging.decode import decode_image
from imaging.header import format_of
from schemas.errors import DecodeError

Numbers = np.ndarray[Any, np.dtype[Any]]
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5
SHORT, LONG = 3, 4


def tiff(
    numbers: Numbers,
    photometric: int,
    *,
    order: Literal["<", ">"] = "<",
    numbers_are: int = UNSIGNED,
    separate: bool = False,
    bits: int | None = None,
    width: int | None = None,
    alpha: int = 0,
) -> bytes:
    """An uncompressed TIFF of (height, width) or (height, width, samples); `order` is < (II) or > (MM).

    `bits` and `width` are given where the numbers are packed bytes; the last `alpha` samples are opacity.
    """
    samples = numbers.shape[2] if numbers.ndim == 3 else 1
    planes = np.moveaxis(numbers, -1, 0) if separate else numbers
    body = planes.astype(numbers.dtype.newbyteorder(order)).tobytes()
    parts = samples if separate else 1
    size = len(body) // parts
    height = numbers.shape[0]
    entries = [
        (256, LONG, [width or numbers.shape[1]]),
        (257, LONG, [height]),
        (258, SHORT, [bits or numbers.dtype.itemsize * 8] * samples),
        (259, SHORT, [1]),
        (262, SHORT, [photometric]),
        (273, LONG, [8 + part * size for part in range(parts)]),
        (277, SHORT, [samples]),
        (278, LONG, [height]),
        (279, LONG, [size] * parts),
        (284, SHORT, [2 if separate else 1]),
        *([(338, SHORT, [2] * alpha)] if alpha else []),
        (339, SHORT, [numbers_are] * samples),
    ]
    far, rows = b"", b""
    for tag, kind, values in entries:
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(packed) > 4:
            place = struct.pack(f"{order}I", 8 + len(body) + len(far))
            far, packed = far + packed + bytes(len(packed) % 2), place
        rows += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    start = (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", 8 + len(body) + len(far))
    return start + body + far + struct.pack(f"{order}H", len(entries)) + rows + bytes(4)


def decoded(data: bytes) -> Numbers:
    assert format_of(data) == "tiff"
    return decode_image(data, "tiff", 10**6)


def grey(levels: Numbers) -> Numbers:
    return np.repeat(levels.astype(np.uint8)[..., None], 3, 2)


DEEP = (np.arange(96 * 160).reshape(96, 160) * 4).astype(np.uint16)
COLOURS = np.random.default_rng(1).integers(0, 65536, (24, 32, 3)).astype(np.uint16)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_lose_their_low_byte_in_both_byte_orders(order: Literal["<", ">"]) -> None:
    assert np.array_equal(decoded(tiff(DEEP, BLACK_IS_ZERO, order=order)), grey(DEEP >> 8))
    assert np.array_equal(decoded(tiff(COLOURS, RGB, order=order)), COLOURS >> 8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("alpha", [0, 1])
def test_separate_planes_are_put_together(order: Literal["<", ">"], deep: bool, alpha: int) -> None:
    numbers = COLOURS if deep else (COLOURS >> 8).astype(np.uint8)
    numbers = np.concatenate([numbers, numbers[..., :alpha]], 2)
    data = tiff(numbers, RGB, order=order, separate=True, alpha=alpha)
    assert np.array_equal(decoded(data), COLOURS >> 8)


def test_16_bit_inks_are_as_8_bit_ones() -> None:
    inks = np.concatenate([COLOURS, COLOURS[..., :1]], 2)
    plain = tiff((inks >> 8).astype(np.uint8), CMYK)
    assert np.array_equal(decoded(tiff(inks, CMYK)), decoded(plain))


def test_grey_of_12_bits_loses_its_low_4_bits() -> None:
    levels = np.arange(96 * 160).reshape(96, 160) % 4096
    first, second = levels[:, ::2], levels[:, 1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8)
    data = tiff(packed.reshape(96, -1), BLACK_IS_ZERO, bits=12, width=160)
    assert np.array_equal(decoded(data), grey(levels >> 4))


def test_grey_in_which_0_is_white_is_turned_round() -> None:
    assert np.array_equal(decoded(tiff(DEEP, WHITE_IS_ZERO)), grey(255 - (DEEP >> 8)))
    eight = (DEEP >> 8).astype(np.uint8)
    assert np.array_equal(decoded(tiff(eight, WHITE_IS_ZERO)), grey(255 - eight))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (tiff(DEEP.astype(np.int16), BLACK_IS_ZERO, numbers_are=SIGNED), "signed or 32-bit integers"),
        (tiff(DEEP.astype(np.uint32), BLACK_IS_ZERO), "32-bit integers"),
        (tiff(DEEP.astype(np.uint32), BLACK_IS_ZERO, order=">"), "32-bit integers"),
        (tiff((DEEP / 65535).astype(np.float16), BLACK_IS_ZERO, numbers_are=FLOAT), "1 x 16-bit floats"),
        (tiff(DEEP / 65535, BLACK_IS_ZERO, numbers_are=FLOAT), "1 x 64-bit floats"),
        (tiff((COLOURS / 65535).astype(np.float32), RGB, numbers_are=FLOAT), "3 x 32-bit floats"),
    ],
)
def test_other_numbers_are_refused_by_name(data: bytes, named: str) -> None:
    with pytest.raises(DecodeError, match=named):
        decoded(data)


def test_a_big_tiff_is_a_tiff() -> None:
    buffer = io.BytesIO()
    Image.fromarray((COLOURS >> 8).astype(np.uint8)).save(buffer, "TIFF", big_tiff=True)
    assert buffer.getvalue()[:4] == b"II+\0"
    assert np.array_equal(decoded(buffer.getvalue()), COLOURS >> 8)


def test_cie_lab_is_as_its_formula_says() -> None:
    """CIE 15 with white D50, then to sRGB by the matrix that is adapted to D50 (Bradford)."""
    light, across, down = np.meshgrid([30, 50, 70], [-20, 0, 20], [-20, 0, 20], indexing="ij")
    stored = np.stack([light * 255 // 100, across & 255, down & 255], -1).astype(np.uint8).reshape(1, -1, 3)
    y = (stored[..., 0] / 2.55 + 16) / 116
    x, z = y + across.reshape(1, -1) / 500, y - down.reshape(1, -1) / 200
    xyz = np.stack([np.where(t > 6 / 29, t**3, (t - 4 / 29) * 108 / 841) for t in (x, y, z)], -1)
    linear = (xyz * (0.96422, 1.0, 0.82521)) @ np.array(
        [
            (3.1338561, -1.6168667, -0.4906146),
            (-0.9787684, 1.9161415, 0.0334540),
            (0.0719453, -0.2289914, 1.4052427),
        ]
    ).T
    shown = np.where(linear > 0.0031308, 1.055 * np.abs(linear) ** (1 / 2.4) - 0.055, 12.92 * linear)
    buffer = io.BytesIO()
    lab = Image.frombytes("LAB", (27, 1), stored.tobytes())
    lab.save(buffer, "TIFF")
    found = decoded(buffer.getvalue()).astype(float)
    assert np.abs(found - np.clip(shown * 255, 0, 255)).max() <= 2


def test_more_pixels_than_any_limit_are_too_large_by_name() -> None:
    data = tiff(np.zeros((1, 30), np.uint8), BLACK_IS_ZERO)
    huge = data.replace(struct.pack("<HHII", 256, LONG, 1, 30), struct.pack("<HHII", 256, LONG, 1, 2**31 - 1))
    with pytest.raises(DecodeError) as caught:
        decoded(huge)
    assert caught.value.reason == "too_large"


WARNED = """
import sys
from imaging.decode import decode_image
try:
    decode_image(sys.stdin.buffer.read(), "tiff", 10**6)
except Exception as error:
    print(error)
"""


def test_a_damaged_file_is_one_error_and_no_warning_of_a_library() -> None:
    data = tiff(DEEP, BLACK_IS_ZERO)[:-90]
    done = subprocess.run([sys.executable, "-c", WARNED], input=data, capture_output=True, check=False)
    assert b"tiff does not decode" in done.stdout
    assert done.stderr == b""
