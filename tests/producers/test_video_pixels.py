"""Video frames as a player shows them, beside the formulas of the standards."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from PIL import Image

from producers.sources.registry import parse_source
from producers.sources.source import Captured, OpenOptions, RawImage
from producers.sources.video_pixels import shown_pixels, turned

Pixels = np.ndarray[Any, np.dtype[Any]]

COLOURS = np.array(
    [
        (200, 30, 30),
        (30, 180, 40),
        (40, 50, 210),
        (128, 128, 128),
        (250, 240, 20),
        (10, 10, 10),
        (255, 255, 255),
    ]
)
BAR = 8
WEIGHTS = {601: (0.299, 0.114), 709: (0.2126, 0.0722), 2020: (0.2627, 0.0593)}
"""Matrix → the shares of red and blue in luma (ITU-R BT.601, BT.709, BT.2020)."""
TAGS = {601: 5, 709: 1, 2020: 9}
FORMATS = ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv444p12le"]


def bars(pixel_format: str, matrix: int, *, full: bool, height: int = 96) -> tuple[av.VideoFrame, Pixels]:
    """A frame of colour bars, each plane by the standard's formula; and the luma of each bar."""
    depth = 12 if "12" in pixel_format else 10 if "10" in pixel_format else 8
    kr, kb = WEIGHTS[matrix]
    red, green, blue = (
        np.repeat(COLOURS[:, channel], BAR)[None].repeat(height, 0) / 255 for channel in range(3)
    )
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    scale, top = 2 ** (depth - 8), 2**depth - 1
    luma_range, colour_range, black = (top, top, 0) if full else (219 * scale, 224 * scale, 16 * scale)
    planes = [luma * luma_range + black]
    if not pixel_format.startswith("gray"):
        planes += [
            (blue - luma) / (2 * (1 - kb)) * colour_range + 128 * scale,
            (red - luma) / (2 * (1 - kr)) * colour_range + 128 * scale,
        ]
    kind = np.uint16 if depth > 8 else np.uint8
    frame = av.VideoFrame(luma.shape[1], height, pixel_format)
    for plane, values in zip(frame.planes, planes, strict=True):
        part = np.clip(np.rint(values[:: height // plane.height, :: luma.shape[1] // plane.width]), 0, top)
        rows = np.zeros((plane.height, plane.line_size // np.dtype(kind).itemsize), kind)
        rows[:, : part.shape[1]] = part
        plane.update(rows.tobytes())
    frame.color_range, frame.colorspace = (2 if full else 1), TAGS[matrix]
    return frame, luma * 255


def middles(pixels: Pixels) -> Pixels:
    return pixels[pixels.shape[0] // 2, BAR // 2 :: BAR].astype(float)


@pytest.mark.parametrize("pixel_format", FORMATS)
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
def test_colours_are_those_of_the_standards(pixel_format: str, full: bool, matrix: int) -> None:
    frame, _ = bars(pixel_format, matrix, full=full)
    assert np.abs(middles(shown_pixels(frame, None)) - COLOURS).max() <= 2


@pytest.mark.parametrize(("height", "matrix"), [(480, 601), (576, 601), (720, 709), (1080, 709)])
def test_an_unnamed_matrix_is_the_one_that_players_assume(height: int, matrix: int) -> None:
    frame, _ = bars("yuv420p", matrix, full=False, height=height)
    frame.color_range, frame.colorspace = 0, 2
    assert np.abs(middles(shown_pixels(frame, None)) - COLOURS).max() <= 2


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_grey_video_keeps_its_levels(full: bool) -> None:
    frame, luma = bars("gray", 601, full=full)
    assert np.abs(middles(shown_pixels(frame, None))[:, 0] - luma[0, BAR // 2 :: BAR]).max() <= 2


def test_thermal_video_of_16_bits_loses_its_low_byte() -> None:
    levels = (np.arange(64 * 48).reshape(48, 64) * 21).astype(np.uint16)
    pixels = shown_pixels(av.VideoFrame.from_ndarray(levels, format="gray16le"), None)
    assert np.abs(pixels[..., 0].astype(int) - (levels >> 8)).max() <= 1


def test_pixels_that_are_not_square_are_stretched() -> None:
    frame, _ = bars("yuv420p", 601, full=False)
    assert shown_pixels(frame, Fraction(16, 11)).shape == (96, round(56 * 16 / 11), 3)
    assert shown_pixels(frame, Fraction(0)).shape == (96, 56, 3)


ONE = 1 << 16
MATRICES = {
    (a * ONE, b * ONE, c * ONE, d * ONE)
    for a, b, c, d in itertools.product((-1, 0, 1), repeat=4)
    if abs(a) == abs(d) != abs(b) == abs(c)
}


def placed(pixels: Pixels, matrix: tuple[int, int, int, int]) -> Pixels:
    """Each pixel where ISO/IEC 14496-12 puts it: x' = ax + cy, y' = bx + dy, moved to begin at 0."""
    a, b, c, d = (number // ONE for number in matrix)
    height, width = pixels.shape[:2]
    y, x = np.mgrid[0:height, 0:width]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    found = np.zeros((down.max() + 1, across.max() + 1, 3), np.uint8)
    found[down, across] = pixels
    return found


@pytest.mark.parametrize("matrix", sorted(MATRICES))
def test_every_right_angle_with_and_without_mirror_turns_as_the_standard_says(
    matrix: tuple[int, int, int, int],
) -> None:
    assert len(MATRICES) == 8
    pixels = np.arange(6 * 4 * 3, dtype=np.uint8).reshape(4, 6, 3)
    assert np.array_equal(turned(pixels, matrix), placed(pixels, matrix))


def quarters(height: int = 48, width: int = 64) -> Pixels:
    """Red, green and blue quarters, and a dark one."""
    pixels = np.full((height, width, 3), 20, np.uint8)
    pixels[: height // 2, : width // 2] = (200, 30, 30)
    pixels[: height // 2, width // 2 :] = (30, 200, 30)
    pixels[height // 2 :, : width // 2] = (30, 30, 200)
    return pixels


def encoded(
    path: Path | io.BytesIO, container: str, matrix: tuple[int, ...] | None = None, bitstream: str = ""
) -> None:
    target = path if isinstance(path, io.BytesIO) else str(path)
    with av.open(target, "w", format=container) as output:
        stream = output.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        if matrix is not None:
            stream.set_display_matrix(matrix)
        frame = av.VideoFrame.from_ndarray(quarters(), format="rgb24")
        packets = [*stream.encode(frame), *stream.encode()]
        if bitstream:
            changed = BitStreamFilterContext(bitstream, stream)
            packets = [after for before in packets for after in changed.filter(before)]
        for packet in packets:
            output.mux(packet)


def first(path: Path, options: OpenOptions) -> Pixels:
    session = parse_source(str(path)).open(options)
    picture = next(iter(session))
    session.close()
    assert isinstance(picture, Captured)
    assert isinstance(picture.image, RawImage)
    return picture.image.pixels


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
@pytest.mark.parametrize("matrix", sorted(MATRICES))
def test_clips_are_upright_whatever_their_display_matrix(
    tmp_path: Path, container: str, matrix: tuple[int, int, int, int], quick: OpenOptions
) -> None:
    a, b, c, d = matrix
    encoded(tmp_path / f"a.{container}", container, (a, b, 0, c, d, 0, 0, 0, 1 << 30))
    found, expected = first(tmp_path / f"a.{container}", quick), placed(quarters(), matrix)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected)[8:-8:8, 8:-8:8].mean() < 4


@pytest.mark.parametrize("container", ["avi", "mov"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_clips_of_photos_are_upright_whatever_their_exif_says(
    tmp_path: Path, container: str, orientation: int, quick: OpenOptions
) -> None:
    """Motion JPEG as photo and dash cameras write it; the turns are those of EXIF (CIPA DC-008, 4.6.4)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = quarters()
    if orientation in {5, 6, 7, 8}:
        stored = stored.swapaxes(0, 1)
    stored = stored[:, ::-1] if orientation in {2, 3, 7, 8} else stored
    stored = stored[::-1] if orientation in {3, 4, 6, 7} else stored
    photo = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(stored)).save(photo, "JPEG", quality=98, subsampling=0, exif=exif)
    path = tmp_path / f"a.{container}"
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream("mjpeg", rate=10)
        stream.height, stream.width = stored.shape[:2]
        stream.pix_fmt = "yuvj444p"
        packet = av.Packet(photo.getvalue())
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        output.mux(packet)
    found = first(path, quick)
    assert found.shape == quarters().shape
    assert np.abs(found.astype(int) - quarters())[8:-8:8, 8:-8:8].mean() < 4


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("rotate=90", np.rot90),
        ("rotate=180", lambda p: p[::-1, ::-1]),
        ("flip=horizontal", lambda p: p[:, ::-1]),
        ("flip=vertical", lambda p: p[::-1]),
    ],
)
def test_streams_are_upright_whatever_their_display_orientation(
    tmp_path: Path, turn: str, expected: Callable[[Pixels], Pixels], quick: OpenOptions
) -> None:
    """The orientation message inside H.264, which a transport stream or RTSP carries too."""
    encoded(tmp_path / "a.ts", "mpegts", bitstream=f"h264_metadata=display_orientation=insert:{turn}")
    found = first(tmp_path / "a.ts", quick)
    assert found.shape == expected(quarters()).shape
    assert np.abs(found.astype(int) - expected(quarters()))[8:-8:8, 8:-8:8].mean() < 4
