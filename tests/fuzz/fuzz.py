"""Mutated messages through every decoder: each is read or refused, at once and within the memory that is there.

    PYTHONPATH=. python tests/fuzz/fuzz.py --messages 1000000 --seed 1

Mutations know the structure: fields of the msgpack map change inside a right envelope, zstd and Kafka batches are
sealed again with right sizes and checksums, pictures change inside a right frame. Each message is a function of
the seed and its number, so that a finding is repeated with `--only NUMBER`. A child process decodes; when it
dies, the number that it was at is the finding, and another child goes on behind it.
"""

from __future__ import annotations

import argparse
import io
import mmap
import os
import random
import resource
import struct
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import zstandard
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from PIL import Image

from imaging.decode import decode_image
from runtime.kafka_batches import readable
from schemas.bitmap import bitmap_of
from schemas.dead_letter import DeadLetter, dead_letter_from_headers, replays_of
from schemas.errors import DecodeError
from schemas.frame import Frame, decode_frame, encode_frame
from schemas.label import label_from_fields
from schemas.limits import MAX_FRAME_BYTES, MAX_FRAME_PIXELS, MAX_OFFLOAD_BYTES
from schemas.offload import Offload, decode_offload, encode_offload, positions_of
from schemas.server_report import decode_report
from vit.codecs import CODECS, decode_patches, encode_patches

GOLDEN = Path(__file__).parent.parent / "schemas" / "golden"
HANG_S = 1.0
ROOM_BYTES = 768 << 20
"""Address space beside what is loaded at the start."""
SIDE = 64


@dataclass(frozen=True)
class Target:
    """A decoder, valid inputs of it, and how one of them is changed."""

    name: str
    seeds: list[Any]
    mutate: Callable[[random.Random, list[Any]], Any]
    decode: Callable[[Any], object]


def flipped(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Bytes of a seed, changed without any thought of what they mean."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(data):
            data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 3:
            data[at:at] = rng.randbytes(rng.randrange(1, 32))
        elif kind == 4:
            data[at:at] = data[at : at + rng.randrange(1, 256)]
        elif kind == 5:
            other = rng.choice(seeds)
            begin = rng.randrange(len(other) + 1)
            data[at:] = other[begin : begin + rng.randrange(1, 4096)]
        else:
            form = rng.choice((">H", "<H", ">I", "<I", ">Q"))
            limit = 1 << (8 * struct.calcsize(form))
            number = rng.choice((0, 1, limit - 1, limit // 2, rng.randrange(limit)))
            data[at : at + struct.calcsize(form)] = struct.pack(form, number)
    return bytes(data)


def odd_value(rng: random.Random, depth: int = 0) -> object:  # noqa: PLR0911 - one for each kind
    """Anything that msgpack can say, at its limits; a few thousand values at most."""
    kind = rng.randrange(10)
    width = rng.choice((0, 1, 3, 65)) if depth < 2 else rng.choice((0, 1, 1))
    if kind == 0:
        return rng.choice((0, 1, -1, 2**31, 2**32, 2**63 - 1, 2**64 - 1, -(2**63)))
    if kind == 1:
        return rng.choice((0.0, -0.0, float("nan"), float("inf"), 1e308, -1.0))
    if kind == 2:
        return rng.choice((None, True, False))
    if kind == 3:
        return rng.choice(("", "a", "../../x", "\x00", "\n", "ä" * 200, "a/b/c", "x" * 5000))
    if kind == 4:
        return rng.randbytes(rng.choice((0, 1, 25, 300)))
    if kind == 5:
        return msgpack.ExtType(rng.randrange(128), rng.randbytes(rng.randrange(9)))
    if depth > 40:
        return 7
    if kind < 8:
        return [odd_value(rng, depth + 1) for _ in range(width)]
    return {str(key): odd_value(rng, depth + 1) for key in range(width)}


def changed_fields(rng: random.Random, packed: bytes) -> bytes:
    """The message with some of its fields changed, left out, doubled or added, well packed again."""
    value = msgpack.unpackb(packed, raw=False)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if isinstance(value, dict):
            key = rng.choice([*value, "extra"])
            if rng.randrange(6) == 0:
                value.pop(key, None)
            else:
                value[key] = odd_value(rng)
        elif isinstance(value, list) and value:
            at = rng.randrange(len(value))
            if rng.randrange(6) == 0:
                del value[at:]
            else:
                value[at] = odd_value(rng)
        if not value:
            break
    packer = msgpack.Packer(use_bin_type=True)
    try:
        return bytes(packer.pack(value))
    except (ValueError, OverflowError):
        return packed


def changed_frame(rng: random.Random, seeds: list[bytes]) -> bytes:
    """A frame with odd fields, or just odd bytes."""
    return changed_fields(rng, rng.choice(seeds)) if rng.randrange(3) else flipped(rng, seeds)


def changed_offload(rng: random.Random, seeds: list[bytes]) -> bytes:
    """As `changed_frame`, inside a zstd frame that is right; sometimes that one is odd, too."""
    seed = rng.choice(seeds)
    if rng.randrange(3) == 0:
        return flipped(rng, seeds)
    if seed.startswith(b"\x28\xb5\x2f\xfd"):
        content = zstandard.ZstdDecompressor().decompress(seed, max_output_size=MAX_OFFLOAD_BYTES)
        return zstandard.ZstdCompressor(level=1).compress(changed_fields(rng, content))
    return flipped(rng, [seed])


def changed_batch(rng: random.Random, seeds: list[bytes]) -> bytes:
    """Batches of Kafka with odd bytes; half of the time the first one's checksum is right again."""
    data = bytearray(flipped(rng, seeds))
    if len(data) > 61 and rng.randrange(2):
        (length,) = struct.unpack_from(">i", data, 8)
        end = 12 + length
        if 61 <= end <= len(data):
            struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[21:end])))
    return bytes(data)


