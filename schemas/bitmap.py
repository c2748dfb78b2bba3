"""Which of the 196 patches a record carries, as 25 bytes.

Bit 7 of byte 0 is patch 0; the last four bits are 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DecodeError
from schemas.geometry import BITMAP_BYTES, NUM_PATCHES


def bitmap_of(positions: NDArray[np.int64]) -> bytes:
    """The bitmap of patch indices.

    Args:
        positions: (k,) integers in [0, 196), in any order, 1 <= k <= 196, none twice.

    Raises:
        ValueError: when they are not that.
    """
    positions = np.asarray(positions)
    kept = np.zeros(NUM_PATCHES, dtype=np.uint8)
    if positions.ndim != 1 or not 1 <= positions.size <= NUM_PATCHES:
        raise ValueError(f"positions: shape {positions.shape}, expected (k,) with 1 <= k <= {NUM_PATCHES}")
    if positions.min() < 0 or positions.max() >= NUM_PATCHES:
        raise ValueError(f"positions: [{positions.min()}, {positions.max()}] leaves [0, {NUM_PATCHES - 1}]")
    kept[positions] = 1
    if int(kept.sum()) != positions.size:
        raise ValueError("positions: an index stands twice")
    return np.packbits(kept).tobytes()


def positions_of(bitmap: bytes) -> NDArray[np.int64]:
    """The ascending patch indices of a bitmap: (k,) int64, 1 <= k <= 196.

    Raises:
        DecodeError: `bad_bitmap` for a wrong length, a set bit beyond patch 195, or no bit at all.
    """
    if len(bitmap) != BITMAP_BYTES:
        raise DecodeError("bad_bitmap", f"bitmap: {len(bitmap)} bytes, expected {BITMAP_BYTES}")
    bits = np.unpackbits(np.frombuffer(bitmap, dtype=np.uint8))
    if bits[NUM_PATCHES:].any():
        raise DecodeError("bad_bitmap", f"bitmap: a bit beyond patch {NUM_PATCHES - 1} is set")
    positions = np.flatnonzero(bits).astype(np.int64, copy=False)
    if positions.size == 0:
        raise DecodeError("bad_bitmap", "bitmap: no patch is kept")
    return positions
