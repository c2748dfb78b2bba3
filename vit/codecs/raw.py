"""The kept patches' very bytes, one patch after the other."""

from __future__ import annotations

import numpy as np

from schemas.errors import DecodeError
from schemas.geometry import PATCH_SIDE, Positions
from vit.codecs import PatchCodec
from vit.preprocess import Pixels, to_patches

_PATCH_BYTES = PATCH_SIDE * PATCH_SIDE * 3


def _encode(crop: Pixels, positions: Positions, _quality: int) -> bytes:
    return to_patches(crop)[positions].tobytes()


def _decode(data: bytes, count: int) -> Pixels:
    if len(data) != count * _PATCH_BYTES:
        raise DecodeError("bad_patches", f"raw: {len(data)} bytes, expected {count} x {_PATCH_BYTES}")
    return np.frombuffer(data, dtype=np.uint8).reshape(count, PATCH_SIDE, PATCH_SIDE, 3)


MEMBER = PatchCodec(_encode, _decode, lossless=True)
