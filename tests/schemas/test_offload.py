"""`offload` records: exact round trip, old bytes readable, sizes checked before anything is decompressed."""

from __future__ import annotations

import math
import tracemalloc
from dataclasses import replace
from pathlib import Path

import msgpack
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from schemas import offload
from schemas.bitmap import bitmap_of
from schemas.errors import DecodeError
from schemas.limits import MAX_OFFLOAD_BYTES
from schemas.offload import CODEC_NAMES, Offload, decode_offload, encode_offload

GOLDEN = Path(__file__).parent / "golden"
V1_HEAD = b"\x28\xb5\x2f\xfd"
RECORD = Offload(
    camera="gate-1",
    seq=41,
    captured_ns=1_763_700_000_123_456_789,
    deadline_ns=1_763_700_002_123_456_789,
    bitmap=bitmap_of(np.array([0, 7, 8, 100, 195])),
    codec="webp",
    quality=75,
    patches=bytes(range(256)) * 3,
    leading=((3, 102 / 255), (5, 51 / 255)),
    classes_hash="8c1f0a2b",
)
RECORD_OF_VERSION_1 = replace(RECORD, leading=((3, 0.4375),), classes_hash="8c1f")
POSITIONS = st.sets(st.integers(0, 195), min_size=1)

records = st.builds(
    Offload,
    camera=st.from_regex(r"\A([A-Za-z0-9][A-Za-z0-9._-]{0,30}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,30}\Z"),
    seq=st.integers(0, 2**63 - 1),
    captured_ns=st.integers(0, 2**62),
    deadline_ns=st.just(0),
    bitmap=POSITIONS.map(lambda kept: bitmap_of(np.array(sorted(kept)))),
    codec=st.sampled_from([*CODEC_NAMES, "a_codec_of_tomorrow"]),
    quality=st.integers(0, 100),
    patches=st.binary(max_size=2_000),
    leading=st.lists(st.tuples(st.integers(0, 999), st.integers(0, 255)), min_size=1, max_size=8).map(
        lambda pairs: tuple((label, step / 255) for label, step in pairs)
    ),
    classes_hash=st.integers(0, 2**32 - 1).map(lambda number: f"{number:08x}"),
)


def decode(data: bytes) -> Offload:
    return decode_offload(data, max_offload_bytes=MAX_OFFLOAD_BYTES)


def reason(data: bytes) -> str:
    with pytest.raises(DecodeError) as caught:
        decode(data)
    assert "\n" not in str(caught.value)
    return caught.value.reason


def content_of(data: bytes) -> list[object]:
    reader = zstandard.ZstdDecompressor(
        dict_data=offload._dictionary(), format=zstandard.FORMAT_ZSTD1_MAGICLESS
    )
    content: list[object] = msgpack.unpackb(reader.decompress(data[1:]))
    return content


def lean(content: object) -> bytes:
    compressed: bytes = offload._compressor().compress(msgpack.packb(content))
    return b"\x02" + compressed


def changed(**fields: object) -> bytes:
    """The record of version 2 with these items replaced."""
    items = dict(zip(offload._FIELDS, content_of(encode_offload(RECORD)), strict=True)) | fields
    return lean(list(items.values()))


def changed_of_version_1(**fields: object) -> bytes:
    content = zstandard.ZstdDecompressor().decompress((GOLDEN / "offload_v1.bin").read_bytes())
    values = msgpack.unpackb(content) | fields
    kept = {name: value for name, value in values.items() if value != "absent"}
    return zstandard.ZstdCompressor().compress(msgpack.packb(kept))


@given(records, st.integers(-(10**9), 10**9))
def test_round_trip_is_exact(record: Offload, deadline_ms: int) -> None:
    deadline_ns = record.captured_ns + deadline_ms * 1_000_000
    record = replace(record, deadline_ns=max(deadline_ns, 0))
    if record.deadline_ns and deadline_ns < 0:
        return
    assert decode(encode_offload(record)) == record


