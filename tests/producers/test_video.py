from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from producers.sources.registry import parse_source
from producers.sources.source import Captured, OpenOptions, RawImage, Session
from producers.sources.webcam import Webcam
from producers.trouble import CameraError, Trouble


def levels(video: Session, count: int | None = None) -> list[int]:
    """Grey levels of the first `count` frames."""
    found = []
    for picture in video:
        assert isinstance(picture, Captured)
        assert isinstance(picture.image, RawImage)
        found.append(round(float(picture.image.pixels.mean())))
        if len(found) == count:
            break
    return found


def test_a_file_gives_all_its_frames_in_order_and_its_rate(
    make_clip: Callable[..., Path], quick: OpenOptions
) -> None:
    video = parse_source(str(make_clip("a.mp4", num_frames=10, fps=10))).open(quick)
    assert levels(video) == pytest.approx([number * 8 for number in range(10)], abs=2)
    video.close()
    video.close()


def test_more_pixels_than_allowed_are_refused_before_they_are_decoded(
    make_clip: Callable[..., Path], quick: OpenOptions
) -> None:
    clip = make_clip("a.mp4", num_frames=1, size=(320, 240))
    with pytest.raises(CameraError, match="320x240 pixels, at most 19200") as error:
        parse_source(str(clip)).open(replace(quick, max_pixels=160 * 120))
    assert error.value.trouble is Trouble.TOO_LARGE


def test_a_file_that_is_no_video_is_one_clear_line(tmp_path: Path, quick: OpenOptions) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video at all" * 100)
    with pytest.raises(CameraError, match=r"a\.mp4: no video that can be read"):
        parse_source(str(tmp_path / "a.mp4")).open(quick)


def test_damage_inside_a_file_costs_its_frames_only(
    make_clip: Callable[..., Path], quick: OpenOptions
) -> None:
    clip = make_clip("a.mp4", num_frames=60)
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + len(data) // 4
    data[start : start + 400] = b"\xff" * 400
    clip.write_bytes(data)
    video = parse_source(str(clip)).open(quick)
    frames = sum(isinstance(picture, Captured) for picture in video)
    assert 20 < frames <= 60
    video.close()


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_stream_gives_frames_until_it_ends(loopback_camera: Any, protocol: str, quick: OpenOptions) -> None:
    place, _ = loopback_camera(protocol, ["play"])
    video = parse_source(f"{protocol}://{place}/live").open(quick)
    assert len(levels(video)) >= 15
    video.close()


def test_rtsp_credentials_reach_the_camera_and_nothing_else(loopback_camera: Any, quick: OpenOptions) -> None:
    place, _ = loopback_camera("rtsp", ["play"], password="hunter2")
    video = parse_source(f"rtsp://admin:hunter2@{place}/live").open(quick)
    assert levels(video, 3) == pytest.approx([0, 8, 16], abs=2)
    video.close()
    with pytest.raises(CameraError, match="refuses the login") as error:
        parse_source(f"rtsp://admin:hunter3@{place}/live").open(quick)
    assert "hunter3" not in str(error.value)
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_stream_that_goes_silent_is_lost_after_the_read_timeout(
    loopback_camera: Any, protocol: str, quick: OpenOptions
) -> None:
    place, _ = loopback_camera(protocol, ["hang"])
    video = parse_source(f"{protocol}://{place}/live").open(quick)
    started_s = time.monotonic()
    with pytest.raises(CameraError, match="no picture for 1 s"):
        levels(video)
    assert time.monotonic() - started_s < 4
    video.close()


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_camera_that_never_answers_is_given_up_after_the_open_timeout(
    loopback_camera: Any, protocol: str, quick: OpenOptions
) -> None:
    place, _ = loopback_camera(protocol, ["silent"])
    started_s = time.monotonic()
    with pytest.raises(CameraError, match=r"no answer within [12] s"):
        parse_source(f"{protocol}://{place}/live").open(quick)
    assert time.monotonic() - started_s < 6


def test_a_refused_connection_names_the_place_without_credentials(
    closed_port: int, quick: OpenOptions
) -> None:
    url = f"rtsp://admin:hunter2@127.0.0.1:{closed_port}/live"
    with pytest.raises(CameraError, match="refused") as error:
        parse_source(url).open(quick)
    assert "hunter2" not in str(error.value)
    assert f"127.0.0.1:{closed_port}" in str(error.value)


def test_a_missing_webcam_is_one_clear_line(quick: OpenOptions) -> None:
    with pytest.raises(CameraError, match="/dev/video97: "):
        Webcam("/dev/video97").open(quick)
