from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lab.scenes.source import Scenes
from producers.sources.http_camera import HttpCamera
from producers.sources.image_files import ImageFiles
from producers.sources.registry import parse_source
from producers.sources.source import Captured, OpenOptions, RawImage
from producers.sources.stream import StreamUrl
from producers.sources.video_file import VideoFile
from producers.sources.webcam import Webcam
from schemas.errors import SettingsError


def make_image(path: Path) -> None:
    Image.new("RGB", (8, 8)).save(path)


def test_folder_image_and_video_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    make_image(tmp_path / "sub" / "a.PNG")
    (tmp_path / "clip.mp4").write_bytes(b"x")
    assert parse_source(str(tmp_path)) == ImageFiles(tmp_path)
    assert parse_source(str(tmp_path / "sub" / "a.PNG")) == ImageFiles(tmp_path / "sub" / "a.PNG")
    assert parse_source(str(tmp_path / "clip.mp4")) == VideoFile(tmp_path / "clip.mp4")


def test_files_are_found_as_browsers_and_shells_write_them(tmp_path: Path) -> None:
    clip = tmp_path / "a clip.mp4"
    clip.write_bytes(b"")
    for text in (f'"{clip}"', f" {clip}\n", clip.as_uri(), clip.as_uri().replace("file:", "FILE:")):
        assert parse_source(text) == VideoFile(clip)
    odd = tmp_path / "'odd'.mp4 "
    odd.write_bytes(b"")
    assert parse_source(str(odd)) == VideoFile(odd)


@pytest.mark.parametrize("text", ["webcam:2", "Webcam:2", "/dev/video2", "/dev/video2\n"])
def test_both_spellings_of_a_webcam_name_its_device(text: str) -> None:
    assert parse_source(text) == Webcam("/dev/video2")


def test_scenes_take_seed_size_and_live() -> None:
    assert parse_source("scenes:7") == Scenes(seed=7, width=640, height=480, live=False)
    expected = Scenes(seed=7, width=320, height=240, live=True)
    assert parse_source("scenes:7?width=320&height=240&live=true") == expected
    assert expected.shown == "scenes:7?width=320&height=240"


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "tcp", "RTSP"])
def test_stream_urls_keep_their_credentials_out_of_repr(scheme: str) -> None:
    address = parse_source(f"{scheme}://admin:hunter2@cam:8554/live")
    assert isinstance(address, HttpCamera if scheme == "http" else StreamUrl)
    assert address.url.endswith("admin:hunter2@cam:8554/live")
    assert "hunter2" not in repr(address)
    assert "hunter2" not in address.shown


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("no/such/thing", "no such file or folder"),
        ("a\0b", "zero byte"),
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
        parse_source(text)
    assert says in str(error.value)
    assert "hunter2" not in str(error.value)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    make_image(tmp_path / ".hidden.png")
    with pytest.raises(SettingsError, match="no image"):
        parse_source(str(tmp_path))


SPARE_KIND = """
from dataclasses import dataclass
from producers.pacing import PlaySchedule
from producers.sources.source import Captured, RawImage
import numpy as np

FORM = "grey:LEVEL"

@dataclass(frozen=True)
class Grey:
    level: int
    live = False
    self_paced = False
    shown = "grey"

    def open(self, options):
        return self

    def pace(self, fps):
        return Schedule(fps, may_drop=False)

    def __iter__(self):
        yield Captured(RawImage(np.full((8, 8, 3), self.level, np.uint8)))

    def close(self):
        pass

def claims(text):
    return text.startswith("grey:")

def parse(text):
    return Grey(int(text.removeprefix("grey:")))
"""


def test_a_plug_in_adds_a_kind_by_one_file_and_its_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: OpenOptions
) -> None:
    (tmp_path / "grey_kind.py").write_text(SPARE_KIND)
    info = tmp_path / "grey-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: grey\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[saccade.sources]\ngrey = grey_kind\nlost = no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    (picture,) = parse_source("grey:7").open(quick)
    assert isinstance(picture, Captured)
    assert isinstance(picture.image, RawImage)
    assert picture.image.pixels.max() == 7
    with pytest.raises(SettingsError, match=r"want .*grey:…"):
        parse_source("no/such/thing")
    with pytest.raises(SettingsError, match="'lost' is not part of this installation"):
        parse_source("lost:1")


@pytest.mark.parametrize("name", ["2024-05-01T12:30:00.mp4", "concat:a.mp4", "rtsp:a.mp4"])
@pytest.mark.parametrize("before", ["", "./"])
def test_a_file_whose_name_looks_like_a_url_plays(
    name: str,
    before: str,
    make_clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    quick: OpenOptions,
) -> None:
    monkeypatch.chdir(make_clip(name, num_frames=3).parent)
    session = parse_source(before + name).open(quick)
    assert len(list(session)) == 3
    session.close()
