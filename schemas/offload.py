"""One offloaded frame on the topic `offload`: its kept patches, where they stand, and the edge's own answer.

Written by edge workers, read by server workers. On the wire: one zstd frame with declared content size around
a versioned msgpack map. The patch bytes are opaque here; their codec is named and checked by the model room.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import Any, Final

import zstandard

from schemas import envelope
from schemas.bitmap import bitmap_of, positions_of
from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.geometry import BITMAP_BYTES, GRID
from schemas.identity import check_camera
from schemas.limits import MAX_CLASSES, MAX_NAME_CHARS, MAX_SEQ, MAX_TIME_NS

__all__ = ["VERSION", "Offload", "bitmap_of", "decode_offload", "encode_offload", "positions_of"]

VERSION: Final = 1
_ZSTD_LEVEL = 3
_MAX_SCORE = 64.0
_per_thread = threading.local()
"""Holds one compressor a thread: zstd contexts are not shared, and making one takes longer than using it."""


@dataclass(frozen=True, slots=True)
class Offload:
    """What the server needs to answer one frame, and what the edge thought of it.

    `deadline_ns` is on the site Redis's clock, 0 = none; `grid` is (rows, columns) of patches; `bitmap` the
    25 bytes of `bitmap_of`; `score` is the gate's doubt and `tau` its threshold, in bits for the min-entropy;
    `reference` names an earlier frame (camera, seq) that a codec may lean on. `classes_hash` ties `edge_label` to
    a class list.
    """

    site: str
    camera: str
    seq: int
    captured_ns: int
    deadline_ns: int
    bitmap: bytes
    codec: str
    quality: int
    patches: bytes
    edge_label: int
    edge_confidence: float
    score: float
    tau: float
    delta: float
    classes_hash: str
    grid: tuple[int, int] = GRID
    reference: tuple[str, int] | None = None


def _compressor() -> Any:
    if not hasattr(_per_thread, "compressor"):
        _per_thread.compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True)
    return _per_thread.compressor


def encode_offload(record: Offload) -> bytes:
    """The record as one zstd frame with declared content size."""
    packed = envelope.pack(
        {
            "v": VERSION,
            "site": record.site,
            "camera": record.camera,
            "seq": record.seq,
            "captured_ns": record.captured_ns,
            "deadline_ns": record.deadline_ns,
            "grid": list(record.grid),
            "bitmap": record.bitmap,
            "codec": record.codec,
            "quality": record.quality,
            "patches": record.patches,
            "edge_label": record.edge_label,
            "edge_confidence": record.edge_confidence,
            "min_entropy": record.score,  # on the wire it keeps the name of the first score
            "tau": record.tau,
            "delta": record.delta,
            "classes_hash": record.classes_hash,
            "reference": None if record.reference is None else list(record.reference),
        }
    )
    compressed: bytes = _compressor().compress(packed)
    return compressed


def _decompress(data: bytes, max_offload_bytes: int) -> bytes:
    """The content of the one zstd frame in `data`; its declared size is checked before allocating."""
    if len(data) > max_offload_bytes:
        raise DecodeError("too_large", f"offload: {len(data)} bytes, at most {max_offload_bytes}")
    try:
        size = zstandard.frame_content_size(data)
        if size == -1:
            raise DecodeError("bad_zstd", "offload: the zstd frame does not declare its content size")
        if size > max_offload_bytes:
            raise DecodeError("too_large", f"offload: declares {size} bytes, at most {max_offload_bytes}")
        decompressor = zstandard.ZstdDecompressor()
        content: bytes = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise DecodeError("bad_zstd", f"offload: {len(data)} bytes are no zstd frame: {error}") from None
    return content


def _grid(fields: Fields) -> tuple[int, int]:
    grid = fields.sequence("grid", 2)
    if grid != list(GRID):
        raise DecodeError("out_of_range", f"offload.grid: {grid!r:.80}, only {list(GRID)} is known")
    return GRID


def _reference(fields: Fields) -> tuple[str, int] | None:
    if fields.is_null("reference"):
        return None
    pair = fields.sequence("reference", 2)
    if len(pair) != 2:
        raise DecodeError("wrong_type", f"offload.reference: {len(pair)} items, expected [camera, seq]")
    named = Fields("offload.reference", {"camera": pair[0], "seq": pair[1]})
    return named.text("camera", 2 * MAX_NAME_CHARS + 1), named.integer("seq", 0, MAX_SEQ)


def decode_offload(data: bytes, *, max_offload_bytes: int) -> Offload:
    """The record in `data`, every field checked; the patch bytes are not opened.

    Raises:
        DecodeError: with its reason; also when memory for the stated size cannot be had.
    """
    fields = envelope.unpack("offload", _decompress(data, max_offload_bytes))
    fields.version(VERSION)
    record = Offload(
        site=fields.text("site", MAX_NAME_CHARS),
        camera=fields.text("camera", 2 * MAX_NAME_CHARS + 1),
        seq=fields.integer("seq", 0, MAX_SEQ),
        captured_ns=fields.integer("captured_ns", 0, MAX_TIME_NS),
        deadline_ns=fields.integer("deadline_ns", 0, MAX_TIME_NS),
        grid=_grid(fields),
        bitmap=fields.binary("bitmap", BITMAP_BYTES),
        codec=fields.text("codec", MAX_NAME_CHARS),
        quality=fields.integer("quality", 0, 100),
        patches=fields.binary("patches", max_offload_bytes),
        edge_label=fields.integer("edge_label", 0, MAX_CLASSES),
        edge_confidence=fields.number("edge_confidence", 0.0, 1.0),
        score=fields.number("min_entropy", 0.0, _MAX_SCORE),
        tau=fields.number("tau", 0.0, math.inf, infinite=True),
        delta=fields.number("delta", 0.0, 1.0),
        classes_hash=fields.text("classes_hash", MAX_NAME_CHARS),
        reference=_reference(fields),
    )
    check_camera(record.site, record.camera)
    positions_of(record.bitmap)
    return record
