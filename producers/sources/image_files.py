"""A folder of images, or one image. JPEG, PNG and WebP files travel byte for byte; others are decoded."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from PIL import Image

from imaging.decode import FORMATS, decode_image, travels_as_it_is
from imaging.header import format_of
from imaging.heif import heif_exif
from producers.pacing import Pace, PlaySchedule
from producers.sources.source import Captured, EncodedImage, OpenOptions, RawImage, Session, Unreadable
from producers.trouble import CameraError, Trouble
from schemas.errors import DecodeError, SettingsError

FORM: Final = "an image folder, an image"
SUFFIXES: Final = frozenset(
    {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
    }
    | {".ppm", ".pgm", ".pbm", ".pnm"}
)
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_EXIF_IFD, _TAKEN_ORIGINAL, _OFFSET_ORIGINAL = 0x8769, 0x9003, 0x9011


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A folder of images, taken in the order of their paths, or one image."""

    live: ClassVar[bool] = False
    """Never: a photo is not too old."""
    self_paced: ClassVar[bool] = False

    path: Path

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    def open(self, options: OpenOptions) -> Session:
        """Return a session; `CameraError` where the folder cannot be read or holds no image any more."""
        return ImageFolder(self.path, options)


def claims(text: str) -> bool:
    """Return whether a folder or an image lies at this path."""
    path = Path(text).expanduser()
    return path.is_dir() or is_image(path)


def parse(text: str) -> ImageFiles:
    """Return the folder or image; `SettingsError` where the folder holds none."""
    path = Path(text).expanduser()
    if path.is_dir() and not listed(path):
        raise SettingsError(f"source {text!r}: no image ({', '.join(sorted(SUFFIXES))}) in this folder")
    return ImageFiles(path)


def is_image(path: Path) -> bool:
    """Return whether `path` is a file that looks like an image."""
    return path.suffix.lower() in SUFFIXES and path.is_file()


class ImageFolder:
    """The images under a folder, sub-folders included, in the order of their paths; or one image."""

    def __init__(self, path: Path, options: OpenOptions) -> None:
        """List the files; none is opened yet.

        Raises:
            CameraError: the folder cannot be read or holds no image any more.
        """
        try:
            self._paths = [path] if path.is_file() else listed(path)
        except OSError as error:
            raise CameraError(Trouble.NOT_FOUND, f"{path}: {error.strerror}") from error
        if not self._paths:
            raise CameraError(Trouble.NOT_FOUND, f"{path}: no image in this folder")
        self._options = options

    def pace(self, fps: float | None) -> Pace:
        """One image a period: a folder has no rate of its own."""
        return PlaySchedule(fps, may_drop=False)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        for path in self._paths:
            try:
                yield self._read(path)
            except Exception as error:  # noqa: BLE001 - decoders of damaged files raise anything
                yield Unreadable(f"{path}: {error}")

    def _read(self, path: Path) -> Captured:
        state = path.stat()
        if state.st_size > MAX_FILE_BYTES:
            raise DecodeError("too_large", f"a file of {state.st_size} bytes, at most {MAX_FILE_BYTES}")
        data = path.read_bytes()
        image = read_image(data, max_pixels=self._options.max_pixels)
        own_ns = taken_ns(data, state.st_mtime_ns) if self._options.own_time else None
        return Captured(image, taken_ns=own_ns, still=True)

    def close(self) -> None:
        """Nothing is held open between images."""


def read_image(data: bytes, *, max_pixels: int) -> EncodedImage | RawImage:
    """Return a file's bytes with the size that its header states, or its pixels where they must be converted.

    Raises:
        DecodeError: no known image format, too large, damaged, or of a kind that is refused by name.
    """
    encoding = format_of(data)
    if not data:
        raise DecodeError("truncated", "it is empty")
    if encoding is None:
        raise DecodeError("bad_image", f"no image format that is known here ({', '.join(FORMATS)})")
    size = travels_as_it_is(data, encoding, max_pixels)
    if size is not None:
        return EncodedImage(encoding, data, *size)
    return RawImage(decode_image(data, encoding, max_pixels))


def listed(folder: Path) -> list[Path]:
    """Return the images under a folder by path, each once.

    Hidden files and folders are left out at every level, links are followed, a folder that is reached again is
    not entered again, and of several names of one file the first counts.
    """
    paths, entered = [], set()
    for root, folders, files in os.walk(folder, followlinks=True):
        here = Path(root).stat()
        if (here.st_dev, here.st_ino) in entered:
            folders.clear()
            continue
        entered.add((here.st_dev, here.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths += [path for name in files if is_image(path := Path(root, name)) and not name.startswith(".")]
    found: dict[tuple[int, int], Path] = {}
    for path in sorted(paths):
        state = path.stat()
        found.setdefault((state.st_dev, state.st_ino), path)
    return list(found.values())


def taken_ns(data: bytes, modified_ns: int) -> int:
    """Return when a photo was taken (UTC) by its EXIF, else when its file was last written."""
    try:
        if format_of(data) == "heif":
            fields = heif_exif(data).get_ifd(_EXIF_IFD)
        else:
            with Image.open(io.BytesIO(data), formats=["JPEG", "PNG", "WEBP", "TIFF", "AVIF"]) as picture:
                fields = picture.getexif().get_ifd(_EXIF_IFD)
        zone = str(fields.get(_OFFSET_ORIGINAL, "+00:00"))
        taken = datetime.strptime(f"{fields[_TAKEN_ORIGINAL]}{zone}", "%Y:%m:%d %H:%M:%S%z")
        return max(0, int(taken.timestamp()) * 10**9)
    except Exception:  # noqa: BLE001 - many photos have none, or a damaged one
        return modified_ns
