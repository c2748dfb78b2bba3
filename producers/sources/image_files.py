"""A folder of images, or one image. JPEG, PNG and WebP files travel byte for byte; others are decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from producers.pacing import Pace, Schedule
from producers.sources.source import Captured, EncodedImage, OpenOptions, RawImage, Session, Unreadable
from schemas.errors import SettingsError, SourceError

FORM: Final = "an image folder, an image or video file"
SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
PASSED_THROUGH: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp"}
_PLAIN_MODES: Final = frozenset({"RGB", "L"})
"""Modes that every decoder turns into RGB alike; palettes, alpha and 16 bit are flattened here."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A folder of images, taken in the order of their paths, or one image."""

    path: Path

    @property
    def shown(self) -> str:
        """The path."""
        return str(self.path)

    @property
    def live(self) -> bool:
        """Never: a photo is not too old."""
        return False

    @property
    def self_paced(self) -> bool:
        """Never."""
        return False

    def open(self, options: OpenOptions) -> Session:
        """Return a session; `SourceError` where the folder cannot be read or holds no image any more."""
        return ImageFolder(self.path, max_pixels=options.max_pixels)


def claims(text: str) -> bool:
    """Return whether a folder or an image lies at this path."""
    path = Path(text).expanduser()
    return path.is_dir() or is_image(path)


def parse(text: str) -> ImageFiles:
    """Return the folder or image; `SettingsError` where the folder holds none."""
    path = Path(text).expanduser()
    if path.is_dir() and not any(is_image(file) for file in path.rglob("*")):
        raise SettingsError(f"source {text!r}: no image ({', '.join(sorted(SUFFIXES))}) in this folder")
    return ImageFiles(path)


def is_image(path: Path) -> bool:
    """Return whether `path` is a file that looks like an image and is not hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


class ImageFolder:
    """The images under a folder, sub-folders included, in the order of their paths; or one image."""

    def __init__(self, path: Path, *, max_pixels: int) -> None:
        """List the files; none is opened yet.

        Args:
            path: folder or image file.
            max_pixels: images with more pixels by their header are not decoded.

        Raises:
            SourceError: the folder cannot be read or holds no image any more.
        """
        try:
            self._paths = [path] if path.is_file() else sorted(p for p in path.rglob("*") if is_image(p))
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from error
        if not self._paths:
            raise SourceError(f"{path}: no image in this folder")
        self._max_pixels = max_pixels

    def pace(self, fps: float | None) -> Pace:
        """One image a period: a folder has no rate of its own."""
        return Schedule(fps, may_drop=False)

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        for path in self._paths:
            try:
                yield Captured(read_image(path.read_bytes(), max_pixels=self._max_pixels))
            except Exception as error:  # noqa: BLE001 - decoders of damaged files raise anything
                yield Unreadable(f"{path}: {error}")

    def close(self) -> None:
        """Nothing is held open between images."""


def read_image(data: bytes, *, max_pixels: int) -> EncodedImage | RawImage:
    """Return a file's bytes with the size that its header states, or its pixels where they must be converted.

    Raises:
        ValueError: no known image format, or one that must be decoded and has more than `max_pixels`.
        OSError, SyntaxError: Pillow's words for a broken file.
    """
    if data.startswith(b"\xff\xd8"):
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        except (ValueError, KeyError):  # KeyError: its answer to a header without colour space
            raise ValueError("no JPEG header") from None
        return EncodedImage("jpeg", data, width, height)
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError("no known image format") from None
    with image:
        encoding = PASSED_THROUGH.get(image.format or "")
        if encoding is not None and image.mode in _PLAIN_MODES and getattr(image, "n_frames", 1) == 1:
            return EncodedImage(encoding, data, image.width, image.height)
        if image.width * image.height > max_pixels:
            raise ValueError(f"{image.width}x{image.height} pixels, at most {max_pixels}")
        return RawImage(np.asarray(image.convert("RGB")))
