from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from producers.address import StreamUrl, VideoFile, Webcam, parse_address
from producers.sources.captured import Captured, RawImage
from producers.sources.video import Timeouts, Video
from schemas.errors import SourceError

QUICK = Timeouts(open_s=2.0, read_s=1.0)
MAX_PIXELS = 10**7


def levels(video: Video, count: int | None = None) -> list[int]:
    """Grey levels of the first `count` frames."""
    found = []
    for picture in video:
        assert isinstance(picture, Captured)
        assert isinstance(picture.image, RawImage)
        found.append(round(float(picture.image.pixels.mean())))
        if len(found) == count:
            break
    return found


def test_a_file_gives_all_its_frames_in_order_and_its_rate(make_clip: Callable[..., Path]) -> None:
    video = Video(VideoFile(make_clip("a.mp4", num_frames=10, fps=10)), timeouts=QUICK, max_pixels=MAX_PIXELS)
    assert video.fps == 10
    assert levels(video) == pytest.approx([number * 8 for number in range(10)], abs=2)
    video.close()
    video.close()


def test_frames_above_the_pixel_limit_are_scaled_down(make_clip: Callable[..., Path]) -> None:
    clip = make_clip("a.mp4", num_frames=1, size=(320, 240))
    video = Video(VideoFile(clip), timeouts=QUICK, max_pixels=160 * 120)
    (picture,) = list(video)
    assert isinstance(picture, Captured)
    assert isinstance(picture.image, RawImage)
    assert picture.image.pixels.shape == (120, 160, 3)
    video.close()


def test_a_file_that_is_no_video_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(SourceError, match=r"a\.mp4: Invalid data"):
        Video(VideoFile(tmp_path / "a.mp4"), timeouts=QUICK, max_pixels=MAX_PIXELS)


def test_damage_inside_a_file_costs_its_frames_only(make_clip: Callable[..., Path]) -> None:
    clip = make_clip("a.mp4", num_frames=60)
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + len(data) // 4
    data[start : start + 400] = b"\xff" * 400
    clip.write_bytes(data)
    video = Video(VideoFile(clip), timeouts=QUICK, max_pixels=MAX_PIXELS)
    frames = sum(isinstance(picture, Captured) for picture in video)
    assert 20 < frames <= 60
    video.close()


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_stream_gives_frames_until_it_ends(loopback_camera: Any, protocol: str) -> None:
    place, _ = loopback_camera(protocol, ["play"])
    video = Video(parse_address(f"{protocol}://{place}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS)
    assert len(levels(video)) >= 15
    video.close()


def test_rtsp_credentials_reach_the_camera_and_nothing_else(loopback_camera: Any) -> None:
    place, _ = loopback_camera("rtsp", ["play"], password="hunter2")
    video = Video(parse_address(f"rtsp://admin:hunter2@{place}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS)
    assert levels(video, 3) == pytest.approx([0, 8, 16], abs=2)
    video.close()
    with pytest.raises(SourceError, match="authorization") as error:
        Video(parse_address(f"rtsp://admin:hunter3@{place}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS)
    assert "hunter3" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_stream_that_goes_silent_is_lost_after_the_read_timeout(
    loopback_camera: Any, protocol: str
) -> None:
    place, _ = loopback_camera(protocol, ["hang"])
    video = Video(parse_address(f"{protocol}://{place}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS)
    started_s = time.monotonic()
    with pytest.raises(SourceError, match=r"timed out|Immediate exit"):
        levels(video)
    assert time.monotonic() - started_s < 4
    video.close()


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_camera_that_never_answers_is_given_up_after_the_open_timeout(
    loopback_camera: Any, protocol: str
) -> None:
    place, _ = loopback_camera(protocol, ["silent"])
    started_s = time.monotonic()
    with pytest.raises(SourceError):
        Video(parse_address(f"{protocol}://{place}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS)
    assert time.monotonic() - started_s < 6


def test_a_refused_connection_names_the_place_without_credentials(closed_port: int) -> None:
    url = f"rtsp://admin:hunter2@127.0.0.1:{closed_port}/live"
    with pytest.raises(SourceError, match="refused") as error:
        Video(
            StreamUrl(url, f"rtsp://***@127.0.0.1:{closed_port}/live"), timeouts=QUICK, max_pixels=MAX_PIXELS
        )
    assert "hunter2" not in str(error.value)
    assert f"127.0.0.1:{closed_port}" in str(error.value)


def test_a_missing_webcam_is_one_clear_line() -> None:
    with pytest.raises(SourceError, match="/dev/video97: "):
        Video(Webcam("/dev/video97"), timeouts=QUICK, max_pixels=MAX_PIXELS)
