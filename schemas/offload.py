"""One offloaded frame on the topic `offload`: its kept patches, where they stand, and the edge's own answer.

Written by edge workers, read by server workers. The patch bytes are opaque here; their codec is named and
checked by the model room. On the wire a record is msgpack in one zstd frame that declares its content size:

- version 2 (written): the byte 2, then a zstd frame without its magic number, made with the shipped
  dictionary, around a positional list. Nothing stands in it that the reader can derive or does not need: the
  site is the camera's prefix, the class list is named by the first bytes of its hash, τ and δ stay at the edge.
- version 1 (still read): a plain zstd frame around a map with field names.

A table of constants that a short id names would save less than its id costs: what is left of the constants
are eight bytes, and a reader would need the table before it could read.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import zstandard

from schemas import envelope
from schemas.bitmap import bitmap_of, positions_of
from schemas.errors import DecodeError, decodes
from schemas.fields import Fields
from schemas.geometry import BITMAP_BYTES, GRID, NUM_PATCHES
from schemas.identity import check_camera, site_of
from schemas.limits import MAX_CAMERA_CHARS, MAX_CLASSES, MAX_NAME_CHARS, MAX_SEQ, MAX_TIME_NS

__all__ = ["VERSION", "Offload", "bitmap_of", "decode_offload", "encode_offload", "positions_of"]

VERSION: Final = 2
MAX_LEADING: Final = 8
"""Leading classes of the edge's answer that a record may carry."""
CODEC_NAMES: Final = ("raw", "webp_lossless", "jpeg", "webp", "avif")
"""A codec's place in this list stands for its name on the wire; append only. Any other travels by its name."""
HASH_BYTES: Final = 4
"""Bytes of the class list's hash that travel: two lists that differ agree in them once in 4 billion."""
_DICTIONARY: Final = Path(__file__).with_name("offload_v2.dict")
_MARK: Final = bytes([VERSION])
_MAGICLESS: Final = zstandard.FORMAT_ZSTD1_MAGICLESS
_ZSTD_LEVEL = 3
_LISTED_PATCHES: Final = BITMAP_BYTES - 1
"""Up to so many kept patches travel as their indices, more as the bitmap of 25 bytes."""
_NS_PER_MS = 1_000_000
_P_STEPS = 255
_per_thread = threading.local()
"""Holds one compressor a thread: zstd contexts are not shared, and making one takes longer than using it."""


@dataclass(frozen=True, slots=True)
class Offload:
    """What the server needs to answer one frame, and what the edge thought of it.

    `captured_ns` is on the camera's clock, `deadline_ns` on the site Redis's, 0 = none; `bitmap` the 25 bytes
    of `bitmap_of`; `leading` the edge's most probable classes with their probabilities, the first of them its
    label. `classes_hash` is the class list's hash or the beginning of it.
    """

    camera: str
    seq: int
    captured_ns: int
    deadline_ns: int
    bitmap: bytes
    codec: str
    quality: int
    patches: bytes
    leading: tuple[tuple[int, float], ...]
    classes_hash: str

    @property
    def site(self) -> str:
        """The site that the camera's id names; empty without one."""
        return site_of(self.camera)

    def is_of_classes(self, classes_hash: str) -> bool:
        """True when the record was made with the class list of this whole hash."""
        return len(self.classes_hash) >= 2 * HASH_BYTES and classes_hash.startswith(self.classes_hash)


