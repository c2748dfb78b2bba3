"""A folder of images as a source. JPEG, PNG and WebP files travel byte for byte; others are decoded."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from producers.address import is_image
from producers.sources.captured import Captured, EncodedImage, RawImage, Unreadable
from schemas.errors import SourceError

PASSED_THROUGH: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp"}
_PLAIN_MODES: Final = frozenset({"RGB", "L"})
"""Modes that every decoder turns into RGB alike; palettes, alpha and 16 bit are flattened here."""


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

    @property
    def fps(self) -> float | None:
        """None: a folder has no rate of its own."""
        return None

    def __iter__(self) -> Iterator[Captured | Unreadable]:
        for path in self._paths:
            try:
                yield Captured(read_image(path.read_bytes(), max_pixels=self._max_pixels))
            except (OSError, ValueError, SyntaxError) as error:
                # Pillow raises OSError and SyntaxError for broken files, simplejpeg ValueError.
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
