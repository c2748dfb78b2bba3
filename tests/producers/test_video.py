from __future__ import annotations

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image

from producers.pacing import Skip
from producers.sources.registry import parse_source
from producers.sources.source import Captured, OpenOptions, RawImage, Session
from producers.sources.webcam import Webcam
from producers.trouble import CameraError, Trouble
from schemas.errors import SettingsError


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
    video = parse_source(f"{protocol}://{place}/live").open(replace(quick, read_timeout_s=0.5))
    started_s = time.monotonic()
    with pytest.raises(CameraError, match=r"no picture for 0\.5 s"):
        levels(video)
    assert time.monotonic() - started_s < 4
    video.close()


def with_sound(target: Path | io.BytesIO, *, num_pictures: int, sound_s: float) -> None:
    """Write a transport stream of ten pictures a second, and its sound."""
    with av.open(target if isinstance(target, io.BytesIO) else str(target), "w", format="mpegts") as output:
        video = output.add_stream("libx264", rate=10, options={"preset": "ultrafast", "tune": "zerolatency"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("mp2", rate=48_000, layout="mono")
        for number in range(num_pictures):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            output.mux(video.encode(picture))
        output.mux(video.encode())
        for start in range(0, round(sound_s * 48_000), 1152):
            samples = av.AudioFrame.from_ndarray(np.zeros((1, 1152), np.int16), format="s16", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 48_000, start, Fraction(1, 48_000)
            output.mux(sound.encode(samples))


@pytest.fixture
def camera_that_only_sounds() -> Iterator[str]:
    """The address of a camera that sends a second of pictures, and sound for six seconds more, then ends."""
    stream = io.BytesIO()
    with_sound(stream, num_pictures=10, sound_s=7)
    half = len(stream.getvalue()) // 2
    ending = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(stream.getvalue()[:half])
            for start in range(half, 2 * half, half // 60):
                connection.sendall(stream.getvalue()[start : start + half // 60])
                if ending.wait(0.1):
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
        ending.set()
        thread.join(5)


def test_a_camera_whose_sound_goes_on_without_pictures_is_frozen(
    camera_that_only_sounds: str, quick: OpenOptions
) -> None:
    video = parse_source(camera_that_only_sounds).open(replace(quick, read_timeout_s=0.5))
    with pytest.raises(CameraError, match=r"no picture for 0\.5 s") as error:
        levels(video)
    assert error.value.trouble is Trouble.FROZEN
    video.close()


def test_a_session_ends_when_it_is_to_end_though_only_sound_comes(
    camera_that_only_sounds: str, quick: OpenOptions
) -> None:
    ending = threading.Event()
    video = parse_source(camera_that_only_sounds).open(replace(quick, read_timeout_s=60, pause=ending.wait))
    pictures = iter(video)
    assert isinstance(next(pictures), Captured)
    began_s = time.monotonic()
    threading.Timer(0.3, ending.set).start()
    assert len(list(pictures)) < 10
    assert time.monotonic() - began_s < 3
    video.close()


def test_a_file_whose_sound_is_longer_than_its_video_is_played_whole(
    tmp_path: Path, quick: OpenOptions
) -> None:
    with_sound(tmp_path / "a.ts", num_pictures=10, sound_s=7)
    video = parse_source(str(tmp_path / "a.ts")).open(quick)
    assert len(levels(video)) == 10
    video.close()


@pytest.mark.parametrize("protocol", ["rtsp", "tcp"])
def test_a_camera_that_never_answers_is_given_up_after_the_open_timeout(
    loopback_camera: Any, protocol: str, quick: OpenOptions
) -> None:
    place, _ = loopback_camera(protocol, ["silent"])
    started_s = time.monotonic()
    with pytest.raises(CameraError, match=r"no answer within (0\.5|1) s"):
        parse_source(f"{protocol}://{place}/live").open(
            replace(quick, open_timeout_s=1.0, read_timeout_s=0.5)
        )
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


def clip(
    path: Path, times_ms: list[int], *, fps: int = 25, sizes: list[tuple[int, int]] | None = None
) -> Path:
    """A clip whose pictures come at the given times; each of `sizes` is one stream."""
    with av.open(str(path), "w") as output:
        streams = []
        for width, height in sizes or [(64, 48)]:
            webm = path.suffix == ".webm"
            quick = {"deadline": "realtime", "cpu-used": "8"} if webm else {"preset": "ultrafast"}
            stream = output.add_stream("libvpx" if webm else "libx264", rate=fps, options=quick)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
            streams.append(stream)
        for at_ms in [*times_ms, None]:
            for stream in streams:
                frame = None
                if at_ms is not None:
                    frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                    frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
                output.mux(stream.encode(frame))
    return path


def kept(path: Path, fps: float, options: OpenOptions) -> list[float]:
    """When a producer that is never late shows the pictures of a clip."""
    session = parse_source(str(path)).open(options)
    pace = session.pace(fps)
    moments = [pace.place(picture.time_s, 0.0) for picture in session if isinstance(picture, Captured)]
    session.close()
    return [moment for moment in moments if not isinstance(moment, Skip)]


def test_a_clip_whose_header_states_another_rate_keeps_its_own_time(
    tmp_path: Path, quick: OpenOptions
) -> None:
    """Three seconds at 30 frames a second under a header that says one a second."""
    path = clip(tmp_path / "a.webm", [round(number * 1000 / 30) for number in range(90)], fps=1)
    found = kept(path, 5, quick)
    assert len(found) in {15, 16}
    assert found[-1] == pytest.approx(2.9, abs=0.15)


def test_a_clip_of_variable_rate_lasts_as_long_as_it_says(tmp_path: Path, quick: OpenOptions) -> None:
    times_ms = [0, 40, 80, 120, 9_000, 9_040, 15_000, 20_000]
    found = kept(clip(tmp_path / "a.mp4", times_ms), 25, quick)
    assert found == pytest.approx([at / 1000 for at in times_ms], abs=0.002)


def test_of_several_videos_the_one_that_a_player_shows_is_taken(tmp_path: Path, quick: OpenOptions) -> None:
    path = clip(tmp_path / "a.mkv", [0, 40, 80, 120], sizes=[(64, 48), (320, 240)])
    session = parse_source(str(path)).open(quick)
    shapes = {picture.image.pixels.shape for picture in session if isinstance(picture, Captured)}  # type: ignore[union-attr]
    session.close()
    with av.open(str(path)) as container:
        best = container.streams.best("video")
        assert isinstance(best, av.VideoStream)
        assert shapes == {(best.height, best.width, 3)}


def test_a_cover_picture_is_no_video(
    tmp_path: Path, make_clip: Callable[..., Path], quick: OpenOptions
) -> None:
    cover = io.BytesIO()
    Image.new("RGB", (32, 32), (128, 128, 128)).save(cover, "JPEG")
    path = tmp_path / "covered.mkv"
    with av.open(str(make_clip("a.mp4", num_frames=30))) as source, av.open(str(path), "w") as output:
        attached = output.add_stream("mjpeg")
        attached.width, attached.height, attached.pix_fmt = 32, 32, "yuvj420p"
        attached.disposition = Disposition.attached_pic
        copied = output.add_stream_from_template(source.streams.video[0])
        packet = av.Packet(cover.getvalue())
        packet.stream, packet.pts, packet.dts = attached, 0, 0
        output.mux(packet)
        for each in source.demux(source.streams.video[0]):
            if each.dts is not None:
                each.stream = copied
                output.mux(each)
    session = parse_source(str(path)).open(quick)
    assert len(levels(session)) == 30
    session.close()


def test_one_picture_beside_a_video_is_a_cover_though_nothing_marks_it(
    tmp_path: Path, quick: OpenOptions
) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as output:
        cover, film = (output.add_stream("libx264", rate=10) for _ in range(2))
        for stream, size in ((cover, 320), (film, 64)):
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for stream, count in ((cover, 1), (film, 5)):
            for number in range(count):
                frame = av.VideoFrame(stream.width, stream.height, "yuv420p")
                frame.pts = number
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
    session = parse_source(str(path)).open(quick)
    assert len(levels(session)) == 5
    session.close()


def test_a_stream_may_change_its_size(
    make_stream: Callable[..., bytes], tmp_path: Path, quick: OpenOptions
) -> None:
    (tmp_path / "a.ts").write_bytes(make_stream(5, (64, 48)) + make_stream(5, (128, 96)))
    session = parse_source(str(tmp_path / "a.ts")).open(quick)
    shapes = [picture.image.pixels.shape[:2] for picture in session if isinstance(picture, Captured)]  # type: ignore[union-attr]
    session.close()
    assert set(shapes) == {(48, 64), (96, 128)}
    assert len(shapes) >= 9


def test_a_video_through_a_pipe_is_played(
    make_stream: Callable[..., bytes], tmp_path: Path, quick: OpenOptions
) -> None:
    fifo = tmp_path / "camera"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=(make_stream(10, (64, 48)),), daemon=True)
    writer.start()
    session = parse_source(str(fifo)).open(quick)
    assert len(levels(session)) == 10
    session.close()
    writer.join(5)


PLAY_STANDARD_INPUT = """
import threading
from producers.sources.registry import parse_source
from producers.sources.source import OpenOptions
options = OpenOptions(None, 2, 1, 10**7, False, "tcp", False, threading.Event().wait)
print(len(list(parse_source("-").open(options))))
"""


@pytest.mark.parametrize("how", ["pipe", "file"])
def test_standard_input_is_played_from_a_pipe_and_from_a_file(
    make_clip: Callable[..., Path], make_stream: Callable[..., bytes], how: str
) -> None:
    """An MP4 keeps its index at its end: from a file it is read there, through a pipe a stream is needed."""
    command = [sys.executable, "-c", PLAY_STANDARD_INPUT]
    with make_clip("a.mp4", num_frames=7).open("rb") as file:
        given: dict[str, Any] = {"input": make_stream(7, (64, 48))} if how == "pipe" else {"stdin": file}
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, **given)
    assert done.stdout.strip() == b"7", done.stderr


def test_standard_input_that_is_closed_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SettingsError, match="standard input is closed"):
        parse_source("-")


def test_a_pipe_without_a_writer_is_left_when_the_session_ends(tmp_path: Path, quick: OpenOptions) -> None:
    os.mkfifo(tmp_path / "camera")
    with pytest.raises(CameraError):
        parse_source(str(tmp_path / "camera")).open(replace(quick, pause=lambda seconds: True))


def test_a_recording_says_when_it_was_made(
    tmp_path: Path, make_clip: Callable[..., Path], quick: OpenOptions
) -> None:
    path = make_clip("a.mp4", num_frames=10, fps=10)
    os.utime(path, ns=(0, 1_700_000_001 * 10**9))
    session = parse_source(str(path)).open(replace(quick, own_time=True))
    taken = [picture.taken_ns for picture in session if isinstance(picture, Captured)]
    session.close()
    assert taken == pytest.approx([1_700_000_000 * 10**9 + number * 10**8 for number in range(10)], abs=2e6)


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:1/internal\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile /etc/passwd\n",
    ],
)
def test_a_file_cannot_lead_elsewhere(tmp_path: Path, text: str, quick: OpenOptions) -> None:
    (tmp_path / "a.mp4").write_text(text)
    with pytest.raises(CameraError, match="no video that can be read"):
        parse_source(str(tmp_path / "a.mp4")).open(quick)