@given(st.floats(0, 1), st.integers(1, 2**40))
def test_what_is_rounded_stays_near(probability: float, deadline_ns: int) -> None:
    record = replace(RECORD, leading=((3, probability),), captured_ns=0, deadline_ns=deadline_ns + 10**6)
    read = decode(encode_offload(record))
    assert abs(read.leading[0][1] - probability) <= 0.5 / 255 + 1e-12
    assert 0 <= record.deadline_ns - read.deadline_ns < 1_000_000


def test_bytes_of_version_1_stay_readable() -> None:
    assert decode((GOLDEN / "offload_v1.bin").read_bytes()) == RECORD_OF_VERSION_1


def test_bytes_of_version_2_stay_readable() -> None:
    assert decode((GOLDEN / "offload_v2.bin").read_bytes()) == RECORD


def test_items_of_newer_writers_are_ignored() -> None:
    assert decode(lean([*content_of(encode_offload(RECORD)), [1, 2]])) == RECORD
    assert decode(changed_of_version_1(motion=[1, 2])) == RECORD_OF_VERSION_1


@pytest.mark.parametrize(
    ("camera", "num_patches", "most_bytes"), [("gate-1", 12, 65), ("site-1/camera-01", 12, 75)]
)
def test_an_ask_spends_few_bytes_beside_its_pixels(camera: str, num_patches: int, most_bytes: int) -> None:
    rng = np.random.default_rng(1)
    record = replace(
        RECORD,
        camera=camera,
        seq=1_000_000,
        bitmap=bitmap_of(rng.permutation(196)[:num_patches]),
        patches=rng.bytes(348),
    )
    assert len(encode_offload(record)) - 348 <= most_bytes


def test_the_dictionary_saves_the_tables_of_a_jpeg() -> None:
    """Quantisation and Huffman tables are 600 bytes of each small JPEG, the same in all of one quality."""
    import simplejpeg

    mosaic = np.random.default_rng(1).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    jpeg = simplejpeg.encode_jpeg(mosaic, quality=75, colorspace="RGB", colorsubsampling="420")
    assert len(encode_offload(replace(RECORD, codec="jpeg", patches=jpeg))) < len(jpeg) - 450


def test_a_record_knows_its_site_and_its_classes() -> None:
    assert RECORD.site == ""
    record = replace(RECORD, camera="north/gate-1")
    assert record.site == "north"
    assert record.is_of_classes("8c1f0a2b" + "0" * 56)
    assert not record.is_of_classes("8c1f0a2c" + "0" * 56)
    assert not replace(RECORD, classes_hash="8c").is_of_classes("8c" + "0" * 62)


def test_the_record_declares_its_size() -> None:
    data = encode_offload(RECORD)
    declared = zstandard.get_frame_parameters(data[1:], format=zstandard.FORMAT_ZSTD1_MAGICLESS).content_size
    assert declared == len(msgpack.packb(content_of(data)))


@given(st.integers(0, 10_000))
def test_every_truncation_is_refused(length: int) -> None:
    data = encode_offload(RECORD)
    assert reason(data[: length % len(data)]) in {"bad_zstd", "truncated"}


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    reason(data)
    reason(V1_HEAD + data)
    reason(b"\x02" + data)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_flipped_byte_gives_a_record_or_a_decode_error(position: int, mask: int) -> None:
    data = bytearray(encode_offload(RECORD))
    data[position % len(data)] ^= mask
    try:
        decode(bytes(data))
    except DecodeError:
        return


@pytest.mark.parametrize("head", [V1_HEAD, b"\x02"])
@pytest.mark.parametrize("size", [MAX_OFFLOAD_BYTES + 1, 200 * 1024**2, 2**40, 2**62])
def test_a_huge_declared_size_is_refused_without_memory(head: bytes, size: int) -> None:
    """Single-segment frame header with an 8-byte content size and one empty raw block."""
    data = head + bytes([0b1110_0000]) + size.to_bytes(8, "little") + b"\x01\x00\x00"
    decode(encode_offload(RECORD))  # what is loaded once is loaded now
    tracemalloc.start()
    try:
        assert reason(data) == "too_large"
        assert tracemalloc.get_traced_memory()[1] < 1024**2
    finally:
        tracemalloc.stop()


