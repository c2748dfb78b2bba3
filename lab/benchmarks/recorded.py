"""Recorded streams that every contestant of a benchmark gets alike: rendered cameras as JPEGs, seeded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import simplejpeg

from imaging.decode import decode_image
from lab.scenes import SceneStream
from lab.scenes.stream import SWAY_PX
from schemas.frame import Frame, encode_frame
from schemas.geometry import NUM_PATCHES
from schemas.offload import Offload, bitmap_of, encode_offload
from vit.codecs import encode_patches
from vit.preprocess import resize_crop

WIDTH, HEIGHT = 640, 480
JPEG_QUALITY = 85
FPS = 5.0
MAX_PIXELS = 1 << 24
_FAR_NS = 3600 * 10**9


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture: 640x480 JPEG bytes and its class index, -1 where it is not to be scored."""

    image: bytes
    truth: int

    def crop(self) -> np.ndarray:
        """Return the (224, 224, 3) uint8 model input."""
        return resize_crop(decode_image(self.image, "jpeg", MAX_PIXELS))


def record(
    seeds: Sequence[int], frames_each: int, *, every: int = 1, sway_px: float = SWAY_PX
) -> list[list[Shot]]:
    """Return `frames_each` shots of a camera for each seed: each `every`-th frame of 5 a second."""
    streams = []
    for seed in seeds:
        frames = islice(SceneStream(seed, WIDTH, HEIGHT, FPS / every, sway_px=sway_px), frames_each)
        streams.append([Shot(as_jpeg(image), truth) for image, truth in frames])
    return streams


def as_jpeg(image: np.ndarray) -> bytes:
    """Return the picture as cameras and the project's own producer send it: JPEG, 4:2:0."""
    pixels = np.ascontiguousarray(image)
    return bytes(simplejpeg.encode_jpeg(pixels, JPEG_QUALITY, colorsubsampling="420"))


def mixed(count: int, seed: int) -> list[Shot]:
    """Return `count` shots of four cameras, a second apart each, in random order."""
    shots = [shot for stream in record(range(1, 5), -(-count // 4), every=int(FPS)) for shot in stream]
    return [shots[index] for index in np.random.default_rng(seed).permutation(len(shots))[:count]]


def drawn_counts(num_sets: int, seed: int) -> list[int]:
    """Return patch counts drawn from patch_counts.json: photos that DeiT-Tiny is unsure of."""
    histogram = json.loads(Path(__file__).with_name("patch_counts.json").read_text())["images_by_patches"]
    images = np.array(list(histogram.values()), dtype=float)
    counts = np.array([int(count) for count in histogram])
    drawn: list[int] = np.random.default_rng(seed).choice(counts, num_sets, p=images / images.sum()).tolist()
    return drawn


def frame_record(shot: Shot, camera: str, seq: int, captured_ns: int, *, live: bool = False) -> bytes:
    """Return the shot as a record of the topic `frames`."""
    truth = None if shot.truth < 0 else shot.truth
    return encode_frame(
        Frame("", camera, seq, captured_ns, WIDTH, HEIGHT, "jpeg", shot.image, live=live, truth=truth)
    )


@dataclass(frozen=True, slots=True)
class KeptPatches:
    """What one offload record carries: the crop, its kept positions, and their WebP-75 bytes."""

    crop: np.ndarray
    positions: np.ndarray
    patches: bytes


def token_sets(shots: Sequence[Shot], counts: Sequence[int], seed: int) -> list[KeptPatches]:
    """Return one set for each count, of the shots in turn, at random positions."""
    rng = np.random.default_rng(seed)
    crops = [shot.crop() for shot in shots]
    sets = []
    for index, count in enumerate(counts):
        crop = crops[index % len(crops)]
        kept = np.sort(rng.permutation(NUM_PATCHES)[:count])
        sets.append(KeptPatches(crop, kept, encode_patches("webp", 75, crop, kept)))
    return sets


def offload_record(
    token_set: KeptPatches, camera: str, seq: int, captured_ns: int, classes_hash: str
) -> bytes:
    """Return the set as a record of the topic `offload`, with a deadline in an hour."""
    return encode_offload(
        Offload(
            camera=camera,
            seq=seq,
            captured_ns=captured_ns,
            deadline_ns=captured_ns + _FAR_NS,
            bitmap=bitmap_of(token_set.positions),
            codec="webp",
            quality=75,
            patches=token_set.patches,
            leading=((0, 0.5),),
            classes_hash=classes_hash,
        )
    )
