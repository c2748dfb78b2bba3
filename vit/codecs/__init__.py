"""How kept patches become bytes and come back: one module a codec, by whose name records call it.

Called by the edge worker's encode threads, the server's decode threads and evaluation. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.errors import DecodeError
from schemas.geometry import NUM_PATCHES, Positions
from vit.preprocess import Pixels
from vit.registry import Registry


@dataclass(frozen=True, slots=True)
class PatchCodec:
    """One way to turn k patches into bytes and back.

    `encode(crop, positions, quality)` and `decode(data, k)` are what `encode_patches` and `decode_patches`
    call after their checks; `decode` raises before it decodes unless the bytes promise exactly k patches.
    `qualities` are those that `encode` takes, more of it never being fewer bytes; a lossless codec takes any
    and ignores it.
    """

    encode: Callable[[Pixels, Positions, int], bytes]
    decode: Callable[[bytes, int], Pixels]
    lossless: bool = False
    qualities: range = range(101)


CODECS: Final = Registry(__name__, PatchCodec)
"""Name → codec. A record names its codec, so that a file's name here is part of the wire format."""


def check_codec(codec: str) -> None:
    """Return where there is such a codec; ValueError, which names those that are, where not."""
    if codec not in CODECS:
        raise ValueError(f"codec {codec!r} is not one of {', '.join(CODECS)}")


def check_quality(codec: str, quality: int) -> None:
    """Return where the codec takes the quality; ValueError, which names its range, where not."""
    qualities = CODECS[codec].qualities
    if quality not in qualities:
        raise ValueError(f"{codec} quality {quality} is outside {qualities[0]} to {qualities[-1]}")


def encode_patches(codec: str, quality: int, crop: Pixels, positions: Positions) -> bytes:
    """Return the kept patches of a crop as bytes.

    Args:
        codec: a name in `CODECS`.
        quality: one of the codec's `qualities`.
        crop: (224, 224, 3) uint8.
        positions: the kept patches, strictly ascending in 0..195, at least one.

    Raises:
        ValueError: an argument leaves its range; the message names it.
    """
    check_codec(codec)
    check_quality(codec, quality)
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


def _check_positions(positions: Positions) -> None:
    """Raise ValueError unless the positions are strictly ascending in 0..195, at least one."""
    if not 1 <= len(positions) <= NUM_PATCHES:
        raise ValueError(f"{len(positions)} positions are outside 1 to {NUM_PATCHES}")
    if positions[0] < 0 or positions[-1] >= NUM_PATCHES or (np.diff(positions) <= 0).any():
        raise ValueError(f"positions must be strictly ascending in 0..{NUM_PATCHES - 1}")
