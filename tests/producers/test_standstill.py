"""A hung encoder beside a still scene: both coded as cameras code them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
import simplejpeg

from producers.sources.source import EncodedImage, RawImage
from producers.standstill import KNOWN_PICTURES, Standstill

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
FPS = 5
SECONDS = 40


def scene(noise: float) -> Iterator[Pixels]:
    """A scene in which nothing moves, as a sensor with that noise (grey levels) sees it; 0 is one stored picture."""
    rng = np.random.default_rng(0)
    still = np.kron(rng.integers(40, 200, (6, 8, 3)), np.ones((16, 16, 1)))
    stored = np.clip(still + rng.normal(0, 1.5, still.shape), 0, 255).astype(np.uint8)
    while True:
        seen = np.clip(still + rng.normal(0, noise, still.shape), 0, 255).astype(np.uint8)
        yield seen if noise else stored


def video(noise: float, codec: str, options: dict[str, str]) -> Iterator[RawImage]:
    """The scene through an encoder."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        stream = output.add_stream(codec, rate=FPS, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        for pixels, _ in zip(scene(noise), range(FPS * SECONDS), strict=False):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        output.mux(stream.encode())
    buffer.seek(0)
    with av.open(buffer, "r") as container:
        for frame in container.decode(video=0):
            yield RawImage(frame.to_ndarray(format="rgb24").astype(np.uint8))


ENCODERS = [
    ("libx264", {"g": "10", "tune": "zerolatency", "preset": "ultrafast", "crf": "23"}),
    ("libx264", {"g": "25", "tune": "zerolatency", "preset": "ultrafast", "qp": "30"}),
    ("mpeg4", {"g": "12", "qmin": "5", "qmax": "5"}),
]


@pytest.mark.parametrize(("codec", "options"), ENCODERS)
def test_an_encoder_that_hangs_is_told_from_a_still_scene(codec: str, options: dict[str, str]) -> None:
    hung, alive = Standstill(20), Standstill(20)
    seen = [hung.see(image, number / FPS) for number, image in enumerate(video(0, codec, options))]
    assert not any(seen[: 20 * FPS])
    assert seen[-1]
    assert not any(alive.see(image, number / FPS) for number, image in enumerate(video(1, codec, options)))


def test_a_server_that_keeps_a_picture_is_told_whatever_the_time_in_its_header() -> None:
    data = simplejpeg.encode_jpeg(next(scene(0)))
    watch = Standstill(10)
    for number in range(30):
        comment = f"{number:04}".encode()
        dated = data[:2] + b"\xff\xfe\0\x06" + comment + data[2:]
        assert watch.see(EncodedImage("jpeg", dated, 128, 96), float(number)) == (number >= 10)


def test_one_new_picture_ends_it() -> None:
    watch, (first, second) = Standstill(2), (EncodedImage("png", name, 8, 8) for name in (b"a", b"b"))
    assert [watch.see(first, now_s) for now_s in (0, 1, 2)] == [False, False, True]
    assert not watch.see(second, 3)
    assert [watch.see(first, now_s) for now_s in (4, 5)] == [False, True]


def test_a_long_loop_is_no_standstill() -> None:
    watch = Standstill(2)
    for number in range(KNOWN_PICTURES * 4):
        image = EncodedImage("png", str(number % (KNOWN_PICTURES + 1)).encode(), 8, 8)
        assert not watch.see(image, float(number))