def test_a_true_bomb_is_refused() -> None:
    assert reason(zstandard.ZstdCompressor().compress(bytes(64 * 1024**2))) == "too_large"
    assert reason(b"\x02" + offload._compressor().compress(bytes(64 * 1024**2))) == "too_large"


def test_an_undeclared_size_is_refused() -> None:
    content = msgpack.packb(content_of(encode_offload(RECORD)))
    undeclared = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    assert reason(undeclared) == "bad_zstd"
    assert reason(b"\x02" + undeclared[len(V1_HEAD) :]) == "bad_zstd"


def test_a_second_frame_is_refused() -> None:
    assert reason(encode_offload(RECORD) * 2) == "bad_zstd"


def test_more_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(DecodeError) as caught:
        decode_offload(encode_offload(RECORD), max_offload_bytes=100)
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"camera": 7}, "wrong_type"),
        ({"camera": "a/b/c"}, "bad_name"),
        ({"seq": -1}, "out_of_range"),
        ({"deadline_ms": "soon"}, "wrong_type"),
        ({"deadline_ms": -(2**43)}, "out_of_range"),
        ({"kept": b""}, "bad_bitmap"),
        ({"kept": bytes(25)}, "bad_bitmap"),
        ({"kept": b"\x05\x05"}, "bad_bitmap"),
        ({"kept": b"\x07\x05"}, "bad_bitmap"),
        ({"kept": b"\xc4"}, "bad_bitmap"),
        ({"kept": b"\x00" * 24 + b"\x1f"}, "bad_bitmap"),
        ({"kept": b"\x01" * 26}, "too_large"),
        ({"codec": len(CODEC_NAMES)}, "out_of_range"),
        ({"codec": 1.5}, "wrong_type"),
        ({"quality": 101}, "out_of_range"),
        ({"patches": "text"}, "wrong_type"),
        ({"leading": []}, "wrong_type"),
        ({"leading": [3]}, "wrong_type"),
        ({"leading": [3, 256]}, "out_of_range"),
        ({"leading": [3, 0.5]}, "wrong_type"),
        ({"leading": [1, 1] * 9}, "too_large"),
        ({"classes": -1}, "out_of_range"),
    ],
)
def test_a_bad_item_is_refused_with_its_reason(fields: dict[str, object], expected: str) -> None:
    assert reason(changed(**fields)) == expected


def test_a_short_list_is_refused() -> None:
    assert reason(lean(content_of(encode_offload(RECORD))[:4])) == "missing_field"
    assert reason(lean({"camera": "gate-1"})) == "wrong_type"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"v": 2}, "version"),
        ({"camera": "absent"}, "missing_field"),
        ({"site": "north"}, "bad_name"),
        ({"grid": [7, 7]}, "out_of_range"),
        ({"grid": "14"}, "wrong_type"),
        ({"bitmap": bytes(25)}, "bad_bitmap"),
        ({"bitmap": b"\x01" * 24}, "bad_bitmap"),
        ({"quality": 101}, "out_of_range"),
        ({"patches": "text"}, "wrong_type"),
        ({"edge_confidence": 1.5}, "out_of_range"),
        ({"edge_confidence": math.nan}, "out_of_range"),
        ({"min_entropy": math.inf}, "out_of_range"),
        ({"tau": -0.1}, "out_of_range"),
        ({"delta": 2}, "out_of_range"),
    ],
)
def test_a_bad_field_of_version_1_is_refused_with_its_reason(
    fields: dict[str, object], expected: str
) -> None:
    assert reason(changed_of_version_1(**fields)) == expected


def test_a_record_of_fewer_items_lacks_a_field() -> None:
    items = content_of(encode_offload(RECORD))
    for count in range(1, len(items) - 1):
        with pytest.raises(DecodeError) as found:
            decode(lean(items[:count]))
        assert found.value.reason == "missing_field"
