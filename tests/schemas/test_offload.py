"""`offload` records: exact round trip, old bytes readable, sizes checked before anything is decompressed."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas.bitmap import bitmap_of
from schemas.errors import DecodeError
from schemas.limits import MAX_OFFLOAD_BYTES
from schemas.offload import Offload, decode_offload, encode_offload

GOLDEN = Path(__file__).parent / "golden"
RECORD = Offload(
    site="",
    camera="gate-1",
    seq=41,
    captured_ns=1_763_700_000_123_456_789,
    deadline_ns=1_763_700_002_123_456_789,
    bitmap=bitmap_of(np.array([0, 7, 8, 100, 195])),
    codec="webp",
    quality=75,
    patches=bytes(range(256)) * 3,
    edge_label=3,
    edge_confidence=0.4375,
    score=1.1926,
    tau=0.8,
    delta=0.97,
    classes_hash="8c1f",
    reference=("gate-1", 40),
)

records = st.builds(
    Offload,
    site=st.just(""),
    camera=st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,30}\Z"),
    seq=st.integers(0, 2**63 - 1),
    captured_ns=st.integers(0, 2**63 - 1),
    deadline_ns=st.integers(0, 2**63 - 1),
    bitmap=st.sets(st.integers(0, 195), min_size=1).map(lambda kept: bitmap_of(np.array(sorted(kept)))),
    codec=st.sampled_from(["raw", "webp", "avif"]),
    quality=st.integers(0, 100),
    patches=st.binary(max_size=2_000),
    edge_label=st.integers(0, 999),
    edge_confidence=st.floats(0, 1),
    score=st.floats(0, 20),
    tau=st.floats(0, 20) | st.just(math.inf),
    delta=st.floats(0, 1),
    classes_hash=st.text(max_size=64),
    reference=st.none() | st.tuples(st.text(max_size=20), st.integers(0, 2**63 - 1)),
)


def decode(data: bytes) -> Offload:
    return decode_offload(data, max_offload_bytes=MAX_OFFLOAD_BYTES)


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def changed(**fields: object) -> bytes:
    content = zstandard.ZstdDecompressor().decompress(encode_offload(RECORD))
    values = msgpack.unpackb(content) | fields
    kept = {name: value for name, value in values.items() if value != "absent"}
    return zstandard.ZstdCompressor().compress(msgpack.packb(kept))


@given(records)
def test_round_trip_is_exact(record: Offload) -> None:
    assert decode(encode_offload(record)) == record


def test_bytes_of_version_1_stay_readable() -> None:
    assert decode((GOLDEN / "offload_v1.bin").read_bytes()) == RECORD


def test_unknown_fields_of_newer_writers_are_ignored() -> None:
    assert decode(changed(motion=[1, 2])) == RECORD


def test_the_record_is_one_zstd_frame_that_declares_its_size() -> None:
    data = encode_offload(RECORD)
    content = zstandard.ZstdDecompressor().decompress(data)
    assert zstandard.frame_content_size(data) == len(content)


@given(st.integers(0, 10_000))
def test_every_truncation_is_refused(length: int) -> None:
    data = encode_offload(RECORD)
    assert reason(data[: length % len(data)]) in {"bad_zstd", "truncated"}


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason(data)
    reason(b"\x28\xb5\x2f\xfd" + data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_gives_a_record_or_a_decode_error(position: int, mask: int) -> None:
    data = bytearray(encode_offload(RECORD))
    data[position % len(data)] ^= mask
    try:
        decode(bytes(data))
    except DecodeError:
        return


@pytest.mark.parametrize("size", [MAX_OFFLOAD_BYTES + 1, 200 * 1024**2, 2**40, 2**62])
def test_a_huge_declared_size_is_refused_without_memory(size: int) -> None:
    """Single-segment frame header with an 8-byte content size and one empty raw block."""
    data = b"\x28\xb5\x2f\xfd" + bytes([0b1110_0000]) + size.to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        assert reason(data) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_a_true_bomb_is_refused() -> None:
    assert reason(zstandard.ZstdCompressor().compress(bytes(64 * 1024**2))) == "too_large"


def test_an_undeclared_size_is_refused() -> None:
    content = zstandard.ZstdDecompressor().decompress(encode_offload(RECORD))
    undeclared = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    assert reason(undeclared) == "bad_zstd"


def test_a_second_frame_is_refused() -> None:
    assert reason(encode_offload(RECORD) * 2) == "bad_zstd"


def test_more_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_offload(encode_offload(RECORD), max_offload_bytes=100)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"v": 2}, "version"),
        ({"camera": "absent"}, "missing_field"),
        ({"grid": [7, 7]}, "out_of_range"),
        ({"grid": "14"}, "wrong_type"),
        ({"bitmap": bytes(25)}, "bad_bitmap"),
        ({"bitmap": b"\x01" * 24}, "bad_bitmap"),
        ({"bitmap": b"\x00" * 24 + b"\x1f"}, "bad_bitmap"),
        ({"bitmap": b"\x01" * 26}, "too_large"),
        ({"quality": 101}, "out_of_range"),
        ({"patches": "text"}, "wrong_type"),
        ({"edge_confidence": 1.5}, "out_of_range"),
        ({"edge_confidence": math.nan}, "out_of_range"),
        ({"min_entropy": math.inf}, "out_of_range"),
        ({"tau": -0.1}, "out_of_range"),
        ({"delta": 2}, "out_of_range"),
        ({"reference": ["gate-1"]}, "wrong_type"),
        ({"reference": ["gate-1", "x"]}, "wrong_type"),
        ({"reference": 4}, "wrong_type"),
    ],
)
def test_a_bad_field_is_refused_with_its_reason(fields: dict[str, object], expected: str) -> None:
    assert reason(changed(**fields)) == expected
