"""How kept patches become bytes and come back.

Called by the edge worker's encode threads, the server's decode threads and evaluation. Must not import torch.
All codecs but `raw` arrange the k patches, in ascending position order, as a near-square mosaic whose exact
size follows from k; the decoder holds the image header against that size before it decodes a pixel. With all
196 patches kept, the mosaic is the crop itself in its natural layout, so that this is a whole-frame codec.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import simplejpeg
from PIL import AvifImagePlugin, Image

from schemas.errors import DecodeError
from schemas.geometry import NUM_PATCHES, PATCH_SIDE, Positions
from vit.avif_container import av1_of, avif_of
from vit.image_header import ImageHeader, jpeg_header, webp_header
from vit.preprocess import Pixels, to_patches

PATCH_BYTES = PATCH_SIDE * PATCH_SIDE * 3

# Pillow offers no thread count per call; one image this small gains nothing from more than one.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1

# On 147 patches of photos: method 2 needs 6.7 kB and 1.5 ms, 4 needs 6.4 kB and 3 ms, 6 6.1 kB and 7.5 ms.
_WEBP_METHOD = 4
# 2 is within 5 % of method 4's bytes at a third of its 25 ms.
_WEBP_LOSSLESS_METHOD = 2
# 9 needs 2 % more bytes than 8 and 2 ms instead of 8.
_AVIF_SPEED = 9


@dataclass(frozen=True, slots=True)
class PatchCodec:
    """One way to turn k patches into bytes and back.

    `encode(crop, positions, quality)` and `decode(data, k)` are what `encode_patches` and `decode_patches`
    call after their checks; `decode` raises before it decodes unless the bytes promise exactly k patches.
    """

    name: str
    lossless: bool
    encode: Callable[[Pixels, Positions, int], bytes]
    decode: Callable[[bytes, int], Pixels]


def encode_patches(codec: str, quality: int, crop: Pixels, positions: Positions) -> bytes:
    """Return the kept patches of a crop as bytes.

    Args:
        codec: a name in `CODECS`.
        quality: 0 to 100, ignored by lossless codecs.
        crop: (224, 224, 3) uint8.
        positions: the kept patches, strictly ascending in 0..195, at least one.

    Raises:
        ValueError: an argument leaves its range; the message names it.
    """
    if codec not in CODECS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(CODECS)}")
    if not 0 <= quality <= 100:
        raise ValueError(f"codec quality {quality} is outside 0 to 100")
    _check_positions(positions)
    return CODECS[codec].encode(crop, positions, quality)


def decode_patches(codec: str, data: bytes, positions: Positions) -> Pixels:
    """Return the (k, 16, 16, 3) uint8 patches at the given ascending positions.

    Raises:
        DecodeError: unknown codec, other size than k patches need, truncated or corrupt bytes.
    """
    if codec not in CODECS:
        raise DecodeError("bad_patches", f"codec {codec!r} is not one of {', '.join(CODECS)}")
    try:
        _check_positions(positions)
    except ValueError as error:
        raise DecodeError("bad_bitmap", str(error)) from error
    try:
        return CODECS[codec].decode(data, len(positions))
    except DecodeError:
        raise
    except Exception as error:  # decoders of hostile bytes raise anything, MemoryError included
        raise DecodeError("bad_patches", f"{codec} patches do not decode: {error}") from error


def mosaic_grid(count: int) -> tuple[int, int]:
    """Return the mosaic's (rows, columns): the smallest near-square grid that holds `count` patches."""
    columns = math.isqrt(count - 1) + 1
    return -(-count // columns), columns


def _mosaic(patches: Pixels) -> Pixels:
    """Return the patches as one image; unused cells have the last patch's mean colour, which costs least."""
    count = len(patches)
    rows, columns = mosaic_grid(count)
    cells = np.empty((rows * columns, PATCH_SIDE, PATCH_SIDE, 3), dtype=np.uint8)
    cells[:count] = patches
    cells[count:] = patches[-1].mean(axis=(0, 1)).astype(np.uint8)
    grid = cells.reshape(rows, columns, PATCH_SIDE, PATCH_SIDE, 3).swapaxes(1, 2)
    return grid.reshape(rows * PATCH_SIDE, columns * PATCH_SIDE, 3)


def _check_positions(positions: Positions) -> None:
    """Raise ValueError unless the positions are strictly ascending in 0..195, at least one."""
    if not 1 <= len(positions) <= NUM_PATCHES:
        raise ValueError(f"{len(positions)} positions are outside 1 to {NUM_PATCHES}")
    if positions[0] < 0 or positions[-1] >= NUM_PATCHES or (np.diff(positions) <= 0).any():
        raise ValueError(f"positions must be strictly ascending in 0..{NUM_PATCHES - 1}")


def _mosaic_codec(
    name: str,
    encode: Callable[[Pixels, int], bytes],
    decode: Callable[[bytes, int, int], Pixels],
    *,
    lossless: bool = False,
) -> PatchCodec:
    """Return a codec that applies an image codec to the mosaic; `decode` takes data, height, width."""

    def encode_mosaic(crop: Pixels, positions: Positions, quality: int) -> bytes:
        if len(positions) == NUM_PATCHES:
            return encode(np.ascontiguousarray(crop), quality)
        return encode(_mosaic(to_patches(crop)[positions]), quality)

    def decode_mosaic(data: bytes, count: int) -> Pixels:
        rows, columns = mosaic_grid(count)
        mosaic = decode(data, rows * PATCH_SIDE, columns * PATCH_SIDE)
        grid = mosaic.reshape(rows, PATCH_SIDE, columns, PATCH_SIDE, 3).swapaxes(1, 2)
        return grid.reshape(rows * columns, PATCH_SIDE, PATCH_SIDE, 3)[:count]

    return PatchCodec(name, lossless, encode_mosaic, decode_mosaic)


def _encode_raw(crop: Pixels, positions: Positions, _quality: int) -> bytes:
    return to_patches(crop)[positions].tobytes()


def _decode_raw(data: bytes, count: int) -> Pixels:
    if len(data) != count * PATCH_BYTES:
        raise DecodeError("bad_patches", f"raw: {len(data)} bytes, expected {count} x {PATCH_BYTES}")
    return np.frombuffer(data, dtype=np.uint8).reshape(count, PATCH_SIDE, PATCH_SIDE, 3)


def _encode_jpeg(mosaic: Pixels, quality: int) -> bytes:
    # 4:2:0's coding unit is 16x16, one patch, so nothing bleeds from a patch to its neighbour.
    return bytes(
        simplejpeg.encode_jpeg(mosaic, quality=max(1, quality), colorspace="RGB", colorsubsampling="420")
    )


def _decode_jpeg(data: bytes, height: int, width: int) -> Pixels:
    _expect(jpeg_header(data), "jpeg", height, width)
    return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))


