from __future__ import annotations

import numpy as np
import pytest
import simplejpeg

from imaging.glance import glance

WINDOW = (110.0, 30.0, 530.0, 450.0)


def picture(width: int = 640, height: int = 480) -> np.ndarray:
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, axis=1)
    return np.stack([across, down, 255 - across], axis=-1).astype(np.uint8)


def jpeg(pixels: np.ndarray) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), 95, colorsubsampling="420"))


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 3])
def test_tiles_are_the_mean_colours_of_the_windows_parts(scale: float) -> None:
    pixels = picture(round(640 * scale), round(480 * scale))
    left, top, right, bottom = (round(edge * scale) for edge in WINDOW)
    found = glance(jpeg(pixels), 1 << 24, (pixels.shape[1], pixels.shape[0]), (left, top, right, bottom), 14)
    assert found is not None
    inside = pixels[top:bottom, left:right].astype(np.float64)
    rows, columns = (np.array_split(np.arange(side), 14) for side in inside.shape[:2])
    expected = np.array(
        [[inside[np.ix_(row, column)].mean(axis=(0, 1)) for column in columns] for row in rows]
    )
    assert np.abs(found - expected).max() < 10


def test_what_only_decoding_can_judge_has_no_glance() -> None:
    whole = jpeg(picture())
    for data in (b"", b"junk", whole[: len(whole) // 2], b"\xff\xd8\xff\xd9"):
        assert glance(data, 1 << 24, (640, 480), WINDOW, 28) is None
    assert glance(whole, 640 * 480 - 1, (640, 480), WINDOW, 28) is None


@pytest.mark.parametrize("size", [(64, 64), (640, 479), (480, 640), (7_680, 4_320)])
def test_a_picture_of_another_size_than_was_stated_has_no_glance(size: tuple[int, int]) -> None:
    left, top, right, bottom = 0.0, 0.0, float(size[0]), float(size[1])
    assert glance(jpeg(picture()), 1 << 26, size, (left, top, right, bottom), 28) is None