@cache
def _dictionary() -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(_DICTIONARY.read_bytes(), dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _compressor() -> Any:
    if not hasattr(_per_thread, "compressor"):
        parameters = zstandard.ZstdCompressionParameters.from_level(
            _ZSTD_LEVEL, format=_MAGICLESS, write_content_size=1, write_checksum=0, write_dict_id=0
        )
        _per_thread.compressor = zstandard.ZstdCompressor(
            dict_data=_dictionary(), compression_params=parameters
        )
    return _per_thread.compressor


def encode_offload(record: Offload) -> bytes:
    """The record in version 2.

    Probabilities are rounded to 1/255, the deadline to a millisecond, the hash to its first 4 bytes.
    """
    positions = positions_of(record.bitmap)
    kept = positions.astype(np.uint8).tobytes() if len(positions) <= _LISTED_PATCHES else record.bitmap
    in_list = record.codec in CODEC_NAMES
    packed = envelope.pack_list(
        [
            record.camera,
            record.seq,
            record.captured_ns,
            (record.deadline_ns - record.captured_ns) // _NS_PER_MS if record.deadline_ns else None,
            kept,
            CODEC_NAMES.index(record.codec) if in_list else record.codec,
            record.quality,
            record.patches,
            [
                part
                for label, probability in record.leading
                for part in (label, round(probability * _P_STEPS))
            ],
            int(record.classes_hash[: 2 * HASH_BYTES], 16),
        ]
    )
    compressed: bytes = _compressor().compress(packed)
    return _MARK + compressed


@decodes
def decode_offload(data: bytes, *, max_offload_bytes: int) -> Offload:
    """The record in `data`, every field checked; the patch bytes are not opened.

    Raises:
        DecodeError: with its reason; also when memory for the stated size cannot be had.
    """
    if len(data) > max_offload_bytes:
        raise DecodeError("too_large", f"offload: {len(data)} bytes, at most {max_offload_bytes}")
    if data[:1] == _MARK:
        record = _lean(_decompress(data[1:], max_offload_bytes, is_lean=True), max_offload_bytes)
    else:
        record = _named(_decompress(data, max_offload_bytes, is_lean=False), max_offload_bytes)
    positions_of(record.bitmap)
    return record


def _decompress(data: bytes, max_offload_bytes: int, *, is_lean: bool) -> bytes:
    """The content of the one zstd frame in `data`; its declared size is checked before allocating."""
    try:
        layout = _MAGICLESS if is_lean else zstandard.FORMAT_ZSTD1
        size = zstandard.get_frame_parameters(data, format=layout).content_size
        if size in (zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR):
            raise DecodeError("bad_zstd", "offload: the zstd frame does not declare its content size")
        if size > max_offload_bytes:
            raise DecodeError("too_large", f"offload: declares {size} bytes, at most {max_offload_bytes}")
        decompressor = zstandard.ZstdDecompressor(_dictionary() if is_lean else None, format=layout)
        content: bytes = decompressor.decompress(data, max_output_size=size, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:
        raise DecodeError("bad_zstd", f"offload: {len(data)} bytes are no zstd frame: {error}") from None
    return content


_FIELDS: Final = (
    *("camera", "seq", "captured_ns", "deadline_ms", "kept"),
    *("codec", "quality", "patches", "leading", "classes"),
)


def _lean(content: bytes, max_offload_bytes: int) -> Offload:
    """The record of version 2; items after the known ones are ignored."""
    fields = envelope.unpack_list("offload", content, _FIELDS)
    captured_ns = fields.integer("captured_ns", 0, MAX_TIME_NS)
    camera = fields.text("camera", MAX_CAMERA_CHARS)
    check_camera(site_of(camera), camera)
    return Offload(
        camera=camera,
        seq=fields.integer("seq", 0, MAX_SEQ),
        captured_ns=captured_ns,
        deadline_ns=_deadline_ns(fields, captured_ns),
        bitmap=_kept(fields),
        codec=_codec(fields),
        quality=fields.integer("quality", 0, 100),
        patches=fields.binary("patches", max_offload_bytes),
        leading=_leading(fields),
        classes_hash=f"{fields.integer('classes', 0, 2 ** (8 * HASH_BYTES) - 1):0{2 * HASH_BYTES}x}",
    )


def _deadline_ns(fields: Fields, captured_ns: int) -> int:
    if fields.is_null("deadline_ms"):
        return 0
    most_ms = MAX_TIME_NS // _NS_PER_MS
    deadline_ns = captured_ns + fields.integer("deadline_ms", -most_ms, most_ms) * _NS_PER_MS
    if not 0 < deadline_ns <= MAX_TIME_NS:
        raise DecodeError(
            "out_of_range", f"offload.deadline_ms: ends at {deadline_ns} ns, outside (0, {MAX_TIME_NS}]"
        )
    return deadline_ns


def _kept(fields: Fields) -> bytes:
    kept = fields.binary("kept", BITMAP_BYTES)
    if len(kept) == BITMAP_BYTES:
        return kept
    positions = np.frombuffer(kept, np.uint8).astype(np.int64)
    if not len(positions) or positions[-1] >= NUM_PATCHES or (np.diff(positions) <= 0).any():
        raise DecodeError("bad_bitmap", f"offload.kept: {kept.hex()} must ascend in 0..{NUM_PATCHES - 1}")
    return bitmap_of(positions)


def _codec(fields: Fields) -> str:
    if isinstance(fields.values.get("codec"), str):
        return fields.text("codec", MAX_NAME_CHARS)
    return CODEC_NAMES[fields.integer("codec", 0, len(CODEC_NAMES) - 1)]


def _leading(fields: Fields) -> tuple[tuple[int, float], ...]:
    flat = fields.sequence("leading", 2 * MAX_LEADING)
    if not flat or len(flat) % 2:
        raise DecodeError("wrong_type", f"offload.leading: {len(flat)} items, expected label and p in pairs")
    pairs = Fields("offload.leading", {str(place): value for place, value in enumerate(flat)})
    return tuple(
        (
            pairs.integer(str(place), 0, MAX_CLASSES),
            pairs.integer(str(place + 1), 0, _P_STEPS) / _P_STEPS,
        )
        for place in range(0, len(flat), 2)
    )


def _named(content: bytes, max_offload_bytes: int) -> Offload:
    """The record of version 1."""
    fields = envelope.unpack("offload", content)
    fields.version(1)
    if fields.sequence("grid", 2) != list(GRID):
        raise DecodeError(
            "out_of_range", f"offload.grid: {fields.values['grid']!r:.80}, only {list(GRID)} is known"
        )
    site, camera = fields.text("site", MAX_NAME_CHARS), fields.text("camera", MAX_CAMERA_CHARS)
    check_camera(site, camera)
    fields.number("min_entropy", 0.0, 64.0)
    fields.number("tau", 0.0, math.inf, infinite=True)
    fields.number("delta", 0.0, 1.0)
    return Offload(
        camera=camera,
        seq=fields.integer("seq", 0, MAX_SEQ),
        captured_ns=fields.integer("captured_ns", 0, MAX_TIME_NS),
        deadline_ns=fields.integer("deadline_ns", 0, MAX_TIME_NS),
        bitmap=fields.binary("bitmap", BITMAP_BYTES),
        codec=fields.text("codec", MAX_NAME_CHARS),
        quality=fields.integer("quality", 0, 100),
        patches=fields.binary("patches", max_offload_bytes),
        leading=((fields.integer("edge_label", 0, MAX_CLASSES), fields.number("edge_confidence", 0.0, 1.0)),),
        classes_hash=fields.text("classes_hash", MAX_NAME_CHARS),
    )
