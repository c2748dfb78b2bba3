"""From an unsure frame to the bytes of its offload record, in the codec threads. Must not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_workers.incoming import Incoming
from gating.select import select
from schemas.geometry import NUM_PATCHES
from schemas.offload import Offload, bitmap_of, encode_offload
from schemas.operating_point import OperatingPoint
from vit.codecs import CODECS, encode_patches

_LEAST_QUALITY = 10


@dataclass(frozen=True, slots=True)
class Unsure:
    """A frame that the gate sends on: its crop (224, 224, 3) uint8, attention (196,) and provisional answer.

    `point` is the operating point that it was gated at; `repeated` says that an earlier reading of the same
    record had already written its provisional label, so that its patches may have been sent before.
    """

    incoming: Incoming
    crop: NDArray[np.uint8]
    attention: NDArray[np.float32]
    label: int
    confidence: float
    min_entropy: float
    deadline_ns: int
    point: OperatingPoint
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Encoded:
    """A record ready for the uplink; `data` is None where even the cheapest encoding exceeds the limit."""

    unsure: Unsure
    record: Offload
    data: bytes | None
    num_patches: int


def cheaper(point: OperatingPoint) -> Iterator[OperatingPoint]:
    """The point itself, then ever smaller ways to send the same frame: lower quality, then fewer patches."""
    yield point
    if CODECS[point.codec].lossless:
        point = replace(point, codec="webp", quality=75)
        yield point
    while point.quality > _LEAST_QUALITY:
        point = replace(point, quality=max(_LEAST_QUALITY, point.quality // 2))
        yield point
    kept = NUM_PATCHES // 2
    while kept >= 1:
        yield replace(point, selection="top_k", delta=kept / NUM_PATCHES, min_patches=1)
        kept //= 4


def encode(batch: Sequence[Unsure], *, classes_hash: str, max_record_bytes: int) -> list[Encoded]:
    """Every frame's patches chosen and encoded at its point, or at the first cheaper one within the limit."""
    return [_encode_one(unsure, classes_hash, max_record_bytes) for unsure in batch]


def _encode_one(unsure: Unsure, classes_hash: str, max_record_bytes: int) -> Encoded:
    for point in cheaper(unsure.point):
        positions = select(unsure.attention, point)
        record = _record(unsure, point, positions, classes_hash)
        data = encode_offload(record)
        if len(data) <= max_record_bytes:
            return Encoded(unsure, record, data, len(positions))
    return Encoded(unsure, record, None, len(positions))


def _record(
    unsure: Unsure, point: OperatingPoint, positions: NDArray[np.int64], classes_hash: str
) -> Offload:
    frame = unsure.incoming.frame
    return Offload(
        site=frame.site,
        camera=frame.camera,
        seq=frame.seq,
        captured_ns=frame.captured_ns,
        deadline_ns=unsure.deadline_ns,
        bitmap=bitmap_of(positions),
        codec=point.codec,
        quality=point.quality,
        patches=encode_patches(point.codec, point.quality, unsure.crop, positions),
        edge_label=unsure.label,
        edge_confidence=unsure.confidence,
        score=unsure.min_entropy,
        tau=point.tau,
        delta=point.delta,
        classes_hash=classes_hash,
    )
