"""Damaged images and containers for the readers: none may end a source, take above 2 s or above 500 MB.

By hand: `python tests/fuzz/readers.py --images 100000 --containers 10000`, in two processes that are watched for
crashes; a seed makes a run again. The tests run a short form in their own process.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import av
import numpy as np
import pillow_heif
from PIL import Image

from imaging.decode import decode_image
from producers.sources.image_files import read_image
from producers.sources.source import EncodedImage, OpenOptions
from producers.sources.video_file import VideoFile
from schemas.errors import DecodeError, SourceError
from schemas.limits import MAX_FRAME_PIXELS

MAX_S = 2.0
MAX_BYTES = 500 * 1024 * 1024
MAX_PICTURES = 200
_SHARE = 1000


@dataclass(slots=True)
class Findings:
    """What a run found: how many were readable, the longest time, the largest memory, and every failure."""

    tried: int = 0
    readable: int = 0
    longest_s: float = 0.0
    peak_bytes: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        self.tried += other.tried
        self.readable += other.readable
        self.longest_s = max(self.longest_s, other.longest_s)
        self.peak_bytes = max(self.peak_bytes, other.peak_bytes)
        self.failures += other.failures


def sound_images() -> list[bytes]:
    """Small images of every format and kind that is read."""
    y, x = np.mgrid[0:48, 0:64]
    picture = Image.fromarray(np.stack([x * 4, y * 5, x + y], -1).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray((x * y * 20).astype(np.uint16))
    kinds: list[tuple[Image.Image, str, dict[str, object]]] = [
        (picture, "JPEG", {"exif": exif}),
        (picture, "JPEG", {"progressive": True}),
        (picture.convert("L"), "JPEG", {}),
        (picture.convert("CMYK"), "JPEG", {}),
        (picture, "PNG", {}),
        (picture.convert("P"), "PNG", {}),
        (deep, "PNG", {}),
        (picture, "WEBP", {}),
        (picture, "WEBP", {"lossless": True, "exif": exif}),
        (picture, "BMP", {}),
        (picture, "TIFF", {"compression": "tiff_lzw"}),
        (deep, "TIFF", {}),
        (picture.convert("F"), "TIFF", {}),
        (picture, "TIFF", {"big_tiff": True}),
        (picture.convert("CMYK"), "TIFF", {}),
        (picture, "PPM", {}),
        (picture, "AVIF", {}),
    ]
    found = []
    for image, image_format, options in kinds:
        buffer = io.BytesIO()
        image.save(buffer, image_format, **options)
        found.append(buffer.getvalue())
    for tile_size in (0, 32):  # a phone's photo is a grid of tiles
        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture).save(buffer, tile_size=tile_size)
        found.append(buffer.getvalue())
    return found


def sound_containers() -> list[tuple[str, bytes]]:
    """Short clips in every container that is read, by the suffix of their file."""
    kinds = [
        ("mp4", "mp4", "libx264"),
        ("mkv", "matroska", "libx264"),
        ("webm", "webm", "libvpx"),
        ("ts", "mpegts", "libx264"),
    ]
    kinds += [("avi", "avi", "mjpeg"), ("flv", "flv", "libx264"), ("mov", "mov", "mpeg4")]
    found = []
    for suffix, container, codec in kinds:
        buffer = io.BytesIO()
        with av.open(buffer, "w", format=container) as output:
            stream = output.add_stream(codec, rate=10)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height = 64, 48
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            for number in range(10):
                frame = av.VideoFrame.from_ndarray(
                    np.full((48, 64, 3), number * 20, np.uint8), format="rgb24"
                )
                output.mux(stream.encode(frame))
            output.mux(stream.encode())
        found.append((suffix, buffer.getvalue()))
    return found


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the bytes with one to four kinds of damage."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        size = max(1, len(changed))
        at, length = int(rng.integers(size)), int(rng.integers(1, 1 + min(size, 64)))
        match rng.integers(6):
            case 0:
                changed[at : at + 1] = bytes([rng.integers(256)])
            case 1:
                changed[at : at + length] = rng.bytes(length)
            case 2:
                del changed[at : at + length]
            case 3:
                changed[at:at] = changed[at : at + length]
            case 4:
                changed[at : at + 4] = (b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff")[rng.integers(3)]
            case _:
                del changed[max(at, size // 8) :]
    return bytes(changed)


def try_images(seed: int, count: int) -> Findings:
    """Read `count` damaged images."""
    rng, sound, found = np.random.default_rng(seed), sound_images(), Findings()
    for number in range(count):
        data = damaged(sound[number % len(sound)], rng)
        _timed(found, f"image {number} of seed {seed}", partial(_read_image, data))
    return found


def try_containers(seed: int, count: int) -> Findings:
    """Play `count` damaged clips."""
    rng, sound, found = np.random.default_rng(seed), sound_containers(), Findings()
    options = OpenOptions(None, 10, 10, MAX_FRAME_PIXELS, True, "tcp", False, threading.Event().wait)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            suffix, data = sound[number % len(sound)]
            path = Path(folder, f"clip.{suffix}")
            path.write_bytes(damaged(data, rng))
            _timed(found, f"container {number} of seed {seed}", partial(_play, path, options))
    return found


def _read_image(data: bytes) -> bool:
    try:
        image = read_image(data, max_pixels=MAX_FRAME_PIXELS)
    except DecodeError:
        return False
    if isinstance(image, EncodedImage):  # what travels must decode at the reader
        decode_image(image.data, image.encoding, MAX_FRAME_PIXELS, size=(image.width, image.height))
    return True


def _play(path: Path, options: OpenOptions) -> bool:
    try:
        session = VideoFile(path).open(options)
    except SourceError:
        return False
    try:
        for number, _ in enumerate(session):
            if number == MAX_PICTURES:
                break
    except SourceError:
        return False
    finally:
        session.close()
    return True


def _timed(found: Findings, name: str, read: Callable[[], bool]) -> None:
    began_s = time.monotonic()
    try:
        found.readable += read()
    except Exception as error:  # noqa: BLE001 - what this program looks for
        found.failures.append(f"{name}: {type(error).__name__}: {error}")
    took_s = time.monotonic() - began_s
    found.tried += 1
    found.longest_s = max(found.longest_s, took_s)
    found.peak_bytes = max(found.peak_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    if took_s > MAX_S:
        found.failures.append(f"{name}: {took_s:.1f} s")


def _quiet() -> None:
    warnings.simplefilter("ignore")
    av.logging.set_level(av.logging.PANIC)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells of each damaged file


def run(kind: Callable[[int, int], Findings], count: int, first_seed: int) -> Iterator[Findings]:
    """Give the findings of shares of `count`, each in a process of its own so that a crash is found too."""
    shares = [(first_seed + start, min(_SHARE, count - start)) for start in range(0, count, _SHARE)]
    with multiprocessing.get_context("spawn").Pool(2, _quiet, maxtasksperchild=1) as pool:
        waiting = [pool.apply_async(kind, share) for share in shares]
        for (seed, size), answer in zip(shares, waiting, strict=True):
            try:
                yield answer.get(timeout=size * MAX_S)
            except multiprocessing.TimeoutError:
                yield Findings(failures=[f"seed {seed}: crashed or hung"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--containers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failures = 0
    for name, kind, count in (
        ("images", try_images, arguments.images),
        ("containers", try_containers, arguments.containers),
    ):
        total = Findings()
        for part in run(kind, count, arguments.seed):
            total.add(part)
        if total.peak_bytes > MAX_BYTES:
            total.failures.append(f"{total.peak_bytes / 1e6:.0f} MB")
        sys.stdout.write(
            f"{name}: {total.tried} tried, {total.readable} readable, longest {total.longest_s:.2f} s, "
            f"peak {total.peak_bytes / 1e6:.0f} MB, {len(total.failures)} failures\n"
        )
        sys.stdout.writelines(f"  {failure}\n" for failure in total.failures[:20])
        sys.stdout.flush()
        failures += len(total.failures)
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
