"""Kafka's record batches as a broker hands them out, made safe to parse. No await, no client.

A broker stores what a producer sent, and serves it for as long as its topic keeps it. aiokafka (0.14) raises
whatever its parser meets, at each read anew, and expands compressed batches without a bound. Here each batch is
checked, expanded within a bound and parsed once on trial. What cannot be parsed is replaced by one empty record, a
**stand-in**, so that reading goes on behind it and the loss has an offset that can be committed.

Format: Kafka's documentation, "Record Batch"; https://kafka.apache.org/documentation/#recordbatch.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import zstandard
from aiokafka.codec import lz4_decode, snappy_decode
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatch
from aiokafka.record.util import calc_crc32c

_LOG_OVERHEAD: Final = 12
"""Base offset and length, in all versions of the format."""
_HEADER_BYTES: Final = 61
_MIN_LEGACY_BYTES: Final = 26
_MAGIC_AT: Final = 16
_CRC_AT: Final = 17
_ATTRIBUTES_AT: Final = 21
_LAST_DELTA_AT: Final = 23
_CODEC_MASK: Final = 0x07
_CONTROL_MASK: Final = 0x20
_MAX_BATCH_OFFSETS: Final = 1_000_000
"""A broken header that claims more records than this is not believed."""
_MAX_ZSTD_WINDOW_BYTES: Final = 1 << 25
_XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
_XERIAL_HEADER_BYTES: Final = 16
_LZ4_MAGIC: Final = b"\x04\x22\x4d\x18"
_LZ4_GROWTH: Final = 255
_LZ4_STORED: Final = 1 << 31


class _Unreadable(Exception):  # noqa: N818 - reads as what is so
    """Why a batch cannot be parsed."""


@dataclass(slots=True)
class Readable:
    """Batches without compression that all parse.

    Attributes:
        batches: as `aiokafka` reads them; may end before the fetched ones do, the rest comes with the next read.
        unreadable: offset of each stand-in -> why its batch cannot be read.
        silent: [begin, end) of offsets that hold no record to read: control batches, and what a stand-in covers
            below its own offset.
    """

    batches: bytes = b""
    unreadable: dict[int, str] = field(default_factory=dict)
    silent: list[tuple[int, int]] = field(default_factory=list)


def is_compressed(fetched: bytes) -> bool:
    """True when one of the batches is compressed, so that `readable` may take a while."""
    at = 0
    while at + _ATTRIBUTES_AT + 2 <= len(fetched):
        if _codec(fetched, at):
            return True
        (length,) = struct.unpack_from(">i", fetched, at + 8)
        at += _LOG_OVERHEAD + max(length, 0)
    return False


def readable(fetched: bytes, offset: int, max_bytes: int) -> Readable:
    """What is fetched from `offset` on, safe to parse; never raises for what the bytes hold.

    Args:
        max_bytes: bound of one batch after expansion, and of the result beyond its first batch.
    """
    found = Readable()
    parts: list[bytes] = []
    num_bytes, at, next_offset = 0, 0, offset
    while at < len(fetched):
        end = _end_of_batch(fetched, at)
        if end is None:
            if not parts:  # a broker sends the first batch whole: its length is wrong
                parts.append(_stand_in(found, offset, offset + 1, "its length is broken"))
            break
        batch = memoryview(fetched)[at:end]
        following = _base_offset(fetched, end)
        behind = _next_offset(batch, next_offset, following)
        try:
            part = _parsed(batch, behind, max_bytes)
            if _is_control(batch):
                found.silent.append((next_offset, behind))
        except _Unreadable as error:
            part = _stand_in(found, next_offset, behind, str(error))
        if parts and num_bytes + len(part) > max_bytes and len(part) > len(batch):
            _forget_from(found, next_offset)
            break
        parts.append(part)
        num_bytes += len(part)
        at, next_offset = end, behind
    found.batches = b"".join(parts)
    return found


def _forget_from(found: Readable, offset: int) -> None:
    found.unreadable = {at: why for at, why in found.unreadable.items() if at < offset}
    found.silent = [each for each in found.silent if each[1] <= offset]


def _codec(fetched: bytes | memoryview, at: int) -> int:
    is_legacy = fetched[at + _MAGIC_AT] < 2
    return fetched[at + (_CRC_AT if is_legacy else _ATTRIBUTES_AT + 1)] & _CODEC_MASK


def _end_of_batch(fetched: bytes, at: int) -> int | None:
    """Where the batch at `at` ends; None when it is not there whole, or its length cannot be right."""
    if at + _LOG_OVERHEAD + 5 > len(fetched):
        return None
    (length,) = struct.unpack_from(">i", fetched, at + 8)
    is_legacy = fetched[at + _MAGIC_AT] < 2
    shortest = _MIN_LEGACY_BYTES if is_legacy else _HEADER_BYTES
    end = at + _LOG_OVERHEAD + length
    return end if at + shortest <= end <= len(fetched) else None


def _base_offset(fetched: bytes, at: int) -> int | None:
    if at + 8 > len(fetched):
        return None
    (offset,) = struct.unpack_from(">q", fetched, at)
    return int(offset)


def _claimed_next_offset(batch: memoryview) -> int:
    (base,) = struct.unpack_from(">q", batch, 0)
    (last_delta,) = struct.unpack_from(">i", batch, _LAST_DELTA_AT) if batch[_MAGIC_AT] >= 2 else (0,)
    return int(base + last_delta + 1)


def _next_offset(batch: memoryview, offset: int, following: int | None) -> int:
    """The first offset behind the batch: by its own header, or by the next one's where that says otherwise."""
    (base,) = struct.unpack_from(">q", batch, 0)
    behind = _claimed_next_offset(batch)
    if following is not None and offset < following < behind:
        behind = following
    return behind if offset < behind <= max(base, offset) + _MAX_BATCH_OFFSETS else offset + 1