def _encode_webp(mosaic: Pixels, quality: int) -> bytes:
    return _save(mosaic, "WEBP", quality=quality, method=_WEBP_METHOD)


def _encode_webp_lossless(mosaic: Pixels, _quality: int) -> bytes:
    return _save(mosaic, "WEBP", lossless=True, quality=50, method=_WEBP_LOSSLESS_METHOD)


def _decode_webp(data: bytes, height: int, width: int) -> Pixels:
    _expect(webp_header(data), "webp_lossy", height, width)
    return _load(data, "WEBP")


def _decode_webp_lossless(data: bytes, height: int, width: int) -> Pixels:
    _expect(webp_header(data), "webp_lossless", height, width)
    return _load(data, "WEBP")


def _encode_avif(mosaic: Pixels, quality: int) -> bytes:
    return av1_of(_save(mosaic, "AVIF", quality=quality, speed=_AVIF_SPEED, max_threads=1))


def _decode_avif(data: bytes, height: int, width: int) -> Pixels:
    return _load(avif_of(data, width, height), "AVIF")


def _expect(header: ImageHeader, kind: str, height: int, width: int) -> None:
    """Raise DecodeError unless the header promises exactly this kind and size."""
    if header != ImageHeader(kind, width, height):
        found = f"{header.kind} of {header.width}x{header.height}"
        raise DecodeError("bad_patches", f"mosaic is {found}, expected {kind} of {width}x{height}")


def _save(mosaic: Pixels, image_format: str, **options: int | bool) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mosaic).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def _load(data: bytes, image_format: str) -> Pixels:
    with Image.open(io.BytesIO(data), formats=[image_format]) as picture:
        return np.asarray(picture.convert("RGB"))


CODECS: Final[dict[str, PatchCodec]] = {
    codec.name: codec
    for codec in (
        PatchCodec("raw", True, _encode_raw, _decode_raw),
        _mosaic_codec("webp_lossless", _encode_webp_lossless, _decode_webp_lossless, lossless=True),
        _mosaic_codec("jpeg", _encode_jpeg, _decode_jpeg),
        _mosaic_codec("webp", _encode_webp, _decode_webp),
        _mosaic_codec("avif", _encode_avif, _decode_avif),
    )
}
