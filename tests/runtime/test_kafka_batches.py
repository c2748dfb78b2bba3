"""Batches of records as brokers serve them: all that parse come through, nothing raises, nothing explodes."""

from __future__ import annotations

import gzip
import struct
import tracemalloc

import pytest
import zstandard
from aiokafka.codec import lz4_encode, snappy_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import given
from hypothesis import strategies as st

from runtime.kafka_batches import Readable, is_compressed, readable

LIMIT = 1 << 20
CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def batch(values: list[bytes | None], *, base: int = 0, codec: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(
        2, codec, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1 << 26
    )
    for index, value in enumerate(values):
        builder.append(index, timestamp=1, key=b"k", value=value, headers=[("h", b"1")])
    built = bytearray(builder.build())
    struct.pack_into(">q", built, 0, base)
    return bytes(built)


def sealed(built: bytearray) -> bytes:
    """With a length and a checksum that fit what was changed."""
    struct.pack_into(">i", built, 8, len(built) - 12)
    struct.pack_into(">I", built, 17, calc_crc32c(bytes(built[21:])))
    return bytes(built)


def repacked(records: bytes, codec: int, *, base: int = 0, count: int = 3) -> bytes:
    """A batch whose compressed part is `records`, whatever that is."""
    built = bytearray(batch([b"x"] * count, base=base)[:61]) + records
    built[22] |= codec
    return sealed(built)


def read(batches: bytes) -> list[tuple[int, bytes]]:
    """What aiokafka's parser makes of it."""
    memory = MemoryRecords(batches)
    found = []
    while memory.has_next():
        each = memory.next_batch()
        assert each is not None
        assert each.validate_crc()
        found += [(record.offset, record.value or b"") for record in each]
    return found


@pytest.mark.parametrize("codec", CODECS)
def test_batches_of_every_codec_come_through_without_compression(codec: str) -> None:
    first, second = batch([b"a", None], base=7, codec=CODECS[codec]), batch([b"c"], base=9)
    found = readable(first + second, 7, LIMIT)
    assert is_compressed(first + second) == (codec != "none")
    assert read(found.batches) == [(7, b"a"), (8, b""), (9, b"c")]
    assert not is_compressed(found.batches)
    assert (found.unreadable, found.silent) == ({}, [])


def read_within_memory(packed: bytes, codec: str) -> Readable:
    """What is found of three records packed so and of one behind them, without more memory than the limit allows."""
    bomb = repacked(packed, CODECS[codec])
    tracemalloc.start()
    found = readable(bomb + batch([b"next"], base=3), 0, LIMIT)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read(found.batches) == [(2, b""), (3, b"next")]
    assert list(found.unreadable) == [2]
    assert peak_bytes < 6 * LIMIT + 2 * len(bomb)
    return found


@pytest.mark.parametrize(
    ("codec", "packed"),
    [
        ("lz4", lz4_encode(bytes(10)) + lz4_encode(bytes(100 * LIMIT))),
        ("snappy", snappy_encode(bytes(10))[:16] + struct.pack(">i", -4) + bytes(200)),
    ],
)
def test_what_stands_behind_the_content_costs_no_memory(codec: str, packed: bytes) -> None:
    read_within_memory(packed, codec)


@pytest.mark.parametrize(
    ("codec", "packed"),
    [
        ("gzip", gzip.compress(bytes(100 * LIMIT))),
        ("snappy", snappy_encode(bytes(4 * LIMIT))),
        ("snappy", snappy_encode(bytes(4 * LIMIT), xerial_compatible=False)),
        ("lz4", lz4_encode(bytes(20 * LIMIT))),
        ("zstd", zstandard.compress(bytes(100 * LIMIT))),
    ],
)
def test_a_bomb_is_one_stand_in_and_costs_no_memory(codec: str, packed: bytes) -> None:
    found = read_within_memory(packed, codec)
    assert "more than" in found.unreadable[2]
    assert found.silent == [(0, 2)]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("packed", [b"", b"\x00", b"\xff" * 100, b"\x82SNAPPY\x00" + b"\xff" * 40])
def test_what_no_codec_expands_is_a_stand_in(codec: str, packed: bytes) -> None:
    found = readable(repacked(packed, CODECS[codec]) + batch([b"next"], base=3), 0, LIMIT)
    assert read(found.batches) == [(2, b""), (3, b"next")]


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_nobody_knows_is_a_stand_in(codec: int) -> None:
    found = readable(repacked(b"abc", codec), 0, LIMIT)
    assert "unknown compression" in found.unreadable[2]


def test_a_wrong_checksum_is_a_stand_in() -> None:
    broken = bytearray(batch([b"a", b"b", b"c"], base=5))
    broken[-1] ^= 1
    found = readable(bytes(broken) + batch([b"next"], base=8), 5, LIMIT)
    assert read(found.batches) == [(7, b""), (8, b"next")]
    assert found.unreadable == {7: "its checksum is wrong"}


def test_a_header_key_that_is_no_utf8_is_a_stand_in() -> None:
    built = bytearray(batch([b"a"]))
    at = built.index(b"\x02h") + 1
    built[at] = 0xFF
    found = readable(sealed(built) + batch([b"next"], base=1), 0, LIMIT)
    assert read(found.batches) == [(0, b""), (1, b"next")]
    assert "utf-8" in found.unreadable[0]


def test_a_control_batch_holds_no_record_and_is_known_to_be_silent() -> None:
    control = bytearray(batch([b"mark"], base=4))
    control[22] |= 0x20
    fetched = batch([b"a"], base=3) + sealed(control) + batch([b"b"], base=5)
    found = readable(fetched, 3, LIMIT)
    assert found.batches == fetched
    assert found.silent == [(4, 5)]


def test_reading_from_within_a_batch_goes_on_behind_it_when_it_cannot_be_read() -> None:
    broken = bytearray(batch([b"a", b"b", b"c"], base=5))
    broken[-1] ^= 1
    found = readable(bytes(broken), 6, LIMIT)
    assert read(found.batches) == [(7, b"")]
    assert found.silent == [(6, 7)]


@pytest.mark.parametrize("last_delta", [-(2**31), -1, 2**31 - 1])
def test_a_header_that_lies_about_its_last_offset_is_not_believed(last_delta: int) -> None:
    broken = bytearray(batch([b"a", b"b", b"c"], base=5))
    struct.pack_into(">i", broken, 23, last_delta)
    broken = bytearray(sealed(broken))
    for following, behind in ((b"", 6), (batch([b"next"], base=8), 8 if last_delta > 0 else 6)):
        found = readable(bytes(broken) + following, 5, LIMIT)
        assert read(found.batches)[0] == (behind - 1, b"")


@pytest.mark.parametrize("length", [-1, 0, 10, 2**31 - 1])
def test_a_length_that_is_broken_is_passed_offset_by_offset(length: int) -> None:
    broken = bytearray(batch([b"a"], base=5))
    struct.pack_into(">i", broken, 8, length)
    found = readable(bytes(broken), 5, LIMIT)
    assert found.unreadable == {5: "its length is broken"}
    assert read(found.batches) == [(5, b"")]


def test_a_batch_that_the_broker_cut_comes_with_the_next_read() -> None:
    whole, cut = batch([b"a"]), batch([b"b"], base=1)[:-1]
    assert readable(whole + cut, 0, LIMIT).batches == whole
    assert readable(b"", 0, LIMIT).batches == b""


def test_what_would_go_beyond_the_bound_together_comes_with_the_next_read() -> None:
    each = LIMIT * 2 // 3
    first, second = (batch([bytes(each)], base=base, codec=1) for base in (0, 1))
    found = readable(first + second, 0, LIMIT)
    assert [offset for offset, _ in read(found.batches)] == [0]
    assert [offset for offset, _ in read(readable(second, 1, LIMIT).batches)] == [1]


def test_the_old_formats_are_read_plain_and_refused_compressed() -> None:
    for magic in (0, 1):
        for codec, is_read in ((0, True), (1, False)):
            builder = LegacyRecordBatchBuilder(magic, codec, 1 << 20)
            builder.append(0, timestamp=1, key=b"k", value=b"old")
            found = readable(bytes(builder.build()), 0, LIMIT)
            assert (found.unreadable == {}) == is_read
            assert read(found.batches) == [(0, b"old" if is_read else b"")]


SOME = batch([b"a" * 30, None, b"c"], base=10, codec=0)
PACKED = [batch([b"a" * 300, b"b", b"c"], base=10, codec=codec) for codec in CODECS.values()]


@given(
    st.sampled_from([SOME, *PACKED, *(one + SOME for one in PACKED)]),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4),
    st.integers(0, 300),
    st.booleans(),
)
def test_no_bytes_raise_and_reading_always_goes_on(
    fetched: bytes, changes: list[tuple[int, int]], cut: int, is_sealed: bool
) -> None:
    """Any change, also with a right checksum: what comes out parses, and ends behind where it began."""
    changed = bytearray(fetched)
    for at, byte in changes:
        changed[at % len(changed)] = byte
    if is_sealed and len(changed) == len(fetched):
        (length,) = struct.unpack_from(">i", fetched, 8)
        struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21 : 12 + length])))
    data = bytes(changed[: max(1, len(changed) - cut)])
    found = readable(data, 10, LIMIT)
    memory = MemoryRecords(found.batches)
    next_offset = 10
    while memory.has_next():
        each = memory.next_batch()
        assert each is not None
        for record in each:
            assert record.offset is not None
        next_offset = max(next_offset, each.next_offset)
    assert next_offset > 10
    assert len(found.batches) <= LIMIT + len(data)