def _is_control(batch: memoryview) -> bool:
    return batch[_MAGIC_AT] >= 2 and bool(batch[_ATTRIBUTES_AT + 1] & _CONTROL_MASK)


def _stand_in(found: Readable, offset: int, behind: int, why: str) -> bytes:
    """One empty record at the last offset below `behind`, noted in `found`."""
    last = behind - 1
    found.unreadable[last] = why
    if last > offset:
        found.silent.append((offset, last))
    builder = DefaultRecordBatchBuilder(
        2, 0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=1024
    )
    builder.append(0, timestamp=None, key=None, value=b"", headers=[])
    batch = bytearray(builder.build())
    struct.pack_into(">q", batch, 0, last)
    return bytes(batch)


def _parsed(batch: memoryview, behind: int, max_bytes: int) -> bytes:
    """The batch without compression, after a parser went through all of it; it ends at the offset `behind`.

    Raises:
        _Unreadable: it cannot be parsed, or not within the bound.
    """
    if behind != _claimed_next_offset(batch):
        raise _Unreadable("its header is wrong")
    try:
        plain = _checked(batch, max_bytes)
        is_legacy = batch[_MAGIC_AT] < 2
        for _ in LegacyRecordBatch(plain, batch[_MAGIC_AT]) if is_legacy else DefaultRecordBatch(plain):
            pass
    except _Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a parser raises for the bytes that it is given
        raise _Unreadable(f"{type(error).__name__}: {error}"[:200]) from None
    return plain


def _checked(batch: memoryview, max_bytes: int) -> bytes:
    """The batch without compression; its checksum was right."""
    magic, codec = batch[_MAGIC_AT], _codec(batch, 0)
    if magic < 2:
        if codec:
            raise _Unreadable(f"compressed in the old format {magic}")
        is_right = LegacyRecordBatch(batch, magic).validate_crc()
    else:
        (crc,) = struct.unpack_from(">I", batch, _CRC_AT)
        is_right = calc_crc32c(batch[_ATTRIBUTES_AT:]) == crc
    if not is_right:
        raise _Unreadable("its checksum is wrong")
    return bytes(batch) if codec == 0 else _expanded(batch, codec, max_bytes)


