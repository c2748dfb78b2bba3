"""Where a camera's pictures come from: the SOURCE of `NAME=SOURCE`, parsed and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl

from producers.credentials import MASK, shown_url
from schemas.errors import SettingsError

STREAM_SCHEMES: Final = frozenset({"rtsp", "rtsps", "rtmp", "rtmps", "http", "https", "tcp", "udp", "srt"})
IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
WANTED: Final = (
    "want an image folder, an image or video file, rtsp://… (or another stream URL), webcam:0, /dev/video0 "
    "or scenes:SEED[?width=640&height=480]"
)
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_DEVICE = re.compile(r"/dev/video\d+")
_MIN_SIDE, _MAX_SIDE = 64, 7680
MAX_SEED: Final = 3 * 10**9 - 1
"""The last of `scenes.TEST_SEEDS`, kept in step by a test: importing the renderer would cost every start."""


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A folder of images, taken in the order of their paths, or one image."""

    path: Path


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A video file."""

    path: Path


@dataclass(frozen=True, slots=True)
class StreamUrl:
    """A network stream. `url` holds credentials and is in no repr; `shown` is safe to show."""

    url: str = field(repr=False)
    shown: str


@dataclass(frozen=True, slots=True)
class Webcam:
    """A local camera device, such as /dev/video0."""

    device: str


@dataclass(frozen=True, slots=True)
class Scenes:
    """A rendered camera: the same seed and size give the same pictures with the same truth.

    `live` makes it count as a live camera, whose frames can grow too old.
    """

    seed: int
    width: int
    height: int
    live: bool


Address = ImageFiles | VideoFile | StreamUrl | Webcam | Scenes


def shown(address: Address) -> str:
    """Return the address for logs and errors, without credentials."""
    match address:
        case ImageFiles(path) | VideoFile(path):
            return str(path)
        case StreamUrl(shown=text) | Webcam(device=text):
            return text
        case Scenes(seed, width, height):
            return f"scenes:{seed}?width={width}&height={height}"


def parse_address(text: str) -> Address:
    """Return what `text` names. Files and folders exist then; networks and devices are not tried.

    Raises:
        SettingsError: it names nothing that there is; one line, without credentials.
    """
    if not text:
        raise SettingsError(f"source is empty: {WANTED}")
    if text.startswith("scenes:"):
        return _parse_scenes(text)
    if text.startswith("webcam:"):
        return _parse_webcam(text)
    if match := _SCHEME.match(text):
        return _parse_url(text, match["scheme"].lower())
    if _DEVICE.fullmatch(text):
        return Webcam(text)
    return _parse_path(text)


def _parse_url(text: str, scheme: str) -> StreamUrl:
    safe = shown_url(text)
    if scheme not in STREAM_SCHEMES:
        raise SettingsError(
            f"source {safe}: scheme {scheme!r} is none of {', '.join(sorted(STREAM_SCHEMES))}"
        )
    place = safe.partition("://")[2]
    if not place or place.startswith(("/", ":", "?")):
        raise SettingsError(f"source {safe}: this URL has no valid host and port")
    return StreamUrl(url=text, shown=safe)


def _parse_webcam(text: str) -> Webcam:
    number = text.removeprefix("webcam:")
    if not (number.isascii() and number.isdigit()):
        raise SettingsError(f"source {text!r}: want webcam:N with N = 0, 1, … (the N of /dev/videoN)")
    return Webcam(f"/dev/video{int(number)}")


def _parse_scenes(text: str) -> Scenes:
    seed_text, _, query = text.removeprefix("scenes:").partition("?")
    seed = _integer(text, "seed", seed_text, 0, MAX_SEED)
    try:
        options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:
        raise SettingsError(f"source {text!r}: want KEY=VALUE pairs joined by & after the ?") from None
    unknown = sorted(options.keys() - {"width", "height", "live"})
    if unknown:
        raise SettingsError(f"source {text!r}: unknown option {unknown[0]!r}; known are width, height, live")
    live = options.get("live", "false")
    if live not in {"true", "false"}:
        raise SettingsError(f"source {text!r}: live is {live!r}, want true or false")
    return Scenes(
        seed=seed,
        width=_integer(text, "width", options.get("width", "640"), _MIN_SIDE, _MAX_SIDE),
        height=_integer(text, "height", options.get("height", "480"), _MIN_SIDE, _MAX_SIDE),
        live=live == "true",
    )


def _integer(source: str, name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()) or not low <= int(text) <= high:
        raise SettingsError(f"source {source!r}: {name} is {text!r}, want an integer in [{low}, {high}]")
    return int(text)


def _parse_path(text: str) -> ImageFiles | VideoFile:
    # A mistyped URL ends up here, so what stands before an @ may be a password.
    name = f"{MASK}@{text.rpartition('@')[2]}" if "@" in text else text
    path = Path(text).expanduser()
    try:
        if path.is_dir():
            if not any(is_image(file) for file in path.rglob("*")):
                suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
                raise SettingsError(f"source {name!r}: no image ({suffixes}) in this folder")
            return ImageFiles(path)
        if not path.is_file():
            raise SettingsError(f"source {name!r}: there is no such file or folder; {WANTED}")
    except OSError as error:
        raise SettingsError(f"source {name!r}: {error.strerror}") from error
    return ImageFiles(path) if is_image(path) else VideoFile(path)


def is_image(path: Path) -> bool:
    """Return whether `path` is a file that looks like an image and is not hidden."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()
