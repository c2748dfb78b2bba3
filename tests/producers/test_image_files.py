from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from producers.sources.image_files import ImageFolder
from producers.sources.source import Captured, EncodedImage, RawImage, Unreadable
from schemas.errors import SourceError

MAX_PIXELS = 10**6


def save(path: Path, mode: str = "RGB", size: tuple[int, int] = (8, 6)) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path.read_bytes()


def read(folder: Path) -> list[Captured | Unreadable]:
    source = ImageFolder(folder, max_pixels=MAX_PIXELS)
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
    assert "1001x1000 pixels, at most 1000000" in picture.why


def test_one_image_file_is_a_folder_of_one(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    assert len(read(tmp_path / "a.png")) == 1


def test_a_folder_that_was_emptied_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no image"):
        ImageFolder(tmp_path, max_pixels=MAX_PIXELS)
