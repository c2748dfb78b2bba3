from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from producers.address import ImageFiles, Scenes, StreamUrl, VideoFile, Webcam, parse_address, shown
from schemas.errors import SettingsError


def make_image(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


def test_folder_image_and_video_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    make_image(tmp_path / "sub" / "a.PNG")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert parse_address(str(tmp_path)) == ImageFiles(tmp_path)
    assert parse_address(str(tmp_path / "sub" / "a.PNG")) == ImageFiles(tmp_path / "sub" / "a.PNG")
    assert parse_address(str(tmp_path / "clip.mp4")) == VideoFile(tmp_path / "clip.mp4")


@pytest.mark.parametrize("text", ["webcam:2", "/dev/video2"])
def test_both_spellings_of_a_webcam_name_its_device(text: str) -> None:
    assert parse_address(text) == Webcam("/dev/video2")


def test_scenes_take_seed_size_and_live() -> None:
    assert parse_address("scenes:7") == Scenes(seed=7, width=640, height=480, live=False)
    expected = Scenes(seed=7, width=320, height=240, live=True)
    assert parse_address("scenes:7?width=320&height=240&live=true") == expected
    assert shown(expected) == "scenes:7?width=320&height=240"


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "tcp", "RTSP"])
def test_stream_urls_keep_their_credentials_out_of_repr(scheme: str) -> None:
    address = parse_address(f"{scheme}://admin:hunter2@cam:8554/live")
    assert isinstance(address, StreamUrl)
    assert address.url.endswith("admin:hunter2@cam:8554/live")
    assert "hunter2" not in repr(address)
    assert "hunter2" not in shown(address)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("no/such/thing", "no such file or folder"),
        ("ftp://admin:hunter2@cam/live", "scheme 'ftp' is none of"),
        ("rtsp://admin:hunter2@cam:99999/live", "no valid host and port"),
        ("rtsp://", "no valid host and port"),
        ("rtsp:///live", "no valid host and port"),
        ("rtsp:/admin:hunter2@cam/live", "no such file or folder"),
        ("webcam:front", "webcam:N"),
        ("scenes:", "seed is ''"),
        ("scenes:x", "seed is 'x'"),
        ("scenes:-1", "seed is '-1'"),
        ("scenes:1?width=10", "width is '10', want an integer in [64, 7680]"),
        ("scenes:1?depth=10", "unknown option 'depth'; known are width, height, live"),
        ("scenes:1?width", "KEY=VALUE"),
        ("scenes:1?live=yes", "live is 'yes'"),
    ],
)
def test_errors_name_what_is_wrong_and_never_a_credential(text: str, says: str) -> None:
    with pytest.raises(SettingsError) as error:
        parse_address(text)
    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    make_image(tmp_path / ".hidden.png")
    with pytest.raises(SettingsError, match="no image"):
        parse_address(str(tmp_path))
