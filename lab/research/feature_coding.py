"""Quantised feature maps as bytes and back, by a range coder with fixed tables. Pure numpy.

The tables are counted once on the training pictures and lie on both sides, so nothing of them travels. A value's table
depends on its channel and on what is known when it is decoded: the values to its left and above it, and the one at its
place in the map before. Maps are smooth and resemble each other, so these tell much of it.
"""

from __future__ import annotations

from math import comb
from typing import Final

import constriction
import numpy as np
from numpy.typing import NDArray

Levels = NDArray[np.uint8]
Tables = NDArray[np.float64]
_WORD_BYTES: Final = 4
_NEIGHBOUR_BITS: Final = 2
"""Of a neighbour its highest bits count: more contexts would each have been seen too seldom."""
_MODELS: Final = constriction.stream.model.Categorical(perfect=False)


def tables_from(levels: Levels, sent: NDArray[np.bool_], bits: int) -> Tables:
    """Return (C, contexts, 2^bits) probabilities: counts in the sent maps plus one half each: no level is impossible.

    Args:
        levels: (N, C, H, W), 0 to 2^bits - 1.
        sent: (N, C), the channels that a picture sends.
        bits: 1 to 8.
    """
    counts = np.full((levels.shape[1], _neighbours(bits) ** 3, 2**bits), 0.5)
    for picture, row in zip(levels, sent, strict=True):
        channels = np.flatnonzero(row)
        place = channels[:, None, None], _contexts(picture[channels], bits), picture[channels]
        np.add.at(counts, place, 1.0)
    return np.asarray(counts / counts.sum(2, keepdims=True))


def _contexts(maps: Levels, bits: int) -> NDArray[np.int64]:
    """Return (K, H, W) which table each value of K sent maps has: what is left, above, and in the map before.

    Beyond the border, and before the first map, the neighbour is "none". A value has no say in the contexts before it.
    """
    coarse = 1 + (maps >> max(0, bits - _NEIGHBOUR_BITS)).astype(np.int64)
    padded = np.pad(coarse, ((1, 0), (1, 0), (1, 0)))
    left, above, before = padded[1:, 1:, :-1], padded[1:, :-1, 1:], padded[:-1, 1:, 1:]
    base = _neighbours(bits)
    return np.asarray((before * base + above) * base + left)


def _neighbours(bits: int) -> int:
    """Return how many ways a neighbour can look, "none" among them."""
    return int(1 + 2 ** min(bits, _NEIGHBOUR_BITS))


def _chances(channels: NDArray[np.intp], maps: Levels, tables: Tables) -> NDArray[np.float32]:
    """Return (K, H, W, 2^bits) the probabilities that each value of K sent maps is coded with."""
    bits = tables.shape[2].bit_length() - 1
    return np.asarray(tables[channels[:, None, None], _contexts(maps, bits)], np.float32)


def rate_bits(levels: Levels, sent: NDArray[np.bool_], tables: Tables) -> float:
    """Return the ideal bits of one picture's maps under `tables`: the sum of -log2 p, indices not included."""
    channels = np.flatnonzero(sent)
    chances = _chances(channels, levels[channels], tables)
    return float(-np.log2(np.take_along_axis(chances, levels[channels][..., None].astype(np.intp), 3)).sum())


def encode(levels: Levels, sent: NDArray[np.bool_], tables: Tables) -> bytes:
    """Return one picture's sent maps, (C, H, W) levels in channel order, as whole 4-byte words of a range coder."""
    channels = np.flatnonzero(sent)
    maps, coder = levels[channels], constriction.stream.queue.RangeEncoder()
    if maps.size:
        chances = _chances(channels, maps, tables).reshape(-1, tables.shape[2])
        coder.encode(maps.ravel().astype(np.int32), _MODELS, chances)
    return bytes(coder.get_compressed().astype("<u4").tobytes())


def decode(coded: bytes, sent: NDArray[np.bool_], tables: Tables, shape: tuple[int, int]) -> Levels:
    """Return (C, H, W) levels of `encode`; maps that were not sent are 0.

    Raises:
        ValueError: `coded` is not a whole number of words.
    """
    if len(coded) % _WORD_BYTES:
        raise ValueError(f"coded maps: {len(coded)} bytes, must be a multiple of {_WORD_BYTES}")
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(coded, "<u4").astype(np.uint32))
    channels = np.flatnonzero(sent)
    maps = np.zeros((len(channels), *shape), np.uint8)
    for place in np.ndindex(maps.shape):
        maps[place] = coder.decode(_MODELS, _chances(channels, maps, tables)[place][None])[0]
    levels = np.zeros((len(tables), *shape), np.uint8)
    levels[channels] = maps
    return levels


def indices_bytes(num_channels: int, num_sent: int) -> int:
    """Return the bytes that tell any set of `num_sent` of `num_channels` channels; both sides know the two numbers.

    A set is told by its number among all sets of its size.
    """
    return -(-(comb(num_channels, num_sent) - 1).bit_length() // 8)
