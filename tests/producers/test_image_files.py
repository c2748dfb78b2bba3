from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from producers.sources.image_files import ImageFolder, listed
from producers.sources.source import Captured, EncodedImage, OpenOptions, RawImage, Unreadable
from producers.trouble import CameraError

OPTIONS = OpenOptions(
    fps=None,
    open_timeout_s=1,
    read_timeout_s=1,
    max_pixels=10**6,
    own_time=False,
    rtsp_transport="tcp",
    verify_tls=False,
    pause=lambda seconds: False,
)


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path.read_bytes()


def read(folder: Path, **changes: Any) -> list[Captured | Unreadable]:
    source = ImageFolder(folder, replace(OPTIONS, **changes))
    found = list(source)
    source.close()
    return found


def image_of(picture: Captured | Unreadable) -> EncodedImage | RawImage:
    assert isinstance(picture, Captured)
    assert picture.truth is None
    return picture.image


@pytest.mark.parametrize(("suffix", "encoding"), [("jpg", "jpeg"), ("png", "png"), ("webp", "webp")])
def test_known_formats_pass_byte_for_byte_with_the_size_of_their_header(
    tmp_path: Path, suffix: str, encoding: str
) -> None:
    data = save(tmp_path / f"a.{suffix}")
    assert image_of(read(tmp_path)[0]) == EncodedImage(encoding, data, 8, 6)


@pytest.mark.parametrize(
    ("name", "mode"), [("a.bmp", "RGB"), ("a.png", "P"), ("a.png", "RGBA"), ("a.png", "I;16")]
)
def test_other_formats_and_modes_are_decoded_to_rgb(tmp_path: Path, name: str, mode: str) -> None:
    save(tmp_path / name, mode)
    image = image_of(read(tmp_path)[0])
    assert isinstance(image, RawImage)
    assert image.pixels.shape == (6, 8, 3)
    assert image.pixels.dtype == np.uint8


def test_order_is_by_path_sub_folders_included_and_hidden_files_left_out(tmp_path: Path) -> None:
    sizes = {"b/2.png": 2, "a.png": 1, "b/1.png": 3, ".x.png": 9}
    for name, width in sizes.items():
        save(tmp_path / name, size=(width, 1))
    widths = [image.width for image in map(image_of, read(tmp_path)) if isinstance(image, EncodedImage)]
    assert widths == [1, 3, 2]


def test_broken_files_are_named_and_the_others_read(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.jpg").write_bytes(b"\xff\xd8 and then nothing")
    (tmp_path / "c.png").write_bytes(b"no picture")
    (tmp_path / "d.bmp").write_bytes(save(tmp_path / "d.bmp")[:30])
    (tmp_path / "e.jpg").write_bytes(b"")
    save(tmp_path / "f.png")
    found = read(tmp_path)
    assert [isinstance(picture, Captured) for picture in found] == [True, False, False, False, False, True]
    for picture, name in zip(found[1:5], "bcde", strict=True):
        assert isinstance(picture, Unreadable)
        assert str(tmp_path / name) in picture.why


def test_what_must_be_decoded_may_not_have_too_many_pixels(tmp_path: Path) -> None:
    save(tmp_path / "a.bmp", size=(1001, 1000))
    (picture,) = read(tmp_path)
    assert isinstance(picture, Unreadable)
    assert "1001x1000 is outside 1 to 1000000 pixels" in picture.why


def test_one_image_file_is_a_folder_of_one(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    assert len(read(tmp_path / "a.png")) == 1


def test_a_folder_that_was_emptied_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="no image"):
        ImageFolder(tmp_path, OPTIONS)


def test_one_huge_or_damaged_file_ends_no_folder_whatever_its_decoder_raises(tmp_path: Path) -> None:
    """A bomb by its header, a broken PNG above the size that travels, a program: each is one unreadable picture."""
    save(tmp_path / "a.png")
    noise = np.random.default_rng(0).integers(0, 256, (1200, 800, 3), dtype=np.uint8)
    large = io.BytesIO()
    Image.fromarray(noise).save(large, "PNG")
    (tmp_path / "b.png").write_bytes(large.getvalue()[:1000] + b"x" * 3_000_000)
    header = bytearray(save(tmp_path / "c.png"))
    header[16:24] = (20_000).to_bytes(4, "big") * 2
    (tmp_path / "c.png").write_bytes(header)
    jpeg = bytearray(save(tmp_path / "d.jpg"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = b"\x27\x10\x4e\x20"
    (tmp_path / "d.jpg").write_bytes(jpeg)
    (tmp_path / "e.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")
    save(tmp_path / "f.png")
    found = read(tmp_path)
    assert [isinstance(picture, Captured) for picture in found] == [True, False, False, False, False, True]


@pytest.mark.parametrize(
    ("links", "seen"),
    [
        ({}, ["a.png", "sub/b.png"]),
        ({"again": "sub"}, ["a.png", "again/b.png"]),
        ({"sub/up": "."}, ["a.png", "sub/b.png"]),
        ({"sub/self": "sub"}, ["a.png", "sub/b.png"]),
        ({"z.png": "a.png"}, ["a.png", "sub/b.png"]),
        ({"broken.png": "nowhere.png"}, ["a.png", "sub/b.png"]),
    ],
    ids=["plain", "linked folder", "loop", "loop in place", "linked file", "broken link"],
)
def test_each_image_is_found_once(tmp_path: Path, links: dict[str, str], seen: list[str]) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "sub" / "b.png")
    for hidden in (".hidden/c.png", "sub/.thumbs/d.png", "sub/.e.png", "@eaDir/../.f/g.png"):
        (tmp_path / hidden.split("/")[0]).mkdir(exist_ok=True)
        save(tmp_path / hidden)
    for name, target in links.items():
        (tmp_path / name).symlink_to(tmp_path / target)
    assert [str(path.relative_to(tmp_path)) for path in listed(tmp_path)] == seen


def test_a_mounted_volume_is_read_through_its_visible_names(tmp_path: Path) -> None:
    """Kubernetes mounts a version folder, a link `..data` to it, and a link for each file through that."""
    save(tmp_path / "..2024_05_01" / "a.png")
    (tmp_path / "..data").symlink_to("..2024_05_01")
    (tmp_path / "a.png").symlink_to("..data/a.png")
    assert listed(tmp_path) == [tmp_path / "a.png"]


@pytest.mark.parametrize("suffix", ["jpg", "heic"])
def test_a_photo_says_when_it_was_taken_else_its_file_does(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:05:01 12:30:00", 0x9011: "+02:00"})
    photo = Image.new("RGB", (64, 64))
    if suffix == "heic":
        pillow_heif.from_pillow(photo).save(tmp_path / "a.heic", exif=exif.tobytes())
    else:
        photo.save(tmp_path / "a.jpg", exif=exif)
    save(tmp_path / "b.png")
    first, second = read(tmp_path, own_time=True)
    assert isinstance(first, Captured)
    assert isinstance(second, Captured)
    assert first.taken_ns == int(datetime(2024, 5, 1, 10, 30, tzinfo=UTC).timestamp()) * 10**9
    assert second.taken_ns == (tmp_path / "b.png").stat().st_mtime_ns