def _expanded(batch: memoryview, codec: int, max_bytes: int) -> bytes:
    if codec not in _EXPANDERS:
        raise _Unreadable(f"unknown compression {codec}")
    name, expand = _EXPANDERS[codec]
    try:
        records = expand(batch[_HEADER_BYTES:], max_bytes)
    except _Unreadable:
        raise
    except Exception as error:  # noqa: BLE001 - as above
        raise _Unreadable(f"{name}: {error}"[:200]) from None
    if len(records) > max_bytes:
        raise _Unreadable(f"{name}: more than {max_bytes} bytes")
    header = bytearray(batch[:_HEADER_BYTES])
    header[_ATTRIBUTES_AT + 1] &= ~_CODEC_MASK & 0xFF
    struct.pack_into(">i", header, 8, _HEADER_BYTES - _LOG_OVERHEAD + len(records))
    struct.pack_into(">I", header, _CRC_AT, calc_crc32c(bytes(header[_ATTRIBUTES_AT:]) + records))
    return bytes(header) + records


def _gunzipped(data: memoryview, max_bytes: int) -> bytes:
    inflate = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    records = inflate.decompress(data, max_bytes + 1)
    if len(records) <= max_bytes and not inflate.eof:
        raise _Unreadable("gzip: it ends too early")
    return records


def _unzstd(data: memoryview, max_bytes: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW_BYTES)
    with decompressor.stream_reader(io.BytesIO(data), read_across_frames=True) as reader:
        return reader.read(max_bytes + 1)


def _unsnapped(data: memoryview, max_bytes: int) -> bytes:
    """Raw snappy, or blocks of it as Java writes them; each begins with its size after expansion."""
    packed = bytes(data)
    at, num_bytes = 0, 0
    if packed.startswith(_XERIAL_MAGIC):
        at = _XERIAL_HEADER_BYTES
        while at + 4 <= len(packed):
            (length,) = struct.unpack_from(">i", packed, at)
            if length < 0:  # the library would go back, and come to other blocks than these
                raise _Unreadable("snappy: a broken block")
            num_bytes += _varint(packed, at + 4)
            at += 4 + length
    else:
        num_bytes = _varint(packed, 0)
    if num_bytes > max_bytes:
        raise _Unreadable(f"snappy: {num_bytes} bytes, more than {max_bytes}")
    return bytes(snappy_decode(packed))


def _varint(packed: bytes, at: int) -> int:
    value = 0
    for shift in range(0, 35, 7):
        byte = packed[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value
        at += 1
    raise _Unreadable("snappy: a broken size")


def _unlz4(data: memoryview, max_bytes: int) -> bytes:
    """An LZ4 frame, whose blocks bound what it can come to before anything is expanded."""
    packed = bytes(data)
    if packed[:4] != _LZ4_MAGIC:
        raise _Unreadable("lz4: no frame")
    flags, block = packed[4], (packed[5] >> 4) & 0x07
    if not 4 <= block <= 7:
        raise _Unreadable("lz4: a broken block size")
    block_bytes = 1 << (8 + 2 * block)
    at = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    bound = 0
    while True:
        if at + 4 > len(packed):
            raise _Unreadable("lz4: it ends too early")
        (size,) = struct.unpack_from("<I", packed, at)
        if size == 0:
            break
        length = size & ~_LZ4_STORED
        bound += length if size & _LZ4_STORED else min(block_bytes, _LZ4_GROWTH * length)
        if bound > max_bytes + block_bytes:
            raise _Unreadable(f"lz4: more than {max_bytes} bytes")
        at += 4 + length + (4 if flags & 0x10 else 0)
    end = at + 4 + (4 if flags & 0x04 else 0)
    # The library would expand further frames behind this one, which nothing bounds; a batch has one.
    return bytes(lz4_decode(packed[:end]))


_EXPANDERS: Final[dict[int, tuple[str, Callable[[memoryview, int], bytes]]]] = {
    1: ("gzip", _gunzipped),
    2: ("snappy", _unsnapped),
    3: ("lz4", _unlz4),
    4: ("zstd", _unzstd),
}