def changed_patches(rng: random.Random, seeds: list[tuple[str, bytes, int]]) -> tuple[str, bytes, int]:
    """Odd bytes for a codec, and sometimes another codec or another number of patches."""
    codec, _, count = rng.choice(seeds)
    data = flipped(rng, [each for name, each, _ in seeds if name == codec])
    if rng.randrange(8) == 0:
        codec = rng.choice([*CODECS, "none"])
    return codec, data, rng.choice((count, count, count, 1, 196))


def changed_image(rng: random.Random, seeds: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """Odd bytes for an image decoder; most changes fall into the headers, where the sizes are."""
    encoding, image = rng.choice(seeds)
    if rng.randrange(2):
        return encoding, flipped(rng, [each for name, each in seeds if name == encoding])
    head = rng.choice((32, 64, 256))
    return encoding, flipped(rng, [image[:head]])[:4096] + image[head:]


def changed_texts(rng: random.Random, seeds: list[dict[str, str]]) -> dict[str, str]:
    """A label as Redis gives it, with odd texts."""
    values = dict(rng.choice(seeds))
    for _ in range(rng.choice((1, 2, 4))):
        key = rng.choice([*values, "extra"])
        values[key] = rng.choice(("", "nan", "inf", "-1", "9" * 400, "1e999", "final", "\x00", "ä", "0x10"))
    return values


def changed_headers(rng: random.Random, seeds: list[list[tuple[str, bytes]]]) -> list[tuple[str, bytes]]:
    """Headers of a dead letter with odd values, some missing, some twice."""
    headers = list(rng.choice(seeds))
    for _ in range(rng.choice((1, 2, 4))):
        at = rng.randrange(len(headers))
        headers[at] = (headers[at][0], rng.choice((b"", b"-1", b"9" * 5000, b"\xff\xfe", b"1.5", b" 1")))
        if rng.randrange(4) == 0:
            headers.append(headers[rng.randrange(len(headers))])
    return headers


def picture(encoding: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture with some structure."""
    ramp = np.add.outer(np.arange(48), np.arange(SIDE)).astype(np.uint8) * 3
    out = io.BytesIO()
    image = Image.fromarray(np.stack([ramp, ramp[::-1], ramp[:, ::-1]], -1))
    image.convert(mode).save(out, encoding.upper(), **options)
    return out.getvalue()


def targets() -> list[Target]:
    """What is decoded, in the shares in which they take turns."""
    images = [
        ("jpeg", picture("jpeg", quality=75)),
        ("jpeg", picture("jpeg", quality=75, progressive=True)),
        ("jpeg", picture("jpeg", quality=90, subsampling=0)),
        ("jpeg", picture("jpeg", mode="L")),
        ("jpeg", picture("jpeg", mode="CMYK")),
        ("png", picture("png")),
        ("png", picture("png", mode="P")),
        ("png", picture("png", mode="LA")),
        ("png", picture("png", mode="L")),
        ("webp", picture("webp", quality=75)),
        ("webp", picture("webp", lossless=True)),
    ]
    frames = [(GOLDEN / "frame_v1.bin").read_bytes()]
    frames += [
        encode_frame(Frame("site", "site/gate", 7, 1, SIDE, 48, encoding, image, live=True))
        for encoding, image in images
    ]
    rng = np.random.default_rng(1)
    crop = np.asarray(rng.integers(0, 256, (224, 224, 3)), np.uint8)
    patches = []
    for codec in CODECS:
        for count in (1, 12, 49):
            quality = CODECS[codec].qualities[len(CODECS[codec].qualities) // 2]
            patches.append((codec, encode_patches(codec, quality, crop, np.arange(count)), count))
    offloads = [(GOLDEN / f"offload_v{version}.bin").read_bytes() for version in (1, 2)]
    offloads += [
        encode_offload(
            Offload(
                "site/gate",
                7,
                1,
                2,
                bitmap_of(np.arange(count)),
                codec,
                45,
                data,
                ((3, 0.5), (1, 0.25)),
                "ab" * 32,
            )
        )
        for codec, data, count in patches
        if len(data) < 100_000
    ]
    batches = []
    for codec_id in range(5):
        builder = DefaultRecordBatchBuilder(
            2,
            codec_id,
            is_transactional=0,
            producer_id=-1,
            producer_epoch=-1,
            base_sequence=-1,
            batch_size=9999,
        )
        for index, value in enumerate((b"a" * 300, None, b"c")):
            builder.append(index, timestamp=1, key=b"k", value=value, headers=[("h", b"1")])
        batches.append(bytes(builder.build()))
    batches.append(batches[0] + batches[4])
    report = '{"v":1,"server":"s","site":"x","at_ns":1}'
    label = {"state": "final", "source": "edge", "label": "3", "confidence": "0.5", "seq": "1", "camera": "c"}
    letters = [DeadLetter("version", "why", "frames", 1, 2).headers()]
    return [
        *[Target("frame", frames, changed_frame, frame_and_image)] * 6,
        *[Target("offload", offloads, changed_offload, offload_and_patches)] * 6,
        *[Target("kafka batch", batches, changed_batch, lambda data: readable(data, 0, 1 << 20))] * 3,
        *[Target("patches", patches, changed_patches, lambda each: decode_patches(*with_positions(each)))]
        * 2,
        *[
            Target(
                "image", images, changed_image, lambda each: decode_image(each[1], each[0], MAX_FRAME_PIXELS)
            )
        ]
        * 2,
        Target(
            "server report",
            [report.encode()],
            flipped,
            lambda data: decode_report(data.decode("utf-8", "replace")),
        ),
        Target("label", [label], changed_texts, label_from_fields),
        Target("dead letter", letters, changed_headers, letter_and_replays),
    ]


def with_positions(each: tuple[str, bytes, int]) -> tuple[str, bytes, Any]:
    """The arguments of `decode_patches`."""
    codec, data, count = each
    return codec, data, np.arange(count)


def frame_and_image(data: bytes) -> None:
    """As an edge worker does."""
    frame = decode_frame(data, max_frame_bytes=MAX_FRAME_BYTES, max_frame_pixels=MAX_FRAME_PIXELS)
    decode_image(frame.image, frame.encoding, MAX_FRAME_PIXELS, size=(frame.width, frame.height))


def offload_and_patches(data: bytes) -> None:
    """As a server worker does."""
    record = decode_offload(data, max_offload_bytes=MAX_OFFLOAD_BYTES)
    decode_patches(record.codec, record.patches, positions_of(record.bitmap))


def letter_and_replays(headers: list[tuple[str, bytes]]) -> None:
    """As the dead-letter commands and a worker do."""
    replays_of(headers)
    dead_letter_from_headers(headers)


def tell(line: str) -> None:
    """A line for whoever runs the program."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Shared:
    """What a child tells its parent while it lives: where it is, and what it found.

    Layout: the present number, messages decoded, messages refused, slowest message in microseconds.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 32)

    def __getitem__(self, index: int) -> int:
        return int(struct.unpack_from("=q", self._memory, 8 * index)[0])

    def __setitem__(self, index: int, value: int) -> None:
        struct.pack_into("=q", self._memory, 8 * index, value)


def run_child(shared: Shared, seed: int, begin: int, end: int) -> int:
    """Decodes the messages [begin, end); the exit status is 1 when one of them raised what it must not."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))
    decoders = targets()
    for number in range(begin, end):
        shared[0] = number
        rng = random.Random(f"{seed} {number}")
        target = rng.choice(decoders)
        message = target.mutate(rng, target.seeds)
        started_s = time.perf_counter()
        try:
            target.decode(message)
        except DecodeError as refused:
            if refused.reason == "unforeseen":
                tell(f"message {number} of {target.name}:")
                tell(traceback.format_exc())
                return 1
            shared[2] += 1
        except BaseException:  # noqa: BLE001 - this is what is looked for
            tell(f"message {number} of {target.name}:")
            tell(traceback.format_exc())
            return 1
        shared[1] += 1
        took_us = round((time.perf_counter() - started_s) * 1e6)
        if took_us > HANG_S * 1e6:
            tell(f"message {number} of {target.name} took {took_us / 1e6:.2f} s")
            return 1
        shared[3] = max(shared[3], took_us)
    tell(f"peak memory of this child {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")
    return 0


def main() -> int:
    """Number of findings, at most 125."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="this one number")
    asked = parser.parse_args()
    begin, end = (asked.only, asked.only + 1) if asked.only is not None else (0, asked.messages)
    shared, num_found, started_s = Shared(), 0, time.monotonic()
    while begin < end:
        child = os.fork()
        if child == 0:
            os._exit(run_child(shared, asked.seed, begin, end))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status == 0:
            break
        num_found += 1
        tell(f"finding: seed {asked.seed} message {shared[0]} status {status}")
        begin = shared[0] + 1
    took_s = time.monotonic() - started_s
    tell(
        f"{shared[1]} messages, {shared[2]} refused, {num_found} findings, slowest {shared[3] / 1000:.0f} ms, "
        f"{took_s:.0f} s"
    )
    return min(num_found, 125)


if __name__ == "__main__":
    sys.exit(main())
